"""`$SYS`: how the broker is, as retained messages under the names that Mosquitto gave them.

A subscription to `#` does not bring them [MQTT-4.7.2-1], no client may publish there, and they are never recorded.
"""

import asyncio
import math
import resource
from collections.abc import Callable, Mapping
from pathlib import Path

from appliance.broker.core import Broker
from appliance.broker.message import Message
from appliance.broker.stats import Stats
from appliance.net.hub import Hub

ROOT = "$SYS/broker"
WINDOWS_S = {"1min": 60, "5min": 300, "15min": 900}


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
        "sockets": stats.connections_total,
        "connections": stats.connects_received,
    }


def counts(broker: Broker) -> dict[str, int]:
    """Give every number below `$SYS/broker` but the loads. Walks over the sessions, so not for every message."""
    stats = broker.stats
    sessions = broker.sessions.values()
    retained = broker.router.retained
    stored = len(retained) + sum(len(session.queue) for session in sessions)
    disconnected = len(sessions) - stats.clients_now
    heap, most_heap = memory_bytes()
    values = {
        "bytes/received": stats.bytes_received,
        "bytes/sent": stats.bytes_sent,
        "clients/active": stats.clients_now,
        "clients/connected": stats.clients_now,
        "clients/disconnected": disconnected,
        "clients/expired": stats.sessions_ended["expired"],
        "clients/inactive": disconnected,
        "clients/maximum": stats.clients_max,
        "clients/total": len(sessions),
        "heap/current": heap,
        "heap/maximum": most_heap,
        "messages/inflight": sum(len(session.in_flight) for session in sessions),
        "messages/received": stats.publish_received + stats.others_received,
        "messages/sent": stats.publish_sent + stats.others_sent,
        "messages/stored": stored,
        "publish/bytes/received": stats.publish_bytes_received,
        "publish/bytes/sent": stats.publish_bytes_sent,
        "publish/messages/dropped": stats.dropped.total(),
        "publish/messages/received": stats.publish_received,
        "publish/messages/sent": stats.publish_sent,
        "retained messages/count": len(retained),
        "shared_subscriptions/count": len(broker.router.groups),
        "store/messages/bytes": retained.size_bytes + sum(session.queued_bytes for session in sessions),
        "store/messages/count": stored,
        "subscriptions/count": sum(len(session.subscriptions) for session in sessions),
    }
    for name, causes in {
        "dropped": stats.dropped,
        "refused": stats.subscriptions_refused,
        "closed": stats.connections_closed,
        "turned away": stats.connections_turned_away,
        "ended": stats.sessions_ended,
    }.items():
        values |= {f"{name}/{cause}": count for cause, count in causes.items()}
    return values


def memory_bytes() -> tuple[int, int]:
    """Give what of the process is in memory, and the most that ever was."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    now = int(pages) * resource.getpagesize()
    return now, max(now, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)  # the kernel notes that one later


STORE_FIGURES = {
    "commits": "commits",
    "groups": "groups",
    "failures": "failures",
    "written_bytes": "bytes/written",
    "written_day_bytes": "bytes/written/day",
    "device_written_bytes": "device/bytes/written",
    "device_written_day_bytes": "device/bytes/written/day",
    "budget_day_bytes": "budget/day",
    "budget_left_bytes": "budget/left",
    "window_ms": "window",
    "waiting_bytes": "waiting/bytes",
    "dropped": "dropped",
    "size_bytes": "size/bytes",
    "free_bytes": "free/bytes",
    "trouble": "trouble",
}
"""What the store says of itself -> its name below `$SYS/broker/store`; the window is in milliseconds."""


def store_figures(status: Mapping[str, object]) -> dict[str, str]:
    """Give what is known of the store; no trouble is an empty text, which no retained message has, so "none"."""
    figures = {name: status[key] for key, name in STORE_FIGURES.items()}
    figures["trouble"] = figures["trouble"] or "none"
    return {f"store/{name}": str(figure) for name, figure in figures.items() if figure is not None}


class SysTopics:
    """Publishes what has changed, every `interval_s` seconds while somebody reads it.

    While nobody does, only the loads are kept up; who begins to read finds everything as it is at that moment.
    """

    def __init__(
        self,
        hub: Hub,
        *,
        version: str,
        interval_s: float,
        store: Callable[[], Mapping[str, object]] | None = None,
    ) -> None:
        self._store = store
        self._hub = hub
        self._broker = hub.broker
        self._version = version
        self._interval_s = interval_s
        self._started = self._last = hub.clock()
        self._loads = {name: Load() for name in totals(hub.broker.stats)}
        self._said: dict[str, str] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin on the running loop."""
        self._broker.router.last.refresh_own = self.refresh
        self._timer = asyncio.get_running_loop().call_later(self._interval_s, self._ring)

    def close(self) -> None:
        """Publish no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _ring(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval_s, self._ring)
        self.tick()
        self._hub.turn()

    def tick(self) -> None:
        """Bring the loads up to date, and what readers see of everything."""
        now = self._hub.clock()
        if now > self._last:
            for name, total in totals(self._broker.stats).items():
                self._loads[name].update(total, now - self._last)
            self._last = now
        self._broker.router.last.expire(now)
        if self._broker.router.last.own_is_read():
            self.refresh()

    def refresh(self) -> None:
        """Publish what has changed."""
        now = self._hub.clock()
        for name, text in self._figures(now).items():
            if self._said.get(name) != text:
                self._said[name] = text
                message = Message(f"{ROOT}/{name}", text.encode(), 1, True, client_id="appliance")
                self._broker.publish(message, now)

    def _figures(self, now: float) -> dict[str, str]:
        figures = {
            "version": f"home-sensor-appliance version {self._version}",
            "uptime": f"{now - self._started:.0f} seconds",
        }
        figures |= {name: str(count) for name, count in counts(self._broker).items()}
        if self._store is not None:
            figures |= store_figures(self._store())
        for name, load in self._loads.items():
            for window, rate in load.per_minute.items():
                figures[f"load/{name}/{window}"] = f"{rate:.2f}"
        return figures
