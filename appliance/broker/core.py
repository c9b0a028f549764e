"""The server: links come and go, clients connect, sessions live and end, wills are told.

Bytes and `now` (monotonic seconds) come in; bytes stand on each connection's output, the connections that have
some in `dirty`, and what the world must do in `effects`. The edge empties both after each turn and calls `tick`
when `next_deadline` is due.
"""

from collections.abc import Callable

from appliance.broker.aliases import IncomingAliases, OutgoingAliases
from appliance.broker.connection import Connection, Stage
from appliance.broker.deadlines import Deadlines
from appliance.broker.effects import Authenticate, Effect
from appliance.broker.greeting import (
    WHY_NOT_SUBSCRIBED,
    connack,
    explained,
    keep_alive_s,
    not_entitled,
    refusal,
    session_expiry_s,
)
from appliance.broker.image import Image
from appliance.broker.inbound import CANNOT_STORE, Inbound
from appliance.broker.leaving import Leaving
from appliance.broker.links import Links
from appliance.broker.message import Message
from appliance.broker.ports import Classify, Journal, NoJournal, RouteFlag
from appliance.broker.records import Unsubscribed
from appliance.broker.restoring import restore, snapshot
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
from appliance.mqtt.stream import is_mqtt5_connect
from appliance.mqtt.types import PacketType, ReasonCode, Version
from appliance.mqtt.wire import frame_size
from appliance.settings import Limits

