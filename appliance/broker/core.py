"""The server: links come and go, clients connect, sessions live and end, wills are told.

Bytes and `now` (monotonic seconds) come in; bytes stand on each connection's output, the connections that have
some in `dirty`, and what the world must do in `effects`. The edge empties both after each turn and calls `tick`
when `next_deadline` is due.
"""

from collections.abc import Callable

from appliance.broker.connection import Connection, Stage
from appliance.broker.deadlines import Deadlines
from appliance.broker.effects import Effect
from appliance.broker.entry import Entry
from appliance.broker.greeting import (
    WHY_NOT_SUBSCRIBED,
    explained,
)
from appliance.broker.image import Image
from appliance.broker.inbound import CANNOT_STORE, Inbound
from appliance.broker.leaving import Leaving
from appliance.broker.links import Links
from appliance.broker.message import Message
from appliance.broker.origin import held_to
from appliance.broker.ports import Classify, Inspect, Journal, NoJournal, RouteFlag, uninspected
from appliance.broker.records import Unsubscribed
from appliance.broker.restoring import LeftOut, amend, restore
from appliance.broker.revoking import IsAnothers, IsLastWord, IsOrphan, IsOusted, Revoking
from appliance.broker.rights import Authorize, Rights, all_rights
from appliance.broker.router import Router
from appliance.broker.session import Session
from appliance.broker.sessions import Sessions
from appliance.broker.stats import Stats
from appliance.broker.wills import Wills
from appliance.mqtt import codec
from appliance.mqtt.errors import MqttError, PacketTooLarge, ProtocolError, QuotaExceeded
from appliance.mqtt.packets import (
    Auth,
    Connect,
    Disconnect,
    Packet,
    PubAck,
    PubComp,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
)
from appliance.mqtt.types import ReasonCode
from appliance.settings import Limits

ASKING_S = 60.0  # most that a client waits to hear whether it is let in
ANSWER_BYTES = 65_536  # of answers that may wait for a client beside its messages; who lets more wait is closed


