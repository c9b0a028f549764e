"""How well the sensors of one agent do: counters, causes, and when a sensor is called offline. Pure."""

from collections import Counter, deque
from collections.abc import Mapping

import msgspec

from appliance.encoding import to_json
from sensors.driver import DriverUnavailable, SensorError

MOST_REFUSALS = 10
MOST_PAYLOAD = 32  # bytes of a command that nobody understands


class Standing:
    """One sensor's reads, and whether it counts as there; None until it first spoke or failed."""

    def __init__(self, offline_after: int) -> None:
        self._offline_after = offline_after
        self._in_a_row = 0
        self.ok = 0
        self.failed: Counter[str] = Counter()  # by cause
        self.retried: Mapping[str, int] = {}  # tries that failed within a read, by cause
        self.online: bool | None = None
        self.trouble = ""  # why the last read failed; empty once one went well
        self.cause = ""  # the same in a word, as `failed` counts it

    def succeeded(self) -> bool:
        """Count a good read; True if that brings the sensor online."""
        self.ok += 1
        self._in_a_row = 0
        self.trouble = self.cause = ""
        return self._turn(online=True)

    def failure(self, error: SensorError, *, final: bool = False) -> bool:
        """Count a failure; True if that takes the sensor offline. `final`: no use waiting for more of them."""
        self.failed[error.cause] += 1
        self._in_a_row += 1
        self._blame(error)
        hopeless = final or isinstance(error, DriverUnavailable)
        return (hopeless or self._in_a_row >= self._offline_after) and self._turn(online=False)

    def refused(self, error: SensorError) -> None:
        """Count a value that was not believed, in a read whose other values are sound."""
        self.failed[error.cause] += 1
        self._blame(error)

    def _blame(self, error: SensorError) -> None:
        self.trouble, self.cause = str(error), error.cause

    def _turn(self, *, online: bool) -> bool:
        changed = self.online is not online
        self.online = online
        return changed


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A command that was not obeyed."""

    topic: str
    payload: str
    why: str
    time: str  # RFC 3339


class Refusals:
    """The last commands that were not obeyed, and how many there were."""

    def __init__(self) -> None:
        self.count = 0
        self._last: deque[Refusal] = deque(maxlen=MOST_REFUSALS)

    def add(self, topic: str, payload: bytes, why: str, time: str) -> None:
        """Note one; of a long payload its beginning."""
        text = payload[:MOST_PAYLOAD].decode("utf-8", "replace") + ("…" if len(payload) > MOST_PAYLOAD else "")
        self.count += 1
        self._last.append(Refusal(topic=topic, payload=text, why=why, time=time))

    @property
    def last(self) -> list[Refusal]:
        """The oldest first."""
        return list(self._last)


class SensorHealth(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One sensor's part of the health message."""

    online: bool | None
    ok: int
    failed: dict[str, int] = {}
    retried: dict[str, int] = {}
    trouble: str = ""
    cause: str = ""


class Health(msgspec.Struct, kw_only=True):
    """What the agent says on its `health` topic."""

    uptime_s: int
    computer: str = ""  # the agent's: name, address and, of a Raspberry Pi, serial number
    clock: str
    connects: int
    waiting: int
    waiting_bytes: int
    dropped: int
    run: str = ""  # of the outbox, and which of its numbers were dropped, as closed ranges
    dropped_ranges: list[tuple[int, int]] = []
    dropped_times: list[tuple[str, str, str]] = []  # when the first and last of each were measured, by which clock
    unused_ranges: list[tuple[int, int]] = []  # numbers that no reading has, since the agent was killed or cut
    set_aside: int = 0  # refused by the broker for good, since the outbox was made; why, and their numbers
    set_aside_why: str = ""
    set_aside_ranges: list[tuple[int, int]] = []
    set_aside_times: list[tuple[str, str, str]] = []
    outbox_problem: str
    keepsakes_problem: str = ""  # totals and last states that a restart would lose
    commands_refused: int = 0  # since the start, and the last of them
    refused: list[Refusal] = []
    unheard: dict[str, str] = {}  # command topics on which the broker does not let it listen -> why
    sensors: dict[str, SensorHealth]


def encode_sensors(standings: Mapping[str, Standing]) -> dict[str, SensorHealth]:
    """Give every sensor's part."""
    return {
        name: SensorHealth(
            online=s.online, ok=s.ok, failed=dict(s.failed), retried=dict(s.retried), trouble=s.trouble, cause=s.cause
        )
        for name, s in standings.items()
    }


def encode_health(health: Health) -> bytes:
    """Give the payload of the `health` topic."""
    return to_json(health)


def in_a_line(health: Health, link: str) -> str:
    """Say for people how the agent is, with what is known of its link to the broker."""
    online = [sensor.online for sensor in health.sensors.values()].count(True)
    return f"{link}; {online} of {len(health.sensors)} sensors online, {health.waiting} readings wait"
