"""Plain counters that the core increments; what shows them reads them."""

from collections import Counter


class Stats:
    """Totals since the start; only the three `…_now` go down again."""

    __slots__ = (
        "bytes_received",
        "bytes_sent",
        "clients_now",
        "connections_total",
        "dropped",
        "others_received",
        "others_sent",
        "publish_received",
        "publish_sent",
        "retained_now",
        "sessions_expired",
        "sessions_now",
    )

    def __init__(self) -> None:
        self.bytes_received = 0
        self.bytes_sent = 0
        self.clients_now = 0  # connected clients
        self.connections_total = 0
        self.dropped: Counter[str] = Counter()  # messages that were not delivered, by cause
        self.others_received = 0  # packets that are no PUBLISH
        self.others_sent = 0
        self.publish_received = 0
        self.publish_sent = 0
        self.retained_now = 0
        self.sessions_expired = 0
        self.sessions_now = 0  # connected, and absent ones that are remembered
