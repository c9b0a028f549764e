"""The agent's connection to the broker: birth and will, back-off, a window of messages in flight. MQTT 5 over paho.

One thread, the agent's, drives a link: it waits for the socket, calls `readable`, `writable` and `tick`, and gets
every event through the `Handler` in the same thread. Only reaching the broker (mDNS, names, TCP, TLS) happens in a
thread of its own, because it may take long. Each connection gets a client of its own, so that nothing of the last one
is repeated.
"""

import logging
import re
import socket
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from appliance.config import ConfigError
from sensors.attempt import Attempt
from sensors.backoff import Backoff
from sensors.discovery import look
from sensors.endpoint import Endpoint, Look
from sensors.reasons import DISCONNECT_WITH_WILL, SESSION_TAKEN_OVER, UNSPECIFIED_ERROR, cure

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage

CONNACK_TIMEOUT_S = 10.0  # after TCP and TLS stand
SETTLED_AFTER_S = 60.0  # a connection that lasted this long ends the back-off
CUT_SHORT = 3  # connections cut this often before they settled look like two agents with one name
REFUSED_WAIT_S = 10.0  # wrong password, not allowed: a person must act
TAKEN_OVER_WAIT_S = 30.0  # two agents with one name must not throw each other out in turns: each time twice as long
LONGEST_TAKEN_OVER_WAIT_S = 960.0
MOST_WORDS = 300  # characters of what a broker says of a refusal
ALONE_AFTER_S = 2 * LONGEST_TAKEN_OVER_WAIT_S  # undisturbed: the other would have come back by then
WINDOW = 50  # messages in flight; the broker may allow fewer
QUEUE = 500  # messages waiting for a place in the window
MAX_PACKET_BYTES = 131_072  # of ours; the broker may allow less
LARGEST_PACKET_BYTES = 268_435_460  # that MQTT knows
PACKET_OVERHEAD_BYTES = 256  # at most: header, packet id, provenance

log = logging.getLogger("sensors")


class Handler(Protocol):
    """What a link tells the agent."""

    def connected(self) -> None:
        """Announce everything: the broker said yes."""

    def disconnected(self, why: str) -> None:
        """Know that there is no connection, or that none could be made; `why` is for people."""

    def acknowledged(self, tokens: Sequence[int], reason_code: int, topics: Sequence[str] = ()) -> None:
        """Know that the broker has the message (below 0x80) or refuses it, perhaps only for some topics in it."""

    def unsent(self, tokens: Sequence[int]) -> None:
        """Know that a message grew too old while it waited for a place in the window."""

    def commanded(self, topic: str, payload: bytes, *, retained: bool, by: str = "") -> None:
        """Take a message on a topic that was subscribed to, `by` the agent that it names."""

    def refused(self, topic: str, reason: str) -> None:
        """Know that the broker does not grant a subscription."""


@dataclass(frozen=True, slots=True)
class _Message:
    topic: str
    payload: bytes
    retain: bool
    properties: tuple[tuple[str, str], ...]
    tokens: tuple[int, ...]
    good_until: float | None