class Broker:
    """Everything an MQTT server decides, for one thread."""

    def __init__(
        self,
        limits: Limits,
        *,
        next_client_id: Callable[[], str],
        journal: Journal | None = None,
        classify: Classify = lambda _topic: RouteFlag.NONE,
        inspect: Inspect = uninspected,
        authorize: Authorize = all_rights,
        site: str = "",
    ) -> None:
        self.effects: list[Effect] = []
        self.stats = Stats()
        self.router = Router(limits, self.stats, journal or NoJournal(), classify)
        self._outbound = self.router.outbound
        self.dirty = self._outbound.dirty
        self.gate = self._outbound.gate
        self._inbound = Inbound(self.handle, self.router, self.gate, self.stats, limits, inspect, site)
        self._limits = limits
        self._max_backlog = limits.max_output_bytes + limits.max_packet_bytes + ANSWER_BYTES
        self._authorize = authorize
        self._site = site
        self._links = Links(limits)
        self._notes = self.router.notes
        self._wills = Wills(self._publish_will, self._notes)
        self._sessions = Sessions(limits.max_sessions, self.router, self._wills, self.stats)
        self.sessions = self._sessions.by_id
        self._deadlines: Deadlines[Connection] = Deadlines()
        self._leaving = Leaving(
            self._emit, self.router, self._links, self._deadlines, self._sessions, self._wills, self.stats
        )
        self._entry = Entry(
            self._emit,
            limits,
            self.router,
            self._inbound,
            self._leaving,
            self._sessions,
            self._wills,
            self._deadlines,
            self.stats,
            next_client_id,
            authorize,
            site,
        )
        self._revoking = Revoking(
            self.router, self._sessions, self._wills, self._leaving, self._entry, self.stats, authorize
        )

    def _emit(self, effect: Effect) -> None:
        self.effects.append(effect)

    # --- links ---

    def opened(self, link: object, peer: str, now: float) -> Connection:
        """Take a new link; `peer` names it in the log."""
        connection = Connection(link, peer, now, self._limits.connect_timeout_s)
        self.stats.connections_total += 1
        cause = self._links.take(connection)
        if cause is not None:
            self._leaving.turn_away(connection, cause, cause)
        else:
            self._deadlines.set(now + connection.grace_s, connection)
        return connection

    def received(self, connection: Connection, data: bytes, now: float) -> None:
        """Act on bytes from a link; a client that breaks the protocol is told so and closed, no one else notices."""
        self.stats.bytes_received += len(data)
        if connection.backlog > self._max_backlog and connection.stage is Stage.CONNECTED:
            self._leaving.disconnect(
                connection, ReasonCode.QUOTA_EXCEEDED, "it asks and does not read the answers", now
            )
            return
        tail = connection.tail
        if tail:
            tail += data
            if len(data) < connection.missing_bytes:
                connection.missing_bytes -= len(data)
                return
            data = bytes(tail)
            tail.clear()
        try:
            if connection.stage is Stage.CONNECTED:
                self._inbound.walk(connection, data, now)
            elif connection.stage is not Stage.CLOSED:
                self._entry.first_bytes(connection, data)
        except MqttError as error:
            self._leaving.refuse(connection, error, now)

    def lost(self, connection: Connection, now: float) -> None:
        """The link is gone without a DISCONNECT, or after the core closed it."""
        self._leaving.leave(connection, now, tell_will=True)

    def writable(self, connection: Connection, now: float) -> None:
        """The link's socket took what it was given; there may be more."""
        if connection.session is not None and connection.session.waiting:
            self._outbound.pump(connection.session, now)

    def stop(self, now: float) -> None:
        """Close every link; clients of MQTT 5 are told why. Wills are told too: the clients did not say goodbye."""
        for connection in self._links:
            self._leaving.disconnect(connection, ReasonCode.SERVER_SHUTTING_DOWN, "the server is shutting down", now)

    def turn_out(self, is_out: Callable[[object], bool], now: float) -> None:
        """Close the links whose certificates are revoked by now; sessions stay, as those of other lost clients."""
        for connection in self._links:
            if is_out(connection.link):
                self._leaving.disconnect(connection, ReasonCode.NOT_AUTHORIZED, "its certificate is revoked", now)

    # --- time ---

    def next_deadline(self) -> float | None:
        """When `tick` should be called next, in the caller's clock; None while nothing is waited for."""
        due = (
            self._deadlines.next(),
            self._sessions.next_deadline(),
            self._wills.next_deadline(),
            self._revoking.next_deadline(),
        )
        return min((at for at in due if at is not None), default=None)

    def tick(self, now: float) -> None:
        """Act on every deadline up to `now`."""
        self._sessions.tick(now)  # first: a will that is due when its session ends is told by that end
        self._wills.tick(now)
        self._revoking.tick(now)
        for connection in self._deadlines.due(now):
            self._check_silence(connection, now)

    def _check_silence(self, connection: Connection, now: float) -> None:
        due = connection.heard_at + connection.grace_s
        if due > now:  # it spoke since: look again when that grace is over
            self._deadlines.set(due, connection)
        elif connection.stage is Stage.CONNECTED:
            # [MQTT-3.1.2-24] of 3.1.1, [MQTT-3.1.2-22] of 5
            self._leaving.disconnect(connection, ReasonCode.KEEP_ALIVE_TIMEOUT, "keep-alive time-out", now)
        elif connection.stage is Stage.AUTHENTICATING and connection.grace_s < ASKING_S:
            connection.grace_s = ASKING_S  # it has said CONNECT in time; the answer is ours to give
            self._deadlines.set(connection.heard_at + ASKING_S, connection)
        else:
            why = f"no CONNECT within {self._limits.connect_timeout_s:g} s"
            self._leaving.turn_away(connection, "no CONNECT in time", why)

    # --- rights ---

    def reauthorize(
        self,
        is_ousted: IsOusted,
        now: float,
        *,
        restored: bool = False,
        is_orphan: IsOrphan | None = None,
        is_last_word: IsLastWord | None = None,
        is_anothers: IsAnothers | None = None,
    ) -> None:
        """Apply what `authorize` says by now to every session, here or away; `restored`: right after `restore`.

        Clients of users who are ousted are disconnected and their sessions ended; of their wills only what is a last
        word is told. What waits is gone through by `tick`, and nothing of it is sent before. `is_orphan` judges
        retained messages whose publisher is not known, `is_anothers` those of which the client id alone is.
        """
        self._revoking.reauthorize(
            is_ousted,
            now,
            restored=restored,
            is_orphan=is_orphan,
            is_last_word=is_last_word,
            is_anothers=is_anothers,
        )

    # --- what is on disk ---

    def restore(self, image: Image, now: float) -> LeftOut:
        """Take up what outlived the last process, before the first link; see `restoring`."""
        return restore(image, now, self.router, self._sessions, self._wills, self._authorize)

    def amend(self, journal: Journal, image: Image, now: float) -> None:
        """Describe to a journal that holds this image everything that should outlive the process."""
        amend(journal, image, now, self.router, self._sessions, self._wills)

    def committed(self, group: int, now: float) -> None:
        """Say that a group is durable, and all before it: what waited for them is sent."""
        for connection in self.gate.committed(group):
            self.writable(connection, now)
        self._sessions.committed(group)
        self._entry.committed(group, now)

    def waiting(self) -> int:
        """Count the links that wait for a commit; `gate.released` says for how many the last one was."""
        return len(self.gate) + len(self._entry)

    def cannot_store(self, now: float) -> None:
        """A commit failed: close the links that wait for one, and send nothing of what they wait for.

        What they sent is in force, but not safe. They send it again when they are back.
        """
        for connection in self.gate.links():
            why = f"what was sent {CANNOT_STORE}"
            self._leaving.disconnect(connection, ReasonCode.QUOTA_EXCEEDED, why, now, CANNOT_STORE)
        self._entry.cannot_store()

    def can_store(self) -> None:
        """What is handed over can be made durable again: so are the wills that came meanwhile."""
        for session in self.sessions.values():
            connection = session.connection
            if connection is not None and connection.will is not None and not connection.will.key:
                connection.will = self._wills.write_down(connection.will)

    # --- clients inside the process ---

    def publish(self, message: Message, now: float) -> None:
        """Publish a message of our own."""
        if message.number:  # it was published before, and the journal knows every message by its own number
            message = message.copy()
        if message.topic[0] != "$":  # our own figures are nobody's message
            self.stats.publish_received += 1
        self.router.publish(self.router.route(message.topic.encode()), message, None, now)

    def _publish_will(self, message: Message, rights: Rights, session: Session | None, now: float) -> None:
        if not rights.may_publish(message.topic):  # asked at CONNECT too, but that may be long ago
            self.stats.dropped["not allowed to publish"] += 1
            return
        message.properties = held_to(rights, message.properties, self._site)
        self.stats.publish_received += 1
        self.router.publish(self.router.route(message.topic.encode()), message, session, now)

    def authenticated(self, connection: Connection, reason: ReasonCode, now: float) -> None:
        """Answer an `Authenticate` effect: SUCCESS lets the client in, any other reason turns it away."""
        self._entry.authenticated(connection, reason, now)

    # --- all other packets ---

    def handle(self, connection: Connection, packet: bytes, now: float) -> None:
        """Act on a packet that the walk over the bytes does not know by itself."""
        session = connection.session
        assert session is not None  # noqa: S101
        parsed: Packet = codec.decode(packet, connection.version)
        match parsed:
            case Subscribe():
                self._subscribe(connection, session, parsed, now)
            case Unsubscribe():
                self._unsubscribe(connection, session, parsed)
            case Disconnect():
                self._goodbye(connection, session, parsed, now)
            case PubAck() | PubRec() if parsed.reason_code >= ReasonCode.UNSPECIFIED_ERROR:
                self._inbound.refused(session, parsed.packet_id, now)
            case PubAck():
                self._inbound.puback(session, parsed.packet_id, now)
            case PubRec():
                self._inbound.pubrec(connection, session, parsed.packet_id.to_bytes(2, "big"))
            case PubRel():
                self._inbound.pubrel(connection, session, parsed.packet_id.to_bytes(2, "big"))
            case PubComp():
                self._inbound.pubcomp(session, parsed.packet_id, now)
            case Connect():
                raise ProtocolError("a second CONNECT")  # [MQTT-3.1.0-2]
            case Auth():
                raise ProtocolError("AUTH, and no authentication method was agreed on")  # [MQTT-4.12.0-6]
            case _:
                raise ProtocolError(f"{type(parsed).__name__} is for a server to send")

    def _subscribe(self, connection: Connection, session: Session, packet: Subscribe, now: float) -> None:
        _check_size(connection, SubAck(packet.packet_id, (0,) * len(packet.subscriptions)))
        if session.key and self._notes.journal.refuses:
            self.stats.subscriptions_refused[CANNOT_STORE] += len(packet.subscriptions)
            refusal_of_all = SubAck(packet.packet_id, (ReasonCode.QUOTA_EXCEEDED,) * len(packet.subscriptions))
            self.gate.acknowledge(connection, explained(refusal_of_all, f"it {CANNOT_STORE}", connection))
            return
        identifiers = packet.properties.subscription_identifier
        codes = tuple(
            self.router.grant(session, subscription, identifiers[0] if identifiers else 0)
            for subscription in packet.subscriptions
        )
        answer = SubAck(packet.packet_id, codes)
        why = WHY_NOT_SUBSCRIBED.get(ReasonCode(max(codes)))
        data = explained(answer, why, connection) if why else codec.encode(answer, connection.version)
        self.gate.acknowledge(connection, data, session.group)
        self._outbound.pump(session, now)

    def _unsubscribe(self, connection: Connection, session: Session, packet: Unsubscribe) -> None:
        _check_size(connection, UnsubAck(packet.packet_id, (0,) * len(packet.topic_filters)))
        codes = []
        refuses = session.key and self._notes.journal.refuses
        if refuses and not connection.v5:
            raise QuotaExceeded(f"the end of a subscription {CANNOT_STORE}")  # 3.1.1 cannot say so
        for topic_filter in packet.topic_filters:
            if refuses:
                codes.append(ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR)  # there is none for a quota, §3.11.3
                continue
            existed = self.router.unsubscribe(session, topic_filter)
            codes.append(ReasonCode.SUCCESS if existed else ReasonCode.NO_SUBSCRIPTION_EXISTED)
            if session.key:  # it may be written down though there was no room for it at the start
                self._notes.note(session, Unsubscribed(session.key, topic_filter))
        answer = UnsubAck(packet_id=packet.packet_id, reason_codes=tuple(codes))
        self.gate.acknowledge(connection, codec.encode(answer, connection.version), session.group)

    # --- leaving ---

    def _goodbye(self, connection: Connection, session: Session, packet: Disconnect, now: float) -> None:
        expiry_s = packet.properties.session_expiry_interval
        if expiry_s is not None:
            if expiry_s and not session.expiry_s and self._limits.session_expiry_s:
                raise ProtocolError("a session expiry at DISCONNECT where CONNECT had none")  # §3.14.2.2.2
            self._sessions.keep_for(session, float(min(expiry_s, self._limits.session_expiry_s)))
        # Any reason but the plain goodbye leaves the will in force. [MQTT-3.14.4-3]
        self._leaving.leave(connection, now, tell_will=packet.reason_code != ReasonCode.SUCCESS)
        self._leaving.close(connection, "goodbye")


def _check_size(connection: Connection, answer: SubAck | UnsubAck) -> None:
    """Act on nothing that could not be answered. [MQTT-3.1.2-24]"""
    most = connection.max_packet_bytes
    if most and len(codec.encode(answer, connection.version)) > most:
        raise PacketTooLarge(f"it takes {most} bytes, too few for the answer")
