"""Readings of one series, rolled up to minutes, hours and days: pure, exact, and the same in whatever pieces.

Numbers are thousandths of the series' unit, as the history keeps them: int where that is exact, else float. Sums are
kept as exact numbers (`Fraction` where a float came in), so that the order and the grouping of the pieces cannot
show; they are rounded once, where they are written down. Times are Unix milliseconds; a bucket is the stretch from a
multiple of its width (UTC) up to, not including, the next one.

A value holds until the next reading, but at most for `hold_ms`: longer silence is not knowing. That gives the
time-weighted mean, in which a value that stood for an hour counts for more than one that stood for a second; for ON
and OFF it is the share of the time that was ON. What is still to come counts for nothing, nor does a gap in which
nothing could be read: a `Presence` tells of both.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final, NamedTuple

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000

NUMBER_HOLD_MS: Final = HOUR_MS  # radio sensors that speak on change speak once an hour when nothing changes

COUNTED_QUANTITIES: Final = frozenset({"energy", "gas", "water", "rain", "precipitation", "pulses", "count", "counter"})
COUNTED_UNITS: Final = frozenset({"Wh", "kWh", "MWh", "m³", "m3", "ft³", "pulses", "imp"})
# What a topic's last level counts where nobody described it: Tasmota's ENERGY/Total, Shelly's emeter/0/total and
# aenergy/total, Zigbee2MQTT's energy. A total alone may be one of memory or of watts.
COUNTED_LEVELS: Final = frozenset(
    {"energy", "water", "gas", "rain", "pulses", "total_returned", "total_act_energy", "total_act_ret_energy"}
)
TOTAL: Final = "total"
COUNTED_ABOVE_TOTAL: Final = COUNTED_LEVELS | {"aenergy", "ret_aenergy", "emeter", "meter"}

NEVER_MS: Final = 2**62

Silence = tuple[int, int]
"""From when to when nothing could be known, Unix ms."""

Exact = int | Fraction
Value = int | float | str


class Reading(NamedTuple):
    """One reading: a number in thousandths, or a text."""

    at_ms: int
    value: Value


class Presence(NamedTuple):
    """When values stand: up to now, and not in silences, which are in order."""

    now_ms: int = NEVER_MS
    silences: tuple[Silence, ...] = ()


ALWAYS: Final = Presence()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollup:
    """What the readings of one bucket come to; there is none for a bucket without a reading.

    `area` is the value times the milliseconds that it held, `held_ms` how much of the bucket that covers. `increase`
    is how far a counter rose, None where the series is none. For a text only `count` and the last one say anything:
    the numbers are 0.
    """

    start_ms: int
    width_ms: int
    count: int
    low: float  # int or float, as it came in
    high: float
    total: Exact
    area: Exact
    held_ms: int
    last: Value
    last_ms: int
    increase: Exact | None

    @property
    def end_ms(self) -> int:
        """Where the next bucket begins."""
        return self.start_ms + self.width_ms


def is_counter(kind: str, quantity: str | None, unit: str | None, topic: str = "") -> bool:
    """Whether a series only ever rises until its device begins again, by what its agent said of it, else by its topic.

    A word of the agent about quantity or unit is worth more than a name.
    """
    if kind != "number":
        return False
    if quantity is None and unit is None:
        levels = [level for level in topic.lower().split("/") if not level.isdigit()]  # channels of a device
        if levels[-1:] == [TOTAL]:
            return levels[-2:-1] != [] and levels[-2] in COUNTED_ABOVE_TOTAL
        return levels[-1:] != [] and levels[-1] in COUNTED_LEVELS
    if quantity is not None and quantity.lower() in COUNTED_QUANTITIES:
        return unit is None or not unit.endswith(("/h", "/min", "/s"))  # a rate is none, whatever it is a rate of
    return unit in COUNTED_UNITS and quantity is None


def hold_ms(kind: str) -> int | None:
    """How long a value of such a series stands for the time after it; None for ever.

    A state is told when it changes, so the last one stands. A number that is no longer told is not known.
    """
    return NUMBER_HOLD_MS if kind == "number" else None


def roll(
    readings: Iterable[Reading],
    width_ms: int,
    *,
    before: Reading | None,
    hold_ms: int | None,
    counter: bool,
    presence: Presence = ALWAYS,
) -> Iterator[Rollup]:
    """Roll up readings in their order, none of them earlier than `before`, into buckets of one width.

    `before` is the last reading before the first of them. Readings must be all numbers or all texts; the last bucket
    is taken to be over, where `presence` does not say otherwise.
    """
    bucket: list[Reading] = []
    end_ms = 0
    for reading in readings:
        if reading.at_ms >= end_ms:
            if bucket:
                yield _rollup(bucket, end_ms - width_ms, width_ms, before, hold_ms, counter, presence)
                before, bucket = bucket[-1], []
            end_ms = (reading.at_ms // width_ms + 1) * width_ms
        bucket.append(reading)
    if bucket:
        yield _rollup(bucket, end_ms - width_ms, width_ms, before, hold_ms, counter, presence)


def merge(
    parts: Iterable[Rollup],
    width_ms: int,
    *,
    before: Reading | None,
    hold_ms: int | None,
    presence: Presence = ALWAYS,
) -> Iterator[Rollup]:
    """Merge rollups in their order into wider ones; `width_ms` is a multiple of theirs.

    `before` is the last reading before the first part. What held between two parts is made up for from the last
    reading of the earlier one.
    """
    group: list[Rollup] = []
    end_ms = 0
    for part in parts:
        if part.start_ms >= end_ms:
            if group:
                yield _merged(group, end_ms - width_ms, width_ms, before, hold_ms, presence)
                before, group = Reading(group[-1].last_ms, group[-1].last), []
            end_ms = (part.start_ms // width_ms + 1) * width_ms
        group.append(part)
    if group:
        yield _merged(group, end_ms - width_ms, width_ms, before, hold_ms, presence)


def add_late(old: Rollup, late: Rollup) -> Rollup:
    """Add late readings of a bucket whose own readings are gone. Counts and sums stay exact.

    How long each of the old values stood cannot be found again, so their time stays as it was; and a counter that was
    read later has its rise told already.
    """
    if isinstance(old.last, str) or isinstance(late.last, str):
        newest = old if old.last_ms >= late.last_ms else late
        return replace(newest, count=old.count + late.count)
    timed = old if old.held_ms else late
    newest = old if old.last_ms >= late.last_ms else late
    return Rollup(
        start_ms=old.start_ms,
        width_ms=old.width_ms,
        count=old.count + late.count,
        low=min(old.low, late.low),
        high=max(old.high, late.high),
        total=old.total + late.total,
        area=timed.area,
        held_ms=timed.held_ms,
        last=newest.last,
        last_ms=newest.last_ms,
        increase=old.increase,
    )


def _rollup(
    readings: list[Reading],
    start_ms: int,
    width_ms: int,
    before: Reading | None,
    hold_ms: int | None,
    counter: bool,  # noqa: FBT001 passed on in a loop
    presence: Presence,
) -> Rollup:
    """Roll up the readings of one bucket, of which there is at least one."""
    end_ms = start_ms + width_ms
    last = readings[-1]
    if isinstance(last.value, str):
        return Rollup(
            start_ms=start_ms,
            width_ms=width_ms,
            count=len(readings),
            low=0,
            high=0,
            total=0,
            area=0,
            held_ms=0,
            last=last.value,
            last_ms=last.at_ms,
            increase=None,
        )
    values = [value for _, value in readings if not isinstance(value, str)]
    area: Exact = 0
    held_ms = 0
    standing = before
    for reading in readings:
        if standing is not None:
            held, of_it = _held(standing, start_ms, reading.at_ms, hold_ms, presence, is_told=True)
            held_ms += held
            area += of_it
        standing = reading
    held, of_it = _held(last, start_ms, min(end_ms, presence.now_ms), hold_ms, presence)
    return Rollup(
        start_ms=start_ms,
        width_ms=width_ms,
        count=len(values),
        low=min(values),
        high=max(values),
        total=sum(map(exact, values)),
        area=area + of_it,
        held_ms=held_ms + held,
        last=last.value,
        last_ms=last.at_ms,
        increase=_increase(values, before) if counter else None,
    )


def _merged(
    parts: list[Rollup],
    start_ms: int,
    width_ms: int,
    before: Reading | None,
    hold_ms: int | None,
    presence: Presence,
) -> Rollup:
    """Merge the parts of one bucket, of which there is at least one."""
    end_ms = start_ms + width_ms
    last = parts[-1]
    area: Exact = 0
    held_ms = 0
    standing, begin_ms = before, start_ms
    for part in parts:
        if standing is not None:
            held, of_it = _held(standing, begin_ms, part.start_ms, hold_ms, presence)
            held_ms += held
            area += of_it
        held_ms += part.held_ms
        area += part.area
        standing, begin_ms = Reading(part.last_ms, part.last), part.end_ms
    rest_ms = min(end_ms, presence.now_ms)
    held, of_it = _held(Reading(last.last_ms, last.last), last.end_ms, rest_ms, hold_ms, presence)
    increases = [part.increase for part in parts]
    return Rollup(
        start_ms=start_ms,
        width_ms=width_ms,
        count=sum(part.count for part in parts),
        low=min(part.low for part in parts),
        high=max(part.high for part in parts),
        total=sum((part.total for part in parts), start=0),
        area=area + of_it,
        held_ms=held_ms + held,
        last=last.last,
        last_ms=last.last_ms,
        # Of a part that was not counted the rise is not known, so neither is that of the whole.
        increase=None if None in increases else sum((one for one in increases if one is not None), start=0),
    )


def _held(
    reading: Reading, from_ms: int, until_ms: int, hold_ms: int | None, presence: Presence, *, is_told: bool = False
) -> tuple[int, Exact]:
    """Milliseconds that a reading stands for between two times, and their area."""
    if isinstance(reading.value, str):
        return 0, 0
    held = stands_ms(reading.at_ms, from_ms, until_ms, hold_ms, presence.silences, is_told=is_told)
    return (held, exact(reading.value) * held) if held > 0 else (0, 0)


def stands_ms(
    at_ms: int,
    from_ms: int,
    until_ms: int,
    hold_ms: int | None,
    silences: tuple[Silence, ...] = (),
    *,
    is_told: bool = False,
) -> int:
    """Milliseconds that a number read at a time stands for between two others, silences left out; not below 0.

    is_told: it is the next reading that comes at `until_ms`. If that lies in a silence, then it was none: an agent
    kept what it read meanwhile.
    """
    ends_ms = until_ms if hold_ms is None else min(until_ms, at_ms + hold_ms)
    begins_ms = max(at_ms, from_ms)
    held = ends_ms - begins_ms
    if held <= 0:
        return 0
    for silent_ms, again_ms in silences:
        if silent_ms >= ends_ms:
            break
        if silent_ms >= at_ms and not (is_told and again_ms > until_ms):
            held -= max(0, min(again_ms, ends_ms) - max(silent_ms, begins_ms))
    return held


def known_share(held_ms: int, start_ms: int, end_ms: int, now_ms: int) -> float:
    """Give the share of what has passed of a bucket of which a value is known."""
    passed_ms = min(end_ms, now_ms) - start_ms
    return min(1.0, held_ms / passed_ms) if passed_ms > 0 else 1.0 * (held_ms > 0)


def _increase(values: list[int | float], before: Reading | None) -> Exact:
    """How far a counter rose; where it fell it began again at 0.

    Unless it fell by a tenth or less: that is a device that lost its power, and with it what it had counted since it
    last wrote its total down. What it counts from there is new.
    """
    risen: Exact = 0
    previous = values[0] if before is None or isinstance(before.value, str) else before.value
    for value in values:
        if value >= previous:
            risen += exact(value) - exact(previous)
        elif 10 * value < 9 * previous:
            risen += max(exact(value), 0)
        previous = value
    return risen


def exact(value: float) -> Exact:
    """Give a number as one that adds up without rounding."""
    return value if isinstance(value, int) else Fraction(value)
