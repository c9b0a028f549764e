"""How links end: turned away, closed with a reason, or lost; and what becomes of sessions and wills then."""

from collections.abc import Callable

from appliance.broker.connection import Connection, Stage
from appliance.broker.deadlines import Deadlines
from appliance.broker.effects import Close, Effect
from appliance.broker.greeting import goodbye, in_words, refused
from appliance.broker.links import Links
from appliance.broker.router import Router
from appliance.broker.sessions import Sessions
from appliance.broker.stats import Stats
from appliance.broker.wills import Wills
from appliance.mqtt.errors import MqttError, UnsupportedVersion
from appliance.mqtt.types import ReasonCode, Version


class Leaving:
    """Parts links from the core, each told why where its protocol has words for it."""

    def __init__(
        self,
        emit: Callable[[Effect], None],
        router: Router,
        links: Links,
        deadlines: Deadlines[Connection],
        sessions: Sessions,
        wills: Wills,
        stats: Stats,
    ) -> None:
        self._emit = emit
        self._gate = router.outbound.gate
        self._dirty = router.outbound.dirty
        self._links = links
        self._deadlines = deadlines
        self._sessions = sessions
        self._wills = wills
        self._stats = stats

    def leave(self, connection: Connection, now: float, *, tell_will: bool) -> None:
        """Part the link from its session; after this the core knows it no more."""
        was, connection.stage = connection.stage, Stage.CLOSED
        self._links.discard(connection)
        self._deadlines.cancel(connection)
        self._gate.forget(connection)
        connection.tail.clear()
        session, connection.session = connection.session, None
        if was is not Stage.CONNECTED or session is None:
            return
        self._stats.clients_now -= 1
        session.connection = None
        will, connection.will = connection.will, None
        self._sessions.leave(session, connection.source, now)  # first: no will is lined up for a session that ends
        if will is None:
            return
        if tell_will:  # [MQTT-3.1.2-8], [MQTT-3.14.4-3]
            self._wills.leave(session, will, now)
        else:
            self._wills.drop(will)

    def close(self, connection: Connection, why: str) -> None:
        """Have the link closed when what stands on its output is sent."""
        self._emit(Close(connection, why))

    def disconnect(
        self, connection: Connection, reason: ReasonCode, why: str, now: float, cause: str | None = None
    ) -> None:
        """End a client's link, counted by its cause, which is the reason unless there is a closer one."""
        if connection.stage is Stage.CONNECTED:
            self._stats.connections_closed[cause or in_words(reason)] += 1
            if connection.v5:
                self._say(connection, goodbye(reason, why, connection.max_packet_bytes))
        self.leave(connection, now, tell_will=True)
        self.close(connection, why)

    def refuse(self, connection: Connection, error: MqttError, now: float) -> None:
        """Answer a broken protocol in the client's own dialect and close."""
        if connection.stage is Stage.CONNECTED:
            self.disconnect(connection, error.reason, str(error), now)
        elif isinstance(error, UnsupportedVersion):
            connection.version = error.dialect
            self.refuse_connect(connection, error.reason, str(error))
        elif connection.v5:
            connection.version = Version.MQTT_5
            self.refuse_connect(connection, error.reason, str(error))  # [MQTT-3.1.4-1], §4.13.1
        else:
            self.turn_away(connection, in_words(error.reason), str(error))  # 3.1.1 has no words for it [MQTT-3.1.4-1]

    def refuse_connect(self, connection: Connection, reason: ReasonCode, why: str, cause: str | None = None) -> None:
        """Answer a CONNECT with a reason and close."""
        answer = refused(connection.version, reason, why, connection.max_packet_bytes)
        if answer:
            self._say(connection, answer)
        self.turn_away(connection, cause or in_words(reason), why)

    def turn_away(self, connection: Connection, cause: str, why: str) -> None:
        """Close a link that was not let in."""
        self._stats.connections_turned_away[cause] += 1
        connection.stage = Stage.CLOSED
        self._links.discard(connection)
        self._deadlines.cancel(connection)
        self.close(connection, why)

    def _say(self, connection: Connection, packet: bytes) -> None:
        self._stats.others_sent += 1
        connection.put(packet, self._dirty)
