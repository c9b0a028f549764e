"""A house that is not there: believable values from a seed and the wall time, the same ones whoever asks.

Every value is a function of (seed, name, time). Nothing is remembered, so an agent that starts again goes on where the
curve is by then.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from threading import Event, Lock, Thread, current_thread
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from sensors.driver import Channel, Driver, DriverContext, SensorError
from sensors.reading import Reading

DAY_S = 86_400
WARMEST_AT_S = 16.5 * 3600  # a heated room lags behind the sun
HEATING_CYCLE_S = 1500.0
LONGEST_WAIT_S = 1.0  # the wall clock may be set meanwhile


def chance(seed: int, name: str, *salt: object) -> float:
    """Give a number 0 ≤ x < 1 that looks random and is the same every time."""
    digest = blake2b(repr((seed, name, *salt)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def drift(seed: int, name: str, what: str, at: float, period_s: float) -> float:
    """Wander smoothly between -1 and 1; a new direction every `period_s`."""
    step, part = divmod(at / period_s, 1.0)
    here, there = (2 * chance(seed, name, what, int(step) + i) - 1 for i in (0, 1))
    return here + (there - here) * part * part * (3 - 2 * part)


@dataclass(frozen=True, slots=True)
class Climate:
    """Air of one heated room."""

    seed: int
    name: str

    def temperature(self, at: float) -> float:
        """°C at a wall time: the day's curve, the heating's saw-tooth, people and draughts, the sensor's own noise."""
        usual = 19.2 + 2.6 * chance(self.seed, self.name, "usual temperature")
        day = 0.9 * math.cos(2 * math.pi * (at - WARMEST_AT_S) / DAY_S)
        phase = at / HEATING_CYCLE_S + chance(self.seed, self.name, "heating")
        heating = 0.25 * (4 * abs(phase % 1 - 0.5) - 1)
        people = 0.5 * self._drift("people", at, 5400) + 0.08 * self._drift("draught", at, 90)
        return usual + day + heating + people + 0.03 * self._noise("temperature", at)

    def humidity(self, at: float) -> float:
        """Relative humidity in percent: falls as the room warms up, rises with cooking and showers."""
        usual = 44 + 9 * chance(self.seed, self.name, "usual humidity")
        dried = -2.4 * (self.temperature(at) - 20.5)
        steam = 3.5 * self._drift("steam", at, 2700) + 0.6 * self._drift("breath", at, 120)
        return min(max(usual + dried + steam + 0.1 * self._noise("humidity", at), 15.0), 95.0)

    def _drift(self, what: str, at: float, period_s: float) -> float:
        return drift(self.seed, self.name, what, at, period_s)

    def _noise(self, what: str, at: float) -> float:
        return 2 * chance(self.seed, self.name, what, round(at, 3)) - 1


@dataclass(frozen=True, slots=True)
class Comings:
    """Something that is ON for a while once in every slot of time: somebody moving, a door standing open."""

    seed: int
    name: str
    slot_s: float
    shortest_s: float
    longest_s: float

    def is_on(self, at: float) -> bool:
        """Whether it is ON at a wall time."""
        start, end = self._visit(self._slot(at))
        return start <= at < end

    def next_change(self, at: float) -> float:
        """When it changes next, later than `at`."""
        slot = self._slot(at)
        return next(edge for i in (slot, slot + 1) for edge in self._visit(i) if edge > at)

    def _slot(self, at: float) -> int:
        return math.floor(at / self.slot_s - chance(self.seed, self.name, "phase"))

    def _visit(self, slot: int) -> tuple[float, float]:
        """Start and end within one slot; OFF stays at least a second on both sides."""
        opens = (slot + chance(self.seed, self.name, "phase")) * self.slot_s
        length = self.shortest_s + (self.longest_s - self.shortest_s) * chance(self.seed, self.name, "length", slot)
        start = opens + 1 + (self.slot_s - length - 2) * chance(self.seed, self.name, "start", slot)
        return start, start + length


