"""Plain counters that the core increments; what shows them reads them.

Whatever is dropped, turned away or ended is counted by its cause. Causes are few and fixed: they become topics.
"""

from collections import Counter


class Stats:
    """Totals since the start; only the `…_now` go down again."""

    __slots__ = (
        "bytes_received",
        "bytes_sent",
        "clients_max",
        "clients_now",
        "connections_closed",
        "connections_total",
        "connections_turned_away",
        "connects_received",
        "disowned",
        "dropped",
        "others_received",
        "others_sent",
        "publish_bytes_received",
        "publish_bytes_sent",
        "publish_received",
        "publish_sent",
        "retained_now",
        "sessions_ended",
        "sessions_now",
        "subscriptions_refused",
    )

    def __init__(self) -> None:
        self.bytes_received = 0
        self.bytes_sent = 0
        self.clients_max = 0  # most of them at a time
        self.clients_now = 0  # connected clients
        self.connections_closed: Counter[str] = Counter()  # clients that were let in, by why they were closed
        self.connections_total = 0
        self.connections_turned_away: Counter[str] = Counter()  # links that were not let in, by cause
        self.connects_received = 0
        self.disowned = 0  # messages that named an agent for which their publisher does not speak
        self.dropped: Counter[str] = Counter()  # messages that were not delivered, by cause
        self.others_received = 0  # packets that are no PUBLISH
        self.others_sent = 0
        self.publish_bytes_received = 0  # whole PUBLISH packets
        self.publish_bytes_sent = 0
        self.publish_received = 0
        self.publish_sent = 0
        self.retained_now = 0
        self.sessions_ended: Counter[str] = Counter()  # sessions whose client would have kept them, by cause
        self.sessions_now = 0  # connected, and absent ones that are remembered
        self.subscriptions_refused: Counter[str] = Counter()  # by cause
