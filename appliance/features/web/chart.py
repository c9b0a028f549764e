"""A stretch of history as the page draws it: columns, with an empty point wherever the line must break."""

from collections import deque
from itertools import pairwise
from statistics import quantiles
from typing import Final

import msgspec

from appliance.store.answers import Chart, Row, Series
from appliance.store.gaps import CLOCK_UNSET
from appliance.store.holes import Gap

MAX_STEPS: Final = 5_000  # an ON/OFF series is sent change by change up to so many
IRREGULAR_FLOOR_S: Final = 90.0  # sensors that speak on change may be silent so long and still be well
REGULAR_FLOOR_S: Final = 5.0


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """One chart. `at` is Unix seconds; where `mean` is None there is a gap. ON is 1 and OFF is 0."""

    topic: str
    kind: str
    unit: str | None
    name: str | None
    quantity: str | None
    since: float
    until: float
    bucket_s: float
    at: list[float]
    min: list[float | None]
    mean: list[float | None]
    max: list[float | None]
    gaps: list[dict[str, object]]  # as `Gap.told` gives them


def longest_silence_s(at: list[float], bucket_s: float) -> float:
    """How far apart two points may be and still belong together, judged by how the series usually speaks."""
    floor_s = 2.5 * bucket_s
    steps = [after - before for before, after in pairwise(at)]
    if len(steps) < 3:
        return max(floor_s, IRREGULAR_FLOOR_S)
    deciles = quantiles(steps, n=10, method="inclusive")
    usual, long = deciles[4], deciles[8]
    is_regular = long <= 1.5 * usual
    return max(floor_s, 3 * long, REGULAR_FLOOR_S if is_regular else IRREGULAR_FLOOR_S)


def draw_line(series: Series, chart: Chart, gaps: list[Gap]) -> Columns:
    """Columns of a series of numbers; the line breaks at gaps, and wherever the sensor was silent for long."""
    columns = _columns(series, chart.since_at, chart.until_at, chart.bucket_s, gaps)
    breaks = deque(gap.since_at for gap in gaps if gap.cause != CLOCK_UNSET)  # then readings are there
    silence_s = longest_silence_s([bucket.at for bucket in chart.buckets], chart.bucket_s)
    previous: float | None = None
    for bucket in chart.buckets:
        is_broken = False
        while breaks and breaks[0] < bucket.at:
            is_broken = breaks.popleft() >= (bucket.at if previous is None else previous) or is_broken
        if previous is not None and (is_broken or bucket.at - previous > silence_s):
            _add(columns, (previous + bucket.at) / 2, None, None, None)
        _add(columns, bucket.at, bucket.min, bucket.mean, bucket.max)
        previous = bucket.at
    return columns


def draw_steps(
    series: Series, before: Row | None, rows: list[Row], since_at: float, until_at: float, gaps: list[Gap]
) -> Columns:
    """Columns of an ON/OFF series: each value holds until the next one, the first from `since_at`, not through gaps."""
    columns = _columns(series, since_at, until_at, 0.0, gaps)
    points = [(row.at, row.value) for row in rows if row.value is not None]
    if before is not None and before.value is not None:
        points.insert(0, (since_at, before.value))
    breaks = deque(gap for gap in gaps if gap.cause != CLOCK_UNSET)
    for at, value in points:
        while breaks and breaks[0].since_at < at:
            _interrupt(columns, breaks.popleft(), at)
        _add(columns, at, value, value, value)
    for gap in breaks:
        _interrupt(columns, gap, until_at)
    if columns.at and columns.at[-1] < until_at:
        last = columns.mean[-1]
        _add(columns, until_at, last, last, last)
    return columns


def _interrupt(columns: Columns, gap: Gap, next_at: float) -> None:
    """Leave a gap empty; what held before it holds again behind it."""
    held = columns.mean[-1] if columns.at else None
    if held is None:
        return
    _add(columns, gap.since_at, held, held, held)
    _add(columns, gap.since_at, None, None, None)
    if gap.until_at is not None and gap.until_at < next_at:
        _add(columns, gap.until_at, held, held, held)


def _columns(series: Series, since_at: float, until_at: float, bucket_s: float, gaps: list[Gap]) -> Columns:
    return Columns(
        topic=series.topic,
        kind=series.kind,
        unit=series.unit,
        name=series.name,
        quantity=series.quantity,
        since=since_at,
        until=until_at,
        bucket_s=bucket_s,
        at=[],
        min=[],
        mean=[],
        max=[],
        gaps=[gap.told() for gap in gaps],
    )


def _add(columns: Columns, at: float, low: float | None, mean: float | None, high: float | None) -> None:
    columns.at.append(at)
    columns.min.append(low)
    columns.mean.append(mean)
    columns.max.append(high)
