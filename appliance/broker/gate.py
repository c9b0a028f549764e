"""Acknowledged means on disk: an acknowledgement leaves after the commit that makes its effect durable."""

from collections import deque
from collections.abc import Callable

from appliance.broker.connection import NOTHING_HELD, Connection
from appliance.broker.stats import Stats
from appliance.mqtt.errors import QuotaExceeded
from appliance.mqtt.publish import topic_and_id

MOST_HELD = 65_536  # acknowledgements of one link: a client has fewer packet ids to ask for them with
MOST_HELD_BYTES = 4_194_304  # what waits on one link may take before a further acknowledgement is too much
PUBACK = 0x40
PUBLISH = 3
DUP = 0x08


class Gate:
    """Holds acknowledgements back until their commit group is durable, in order on every link. [MQTT-4.6.0-2]

    Groups are numbered upwards; group 0 stands for "nothing to wait for", and waits only behind earlier
    acknowledgements of its own link. A QoS 2 message to a durable session stands in the same line, with those
    that come behind it.
    """

    def __init__(self, dirty: list[Connection], stats: Stats) -> None:
        self._stats = stats
        self._dirty = dirty  # where a link with new output is noted
        self.durable = 0  # last group that is
        self.released = 0  # how many links the last commit let go of something for
        self._waiting: dict[Connection, None] = {}  # links with something held, longest first

    def __len__(self) -> int:
        return len(self._waiting)

    def links(self) -> list[Connection]:
        """Give the links for which something is held, the one that has waited longest first."""
        return list(self._waiting)

    def acknowledge(self, connection: Connection, packet: bytes, group: int = 0) -> None:
        """Send the acknowledgement now or when its turn comes."""
        self._stats.others_sent += 1
        if connection.held or group > self.durable:
            if len(connection.held) >= MOST_HELD or connection.held_bytes >= MOST_HELD_BYTES:
                raise QuotaExceeded(f"more than {MOST_HELD} acknowledgements wait to be written down first")
            self._hold(connection, packet, group)
            if packet[0] == PUBACK:
                connection.held_pubacks += 1
        else:  # as `connection.put` does, without the call: this is half of what a broker says
            connection.output.append(packet)
            connection.backlog += len(packet)
            if not connection.dirty:
                self._dirty.append(connection)
                connection.dirty = True

    def send(self, connection: Connection, packet: bytes, group: int) -> None:
        """Send a message or its release, which is no acknowledgement, in the same line; the sender has bounded them."""
        if connection.held or group > self.durable:
            self._hold(connection, packet, group)
            if packet[0] >> 4 == PUBLISH:
                connection.held_messages += 1
        else:
            connection.put(packet, self._dirty)

    def _hold(self, connection: Connection, packet: bytes, group: int) -> None:
        if connection.held is NOTHING_HELD:
            connection.held = deque()
        connection.held.append((group, packet))
        connection.held_bytes += len(packet)
        self._waiting[connection] = None

    def committed(self, group: int) -> list[Connection]:
        """Let go of what waited for this group and those before it; gives the links it was for."""
        self.durable = group
        released = []
        for connection in list(self._waiting):
            held = connection.held
            if held[0][0] > group:
                continue
            released.append(connection)
            while held and held[0][0] <= group:
                packet = held.popleft()[1]
                connection.held_bytes -= len(packet)
                if packet[0] == PUBACK:
                    connection.held_pubacks -= 1
                elif packet[0] >> 4 == PUBLISH:
                    connection.held_messages -= 1
                connection.put(packet, self._dirty)
            if not held:
                del self._waiting[connection]
        self.released = len(released)
        return released

    def withdraw(self, connection: Connection, is_barred: Callable[[str], bool]) -> list[tuple[int, bool]]:
        """Take out the messages that were not sent and whose topics are barred.

        Gives each one's packet id, and whether an earlier link has sent it before.
        """
        withdrawn: list[tuple[int, bool]] = []
        if not connection.held_messages:
            return withdrawn
        kept: deque[tuple[int, bytes]] = deque()
        for group, packet in connection.held:
            if packet[0] >> 4 == PUBLISH:
                topic, packet_id = topic_and_id(packet)
                if is_barred(topic):
                    withdrawn.append((packet_id, bool(packet[0] & DUP)))
                    connection.held_bytes -= len(packet)
                    connection.held_messages -= 1
                    continue
            kept.append((group, packet))
        connection.held = kept
        if not kept:
            self._waiting.pop(connection, None)
        return withdrawn

    def forget(self, connection: Connection) -> None:
        """The link is gone, and what was held for it with it."""
        connection.held.clear()
        connection.held_bytes = 0
        connection.held_messages = 0
        connection.held_pubacks = 0
        self._waiting.pop(connection, None)
