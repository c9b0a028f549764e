"""The server: links come and go, clients connect, sessions live and end, wills are told.

Bytes and `now` (monotonic seconds) come in; bytes stand on each connection's output, the connections that have
some in `dirty`, and what the world must do in `effects`. The edge empties both after each turn and calls `tick`
when `next_deadline` is due.
"""

from collections.abc import Callable

from appliance.broker.absent import Absent
from appliance.broker.aliases import IncomingAliases, OutgoingAliases
from appliance.broker.connection import Connection, Stage
from appliance.broker.deadlines import Deadlines
from appliance.broker.effects import Authenticate, Close, Effect
from appliance.broker.gate import Gate
from appliance.broker.greeting import connack, goodbye, keep_alive_s, refusal, refused, will_properties
from appliance.broker.inbound import Inbound
from appliance.broker.message import Message
from appliance.broker.ports import Classify, Journal, NoJournal, RouteFlag
from appliance.broker.router import Router
from appliance.broker.session import Session
from appliance.broker.stats import Stats
from appliance.broker.topictree import Grant
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
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
)
from appliance.mqtt.topics import split_share
from appliance.mqtt.types import PacketType, ReasonCode, Version
from appliance.mqtt.wire import frame_size
from appliance.settings import Limits

FIRST_PACKET_BYTES = 65_536  # what a stranger may send before it has said who it is
ANSWER_BYTES = 65_536  # of answers that may wait for a client beside its messages; who lets more wait is closed


class _PendingWill:
    """A will that waits for its delay; whichever ends first, delay or session, tells it."""

    __slots__ = ("client_id", "message")

    def __init__(self, client_id: str, message: Message) -> None:
        self.client_id = client_id
        self.message = message


