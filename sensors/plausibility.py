"""Which readings are believed. Pure: no clock, no I/O."""

import math
from collections.abc import Iterable

from appliance.devices import Role
from sensors.driver import Channel, Implausible
from sensors.reading import Reading, Value
from sensors.treatment import Treatment

SAYS: dict[Role, tuple[type, ...]] = {
    "sensor": (float, int),
    "binary_sensor": (bool,),
    "switch": (bool,),
    "event": (str,),
}
MOST = 1e15  # of either sign: sums of such numbers stay finite, and thousandths of them fit 64 bits
AIR = frozenset({"temperature", "humidity"})


class Doubt(Implausible):
    """A value that is not believed; its `cause` is counted in the health of the sensor."""

    def __init__(self, measurement: str, words: str) -> None:
        super().__init__(f"{measurement}: {words}")
        self.measurement = measurement


class WrongType(Doubt):
    """Text or a state where a number belongs, or the other way round: an error of the driver."""

    cause = "wrong_type"


class NotANumber(Doubt):
    """nan, an infinity, or so large that it must be an error."""

    cause = "not_a_number"


class OutOfRange(Doubt):
    """A number that this sensor cannot measure, or that cannot be where it stands."""

    cause = "range"


class Jump(Doubt):
    """A change too fast to be true; believed when the next reading says the same. `first`: none came just before."""

    cause = "jump"

    def __init__(self, measurement: str, words: str, *, first: bool = True) -> None:
        super().__init__(measurement, words)
        self.first = first


class AllZero(Doubt):
    """Temperature and humidity are both exactly 0: an empty frame that decodes well."""

    cause = "all_zero"


class Plausibility:
    """Judges the readings of one channel, one after the other."""

    def __init__(self, channel: Channel, treatment: Treatment) -> None:
        self._channel = channel
        self._unit = f" {channel.unit}" if channel.unit else ""
        self._low = _first(treatment.low, channel.low, -math.inf)
        self._high = _first(treatment.high, channel.high, math.inf)
        self._max_step = _first(treatment.max_step, channel.max_step, math.inf)
        self._believed: float | None = None
        self._doubted: float | None = None  # the jump that waits for a second reading

    def check(self, value: Value) -> None:
        """Raise Doubt where the value cannot be true."""
        role = self._channel.role
        if type(value) not in SAYS[role]:
            raise WrongType(self._channel.measurement, f"{value!r:.40} is nothing that a {role} says")
        if not isinstance(value, bool | str):
            self._check_number(value)

    def _check_number(self, value: float) -> None:
        name, unit = self._channel.measurement, self._unit
        if not abs(value) <= MOST:
            finite = isinstance(value, int) or math.isfinite(value)
            raise NotANumber(name, f"beyond ±{MOST:g} nothing is measured" if finite else f"{value} is not a number")
        if value < self._low:
            raise OutOfRange(name, f"{value:g}{unit} is below {self._low:g}{unit}")
        if value > self._high:
            raise OutOfRange(name, f"{value:g}{unit} is above {self._high:g}{unit}")
        # One wild value is an error of the sensor; two that agree are a window that was opened.
        if self._is_jump_from(self._believed, value) and self._is_jump_from(self._doubted, value, otherwise=True):
            first, self._doubted = self._doubted is None, value
            raise Jump(
                name,
                f"from {self._believed:g} to {value:g}{unit} at once is more than {self._max_step:g}{unit}; "
                "waiting for a second reading",
                first=first,
            )
        self._believed, self._doubted = value, None

    def _is_jump_from(self, known: float | None, value: float, *, otherwise: bool = False) -> bool:
        return otherwise if known is None else abs(value - known) > self._max_step


def zeroed(readings: Iterable[Reading]) -> frozenset[str]:
    """Give the measurements of one read that are an empty frame's: temperature and humidity where both are 0."""
    zeros = {reading.measurement for reading in readings if type(reading.value) in (int, float) and reading.value == 0}
    return AIR if zeros >= AIR else frozenset()


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)