class SimulatedRoom:
    """A thermometer and hygrometer in a room."""

    channels: tuple[Channel, ...] = (
        Channel(measurement="temperature", unit="°C", low=-40, high=125, max_step=10, decimals=2),
        Channel(measurement="humidity", unit="%", low=0, high=100, max_step=30, decimals=1),
    )
    model: str | None = "simulated room"
    serial_number: str | None = None
    interval_s: ClassVar[float] = 2.0
    min_interval_s: ClassVar[float] = 0.1
    timeout_s: ClassVar[float] = 1.0

    def __init__(self, climate: Climate, wall_clock: Callable[[], float]) -> None:
        self._climate = climate
        self._wall_clock = wall_clock

    def read(self) -> Sequence[Reading]:
        """Give the room's air as it is at this time of the day."""
        at = self._wall_clock()
        return (
            Reading("temperature", self._climate.temperature(at)),
            Reading("humidity", self._climate.humidity(at)),
        )

    def close(self) -> None:
        """Do nothing: nothing is held."""


class SimulatedPresence:
    """A motion sensor, or a contact on a door or window; speaks up from a thread of its own."""

    serial_number: str | None = None
    trouble: SensorError | None = None

    def __init__(self, measurement: str, comings: Comings, wall_clock: Callable[[], float]) -> None:
        self.channels: tuple[Channel, ...] = (Channel(measurement=measurement, role="binary_sensor"),)
        self.model: str | None = f"simulated {measurement}"
        self._comings = comings
        self._wall_clock = wall_clock
        self._closed = Event()
        self._thread: Thread | None = None
        self._last: bool | None = None

    def watch(self, report: Callable[[Reading], None]) -> None:
        """See Watched."""
        self._thread = Thread(target=self._live, args=(report,), name=self.channels[0].measurement, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop speaking."""
        self._closed.set()
        if self._thread is not None and self._thread is not current_thread():
            self._thread.join(timeout=2)

    def _live(self, report: Callable[[Reading], None]) -> None:
        while not self._closed.wait(self._look(report)):
            pass

    def _look(self, report: Callable[[Reading], None]) -> float:
        """Report a change; give the seconds to wait before the next look."""
        at = self._wall_clock()
        state = self._comings.is_on(at)
        if state is not self._last:
            self._last = state
            report(Reading(self.channels[0].measurement, state))
        return min(self._comings.next_change(at) - at, LONGEST_WAIT_S)


class SimulatedRelay:
    """A relay with nothing behind it."""

    channels: tuple[Channel, ...] = (Channel(measurement="relay", role="switch"),)
    model: str | None = "simulated relay"
    serial_number: str | None = None
    trouble: SensorError | None = None

    def __init__(self) -> None:
        self._on = False
        self._report: Callable[[Reading], None] | None = None
        self._lock = Lock()

    def watch(self, report: Callable[[Reading], None]) -> None:
        """See Watched."""
        with self._lock:
            self._report = report
            report(Reading("relay", self._on))

    def switch(self, measurement: str, on: bool) -> None:  # noqa: FBT001 on is the value
        """See Switched; a command for the state it is in already says that state again."""
        if measurement != "relay":
            raise SensorError(f'this relay has no "{measurement}" to switch')
        with self._lock:
            self._on = on
            if self._report is not None:
                self._report(Reading("relay", on))

    def close(self) -> None:
        """Forget who listens; the relay stays as it is."""
        with self._lock:
            self._report = None


class Simulated:
    """Makes the part of the house that `model` names."""

    class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Keys of a sensor of kind `simulated`."""

        model: Annotated[
            Literal["room", "motion", "door", "window", "relay"],
            Meta(description="What it plays: the air of a room, something that moves or opens, or a relay."),
        ] = "room"

    @classmethod
    def build(cls, options: "Simulated.Options", context: DriverContext) -> Driver:
        """Make it; needs nothing of this computer."""
        if options.model == "room":
            return SimulatedRoom(Climate(context.seed, context.name), context.wall_clock)
        if options.model == "relay":
            return SimulatedRelay()
        slot_s, shortest_s, longest_s = COMINGS[options.model]
        comings = Comings(context.seed, context.name, slot_s, shortest_s, longest_s)
        return SimulatedPresence(options.model, comings, context.wall_clock)


COMINGS = {  # slot, shortest, longest in seconds: nobody watching has to wait a minute for something to happen
    "motion": (28.0, 6.0, 16.0),
    "door": (29.0, 4.0, 20.0),
    "window": (29.0, 8.0, 24.0),
}