class Broker:
    """Everything an MQTT server decides, for one thread."""

    def __init__(
        self,
        limits: Limits,
        *,
        now: float,
        next_client_id: Callable[[], str],
        journal: Journal | None = None,
        classify: Classify = lambda _topic: RouteFlag.NONE,
    ) -> None:
        self.effects: list[Effect] = []
        self.stats = Stats()
        self.started_at = now
        self.sessions: dict[str, Session] = {}
        self.router = Router(limits, self.stats, journal or NoJournal(), classify)
        self.dirty = self.router.dirty
        self.gate = Gate(self.dirty, self.stats)
        self._inbound = Inbound(self.handle, self.router, self.gate, self.stats, limits)
        self._limits = limits
        self._max_backlog = limits.max_output_bytes + limits.max_packet_bytes + ANSWER_BYTES
        self._next_client_id = next_client_id
        self._connections: set[Connection] = set()
        self._absent = Absent()
        self._pending_wills: dict[str, _PendingWill] = {}
        self._deadlines: Deadlines[Connection | Session | _PendingWill] = Deadlines()

    # --- links ---

    def opened(self, link: object, peer: str, now: float) -> Connection:
        """Take a new link; `peer` names it in the log."""
        connection = Connection(link, peer, now, self._limits.connect_timeout_s)
        self.stats.connections_total += 1
        if len(self._connections) >= self._limits.max_connections:
            self._close(connection, f"there are {self._limits.max_connections} connections already")
        else:
            self._connections.add(connection)
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
            self.router.pump(connection.session, now)

    def stop(self, now: float) -> None:
        """Close every link; clients of MQTT 5 are told why. Wills are told too: the clients did not say goodbye."""
        for connection in list(self._connections):
            self._disconnect(connection, ReasonCode.SERVER_SHUTTING_DOWN, "the server is shutting down", now)

    # --- time ---

    def next_deadline(self) -> float | None:
        """When `tick` should be called next, in the caller's clock; None while nothing is waited for."""
        return self._deadlines.next()

    def tick(self, now: float) -> None:
        """Act on every deadline up to `now`."""
        for what in self._deadlines.due(now):
            match what:
                case Connection():
                    self._check_silence(what, now)
                case Session():
                    self.stats.sessions_expired += 1
                    self._forget(what, now)
                case _PendingWill():
                    del self._pending_wills[what.client_id]
                    self.publish(what.message, now)

    def _check_silence(self, connection: Connection, now: float) -> None:
        due = connection.heard_at + connection.grace_s
        if due > now:  # it spoke since: look again when that grace is over
            self._deadlines.set(due, connection)
        elif connection.stage is Stage.CONNECTED:
            # [MQTT-3.1.2-24] of 3.1.1, [MQTT-3.1.2-22] of 5
            self._disconnect(connection, ReasonCode.KEEP_ALIVE_TIMEOUT, "keep-alive time-out", now)
        else:
            self._close(connection, f"no CONNECT within {self._limits.connect_timeout_s:g} s")

    # --- clients inside the process ---

    def open_local(self, client_id: str, deliver: Callable[[Message], None]) -> Session:
        """Give a session whose messages go to `deliver` as they are; it has no link and never expires."""
        session = Session(client_id)
        session.deliver = deliver
        return session

    def publish(self, message: Message, now: float) -> None:
        """Publish a message of our own, or a will."""
        if message.topic[0] != "$":  # our own figures are nobody's message
            self.stats.publish_received += 1
        self.router.publish(self.router.route(message.topic.encode()), message, None, now)

    # --- CONNECT ---

    def _before_connect(self, connection: Connection, data: bytes) -> None:
        if connection.stage is Stage.AUTHENTICATING or not data:
            connection.tail += data
        else:
            if data[0] != PacketType.CONNECT << 4:
                raise ProtocolError("the first packet is not a CONNECT")  # [MQTT-3.1.0-1]
            size = frame_size(data)
            if size is not None and size > FIRST_PACKET_BYTES:
                raise PacketTooLarge(f"a CONNECT of {size} bytes")
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
        connect = codec.decode(packet, Version.MQTT_3_1_1)
        assert isinstance(connect, Connect)  # the first byte said so  # noqa: S101
        connection.version = connect.version
        connection.v5 = connect.version is Version.MQTT_5
        connection.max_packet_bytes = connect.properties.maximum_packet_size or 0
        reason = refusal(connect, self._limits)
        if reason is not None:
            self._turn_away(connection, *reason)
            return
        connection.connect = connect
        connection.client_id = connect.client_id or self._next_client_id()
        connection.stage = Stage.AUTHENTICATING
        self.effects.append(Authenticate(connection, connection.client_id, connect.username, connect.password))

    def authenticated(self, connection: Connection, reason: ReasonCode, now: float) -> None:
        """Answer an `Authenticate` effect: SUCCESS lets the client in, any other reason turns it away."""
        connect = connection.connect
        if connection.stage is not Stage.AUTHENTICATING or connect is None:
            return  # it left meanwhile
        connection.connect = None
        if reason is not ReasonCode.SUCCESS:
            self._turn_away(connection, reason, "not authenticated")
            return
        known = self.sessions.get(connection.client_id)
        if known is None and not self._has_room(now):
            self._turn_away(connection, ReasonCode.QUOTA_EXCEEDED, f"there are {len(self.sessions)} sessions already")
            return
        if known is not None and known.username != connect.username:
            # An id belongs to who used it first, or anybody could take anybody's messages.
            self._turn_away(connection, ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, "this client id is another user's")
            return
        self._enter(connection, connect, known, now)
        waiting = bytes(connection.tail)
        connection.tail.clear()
        if waiting:
            try:
                self._inbound.walk(connection, waiting, now)  # [MQTT-3.1.4-5] was met: nothing of it ran before
            except MqttError as error:
                self._refuse(connection, error, now)

    def _has_room(self, now: float) -> bool:
        """Make room for one more session, if need be at the cost of one whose client is away."""
        if len(self.sessions) < self._limits.max_sessions:
            return True
        dispensable = self._absent.dispensable()
        if dispensable is None:
            return False
        self.stats.dropped["session ended to make room"] += len(dispensable.queue) + len(dispensable.in_flight)
        self._forget(dispensable, now)
        return True

    def _enter(self, connection: Connection, connect: Connect, known: Session | None, now: float) -> None:
        if known is not None and known.connection is not None:  # [MQTT-3.1.4-2]
            self._disconnect(known.connection, ReasonCode.SESSION_TAKEN_OVER, "taken over by a new link", now)
            known = self.sessions.get(connection.client_id)  # a clean session ended with its link
        if known is not None and connect.clean_start:
            self._forget(known, now)  # [MQTT-3.1.2-6]
            known = None
        self._drop_pending_will(connection.client_id)  # it is back in time, MQTT 5 §3.1.3.2.2
        session = known or Session(connection.client_id, connect.username)
        self.sessions[session.client_id] = session
        session.connection = connection
        self._absent.discard(session)
        self._deadlines.cancel(session)
        session.expiry_s = self._expiry_s(connect)
        session.window = min(self._limits.max_inflight, connect.properties.receive_maximum or 65_535)
        session.resume()
        connection.session = session
        connection.stage = Stage.CONNECTED
        connection.will = connect.will
        connection.aliases_in = IncomingAliases(self._limits.topic_alias_maximum) if connection.v5 else None
        aliases = min(connect.properties.topic_alias_maximum or 0, self._limits.topic_alias_maximum)
        connection.aliases_out = OutgoingAliases(aliases) if aliases else None
        connection.heard_at = now
        connection.grace_s = 1.5 * keep_alive_s(connect, self._limits)  # [MQTT-3.1.2-22]
        if connection.grace_s:
            self._deadlines.set(now + connection.grace_s, connection)
        else:
            self._deadlines.cancel(connection)
        self.stats.clients_now += 1
        self.stats.sessions_now = len(self.sessions)
        self.gate.acknowledge(connection, connack(connect, session, present=known is not None, limits=self._limits))
        self.router.pump(session, now)

    def _expiry_s(self, connect: Connect) -> float:
        """How long the session is kept without a link; never longer than our own limit."""
        limit = self._limits.session_expiry_s
        if connect.version is not Version.MQTT_5:
            return 0 if connect.clean_start else limit
        return min(connect.properties.session_expiry_interval or 0, limit)

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
        identifiers = packet.properties.subscription_identifier
        codes = tuple(
            self._grant(session, subscription, identifiers[0] if identifiers else 0)
            for subscription in packet.subscriptions
        )
        if not connection.v5:
            codes = tuple(min(128, code) for code in codes)  # [MQTT-3.9.3-2]
        answer = SubAck(packet_id=packet.packet_id, reason_codes=codes)
        self.gate.acknowledge(connection, codec.encode(answer, connection.version))
        self.router.pump(session, now)

    def _grant(self, session: Session, subscription: Subscription, identifier: int) -> int:
        topic_filter = subscription.topic_filter
        if split_share(topic_filter)[1].count("/") >= self._limits.max_topic_levels:
            return ReasonCode.TOPIC_FILTER_INVALID
        grant = Grant(subscription.qos, subscription.no_local, subscription.retain_as_published, identifier)
        if not self.router.subscribe(session, topic_filter, grant, subscription.retain_handling):
            return ReasonCode.QUOTA_EXCEEDED
        return subscription.qos

    # --- leaving ---

    def _goodbye(self, connection: Connection, session: Session, packet: Disconnect, now: float) -> None:
        expiry_s = packet.properties.session_expiry_interval
        if expiry_s is not None:
            if expiry_s and not session.expiry_s:
                raise ProtocolError("a session expiry at DISCONNECT where CONNECT had none")  # §3.14.2.2.2
            session.expiry_s = min(expiry_s, self._limits.session_expiry_s)
        self._leave(connection, now, tell_will=packet.reason_code == ReasonCode.DISCONNECT_WITH_WILL)
        self.effects.append(Close(connection, "goodbye"))

    def _leave(self, connection: Connection, now: float, *, tell_will: bool) -> None:
        """Part the link from its session; after this the core knows it no more."""
        was, connection.stage = connection.stage, Stage.CLOSED
        self._connections.discard(connection)
        self._deadlines.cancel(connection)
        self.gate.forget(connection)
        connection.tail.clear()
        session, connection.session = connection.session, None
        if was is not Stage.CONNECTED or session is None:
            return
        self.stats.clients_now -= 1
        session.connection = None
        will, connection.will = connection.will, None
        if will is not None and tell_will:  # [MQTT-3.1.2-8], [MQTT-3.14.4-3]
            self._tell(session, will, now)
        if session.expiry_s:
            self._deadlines.set(now + session.expiry_s, session)
            self._absent.add(session, connection.peer)
        else:
            self._forget(session, now)

    def _tell(self, session: Session, will: Will, now: float) -> None:
        properties = will.properties
        delay_s = min(properties.will_delay_interval or 0, session.expiry_s)
        expiry_s = properties.message_expiry_interval
        message = Message(
            will.topic,
            will.payload,
            will.qos,
            will.retain,
            will_properties(will),
            None if expiry_s is None else now + delay_s + expiry_s,
            session.client_id,
        )
        if delay_s:
            pending = self._pending_wills[session.client_id] = _PendingWill(session.client_id, message)
            self._deadlines.set(now + delay_s, pending)
        else:
            self.publish(message, now)

    def _forget(self, session: Session, now: float) -> None:
        """End a session: nothing of it stays, and a will that waited is told now. [MQTT-3.1.2-6]"""
        for topic_filter in list(session.subscriptions):
            self.router.unsubscribe(session, topic_filter)
        self.router.share_again(session, now)
        if self.sessions.get(session.client_id) is session:
            del self.sessions[session.client_id]
            self.stats.sessions_now = len(self.sessions)
        self._deadlines.cancel(session)
        self._absent.discard(session)
        pending = self._drop_pending_will(session.client_id)
        if pending is not None:
            self.publish(pending.message, now)

    def _drop_pending_will(self, client_id: str) -> _PendingWill | None:
        pending = self._pending_wills.pop(client_id, None)
        if pending is not None:
            self._deadlines.cancel(pending)
        return pending

    def _refuse(self, connection: Connection, error: MqttError, now: float) -> None:
        """Answer a broken protocol in the client's own dialect and close."""
        if connection.stage is Stage.CONNECTED:
            self._disconnect(connection, error.reason, str(error), now)
        elif isinstance(error, UnsupportedVersion):
            self._turn_away(connection, error.reason, str(error))
        else:
            self._close(connection, str(error))  # who did not get in is told nothing [MQTT-3.1.4-1]

    def _turn_away(self, connection: Connection, reason: ReasonCode, why: str) -> None:
        answer = refused(connection.version, reason, why, connection.max_packet_bytes)
        connection.put(answer, self.dirty)
        self._close(connection, why)

    def _disconnect(self, connection: Connection, reason: ReasonCode, why: str, now: float) -> None:
        if connection.v5 and connection.stage is Stage.CONNECTED:
            connection.put(goodbye(reason, why, connection.max_packet_bytes), self.dirty)
        self._leave(connection, now, tell_will=True)
        self._close(connection, why)

    def _close(self, connection: Connection, why: str) -> None:
        connection.stage = Stage.CLOSED
        self._connections.discard(connection)
        self._deadlines.cancel(connection)
        self.effects.append(Close(connection, why))
