"""How a client comes in: its CONNECT, who it is, the session it had or gets."""

from collections.abc import Callable
from dataclasses import replace

from appliance.broker.aliases import IncomingAliases, OutgoingAliases
from appliance.broker.connection import Connection, Stage
from appliance.broker.deadlines import Deadlines
from appliance.broker.effects import Authenticate, Effect
from appliance.broker.greeting import connack, keep_alive_s, not_entitled, refusal, session_expiry_s
from appliance.broker.inbound import CANNOT_STORE, Inbound
from appliance.broker.leaving import Leaving
from appliance.broker.rights import Authorize, Rights, all_rights
from appliance.broker.router import Router
from appliance.broker.session import Session
from appliance.broker.sessions import Sessions
from appliance.broker.stats import Stats
from appliance.broker.wills import Wills
from appliance.mqtt import codec
from appliance.mqtt.errors import MqttError, PacketTooLarge, ProtocolError
from appliance.mqtt.packets import Connect
from appliance.mqtt.stream import says_mqtt5
from appliance.mqtt.types import PacketType, ReasonCode, Version
from appliance.mqtt.wire import frame_size
from appliance.settings import Limits

FIRST_PACKET_BYTES = 61_440  # what a stranger may send before it has said who it is; with its link, 64 KiB


class Entry:
    """Lets clients in, or turns them away.

    One whose durable session has ended is not let in anew before that end is durable too: its CONNACK tells of it.
    """

    def __init__(
        self,
        emit: Callable[[Effect], None],
        limits: Limits,
        router: Router,
        inbound: Inbound,
        leaving: Leaving,
        sessions: Sessions,
        wills: Wills,
        deadlines: Deadlines[Connection],
        stats: Stats,
        next_client_id: Callable[[], str],
        authorize: Authorize,
        site: str,
    ) -> None:
        self._emit = emit
        self._limits = limits
        self._max_connect_bytes = min(limits.max_packet_bytes, FIRST_PACKET_BYTES)
        self._router = router
        self._outbound = router.outbound
        self._gate = router.outbound.gate
        self._notes = router.notes
        self._inbound = inbound
        self._leaving = leaving
        self._sessions = sessions
        self._wills = wills
        self._deadlines = deadlines
        self._stats = stats
        self._next_client_id = next_client_id
        self._authorize = authorize
        self._site = site
        self._has_accounts = authorize is not all_rights
        self._waiting: list[tuple[int, Connection]] = []  # for the end of a session to be durable: group, link

    def __len__(self) -> int:
        return len(self._waiting)

    def first_bytes(self, connection: Connection, data: bytes) -> None:
        """Act on what comes before the client is in: its CONNECT; the rest waits. Raises MqttError."""
        if connection.stage is Stage.AUTHENTICATING or not data:
            connection.tail += data
        else:
            if data[0] != PacketType.CONNECT << 4:
                raise ProtocolError("the first packet is not a CONNECT")  # [MQTT-3.1.0-1]
            size = self._size_of_connect(connection, data)
            if size is None or size > len(data):
                connection.tail += data
                connection.missing_bytes = 1 if size is None else size - len(data)
            else:
                connection.tail += data[size:]
                connection.missing_bytes = 0
                self._connect(connection, data[:size])
        if len(connection.tail) > FIRST_PACKET_BYTES:
            raise PacketTooLarge(f"more than {FIRST_PACKET_BYTES} bytes before it was clear who this is")

    def _size_of_connect(self, connection: Connection, data: bytes) -> int | None:
        """Give its size, None while that is not known; note whether it is one of MQTT 5.

        MqttError where it can be none that is taken: once its dialect is known, so that however it was cut into
        pieces, the answer is the same.
        """
        size = None
        try:
            size = frame_size(data)
            if size is not None and size > self._max_connect_bytes:
                raise PacketTooLarge(f"a CONNECT of {size} bytes; at most {self._max_connect_bytes} are taken")
        except MqttError:
            if says_mqtt5(data) is None:
                return None
            raise
        finally:
            connection.v5 = says_mqtt5(data if size is None else data[:size]) is True
        return size

    def _connect(self, connection: Connection, packet: bytes) -> None:
        self._stats.connects_received += 1
        self._stats.others_received += 1
        connect = codec.decode(packet, Version.MQTT_3_1_1)
        assert isinstance(connect, Connect)  # the first byte said so  # noqa: S101
        if connection.identity is not None:
            connect = replace(connect, username=connection.identity, password=None)
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
        while not connect.client_id and connection.client_id in self._sessions.by_id:  # [MQTT-3.2.2-16]
            connection.client_id = self._next_client_id()
        most = connection.max_packet_bytes
        if most and most < len(connack(connect, connection.client_id, present=False, limits=self._limits)):
            self._leaving.refuse_connect(
                connection, ReasonCode.PACKET_TOO_LARGE, f"it takes {most} bytes, too few for an answer"
            )
            return
        connection.stage = Stage.AUTHENTICATING
        self._emit(Authenticate(connection, connection.client_id, connect.username, connect.password))

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
        known = self._sessions.by_id.get(connection.client_id)
        rights = self._authorize(connect.username, connection.client_id)
        refused_for = not_entitled(connect, known, rights, accounts=self._has_accounts, site=self._site)
        if refused_for is not None:
            self._leaving.refuse_connect(connection, *refused_for)
            return
        expiry_s = float(session_expiry_s(connect, self._limits))
        discards = known is not None and known.key and connect.clean_start
        if self._notes.journal.refuses and (discards or (expiry_s and (known is None or not known.key))):
            self._refuse_to_store(connection)
            return
        self._make_way(connection, connect, known, now)
        ended_in = self._sessions.ended_in(connection.client_id)
        if ended_in:  # nothing may be said before CONNACK, so the client is not yet in
            self._waiting.append((ended_in, connection))
            return
        is_new = connection.client_id not in self._sessions.by_id
        if is_new and not self._sessions.has_room(now):  # asked last, since room is made at another's cost
            why = f"there are {len(self._sessions.by_id)} sessions already"
            self._leaving.refuse_connect(connection, ReasonCode.QUOTA_EXCEEDED, why)
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

    def _make_way(self, connection: Connection, connect: Connect, known: Session | None, now: float) -> None:
        """Close an older link of the client, and end a session that it does not want."""
        if known is not None and known.connection is not None:  # [MQTT-3.1.4-2]
            known.expiry_s = 0.0 if connect.clean_start else known.expiry_s  # to end with its link
            self._leaving.disconnect(known.connection, ReasonCode.SESSION_TAKEN_OVER, "taken over by a new link", now)
            known = self._sessions.by_id.get(connection.client_id)  # a clean session ended with its link
        if known is not None and connect.clean_start:
            self._sessions.end(known, now)  # [MQTT-3.1.2-6]

    def _enter(self, connection: Connection, connect: Connect, rights: Rights, expiry_s: float, now: float) -> None:
        present = connection.client_id in self._sessions.by_id
        session = self._sessions.take_up(connection.client_id, connect.username, rights, expiry_s)
        session.connection = connection
        session.window = min(self._limits.max_inflight, connect.properties.receive_maximum or 65_535)
        session.resume()
        connection.session = session
        connection.routes = self._router.tables.of(session.rights)
        connection.stage = Stage.CONNECTED
        if connect.will is not None:
            connection.will = self._wills.keep(session, connect.will)
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
        self._stats.clients_now += 1
        self._stats.clients_max = max(self._stats.clients_max, self._stats.clients_now)
        answer = connack(connect, session.client_id, present=present, limits=self._limits, site=self._site)
        self._gate.acknowledge(connection, answer)
        self._outbound.pump(session, now)

    def committed(self, group: int, now: float) -> None:
        """Let in who waited for this group or one before it."""
        waiting, self._waiting = self._waiting, []
        for waits_for, connection in waiting:
            if waits_for > group:
                self._waiting.append((waits_for, connection))
            else:
                self._let_in(connection, now)

    def oust(self, is_ousted: Callable[[str | None], bool]) -> None:
        """Turn away who was authenticated, waits, and would not be let in any more."""
        for _, connection in self._waiting:
            if connection.connect is not None and is_ousted(connection.connect.username):
                self._leaving.refuse_connect(connection, ReasonCode.NOT_AUTHORIZED, "its account was changed")

    def cannot_store(self) -> None:
        """Turn away who waits: that nothing is left of its session cannot be made durable."""
        waiting, self._waiting = self._waiting, []
        for _, connection in waiting:
            if connection.stage is Stage.AUTHENTICATING:
                self._refuse_to_store(connection)

    def _refuse_to_store(self, connection: Connection) -> None:
        why = f"its session {CANNOT_STORE}"
        self._leaving.refuse_connect(connection, ReasonCode.QUOTA_EXCEEDED, why, CANNOT_STORE)