class Link:
    """The connection, remade for ever until `close`."""

    def __init__(
        self,
        endpoint: Endpoint,
        handler: Handler,
        wake: Callable[[], None],
        random: Random,
        look: Look = look,
        again: Callable[[], Endpoint] | None = None,
    ) -> None:
        """Ask `again` before each attempt: the agent may have been paired meanwhile. None is made while it raises."""
        self._endpoint = endpoint
        self._again = again
        self._handler = handler
        self._wake = wake
        self._look = look
        self._backoff = Backoff(random)
        self._attempt: Attempt | None = None
        self.place = endpoint.given  # of the present connection, or of the last one that was tried
        self._client: Client | None = None
        self._next_attempt_at: float | None = 0.0
        self._opened_at = 0.0
        self._now = 0.0
        self._closing = False
        self._why = ""
        self._ended = ""  # why TLS ended
        self._cut_short = 0
        self._taken_over = 0
        self.tells_of_takeovers = False  # whether the broker does: it has said 0x8E
        self._in_flight: dict[int, tuple[int, ...]] = {}
        self._queue: deque[_Message] = deque()
        self._subscribing: dict[int, tuple[str, ...]] = {}
        self.strayed = ""  # what is wrong with the site that the broker says it serves; as the last one said
        self.up = False
        self.heard_at = 0.0  # the broker's last word: a cable that was pulled is noticed late
        self.window = WINDOW
        self.max_packet_bytes = MAX_PACKET_BYTES
        self._most_bytes = LARGEST_PACKET_BYTES
        self._too_large: set[str] = set()  # topics where that was said, on this connection

    # What the agent's loop asks

    @property
    def socket(self) -> "socket.socket | None":
        """The socket to wait for; None while there is no connection."""
        return None if self._client is None else self._client.socket()  # type: ignore[return-value]  # or TLS over it

    @property
    def wants_write(self) -> bool:
        """Whether something waits for the socket to become writable."""
        return self._client is not None and self._client.want_write()

    @property
    def is_contested(self) -> bool:
        """Whether the last connections ended as if another client had our id."""
        return self._cut_short > 0 or self._taken_over > 0

    @property
    def address(self) -> str:
        """Our own, as the broker's network knows it; empty while there is no connection."""
        sock = self.socket
        return "" if sock is None else str(sock.getsockname()[0])

    @property
    def idle(self) -> bool:
        """Whether every message was acknowledged."""
        return not self._in_flight and not self._queue

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        if self._client is not None:
            # paho counts keep-alive with its own clock: a look each second, each quarter while a CONNACK is awaited.
            return self._now + (1.0 if self.up else 0.25)
        return None if self._attempt is not None or self._closing else self._next_attempt_at

    def tick(self, now: float) -> None:
        """Begin an attempt that is due, take over one that ended, look after the connection."""
        self._now = now
        if self._attempt is not None and self._attempt.done:
            self._adopt(now)
        if self._client is not None:
            self._guarded(self._client.loop_misc)
            if self._client is not None and not self.up and now >= self._opened_at + CONNACK_TIMEOUT_S:
                self._lost(f"{self.place} does not answer as an MQTT broker")
            if self.up and now >= self._opened_at + SETTLED_AFTER_S:
                self._backoff.reset()
                self._cut_short = 0
            if self.up and now >= self._opened_at + ALONE_AFTER_S:
                self._taken_over = 0
            self._send_queued()
        elif self._attempt is None and self._next_attempt_at is not None and now >= self._next_attempt_at:
            self._begin()

    def readable(self, now: float) -> None:
        """Take what the broker sent."""
        self._now = now
        client = self._client
        if client is not None:
            self.heard_at = now
            self._guarded(client.loop_read)
            # What TLS has decrypted already, no socket becomes readable for.
            while client is self._client and (pending := getattr(client.socket(), "pending", None)) and pending():
                self._guarded(client.loop_read)

    def writable(self, now: float) -> None:
        """Send what waited for the socket."""
        self._now = now
        if self._client is not None:
            self._guarded(self._client.loop_write)

    # What the agent does

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool,
        properties: Sequence[tuple[str, str]] = (),
        tokens: Sequence[int] = (),
        good_until: float | None = None,
    ) -> bool:
        """Send at QoS 1; False while that cannot be. `tokens` come back with the acknowledgement."""
        if not self.up or len(self._queue) >= QUEUE or not self.fits(topic, payload):
            return False
        self._queue.append(_Message(topic, payload, retain, tuple(properties), tuple(tokens), good_until))
        self._send_queued()
        return True

    def announce(self, topic: str, payload: bytes) -> None:
        """Send retained at QoS 0: for what is soon said again."""
        if self.up and self._client is not None and self.fits(topic, payload):
            self._client.publish(topic, payload, qos=0, retain=True)

    def fits(self, topic: str, payload: bytes) -> bool:
        """Whether the broker takes a message of this size, else say so once; a larger one would end the connection.

        MQTT 5 §3.1.2.11.4.
        """
        fits = len(topic) + len(payload) + PACKET_OVERHEAD_BYTES <= self._most_bytes
        if not fits and topic not in self._too_large:
            self._too_large.add(topic)
            about = {"MQTT_TOPIC": topic}
            log.warning("%s: %d bytes are more than the broker takes; not sent", topic, len(payload), extra=about)
        return fits

    def subscribe(self, topics: Sequence[str]) -> None:
        """Ask for messages on these topics; of each we want to know whether it was published with retain."""
        if self.up and self._client is not None and topics:
            from paho.mqtt.subscribeoptions import SubscribeOptions  # noqa: PLC0415 loaded with the client

            options = SubscribeOptions(qos=1, retainAsPublished=True)
            _, mid = self._client.subscribe([(topic, options) for topic in topics])
            if mid is not None:
                self._subscribing[mid] = tuple(topics)

    def unsubscribe(self, topics: Sequence[str]) -> None:
        """Hear no more of these topics."""
        if self.up and self._client is not None and topics:
            self._client.unsubscribe(list(topics))

    def close(self, *, with_will: bool = False) -> None:
        """Say goodbye and connect no more; the last bytes leave with `writable` while there is a `socket`.

        `with_will`: have the broker tell the will all the same. MQTT 5 §3.14.2.1.
        """
        self._closing = True
        self._next_attempt_at = None
        if self._client is None:
            return
        if self.up:
            from paho.mqtt.packettypes import PacketTypes  # noqa: PLC0415 loaded with the client
            from paho.mqtt.reasoncodes import ReasonCode  # noqa: PLC0415

            reason = ReasonCode(PacketTypes.DISCONNECT, identifier=DISCONNECT_WITH_WILL if with_will else 0)
            self._guarded(partial(self._client.disconnect, reason))
        else:
            self._lost("stopped")

    def give_way(self, other: str) -> None:
        """Leave to another client with our id, on the computer `other` if that is known; each time for longer."""
        wait_s = min(TAKEN_OVER_WAIT_S * 2.0**self._taken_over, LONGEST_TAKEN_OVER_WAIT_S)
        self._taken_over = min(self._taken_over + 1, 30)
        self._lost(
            f"another client connected to {self.place} with our client id {self._endpoint.client_id}: "
            f"a second agent with the same site and agent{other and f', on {other}'}? Give each its own agent = …",
            wait_s,
        )

    def drop(self) -> None:
        """Close the socket as it is, and connect no more."""
        self._closing = True
        self._next_attempt_at = None
        if self._client is not None:
            self._lost("stopped")

    # One connection's life

    def _begin(self) -> None:
        if self._again is not None:
            try:
                self._endpoint = self._again()
            except ConfigError as error:
                self._lost(str(error))
                return
        self._attempt = Attempt(self._endpoint, self._look, self._wake)
        self._attempt.start()

    def _adopt(self, now: float) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return
        self.place = attempt.place
        self._client = client = attempt.client
        self._opened_at = now
        if self._closing or client is None or client.socket() is None:
            why = attempt.why or self._endpoint.ended_early(self.place)
            self._lost("stopped" if self._closing else why)
            return
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        if self._endpoint.trust is not None:
            client.on_log = self._on_log

    def _lost(self, why: str, least_span_s: float = 0.0) -> None:
        """Forget the present connection and plan the next attempt, see Backoff."""
        client, self._client = self._client, None
        if client is not None:
            client.on_disconnect = None
            if (sock := client.socket()) is not None:
                sock.close()
        self.up = False
        self._in_flight.clear()
        self._queue.clear()
        self._subscribing.clear()
        self._too_large.clear()
        self._why = self._ended = ""
        if not self._closing:
            self._next_attempt_at = self._now + self._backoff.wait_s(least_span_s)
        self._handler.disconnected(why)

    def _guarded(self, step: Callable[[], Any]) -> None:
        """Let paho do one step; whatever the broker's bytes make it raise ends the connection, not the agent."""
        client = self._client
        try:
            step()
        except Exception as error:  # paho raises what its parser stumbles over, and what a handler of ours raised
            log.debug("while %s was heard or spoken to", self.place, exc_info=True)
            self._lost(f"{self.place} sent what is not MQTT 5 ({type(error).__name__}: {error})")
            return
        if client is self._client and client is not None and client.socket() is None:
            self._cut_off()

    def _cut_off(self) -> None:
        """Give up a connection that ended without a word; not every broker says that another client took over."""
        self._cut_short += self.up
        if self._ended:
            self._lost(self._ended, REFUSED_WAIT_S)
            return
        if not self.up:
            self._lost(self._endpoint.ended_early(self.place))
            return
        hint = ""
        if self._cut_short >= CUT_SHORT:
            hint = f", again and again; is there a second agent with the client id {self._endpoint.client_id}?"
        self._lost(f"{self.place} closed the connection{self._why}{hint}")

    def _on_log(self, _client: "Client", _data: Any, _level: int, text: str) -> None:
        """Keep why TLS ended the connection: TLS 1.3 refuses a client's certificate after the handshake."""
        if self._endpoint.trust is not None and (found := re.search(r"\[SSL: (\w+)", text)):
            self._ended = self._endpoint.trust.ended(str(self.place), found[1])

    def _on_connect(self, _client: "Client", _data: Any, _flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            words = " ".join(str(getattr(properties, "ReasonString", "")).split())[:MOST_WORDS]
            said = f"{reason}: {words}" if words else str(reason)
            what_to_do = cure(reason.value, self._endpoint.will_topic)
            self._lost(f"{self.place} refuses the connection ({said}); {what_to_do}", REFUSED_WAIT_S)
            return
        self.up = True
        self._hear_site(getattr(properties, "UserProperty", ()))
        self.window = min(WINDOW, getattr(properties, "ReceiveMaximum", WINDOW))
        self._most_bytes = getattr(properties, "MaximumPacketSize", LARGEST_PACKET_BYTES)
        self.max_packet_bytes = min(MAX_PACKET_BYTES, self._most_bytes)
        self._handler.connected()

    def _hear_site(self, said: Sequence[tuple[str, str]]) -> None:
        """Say once where a hub serves another site than ours; a broker of others says none."""
        site = next((value for name, value in said if name == "site"), "")
        strayed = self._endpoint.strayed(self.place, site)
        if strayed != self.strayed:
            self.strayed = strayed
            if strayed:
                log.warning("%s", strayed)

    def _on_disconnect(self, _client: "Client", _data: Any, flags: Any, reason: Any, _properties: Any) -> None:
        where = self.place
        if not flags.is_disconnect_packet_from_server:
            # "Unspecified error" is what paho calls a plain end of the stream.
            self._why = f" ({reason})" if reason.is_failure and reason.value != UNSPECIFIED_ERROR else ""
        elif reason.value == SESSION_TAKEN_OVER:
            self.tells_of_takeovers = True
            self.give_way("")
        else:
            self._lost(f"{where} closed the connection ({reason})")

    def _on_publish(self, _client: "Client", _data: Any, mid: int, reason: Any, properties: Any) -> None:
        tokens = self._in_flight.pop(mid, None)
        if tokens:
            said = getattr(properties, "UserProperty", ()) if reason.is_failure else ()
            topics = tuple(value for name, value in said if name == "topic")
            self._handler.acknowledged(tokens, reason.value, topics)
        self._send_queued()

    def _on_subscribe(self, _client: "Client", _data: Any, mid: int, reasons: Any, _properties: Any) -> None:
        for topic, reason in zip(self._subscribing.pop(mid, ()), reasons, strict=False):
            if reason.is_failure:
                self._handler.refused(topic, str(reason))

    def _on_message(self, _client: "Client", _data: Any, message: "MQTTMessage") -> None:
        by = next((value for name, value in getattr(message.properties, "UserProperty", ()) if name == "agent"), "")
        self._handler.commanded(message.topic, bytes(message.payload), retained=message.retain, by=by)

    def _send_queued(self) -> None:
        while self._queue and self.up and self._client is not None and len(self._in_flight) < self.window:
            message = self._queue.popleft()
            if message.good_until is not None and self._now > message.good_until:
                self._handler.unsent(message.tokens)
                continue
            info = self._client.publish(
                message.topic, message.payload, 1, message.retain, _user_properties(message.properties)
            )
            self._in_flight[info.mid] = message.tokens


def _user_properties(pairs: tuple[tuple[str, str], ...]) -> Any:
    if not pairs:
        return None
    from paho.mqtt.packettypes import PacketTypes  # noqa: PLC0415 loaded with the client
    from paho.mqtt.properties import Properties  # noqa: PLC0415

    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.UserProperty = list(pairs)
    return properties
