"""`$SYS`: how the broker is, as retained messages under the names that Mosquitto gave them.

A subscription to `#` does not bring them [MQTT-4.7.2-1], no client may publish there, and they are never recorded.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Protocol

from appliance.broker.core import Broker
from appliance.broker.stats import Stats

ROOT = "$SYS/broker"
WINDOWS_S = {"1min": 60, "5min": 300, "15min": 900}


class Publisher(Protocol):
    """What the feature asks of a client inside the process."""

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """Publish."""


class Load:
    """How much a total grows a minute, averaged over the last minutes as Mosquitto does: the recent counts most."""

    def __init__(self) -> None:
        self._total = 0
        self.per_minute = dict.fromkeys(WINDOWS_S, 0.0)

    def update(self, total: int, elapsed_s: float) -> None:
        """Take the total as it is now, `elapsed_s` after the last time."""
        rate = (total - self._total) * 60 / elapsed_s
        self._total = total
        for window, window_s in WINDOWS_S.items():
            kept = math.exp(-elapsed_s / window_s)
            self.per_minute[window] = rate + kept * (self.per_minute[window] - rate)


def totals(stats: Stats) -> dict[str, int]:
    """Give the totals that have a load."""
    return {
        "messages/received": stats.publish_received + stats.others_received,
        "messages/sent": stats.publish_sent + stats.others_sent,
        "publish/received": stats.publish_received,
        "publish/sent": stats.publish_sent,
        "publish/dropped": stats.dropped.total(),
        "bytes/received": stats.bytes_received,
        "bytes/sent": stats.bytes_sent,
        "connections": stats.connections_total,
    }


def sys_topics(broker: Broker, loads: dict[str, Load], uptime_s: float, maximum: int) -> dict[str, str]:
    """Give every topic below `$SYS/broker` and what it says now."""
    stats = broker.stats
    sessions = broker.sessions.values()
    retained = broker.router.retained
    queued = sum(len(session.queue) for session in sessions)
    disconnected = len(sessions) - stats.clients_now
    values: dict[str, int] = {
        "clients/total": len(sessions),
        "clients/connected": stats.clients_now,
        "clients/active": stats.clients_now,
        "clients/disconnected": disconnected,
        "clients/inactive": disconnected,
        "clients/expired": stats.sessions_ended["expired"],
        "clients/maximum": maximum,
        "messages/inflight": sum(len(session.in_flight) for session in sessions),
        "messages/stored": len(retained) + queued,
        "store/messages/count": len(retained) + queued,
        "store/messages/bytes": retained.size_bytes + sum(session.queued_bytes for session in sessions),
        "retained messages/count": len(retained),
        "subscriptions/count": sum(len(session.subscriptions) for session in sessions),
        "shared_subscriptions/count": broker.router.shared_groups,
    }
    for name, total in totals(stats).items():
        if name != "connections":
            values[name.replace("publish/", "publish/messages/")] = total
    topics = {name: str(value) for name, value in values.items()}
    topics["uptime"] = f"{uptime_s:.0f} seconds"
    for cause, count in stats.dropped.items():
        topics[f"dropped/{cause}"] = str(count)
    for name, load in loads.items():
        for window, rate in load.per_minute.items():
            topics[f"load/{name}/{window}"] = f"{rate:.2f}"
    return topics


class SysTopics:
    """Publishes what has changed, every `interval_s` seconds."""

    def __init__(
        self, broker: Broker, publisher: Publisher, *, version: str, interval_s: float, clock: Callable[[], float]
    ) -> None:
        self._broker = broker
        self._publisher = publisher
        self._version = version
        self._interval_s = interval_s
        self._clock = clock
        self._started = self._last = clock()
        self._maximum = 0  # most clients connected at a time, as seen at the intervals
        self._loads = {name: Load() for name in totals(broker.stats)}
        self._said: dict[str, str] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin on the running loop."""
        self._say({"version": f"home-sensor-appliance version {self._version}"})
        self._ring()

    def close(self) -> None:
        """Publish no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _ring(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval_s, self._ring)
        self.tell(self._clock())

    def tell(self, now: float) -> None:
        """Publish what has changed by `now`."""
        if now > self._last:
            for name, total in totals(self._broker.stats).items():
                self._loads[name].update(total, now - self._last)
        self._last = now
        self._maximum = max(self._maximum, self._broker.stats.clients_now)
        self._say(sys_topics(self._broker, self._loads, now - self._started, self._maximum))

    def _say(self, topics: dict[str, str]) -> None:
        for name, text in topics.items():
            if self._said.get(name) != text:
                self._said[name] = text
                self._publisher.publish(f"{ROOT}/{name}", text.encode(), qos=1, retain=True)
