"""How a rollup lies in its table: compact, checked, and the same again when it is read.

What repeats `low` is left out (NULL): a quiet sensor's minute is little more than its key. `total` and `area` are kept
as what they exceed `low` each time and all the time, `last_ms` from the begin of the bucket. Sums that are no whole
thousandths are rounded to a float here, once.
"""

from fractions import Fraction
from typing import Final, NamedTuple

from appliance.store.reading_rows import MODULUS
from appliance.store.rollup import DAY_MS, HOUR_MS, MINUTE_MS, Exact, Rollup, Value, exact

LARGEST: Final = 2**62  # what SQLite holds as an integer, and may still be added to


class Tier(NamedTuple):
    """Buckets of one width: their table, and how long they are."""

    name: str
    table: str
    width_ms: int


MINUTES: Final = Tier("minute", "minutes", MINUTE_MS)
HOURS: Final = Tier("hour", "hours", HOUR_MS)
DAYS: Final = Tier("day", "days", DAY_MS)
TIERS: Final = (MINUTES, HOURS, DAYS)

_NAMES: Final = (
    "series_id",
    "start",
    "count",
    "low",
    "high",
    "total",
    "area",
    "held_ms",
    "last",
    "last_ms",
    "increase",
)
COLUMNS: Final = ", ".join(_NAMES)

# Over all the columns, from -32768 to 32767: `reading_rows.prepare` teaches a connection what it calls. NULL is not 0.
_TERMS = " + ".join(
    f"CASE typeof({name}) WHEN 'null' THEN -1 WHEN 'integer' THEN {name} % {MODULUS} ELSE value_sum({name}) END"
    f" * {2 * place + 3}"
    for place, name in enumerate(_NAMES)
)
CHECKSUM: Final = f"((({_TERMS}) % {MODULUS} & 65535) - 32768)"
IS_WHOLE: Final = f"checksum = {CHECKSUM}"
# The same of a row without fractions and texts in a third of the time, tried first.
_QUICK_TERMS = " + ".join(f"ifnull({name} % {MODULUS}, -1) * {2 * place + 3}" for place, name in enumerate(_NAMES))
IS_WHOLE_QUICKLY: Final = f"(checksum = ((({_QUICK_TERMS}) % {MODULUS} & 65535) - 32768) OR {IS_WHOLE})"


def insert(tier: "Tier") -> str:
    """Statement that puts what `encode` gives into the tier's table, in place of what was there of that bucket."""
    cells = ", ".join(f"? AS {name}" for name in _NAMES)
    return f"INSERT OR REPLACE INTO {tier.table} SELECT {COLUMNS}, {CHECKSUM} FROM (SELECT {cells})"  # noqa: S608


Cell = int | float | str | None
Cells = tuple[Cell, ...]


def encode(series_id: int, rollup: Rollup) -> Cells:
    """Give the cells of a rollup's row, in the order of COLUMNS."""
    start = rollup.start_ms // rollup.width_ms
    cells: Cells
    if isinstance(rollup.last, str):
        cells = (series_id, start, rollup.count, None, None, None, None, None, rollup.last)
    else:
        low = rollup.low
        cells = (
            series_id,
            start,
            rollup.count,
            _number(low),
            None if rollup.high == low else _number(rollup.high),
            _number(rollup.total - exact(low) * rollup.count) or None,
            _number(rollup.area - exact(low) * rollup.held_ms) or None,
            None if rollup.held_ms == rollup.width_ms else rollup.held_ms,
            None if rollup.last == low else _number(rollup.last),
        )
    # A minute's readings are merged into nothing later: how long before its end the last one came is not asked.
    last_ms = None if rollup.width_ms == MINUTE_MS else rollup.last_ms - rollup.start_ms
    increase = None if rollup.increase is None else _number(rollup.increase)
    return (*cells, last_ms, increase)


def decode(tier: Tier, cells: Cells) -> Rollup:
    """Read back a row that is whole."""
    _, start, count, low, high, total, area, held_ms, last, last_ms, increase = cells
    assert isinstance(start, int)  # noqa: S101 what the checksum vouches for
    assert isinstance(count, int)  # noqa: S101
    start_ms = start * tier.width_ms
    at_ms = start_ms + (last_ms if isinstance(last_ms, int) else tier.width_ms - 1)
    if isinstance(last, str):
        return _told(tier, start_ms, count, last, at_ms)
    lowest = _value(low)
    held = held_ms if isinstance(held_ms, int) else tier.width_ms
    return Rollup(
        start_ms=start_ms,
        width_ms=tier.width_ms,
        count=count,
        low=lowest,
        high=lowest if high is None else _value(high),
        total=exact(lowest) * count + exact(_value(total or 0)),
        area=exact(lowest) * held + exact(_value(area or 0)),
        held_ms=held,
        last=lowest if last is None else _value(last),
        last_ms=at_ms,
        increase=None if increase is None else exact(_value(increase)),
    )


def _told(tier: Tier, start_ms: int, count: int, last: str, last_ms: int) -> Rollup:
    """Rollup of texts."""
    return Rollup(
        start_ms=start_ms,
        width_ms=tier.width_ms,
        count=count,
        low=0,
        high=0,
        total=0,
        area=0,
        held_ms=0,
        last=last,
        last_ms=last_ms,
        increase=None,
    )


def _number(number: Exact | float | Value) -> int | float:
    """Give the number as the database holds it."""
    assert not isinstance(number, str)  # noqa: S101 texts go another way
    if isinstance(number, Fraction) and number.denominator == 1:
        number = number.numerator
    return number if isinstance(number, int) and -LARGEST < number < LARGEST else float(number)


def _value(cell: Cell) -> int | float:
    assert isinstance(cell, int | float)  # noqa: S101 what the checksum vouches for
    return cell
