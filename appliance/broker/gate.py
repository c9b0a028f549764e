"""Acknowledged means on disk: an acknowledgement leaves after the commit that makes its effect durable."""

from collections import deque

from appliance.broker.connection import NOTHING_HELD, Connection
from appliance.broker.stats import Stats
from appliance.mqtt.errors import QuotaExceeded

MOST_HELD = 65_536  # acknowledgements of one link: a client has fewer packet ids to ask for them with
PUBACK = 0x40


class Gate:
    """Holds acknowledgements back until their commit group is durable, in order on every link. [MQTT-4.6.0-2]

    Groups are numbered upwards; group 0 stands for "nothing to wait for", and waits only behind earlier
    acknowledgements of its own link.
    """

    def __init__(self, dirty: list[Connection], stats: Stats) -> None:
        self._stats = stats
        self._dirty = dirty  # where a link with new output is noted
        self._committed = 0
        self._waiting: dict[Connection, None] = {}  # links with something held, longest first

    def acknowledge(self, connection: Connection, packet: bytes, group: int = 0) -> None:
        """Send the acknowledgement now or when its turn comes."""
        self._stats.others_sent += 1
        if connection.held or group > self._committed:
            if connection.held is NOTHING_HELD:
                connection.held = deque()
            elif len(connection.held) >= MOST_HELD:
                raise QuotaExceeded(f"more than {MOST_HELD} acknowledgements wait to be written down first")
            connection.held.append((group, packet))
            if packet[0] == PUBACK:
                connection.held_pubacks += 1
            self._waiting[connection] = None
        else:  # as `connection.put` does, without the call: this is half of what a broker says
            connection.output.append(packet)
            connection.backlog += len(packet)
            if not connection.dirty:
                self._dirty.append(connection)
                connection.dirty = True

    def committed(self, group: int) -> None:
        """Let go of what waited for this group and those before it."""
        self._committed = group
        for connection in list(self._waiting):
            held = connection.held
            while held and held[0][0] <= group:
                packet = held.popleft()[1]
                if packet[0] == PUBACK:
                    connection.held_pubacks -= 1
                connection.put(packet, self._dirty)
            if not held:
                del self._waiting[connection]

    def forget(self, connection: Connection) -> None:
        """The link is gone, and what was held for it with it."""
        connection.held.clear()
        connection.held_pubacks = 0
        self._waiting.pop(connection, None)
