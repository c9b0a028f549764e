"""The server: links come and go, clients connect, sessions live and end, wills are told.

Bytes and `now` (monotonic seconds) come in; bytes stand on each connection's output, the connections that have
some in `dirty`, and what the world must do in `effects`. The edge empties both after each turn and calls `tick`
when `next_deadline` is due.
"""

from collections.abc import Callable

from appliance.broker.aliases import IncomingAliases, OutgoingAliases
from appliance.broker.connection import Connection, Stage
from appliance.broker.deadlines import Deadlines
from appliance.broker.effects import Authenticate, Close, Effect
from appliance.broker.gate import Gate
from appliance.broker.greeting import (
    WHY_NOT_SUBSCRIBED,
    connack,
    explained,
    goodbye,
    in_words,
    keep_alive_s,
    not_entitled,
    refusal,
    refused,
    session_expiry_s,
)
from appliance.broker.inbound import Inbound
from appliance.broker.links import Links
from appliance.broker.message import Message
from appliance.broker.ports import Classify, Journal, NoJournal, RouteFlag
from appliance.broker.rights import Authorize, Rights, all_rights
from appliance.broker.router import Router
from appliance.broker.session import Session
from appliance.broker.sessions import Sessions
from appliance.broker.stats import Stats
from appliance.broker.wills import Wills
from appliance.mqtt import codec
from appliance.mqtt.errors import MqttError, PacketTooLarge, ProtocolError, UnsupportedVersion
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
        self.gate = Gate(self.dirty, self.stats)
        self._inbound = Inbound(self.handle, self.router, self.gate, self.stats, limits)
        self._limits = limits
        self._max_connect_bytes = min(limits.max_packet_bytes, FIRST_PACKET_BYTES)
        self._max_backlog = limits.max_output_bytes + limits.max_packet_bytes + ANSWER_BYTES
        self._next_client_id = next_client_id
        self._authorize = authorize
        self._has_accounts = authorize is not all_rights
        self._links = Links(limits)
        self._wills = Wills(self._publish_will)
        self._sessions = Sessions(limits.max_sessions, self.router, self._wills, self.stats)
        self.sessions = self._sessions.by_id
        self._deadlines: Deadlines[Connection] = Deadlines()

    # --- links ---

    def opened(self, link: object, peer: str, now: float) -> Connection:
        """Take a new link; `peer` names it in the log."""
        connection = Connection(link, peer, now, self._limits.connect_timeout_s)
        self.stats.connections_total += 1
        cause = self._links.take(connection)
        if cause is not None:
            self._turn_away(connection, cause, cause)
        else:
            self._deadlines.set(now + connection.grace_s, connection)
        return connection

    def received(self, connection: Connection, data: bytes, now: float) -> None:
        """Act on bytes from a link; a client that breaks the protocol is told so and closed, no one else notices."""
        self.stats.bytes_received += len(data)
        if connection.backlog > self._max_backlog and connection.stage is Stage.CONNECTED:
            self._disconnect(connection, ReasonCode.QUOTA_EXCEEDED, "it asks and does not read the answers", now)
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
            self._refuse(connection, error, now)

    def lost(self, connection: Connection, now: float) -> None:
        """The link is gone without a DISCONNECT, or after the core closed it."""
        self._leave(connection, now, tell_will=True)

    def writable(self, connection: Connection, now: float) -> None:
        """The link's socket took what it was given; there may be more."""
        if connection.session is not None and connection.session.waiting:
            self._outbound.pump(connection.session, now)

    def stop(self, now: float) -> None:
        """Close every link; clients of MQTT 5 are told why. Wills are told too: the clients did not say goodbye."""
        for connection in self._links:
            self._disconnect(connection, ReasonCode.SERVER_SHUTTING_DOWN, "the server is shutting down", now)

    def end_client(self, client_id: str, reason: ReasonCode, why: str, now: float) -> bool:
        """Close a client's link, told why where it can be; False when it is not connected. Its session stays."""
        session = self.sessions.get(client_id)
        if session is None or session.connection is None:
            return False
        self._disconnect(session.connection, reason, why, now)
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
            self._disconnect(connection, ReasonCode.KEEP_ALIVE_TIMEOUT, "keep-alive time-out", now)
        elif connection.stage is Stage.AUTHENTICATING and connection.grace_s < ASKING_S:
            connection.grace_s = ASKING_S  # it has said CONNECT in time; the answer is ours to give
            self._deadlines.set(connection.heard_at + ASKING_S, connection)
        else:
            why = f"no CONNECT within {self._limits.connect_timeout_s:g} s"
            self._turn_away(connection, "no CONNECT in time", why)

    # --- clients inside the process ---

    def publish(self, message: Message, now: float) -> None:
        """Publish a message of our own."""
        if message.topic[0] != "$":  # our own figures are nobody's message
            self.stats.publish_received += 1
        self.router.publish(self.router.route(message.topic.encode()), message, None, now)

    def _publish_will(self, message: Message, session: Session, now: float) -> None:
        if not session.rights.may_publish(message.topic):  # asked at CONNECT too, but that may be long ago
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
            self._refuse_connect(connection, *reason)
            return
        connection.connect = connect
        connection.client_id = connect.client_id or self._next_client_id()
        while not connect.client_id and connection.client_id in self.sessions:  # [MQTT-3.2.2-16]
            connection.client_id = self._next_client_id()
        most = connection.max_packet_bytes
        if most and most < len(connack(connect, connection.client_id, present=False, limits=self._limits)):
            self._refuse_connect(
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
        connection.connect = None
        if reason is not ReasonCode.SUCCESS:
            self._refuse_connect(connection, reason, "not authenticated")
            return
        known = self.sessions.get(connection.client_id)
        rights = self._authorize(connect.username)
        refused_for = not_entitled(connect, known, rights, accounts=self._has_accounts)
        if refused_for is None and known is None and not self._sessions.has_room(now):
            refused_for = ReasonCode.QUOTA_EXCEEDED, f"there are {len(self.sessions)} sessions already"
        if refused_for is not None:
            self._refuse_connect(connection, *refused_for)
            return
        self._enter(connection, connect, known, rights, now)
        waiting = bytes(connection.tail)
        connection.tail.clear()
        if waiting:
            try:
                self._inbound.walk(connection, waiting, now)  # [MQTT-3.1.4-5] was met: nothing of it ran before
            except MqttError as error:
                self._refuse(connection, error, now)

    def _enter(
        self, connection: Connection, connect: Connect, known: Session | None, rights: Rights, now: float
    ) -> None:
        if known is not None and known.connection is not None:  # [MQTT-3.1.4-2]
            known.expiry_s = 0.0 if connect.clean_start else known.expiry_s  # to end with its link
            self._disconnect(known.connection, ReasonCode.SESSION_TAKEN_OVER, "taken over by a new link", now)
            known = self.sessions.get(connection.client_id)  # a clean session ended with its link
        if known is not None and connect.clean_start:
            self._sessions.end(known, now)  # [MQTT-3.1.2-6]
            known = None
        session = self._sessions.take_up(connection.client_id, connect.username, rights)
        session.connection = connection
        session.expiry_s = float(session_expiry_s(connect, self._limits))
        session.window = min(self._limits.max_inflight, connect.properties.receive_maximum or 65_535)
        session.resume()
        connection.session = session
        connection.routes = self.router.tables.of(session.rights)
        connection.stage = Stage.CONNECTED
        connection.will = connect.will
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
        self.gate.acknowledge(
            connection, connack(connect, session.client_id, present=known is not None, limits=self._limits)
        )
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
                _check_size(connection, UnsubAck(parsed.packet_id, (0,) * len(parsed.topic_filters)))
                codes = tuple(
                    ReasonCode.SUCCESS
                    if self.router.unsubscribe(session, topic_filter)
                    else ReasonCode.NO_SUBSCRIPTION_EXISTED
                    for topic_filter in parsed.topic_filters
                )
                answer = UnsubAck(packet_id=parsed.packet_id, reason_codes=codes)
                self.gate.acknowledge(connection, codec.encode(answer, connection.version))
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
        identifiers = packet.properties.subscription_identifier
        codes = tuple(
            self.router.grant(session, subscription, identifiers[0] if identifiers else 0)
            for subscription in packet.subscriptions
        )
        answer = SubAck(packet.packet_id, codes)
        why = WHY_NOT_SUBSCRIBED.get(ReasonCode(max(codes)))
        self.gate.acknowledge(
            connection, explained(answer, why, connection) if why else codec.encode(answer, connection.version)
        )
        self._outbound.pump(session, now)

    # --- leaving ---

    def _goodbye(self, connection: Connection, session: Session, packet: Disconnect, now: float) -> None:
        expiry_s = packet.properties.session_expiry_interval
        if expiry_s is not None:
            if expiry_s and not session.expiry_s and self._limits.session_expiry_s:
                raise ProtocolError("a session expiry at DISCONNECT where CONNECT had none")  # §3.14.2.2.2
            session.expiry_s = float(min(expiry_s, self._limits.session_expiry_s))
        # Any reason but the plain goodbye leaves the will in force. [MQTT-3.14.4-3]
        self._leave(connection, now, tell_will=packet.reason_code != ReasonCode.SUCCESS)
        self.effects.append(Close(connection, "goodbye"))

    def _leave(self, connection: Connection, now: float, *, tell_will: bool) -> None:
        """Part the link from its session; after this the core knows it no more."""
        was, connection.stage = connection.stage, Stage.CLOSED
        self._links.discard(connection)
        self._deadlines.cancel(connection)
        self.gate.forget(connection)
        connection.tail.clear()
        session, connection.session = connection.session, None
        if was is not Stage.CONNECTED or session is None:
            return
        self.stats.clients_now -= 1
        session.connection = None
        will, connection.will = connection.will, None
        self._sessions.leave(session, connection.source, now)  # first: no will is lined up for a session that ends
        if will is not None and tell_will:  # [MQTT-3.1.2-8], [MQTT-3.14.4-3]
            self._wills.leave(session, will, now)

    def _refuse(self, connection: Connection, error: MqttError, now: float) -> None:
        """Answer a broken protocol in the client's own dialect and close."""
        if connection.stage is Stage.CONNECTED:
            self._disconnect(connection, error.reason, str(error), now)
        elif isinstance(error, UnsupportedVersion):
            connection.version = error.dialect
            self._refuse_connect(connection, error.reason, str(error))
        elif connection.v5:
            connection.version = Version.MQTT_5
            self._refuse_connect(connection, error.reason, str(error))  # [MQTT-3.1.4-1], §4.13.1
        else:
            self._turn_away(connection, in_words(error.reason), str(error))  # 3.1.1 has no words for it [MQTT-3.1.4-1]

    def _refuse_connect(self, connection: Connection, reason: ReasonCode, why: str) -> None:
        answer = refused(connection.version, reason, why, connection.max_packet_bytes)
        if answer:
            self._say(connection, answer)
        self._turn_away(connection, in_words(reason), why)

    def _turn_away(self, connection: Connection, cause: str, why: str) -> None:
        self.stats.connections_turned_away[cause] += 1
        connection.stage = Stage.CLOSED
        self._links.discard(connection)
        self._deadlines.cancel(connection)
        self.effects.append(Close(connection, why))

    def _disconnect(self, connection: Connection, reason: ReasonCode, why: str, now: float) -> None:
        if connection.stage is Stage.CONNECTED:
            self.stats.connections_closed[in_words(reason)] += 1
            if connection.v5:
                self._say(connection, goodbye(reason, why, connection.max_packet_bytes))
        self._leave(connection, now, tell_will=True)
        self.effects.append(Close(connection, why))

    def _say(self, connection: Connection, packet: bytes) -> None:
        self.stats.others_sent += 1
        connection.put(packet, self.dirty)


def _check_size(connection: Connection, answer: SubAck | UnsubAck) -> None:
    """Act on nothing that could not be answered. [MQTT-3.1.2-24]"""
    most = connection.max_packet_bytes
    if most and len(codec.encode(answer, connection.version)) > most:
        raise PacketTooLarge(f"it takes {most} bytes, too few for the answer")
