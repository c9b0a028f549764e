"""What the server remembers of one client: subscriptions, messages on their way, packet ids. Outlives its link."""

from collections import deque
from collections.abc import Callable, Iterator
from math import inf
from typing import TYPE_CHECKING

from appliance.broker.connection import Connection
from appliance.broker.message import Message
from appliance.broker.records import Subscribed
from appliance.broker.rights import ALL_RIGHTS, Rights
from appliance.broker.topictree import Grant

if TYPE_CHECKING:
    from appliance.broker.shared import SharedGroup

Delivery = tuple[Message | None, int, bool, tuple[int, ...], "SharedGroup | None"]
"""One message for one reader: message, QoS, retain, identifiers of the subscriptions that matched, shared group.

The message is None once a QoS 2 reader has it and only PUBCOMP is missing; its number, where the session is durable,
stands in place of the identifiers then. A bare tuple, since one is made for every QoS 1 and 2 message and reader.
"""

NOTHING_QUEUED: deque[Delivery] = deque(maxlen=0)
"""Stands for an empty queue, since each of its own would cost every session 600 bytes. It can hold nothing."""


class Session:
    """A client's state. [MQTT-3.1.2-4]

    `in_flight` holds deliveries by packet id in the order they were sent; `queue` what waits behind them;
    `replays` retained messages that a subscription still has to see, by its filter.
    """

    __slots__ = (
        "client_id",
        "connection",
        "deliver",
        "expiry_s",
        "group",
        "in_flight",
        "incoming",
        "key",
        "left_at",
        "left_out",
        "next_packet_id",
        "next_sweep",
        "queue",
        "queued_bytes",
        "replays",
        "resend",
        "rights",
        "subscribed_bytes",
        "subscriptions",
        "username",
        "waiting",
        "window",
    )

    def __init__(self, client_id: str, username: str | None = None, rights: Rights = ALL_RIGHTS) -> None:
        self.client_id = client_id
        self.username = username  # a session belongs to who opened it first
        self.rights = rights
        self.connection: Connection | None = None
        self.deliver: Callable[[Message], None] | None = None  # a client inside the process takes messages as they are
        self.expiry_s = 0.0  # how long it is kept without a link
        self.left_at: float | None = None  # since when there is none
        self.key = 0  # what the journal knows it by; 0 for a session that ends with its link, or with the process
        self.group = 0  # last commit group with a change of it that an answer may tell of
        self.subscriptions: dict[str, Grant] = {}
        self.subscribed_bytes = 0  # what their filters cost
        self.left_out: dict[str, Subscribed] | None = None  # those that are written down and found no room at the start
        self.incoming: set[int] = set()  # QoS 2 packet ids received and not released [MQTT-4.3.3-2]
        self.in_flight: dict[int, Delivery] = {}
        self.resend: list[int] = []  # packet ids to send again after the client came back, the last one first
        self.queue = NOTHING_QUEUED
        self.queued_bytes = 0
        self.next_sweep = inf  # when some message of the queue may be one to sweep out
        self.replays: dict[str, Iterator[Delivery]] = {}
        self.waiting = False  # anything in resend, queue or replays
        self.window = 1  # how many deliveries may be in flight
        self.next_packet_id = 1

    def take_packet_id(self) -> int:
        """Give the next id that is not in flight; ids start at 1 and count up. [MQTT-2.3.1-2]

        There are 65,535 of them, `window` is no larger, and one of it is about to be filled, so one is free.
        """
        packet_id = self.next_packet_id
        while packet_id in self.in_flight:
            packet_id = packet_id + 1 if packet_id < 65_535 else 1
        self.next_packet_id = packet_id + 1 if packet_id < 65_535 else 1
        return packet_id

    def enqueue(self, delivery: Delivery, max_messages: int, max_bytes: int) -> bool:
        """Put the delivery behind the others; False when the queue has no room for it."""
        message = delivery[0]
        assert message is not None  # only in flight it can be  # noqa: S101
        size = _size(delivery)
        if len(self.queue) >= max_messages or self.queued_bytes + size > max_bytes:
            return False
        if self.queue is NOTHING_QUEUED:
            self.queue = deque()
        self.queue.append(delivery)
        self.queued_bytes += size
        expires_at = message.expires_at
        if expires_at is not None:
            self.next_sweep = min(self.next_sweep, _swept_at(expires_at))
        self.waiting = True
        return True

    def line_up(self, queue: deque[Delivery]) -> None:
        """Take a whole queue, whatever bounds it was made with."""
        self.queue = queue
        self.queued_bytes = sum(map(_size, queue))
        self.next_sweep = 0.0  # unknown, so that the next look finds it
        self.waiting = True

    def drop_expired(self, now: float) -> list[Message]:
        """Take the messages whose time is over out of the queue [MQTT-3.3.2-5] and give them.

        Costs nothing as long as there can be none, and finds those of one second together.
        """
        dropped: list[Message] = []
        if now < self.next_sweep:
            return dropped
        kept: deque[Delivery] = deque()
        self.next_sweep = inf
        for delivery in self.queue:
            message = delivery[0]
            assert message is not None  # only in flight it can be  # noqa: S101
            at = inf if message.expires_at is None else _swept_at(message.expires_at)
            if at <= now:
                self.queued_bytes -= _size(delivery)
                dropped.append(message)
            else:
                kept.append(delivery)
                self.next_sweep = min(self.next_sweep, at)
        self.queue = kept
        return dropped

    def dequeue(self) -> Delivery:
        """Take the delivery that has waited longest."""
        delivery = self.queue.popleft()
        self.queued_bytes -= _size(delivery)
        return delivery

    def resume(self) -> None:
        """Line up everything unacknowledged to be sent again, oldest first. [MQTT-4.4.0-1]"""
        self.resend = list(reversed(self.in_flight))
        self.waiting = bool(self.resend or self.queue or self.replays)

    def take_releases(self) -> list[int]:
        """Give the ids whose PUBREL, and no PUBLISH, is to be sent again, oldest first, and line them up no longer."""
        waiting = set(self.resend)
        releases = [number for number, delivery in self.in_flight.items() if delivery[0] is None and number in waiting]
        for number in releases:
            self.resend.remove(number)
        return releases

    def in_flight_now(self) -> int:
        """Count the deliveries that the present link has seen and not acknowledged."""
        return len(self.in_flight) - len(self.resend)


def _size(delivery: Delivery) -> int:
    message = delivery[0]
    assert message is not None  # only in flight it can be  # noqa: S101
    return len(message.topic) + len(message.payload) + len(message.properties)


def _swept_at(expires_at: float) -> float:
    """When a message whose time is over may be swept out: at a whole second, for many at once cost no more than one."""
    return float(int(expires_at)) + 1.0
