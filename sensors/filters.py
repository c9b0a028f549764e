"""Which readings are believed, and which of those are worth sending. Pure: `now` comes in, in monotonic seconds."""

import math
from collections import Counter
from dataclasses import replace
from typing import Annotated

import msgspec
from msgspec import Meta

from appliance.devices import Role
from sensors.driver import Channel, Implausible
from sensors.reading import Reading

SAYS: dict[Role, tuple[type, ...]] = {
    "sensor": (float, int),
    "binary_sensor": (bool,),
    "switch": (bool,),
    "event": (str,),
}
ROUNDING = 1e-9  # 0.3 - 0.2 is a little less than 0.1

Positive = Annotated[float, Meta(gt=0)]
Digits = Annotated[int, Meta(ge=0, le=6)]


class Filters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys that every sensor has; where one is not set, the sensor's own kind decides."""

    low: Annotated[float | None, Meta(description="Numbers below this are not believed.")] = None
    high: Annotated[float | None, Meta(description="Numbers above this are not believed.")] = None
    max_step: Annotated[
        Positive | None, Meta(description="A larger change is believed when a second reading confirms it.")
    ] = None
    decimals: Annotated[Digits | None, Meta(description="Digits after the point.")] = None
    delta: Annotated[
        Positive | None, Meta(description="Smaller changes of a number are not sent; without it, all are.")
    ] = None
    heartbeat_s: Annotated[
        Positive, Meta(description="With `delta`: an unchanged number is sent again after this many seconds.")
    ] = 60.0


class Filter:
    """Judges the readings of one channel, one after the other; counts what it refuses."""

    def __init__(self, channel: Channel, filters: Filters | None = None) -> None:
        keys = filters or Filters()
        self._channel = channel
        self._low = _first(keys.low, channel.low, -math.inf)
        self._high = _first(keys.high, channel.high, math.inf)
        self._max_step = _first(keys.max_step, channel.max_step, math.inf)
        self._decimals = channel.decimals if keys.decimals is None else keys.decimals
        self._delta = keys.delta
        self._heartbeat_s = keys.heartbeat_s
        self._believed: float | None = None
        self._doubted: float | None = None  # the jump that waits for a second reading
        self._sent: float | None = None
        self._sent_at = -math.inf
        self.refused: Counter[str] = Counter()  # by cause: not_a_number, wrong_type, range, jump

    def offer(self, reading: Reading, now: float) -> Reading | None:
        """Give the reading as it is to be sent, None while it says nothing new. Raises Implausible."""
        value = reading.value
        if type(value) not in SAYS[self._channel.role]:
            raise self._refuse("wrong_type", f"{value!r} is nothing that a {self._channel.role} says")
        if isinstance(value, bool | str):
            return reading
        self._check(value)
        number = value if self._decimals is None else round(float(value), self._decimals)
        if not self._is_news(number, now):
            return None
        self._sent, self._sent_at = number, now
        return replace(reading, value=number + 0.0)  # a rounded -0.04 is 0.0, not -0.0

    def forget_sent(self) -> None:
        """Take the next number for news, whatever it is."""
        self._sent = None

    def _check(self, value: float) -> None:
        if not math.isfinite(value):
            raise self._refuse("not_a_number", f"{value} is not a number")
        if value < self._low:
            raise self._refuse("range", f"{value:g}{self._unit} is below {self._low:g}{self._unit}")
        if value > self._high:
            raise self._refuse("range", f"{value:g}{self._unit} is above {self._high:g}{self._unit}")
        # One wild value is an error of the sensor; two that agree are a window that was opened.
        if self._is_jump_from(self._believed, value) and self._is_jump_from(self._doubted, value, otherwise=True):
            self._doubted = value
            raise self._refuse(
                "jump",
                f"from {self._believed:g} to {value:g}{self._unit} at once is more than "
                f"{self._max_step:g}{self._unit}; waiting for a second reading",
            )
        self._believed, self._doubted = value, None

    def _is_jump_from(self, known: float | None, value: float, *, otherwise: bool = False) -> bool:
        return otherwise if known is None else abs(value - known) > self._max_step

    def _is_news(self, number: float, now: float) -> bool:
        if self._delta is None or self._sent is None or now - self._sent_at >= self._heartbeat_s:
            return True
        return abs(number - self._sent) >= self._delta - ROUNDING

    @property
    def _unit(self) -> str:
        return f" {self._channel.unit}" if self._channel.unit else ""

    def _refuse(self, cause: str, words: str) -> Implausible:
        self.refused[cause] += 1
        return Implausible(f"{self._channel.measurement}: {words}")


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)