FIRST_PACKET_BYTES = 65_536  # what a stranger may send before it has said who it is
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
        authorize: Authorize = all_rights,
    ) -> None:
        self.effects: list[Effect] = []
        self.stats = Stats()
        self.router = Router(limits, self.stats, journal or NoJournal(), classify)
        self._outbound = self.router.outbound
        self.dirty = self._outbound.dirty
        self.gate = self._outbound.gate
        self._inbound = Inbound(self.handle, self.router, self.gate, self.stats, limits)
        self._limits = limits
        self._max_connect_bytes = min(limits.max_packet_bytes, FIRST_PACKET_BYTES)
        self._max_backlog = limits.max_output_bytes + limits.max_packet_bytes + ANSWER_BYTES
        self._next_client_id = next_client_id
        self._authorize = authorize
        self._has_accounts = authorize is not all_rights
        self._links = Links(limits)
        self._notes = self.router.notes
        self._wills = Wills(self._publish_will, self._notes)
        self._sessions = Sessions(limits.max_sessions, self.router, self._wills, self.stats)
        self.sessions = self._sessions.by_id
        self._deadlines: Deadlines[Connection] = Deadlines()
        self._leaving = Leaving(
            self._emit, self.router, self._links, self._deadlines, self._sessions, self._wills, self.stats
        )
        self._entering: list[tuple[int, Connection]] = []  # what they discard is not yet gone on disk: group, link

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
                self._before_connect(connection, data)
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

    def end_client(self, client_id: str, reason: ReasonCode, why: str, now: float) -> bool:
        """Close a client's link, told why where it can be; False when it is not connected. Its session stays."""
        session = self.sessions.get(client_id)
        if session is None or session.connection is None:
            return False
        self._leaving.disconnect(session.connection, reason, why, now)
        return True

    # --- time ---

    def next_deadline(self) -> float | None:
        """When `tick` should be called next, in the caller's clock; None while nothing is waited for."""
        due = self._deadlines.next(), self._sessions.next_deadline(), self._wills.next_deadline()
        return min((at for at in due if at is not None), default=None)

    def tick(self, now: float) -> None:
        """Act on every deadline up to `now`."""
        self._sessions.tick(now)  # first: a will that is due when its session ends is told by that end
        self._wills.tick(now)
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

    # --- what is on disk ---

    def restore(self, image: Image, now: float) -> None:
        """Take up what outlived the last process, before the first link; see `restoring`."""
        restore(image, now, self.router, self._sessions, self._wills, self._authorize)

    def snapshot(self, journal: Journal, now: float) -> None:
        """Describe everything that should outlive the process to a journal that may know nothing of it."""
        snapshot(journal, now, self.router, self._sessions, self._wills)

    def committed(self, group: int, now: float) -> None:
        """Say that a group is durable, and all before it: what waited for them is sent."""
        for connection in self.gate.committed(group):
            self.writable(connection, now)
        entering, self._entering = self._entering, []
        for waits_for, connection in entering:
            if waits_for > group:
                self._entering.append((waits_for, connection))
            else:
                self._let_in(connection, now)

    def waiting(self) -> int:
        """Count the links that wait for a commit; `gate.released` says for how many the last one was."""
        return len(self.gate) + len(self._entering)

    def cannot_store(self, now: float) -> None:
        """A commit failed: close the links that wait for one, and send nothing of what they wait for.

        What they sent is in force, but not safe. They send it again when they are back.
        """
        for connection in self.gate.links():
            why = f"what was sent {CANNOT_STORE}"
            self._leaving.disconnect(connection, ReasonCode.QUOTA_EXCEEDED, why, now, CANNOT_STORE)
        entering, self._entering = self._entering, []
        for _, connection in entering:
            if connection.stage is Stage.AUTHENTICATING:
                self._refuse_to_store(connection)

    def _refuse_to_store(self, connection: Connection) -> None:
        why = f"its session {CANNOT_STORE}"
        self._leaving.refuse_connect(connection, ReasonCode.QUOTA_EXCEEDED, why, CANNOT_STORE)

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
        self.stats.publish_received += 1
        self.router.publish(self.router.route(message.topic.encode()), message, session, now)

    # --- CONNECT ---

    def _before_connect(self, connection: Connection, data: bytes) -> None:
        if connection.stage is Stage.AUTHENTICATING or not data:
            connection.tail += data
        else:
            if data[0] != PacketType.CONNECT << 4:
                raise ProtocolError("the first packet is not a CONNECT")  # [MQTT-3.1.0-1]
            connection.v5 = is_mqtt5_connect(data)
            size = frame_size(data)
            if size is not None and size > self._max_connect_bytes:
                raise PacketTooLarge(f"a CONNECT of {size} bytes; at most {self._max_connect_bytes} are taken")
            if size is None or size > len(data):
                connection.tail += data
                connection.missing_bytes = 1 if size is None else size - len(data)
            else:
                connection.tail += data[size:]
                connection.missing_bytes = 0
                self._connect(connection, data[:size])
        if len(connection.tail) > FIRST_PACKET_BYTES:
            raise PacketTooLarge(f"more than {FIRST_PACKET_BYTES} bytes before it was clear who this is")

    def _connect(self, connection: Connection, packet: bytes) -> None:
        self.stats.connects_received += 1
        self.stats.others_received += 1
        connect = codec.decode(packet, Version.MQTT_3_1_1)
        assert isinstance(connect, Connect)  # the first byte said so  # noqa: S101
        connection.version = connect.version
        connection.v5 = connect.version is Version.MQTT_5
        connection.max_packet_bytes = connect.properties.maximum_packet_size or 0
        connection.problem_information = connect.properties.request_problem_information != 0
        reason = refusal(connect, self._limits)
        if reason is not None:
            self._leaving.refuse_connect(connection, *reason)
            return
        connection.connect = connect
        connection.client_id = connect.client_id or self._next_client_id()
        while not connect.client_id and connection.client_id in self.sessions:  # [MQTT-3.2.2-16]
            connection.client_id = self._next_client_id()
        most = connection.max_packet_bytes
        if most and most < len(connack(connect, connection.client_id, present=False, limits=self._limits)):
            self._leaving.refuse_connect(
                connection, ReasonCode.PACKET_TOO_LARGE, f"it takes {most} bytes, too few for an answer"
            )
            return
        connection.stage = Stage.AUTHENTICATING
        self.effects.append(Authenticate(connection, connection.client_id, connect.username, connect.password))

    def authenticated(self, connection: Connection, reason: ReasonCode, now: float) -> None:
        """Answer an `Authenticate` effect: SUCCESS lets the client in, any other reason turns it away."""
        connect = connection.connect
        if connection.stage is not Stage.AUTHENTICATING or connect is None:
            return  # it left meanwhile
        if reason is not ReasonCode.SUCCESS:
            connection.connect = None
            self._leaving.refuse_connect(connection, reason, "not authenticated")
            return
        self._let_in(connection, now)

    def _let_in(self, connection: Connection, now: float) -> None:
        """Let in a client that is who it says, if it may and there is room."""
        connect = connection.connect
        if connection.stage is not Stage.AUTHENTICATING or connect is None:
            return  # it left while its CONNACK had to wait
        known = self.sessions.get(connection.client_id)
        rights = self._authorize(connect.username)
        refused_for = not_entitled(connect, known, rights, accounts=self._has_accounts)
        if refused_for is None and known is None and not self._sessions.has_room(now):
            refused_for = ReasonCode.QUOTA_EXCEEDED, f"there are {len(self.sessions)} sessions already"
        if refused_for is not None:
            self._leaving.refuse_connect(connection, *refused_for)
            return
        expiry_s = float(session_expiry_s(connect, self._limits))
        discards = known is not None and known.key and connect.clean_start
        if self._notes.journal.refuses and (discards or (expiry_s and (known is None or not known.key))):
            self._refuse_to_store(connection)
            return
        group = self._make_way(connection, connect, known, now)
        if group > self.gate.durable:  # nothing may be said before CONNACK, so the client is not yet in
            self._entering.append((group, connection))
            return
        connection.connect = None
        self._enter(connection, connect, rights, expiry_s, now)
        waiting = bytes(connection.tail)
        connection.tail.clear()
        if waiting:
            try:
                self._inbound.walk(connection, waiting, now)  # [MQTT-3.1.4-5] was met: nothing of it ran before
            except MqttError as error:
                self._leaving.refuse(connection, error, now)

    def _make_way(self, connection: Connection, connect: Connect, known: Session | None, now: float) -> int:
        """Close an older link of the client and end a session it does not want; gives the group with that end."""
        group = 0
        if known is not None and known.connection is not None:  # [MQTT-3.1.4-2]
            durable = known.key
            known.expiry_s = 0.0 if connect.clean_start else known.expiry_s  # to end with its link
            self._leaving.disconnect(known.connection, ReasonCode.SESSION_TAKEN_OVER, "taken over by a new link", now)
            if durable and not known.key:
                group = known.group
            known = self.sessions.get(connection.client_id)  # a clean session ended with its link
        if known is not None and connect.clean_start:
            durable = known.key
            self._sessions.end(known, now)  # [MQTT-3.1.2-6]
            group = known.group if durable else 0
        return group

    def _enter(self, connection: Connection, connect: Connect, rights: Rights, expiry_s: float, now: float) -> None:
        present = connection.client_id in self.sessions
        session = self._sessions.take_up(connection.client_id, connect.username, rights, expiry_s)
        session.connection = connection
        session.window = min(self._limits.max_inflight, connect.properties.receive_maximum or 65_535)
        session.resume()
        connection.session = session
        connection.routes = self.router.tables.of(session.rights)
        connection.stage = Stage.CONNECTED
        if connect.will is not None:
            connection.will = self._wills.keep(session, connect.username, connect.will)
        connection.aliases_in = IncomingAliases(self._limits.topic_alias_maximum) if connection.v5 else None
        aliases = min(connect.properties.topic_alias_maximum or 0, self._limits.topic_alias_maximum)
        connection.aliases_out = OutgoingAliases(aliases) if aliases else None
        connection.takes_all = not aliases and not connection.max_packet_bytes
        connection.heard_at = now
        connection.grace_s = 1.5 * keep_alive_s(connect, self._limits)  # [MQTT-3.1.2-22]
        if connection.grace_s:
            self._deadlines.set(now + connection.grace_s, connection)
        else:
            self._deadlines.cancel(connection)
        self.stats.clients_now += 1
        self.stats.clients_max = max(self.stats.clients_max, self.stats.clients_now)
        self.gate.acknowledge(connection, connack(connect, session.client_id, present=present, limits=self._limits))
        self._outbound.pump(session, now)

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
                codes.append(ReasonCode.QUOTA_EXCEEDED)
            elif self.router.unsubscribe(session, topic_filter):
                codes.append(ReasonCode.SUCCESS)
                if session.key:
                    self._notes.note(session, Unsubscribed(session.key, topic_filter))
            else:
                codes.append(ReasonCode.NO_SUBSCRIPTION_EXISTED)
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
