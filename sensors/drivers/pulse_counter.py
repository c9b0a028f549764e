"""Meters that give a pulse for every so much energy, water, gas or rain."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from appliance.settings import Level
from sensors.debounce import Debounce
from sensors.driver import Channel, DriverContext
from sensors.edge_clock import EdgeClock
from sensors.hw.gpio import InputLine, Pull, open_gpio
from sensors.hw.header import GpioNumber
from sensors.keepsakes import Keepsakes
from sensors.reading import Reading

CALM_S = 1.0  # without an edge, the level itself is believed; before, its edge may still be on the way
MOST_DIGITS = 6  # of a total
RATE_DIGITS = 2
RATE_ZERO_S = 900.0  # unless the configuration says otherwise
TOTAL, BEGAN_AT = "total", "start"  # what is kept


@dataclass(frozen=True, slots=True)
class Meter:
    """What is counted, and how its meters usually are wired."""

    debounce_s: float  # a pulse of 50 Hz is 10 ms long; those of a reed contact are longer, and bounce
    rate: str
    units: Mapping[str, tuple[str, float]]  # unit of the total -> that of the rate, and what 1 a second is in it


METERS = {
    "energy": Meter(0.003, "power", {"kWh": ("W", 3_600_000), "Wh": ("W", 3_600)}),
    "water": Meter(0.003, "flow", {"L": ("L/min", 60), "m³": ("m³/h", 3_600)}),
    "gas": Meter(0.02, "gas_flow", {"m³": ("m³/h", 3_600), "L": ("L/min", 60)}),
    "rain": Meter(0.02, "rain_rate", {"mm": ("mm/h", 3_600)}),
    "pulses": Meter(0.003, "frequency", {"pulses": ("Hz", 1)}),
}


class Pulses:
    """Counts the pulses of a contact by the times of its edges. Pure."""

    def __init__(self, *, active: bool, settle_s: float) -> None:
        """Begin with the contact as it is found: a pulse that is under way has been counted before."""
        self.count = 0
        self.last_at = -math.inf  # when the last one began
        self._debounce = Debounce(level=active, settle_s=settle_s, longest_unrest_s=math.inf)

    def seen(self, now: float, active: bool) -> bool:  # noqa: FBT001 active is the value
        """Take the contact at an edge, or without one; True when that shows a pulse."""
        if self._debounce.seen(now, active) is not True:
            return False
        self.count += 1
        self.last_at = self._debounce.since
        return True


class Rate:
    """How many pulses a second there are, by the pauses between those that came since it was last asked. Pure."""

    def __init__(self, now: float, zero_s: float) -> None:
        """Call it 0 after so many seconds without a pulse."""
        self._zero_s = zero_s
        self._began = now
        self._before = self._first = self._last = -math.inf  # begin of the pulse before these, and of these
        self._came = 0
        self._rate: float | None = None

    def pulse(self, at: float) -> None:
        """Take a pulse that began then."""
        if not self._came:
            self._before, self._first = self._last, at
        self._came += 1
        self._last = at

    def at(self, now: float) -> float | None:
        """Give the rate, None while it cannot be known: before a second pulse, and before `zero_s` without one."""
        # Of several the pause before the first does not count: the tap may have been shut.
        pauses, since = (self._came - 1, self._first) if self._came > 1 else (self._came, self._before)
        if pauses and self._last > since > -math.inf:
            self._rate = pauses / (self._last - since)
        self._came = 0
        quiet_s = now - max(self._last, self._began)
        if quiet_s >= self._zero_s:
            self._rate = 0.0
        elif self._rate and quiet_s > 0:  # it would have come by now, were it still as fast
            self._rate = min(self._rate, 1 / quiet_s)
        return self._rate


class PulseCounter:
    """A meter of energy, water, gas or rain that gives pulses, at one pin: the total, and how fast it grows."""

    class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Keys of a sensor of kind `pulse_counter`."""

        pin: Annotated[GpioNumber, Meta(description="GPIO number, as in GPIO17; not the position on the header.")]
        counts: Annotated[
            Literal["energy", "water", "gas", "rain", "pulses"],
            Meta(description="What a pulse stands for; the topic, unless `measurement` says otherwise."),
        ]
        per_pulse: Annotated[
            Annotated[float, Meta(gt=0, le=1_000_000)],
            Meta(description="How much one pulse is, in `unit`: 0.001 where a meter says 1,000 imp/kWh."),
        ]
        unit: Annotated[
            Literal["kWh", "Wh", "L", "m³", "mm", "pulses"] | None,
            Meta(description="Unit of the total; without it kWh, L (water), m³ (gas), mm (rain) or pulses."),
        ] = None
        start: Annotated[
            Annotated[float, Meta(ge=0, le=1_000_000_000_000)],
            Meta(description="What the meter shows at the first start; another number here begins anew from it."),
        ] = 0.0
        rate: Annotated[
            bool,
            Meta(description="Whether to tell power, flow, gas_flow, rain_rate or frequency beside the total."),
        ] = False
        rate_zero_s: Annotated[
            Annotated[float, Meta(ge=1, le=604_800)],
            Meta(description="The rate is 0 after so many seconds without a pulse; until then it falls slowly."),
        ] = RATE_ZERO_S
        measurement: Annotated[
            Level | None,
            Meta(description="Last level of the total's topic; without it, the same as `counts`."),
        ] = None
        pull: Annotated[Pull, Meta(description="The Pi's own resistor; `none` where one is wired.")] = "up"
        active: Annotated[
            Literal["high", "low"], Meta(description="Which level is a pulse; a contact to ground makes it `low`.")
        ] = "low"
        debounce_s: Annotated[
            Annotated[float, Meta(ge=0, le=10)] | None,
            Meta(description="Pulses and pauses shorter than this are none; the meter's sheet says how long its are."),
        ] = None

        def mistake(self) -> tuple[str, str, str] | None:
            """Give key, problem and cure where keys that are each in order do not go together."""
            units = METERS[self.counts].units
            if self.unit is not None and self.unit not in units:
                return "unit", f'"{self.unit}" is no unit of {self.counts}', f"give {' or '.join(units)}"
            if self.rate and self.measurement == METERS[self.counts].rate:
                return "measurement", f'"{self.measurement}" already is the topic of the rate', "give it another name"
            if not self.rate and self.rate_zero_s != RATE_ZERO_S:
                return "rate_zero_s", "no rate is told", "add rate = true, or remove the key"
            return None

    model: str | None = None
    serial_number: str | None = None
    interval_s: ClassVar[float] = 60.0
    min_interval_s: ClassVar[float] = 1.0
    timeout_s: ClassVar[float] = 5.0

    @classmethod
    def channels_of(cls, options: "PulseCounter.Options") -> tuple[Channel, ...]:
        """Give what it tells: the total, and the rate where it is wanted."""
        meter = METERS[options.counts]
        usual: str = next(iter(meter.units))
        unit = options.unit or usual
        rate_unit, _factor = meter.units[unit]
        digits = _digits(options.per_pulse)
        total = Channel(measurement=options.measurement or options.counts, unit=unit, low=0, decimals=digits)
        rate = Channel(measurement=meter.rate, unit=rate_unit, low=0, decimals=RATE_DIGITS, comes_late=True)
        return (total, rate) if options.rate else (total,)

    @classmethod
    def build(cls, options: "PulseCounter.Options", context: DriverContext) -> "PulseCounter":
        """Take the pin. Raises DriverUnavailable."""
        gpio = context.gpio or open_gpio(context.sysfs_root)
        line = gpio.open_input(options.pin, options.pull)
        try:
            return cls(line, options, context.keepsakes, context.name, context.clock)
        except BaseException:
            line.close()
            raise

    def __init__(
        self,
        line: InputLine,
        options: "PulseCounter.Options",
        keepsakes: Keepsakes,
        name: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        meter = METERS[options.counts]
        self.channels = self.channels_of(options)
        _unit, self._rate_factor = meter.units[self.channels[0].unit or ""]
        self._line = line
        self._options = options
        self._keepsakes, self._name = keepsakes, name
        self._clock = clock
        self._active_level = options.active == "high"
        self._lock = Lock()  # edges come in a thread of the library
        level = line.level()
        settle_s = meter.debounce_s if options.debounce_s is None else options.debounce_s
        self._pulses = Pulses(active=level is self._active_level, settle_s=settle_s)
        self._calm_s = max(CALM_S, 2 * settle_s)
        self._level = level  # after the last edge
        self._edges = 0
        self._doubted_after: int | None = None  # edges, when the level was last found to be another one
        self._heard_at = self._edge_at = clock()  # when the last edge was told, and when it was
        self._rate = Rate(self._edge_at, options.rate_zero_s)
        self._edge_clock = EdgeClock()
        self._base = self._kept()
        line.on_edge(self._edge)

    def read(self) -> Sequence[Reading]:
        """Give the total; waits for nothing. Raises whatever the pin raises."""
        level = self._line.level()
        with self._lock:
            now = max(self._clock(), self._edge_at)
            if now - self._heard_at >= self._calm_s:
                self._look(now, level)
            pulses, total = self._pulses.count, self._total()
            rate = self._rate.at(now)
        raw = f"{pulses} pulses since the start, {self._edges} edges, level {'high' if level else 'low'}"
        readings = [Reading(self.channels[0].measurement, total, raw=raw)]
        if self._options.rate and rate is not None:
            value = rate * self._options.per_pulse * self._rate_factor
            readings.append(Reading(self.channels[1].measurement, value))
        return readings

    def close(self) -> None:
        """See Driver."""
        self._line.close()

    def _edge(self, level: bool, at: float) -> None:  # noqa: FBT001 level is the value
        """Take an edge, in the library's thread."""
        with self._lock:
            self._level = level
            self._edges += 1
            self._heard_at = self._clock()
            self._edge_at = self._edge_clock.ours(at, self._heard_at)
            self._seen(self._edge_at, level)

    def _look(self, now: float, level: bool) -> None:  # noqa: FBT001 level is the value
        """Judge the pin while no edge comes: a pulse that goes on is one, and an edge may have been lost."""
        if level is self._level:
            self._doubted_after = None
        elif self._doubted_after != self._edges:  # or it is on its way just now
            self._doubted_after = self._edges
            return
        else:
            self._level = level
        self._seen(now, level)

    def _seen(self, at: float, level: bool) -> None:  # noqa: FBT001 level is the value
        if self._pulses.seen(at, level is self._active_level):
            self._rate.pulse(self._pulses.last_at)
            # The agent writes it to the disk once a minute, and when it stops.
            self._keepsakes.put(self._name, TOTAL, self._total())

    def _total(self) -> float:
        return round(self._base + self._pulses.count * self._options.per_pulse, 9)

    def _kept(self) -> float:
        """Give the total before, or `start` where none was kept, or `start` is not what it was then."""
        kept, began_at = (self._keepsakes.get(self._name, key) for key in (TOTAL, BEGAN_AT))
        if isinstance(kept, int | float) and not isinstance(kept, bool) and began_at == self._options.start:
            total = float(kept)
            if 0 <= total < math.inf:
                return total
        self._keepsakes.put(self._name, BEGAN_AT, self._options.start)
        self._keepsakes.put(self._name, TOTAL, self._options.start)
        return self._options.start


def _digits(per_pulse: float) -> int:
    """How many digits behind the point a pulse needs."""
    enough = (digits for digits in range(MOST_DIGITS) if math.isclose(round(per_pulse, digits), per_pulse))
    return next(enough, MOST_DIGITS)
