"""The broker's durable state as plain data: what a journal holds when its records are applied in order.

Pure and slow on purpose: it is built once at a start, and by tests. `Image` is what `Broker.restore` takes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag
from appliance.broker.records import (
    AnyRecord,
    Back,
    Done,
    Dropped,
    Ended,
    Forgot,
    Left,
    Opened,
    Queued,
    Received,
    Released,
    Replayed,
    Sent,
    Subscribed,
    Unsubscribed,
    WillGone,
    WillKept,
    WillWaits,
)
from appliance.broker.topictree import Grant


@dataclass(slots=True)
class StoredDelivery:
    """A message on its way to one client; without a message once only PUBCOMP is missing. packet_id 0: in line."""

    number: int
    message: Message | None
    qos: int
    retain: bool
    identifiers: tuple[int, ...]
    shared: str | None
    packet_id: int


@dataclass(slots=True)
class StoredSession:
    """One client's session."""

    key: int
    client_id: str
    username: str | None
    expiry_s: float
    away_s: float | None = None  # how long its client has been away; None: it was connected when the journal ended
    subscriptions: dict[str, Grant] = field(default_factory=dict)
    replays: set[str] = field(default_factory=set)  # filters whose retained messages were not all sent
    deliveries: list[StoredDelivery] = field(default_factory=list)  # in flight in the order sent, then in line
    incoming: set[int] = field(default_factory=set)

    def apply(self, record: AnyRecord, messages: Mapping[int, Message], ago_s: float) -> None:
        """Take a change of this session that was made `ago_s` ago; what it does not concern changes nothing."""
        match record:
            case Left():
                self.away_s = ago_s
            case Back():
                self.away_s = None
            case Subscribed(_, topic_filter, qos, no_local, retain_as_published, identifier, replays):
                self.subscriptions[topic_filter] = Grant(qos, no_local, retain_as_published, identifier)
                (self.replays.add if replays else self.replays.discard)(topic_filter)
            case Replayed(_, topic_filter):
                self.replays.discard(topic_filter)
            case Unsubscribed(_, topic_filter):
                self.subscriptions.pop(topic_filter, None)
                self.replays.discard(topic_filter)
            case Queued(_, number, qos, retain, identifiers, shared, packet_id):
                message = messages.get(number)
                if message is not None:
                    delivery = StoredDelivery(number, message, qos, retain, identifiers, shared, packet_id)
                    self.deliveries.insert(self._in_flight() if packet_id else len(self.deliveries), delivery)
            case Sent(_, number, packet_id):
                place = self._in_line(number)
                if place is not None:
                    delivery = self.deliveries.pop(place)
                    delivery.packet_id = packet_id
                    self.deliveries.insert(self._in_flight(), delivery)
            case Dropped(_, number):
                place = self._in_line(number)
                if place is not None:
                    del self.deliveries[place]
            case Released(_, packet_id):
                for delivery in self.deliveries:
                    if delivery.packet_id == packet_id:
                        delivery.message = None
            case Done(_, packet_id):
                self.deliveries = [delivery for delivery in self.deliveries if delivery.packet_id != packet_id]
            case Received(_, packet_id):
                self.incoming.add(packet_id)
            case Forgot(_, packet_id):
                self.incoming.discard(packet_id)

    def _in_flight(self) -> int:
        """Count the deliveries that were sent; they stand before those in line."""
        for place, delivery in enumerate(self.deliveries):
            if not delivery.packet_id:
                return place
        return len(self.deliveries)

    def _in_line(self, number: int) -> int | None:
        """Find the first of a message's deliveries that waits in line."""
        for place, delivery in enumerate(self.deliveries):
            if delivery.number == number and not delivery.packet_id:
                return place
        return None


@dataclass(slots=True)
class StoredWill:
    """What is to be said for a client that was connected (due_s None), or in due_s seconds for one that was lost."""

    will: WillKept
    due_s: float | None = None


@dataclass(slots=True)
class Image:
    """Everything that outlives the process. Messages' `expires_at` is in the clock of the `now` given to `restore`."""

    sessions: dict[int, StoredSession] = field(default_factory=dict)
    wills: dict[int, StoredWill] = field(default_factory=dict)
    retained: dict[str, Message] = field(default_factory=dict)
    messages: dict[int, Message] = field(default_factory=dict)
    """Messages by number, as far as a `Queued` may still refer to them."""

    def append(self, message: Message, flags: int) -> None:
        """Take a message as the journal's `append` did; an empty payload forgets the topic's last one."""
        if message.number:
            self.messages[message.number] = message
        if flags & RouteFlag.RETAINED:
            if message.payload:
                self.retained[message.topic] = message
            else:
                self.retained.pop(message.topic, None)

    def apply(self, record: AnyRecord, ago_s: float = 0.0) -> None:
        """Take a change of a session that was made `ago_s` before the moment this image is for.

        What refers to something unknown changes nothing: a damaged record before it may have been left out.
        """
        match record:
            case Opened(key, client_id, username, expiry_s):
                known = self.sessions.get(key)
                if known is None:
                    self.sessions[key] = StoredSession(key, client_id, username, expiry_s)
                else:
                    known.client_id, known.username, known.expiry_s = client_id, username, expiry_s
            case Ended(key):
                self.sessions.pop(key, None)
            case WillKept(key):
                self.wills[key] = StoredWill(record)
            case WillWaits(key, delay_s):
                if (will := self.wills.get(key)) is not None:
                    will.due_s = delay_s - ago_s
            case WillGone(key):
                self.wills.pop(key, None)
            case _:
                session = self.sessions.get(record.key)
                if session is not None:
                    session.apply(record, self.messages, ago_s)
