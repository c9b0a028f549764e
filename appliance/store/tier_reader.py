"""The history as it is read where there is much of it: from minutes, hours and days, the newest from the readings.

A chart takes the tier whose buckets fit its points, and a coarser one where the finer was thrown away already; its
first and its last bucket are whole, also where the stretch that was asked for begins or ends within them. What is
rolled up ends with the last full hour of a series; the rest is read as it came in, so nothing is missing at the end.
"""

from dataclasses import dataclass
from math import inf
from typing import Final

from appliance.store.answers import Bucket, Chart, Row
from appliance.store.dated import scaled
from appliance.store.history_reader import MAX_POINTS, MAX_ROWS, HistoryReader, to_ms
from appliance.store.question import Question
from appliance.store.reading_rows import stored
from appliance.store.rollup import (
    DAY_MS,
    HOUR_MS,
    NEVER_MS,
    Presence,
    Reading,
    Rollup,
    hold_ms,
    is_counter,
    known_share,
    merge,
    roll,
)
from appliance.store.sealed import whole_series
from appliance.store.silence import Silences
from appliance.store.tierrows import COLUMNS, DAYS, HOURS, IS_WHOLE, IS_WHOLE_QUICKLY, MINUTES, TIERS, Tier, decode
from appliance.store.tiers import READINGS

BEHIND_MS: Final = 6 * HOUR_MS  # of readings that are not rolled up yet: then the whole chart is drawn from readings
EVERY: Final = {"1m": MINUTES, "1h": HOURS, "1d": DAYS}

_SEGMENT: Final = """
    SELECT (start * {width} - ?) / ? AS place, min(start), min(low), total(low * count + coalesce(total, 0)),
      max(coalesce(high, low)), sum(count),
      total(low * coalesce(held_ms, {width}) + coalesce(area, 0)), total(coalesce(held_ms, {width}))
    FROM {table} WHERE series_id = ? AND start BETWEEN ? AND ? AND low IS NOT NULL AND {whole} GROUP BY place
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A minute, an hour or a day of one series; `at` is its begin, Unix seconds.

    `weighted_mean` lets each value count for as long as it stood; `known` is the share of what has passed of it of
    which one is known. `last` is a number or a text; `sum` is how far a counter rose, None for anything else. Of texts
    only `count` and `last` are known.
    """

    at: float
    min: float | None
    mean: float | None
    max: float | None
    weighted_mean: float | None
    known: float | None
    count: int
    last: float | str
    sum: float | None


def tier_of(width_ms: int, since_ms: int, floors: dict[str, int]) -> Tier | None:
    """Tier to draw points of a width from; None for the readings themselves.

    `floors` says before which time a table holds nothing any more.
    """
    fitting = [tier for tier in TIERS if tier.width_ms <= 2 * width_ms]
    wanted = fitting[-1] if fitting else None
    if wanted is None and since_ms >= floors.get(READINGS, 0):
        return None
    for tier in TIERS:
        if (wanted is None or tier.width_ms >= wanted.width_ms) and since_ms >= floors.get(tier.table, 0):
            return tier
    return DAYS


class TierReader(HistoryReader):
    """A HistoryReader that knows of minutes, hours and days."""

    def readings_since(self) -> float:
        """Unix seconds before which the readings themselves were thrown away; 0.0 where none were."""
        with self._question() as ask:
            return _floors(ask).get(READINGS, 0) / 1000

    def chart(self, topic: str, since_at: float, until_at: float, points: int = 500) -> Chart:
        """Draw a topic from one time to another, both included, in at most `points` buckets of equal length."""
        points = max(1, min(points, MAX_POINTS))
        since_ms, until_ms = to_ms(since_at), to_ms(until_at)
        width_ms = max(1, -(-(until_ms - since_ms + 1) // points))
        buckets: list[Bucket] = []
        before: Row | None = None
        with self._question() as ask:
            series_id = ask.series_id(topic)
            if series_id is not None:
                tier = tier_of(width_ms, since_ms, _floors(ask))
                rolled_ms = _rolled_until(ask, HOURS, series_id)
                before = _last_before(ask, series_id, since_ms)
                newest = _last_before(ask, series_id, until_ms + 1)
                last_ms = 0 if newest is None else to_ms(newest.at)
                if tier is None or last_ms - rolled_ms > BEHIND_MS:
                    buckets = ask.raw_buckets(series_id, since_ms, until_ms, width_ms)
                else:
                    begin_ms = since_ms // tier.width_ms * tier.width_ms
                    width_ms = -(-(until_ms - begin_ms + 1) // points)
                    width_ms = -(-width_ms // tier.width_ms) * tier.width_ms
                    buckets = _buckets(ask, series_id, tier, begin_ms, until_ms, width_ms, rolled_ms, last_ms)
        return Chart(
            topic=topic,
            since_at=since_ms / 1000,
            until_at=until_ms / 1000,
            bucket_s=width_ms / 1000,
            before=before,
            buckets=buckets,
        )

    def summaries(
        self, topic: str, every: str, since_at: float, until_at: float, limit: int = MAX_ROWS, *, now_at: float = inf
    ) -> list[Summary]:
        """Minutes, hours or days (`1m`, `1h`, `1d`) of a topic that hold a reading; the newest `limit` of them.

        The one that runs counts up to `now_at`.
        """
        tier = EVERY[every]
        now_ms = NEVER_MS if now_at == inf else to_ms(now_at)
        since_ms, until_ms = to_ms(since_at), to_ms(until_at)
        with self._question() as ask:
            found = whole_series(ask.connection, topic)
            if not found:
                return []
            ((series_id, _, kind, unit, _, quantity, _),) = found
            holds, counts = hold_ms(kind), is_counter(kind, quantity, unit, topic)
            rolled_ms = _rolled_until(ask, HOURS, series_id)
            begin_ms = since_ms // tier.width_ms * tier.width_ms
            last = ask.all(
                f"SELECT {COLUMNS} FROM hours WHERE series_id = ? AND {IS_WHOLE} ORDER BY start DESC LIMIT 1",  # noqa: S608
                (series_id,),
            )
            before = _last_of(decode(HOURS, last[0])) if last else None
            rows = ask.told(ask.newest(series_id, ask.spans(max(begin_ms, rolled_ms), until_ms), MAX_ROWS))
            readings = [reading for row in rows if (reading := _reading(row, kind)) is not None]
            width_ms = min(tier.width_ms, HOUR_MS)
            full_ms = max(begin_ms, _rolled_until(ask, DAYS, series_id)) if tier is DAYS else max(begin_ms, rolled_ms)
            presence = Presence(now_ms, Silences(ask.connection).of(topic, min(full_ms, rolled_ms), until_ms + DAY_MS))
            rest = list(roll(readings, width_ms, before=before, hold_ms=holds, counter=counts, presence=presence))
            if tier is DAYS:
                hours = _rows(ask, HOURS, series_id, full_ms, rolled_ms - 1, MAX_ROWS)
                days = _rows(ask, DAYS, series_id, 0, full_ms - 1, 1)
                earlier = _last_of(days[-1]) if days else None
                rest = list(merge(hours + rest, DAY_MS, before=earlier, hold_ms=holds, presence=presence))
                rolled_ms = full_ms
            known = _rows(ask, tier, series_id, begin_ms, min(until_ms, rolled_ms - 1), max(0, min(limit, MAX_ROWS)))
        newest = (known + rest)[-limit:] if limit > 0 else []
        return [_summary(rollup, now_ms) for rollup in newest]


def _floors(ask: Question) -> dict[str, int]:
    return dict(ask.all("SELECT tier, at_ms FROM floors"))


def _rolled_until(ask: Question, tier: Tier, series_id: int) -> int:
    """Unix ms where what is rolled up of a series ends."""
    ((last,),) = ask.all(f"SELECT max(start) FROM {tier.table} WHERE series_id = ?", (series_id,))  # noqa: S608
    return 0 if last is None else (int(last) + 1) * tier.width_ms


def _last_before(ask: Question, series_id: int, at_ms: int) -> Row | None:
    """Last reading before a time."""
    found = ask.told(ask.newest(series_id, ask.spans(0, at_ms - 1), 1))
    return found[0] if found else None


def _buckets(
    ask: Question,
    series_id: int,
    tier: Tier,
    begin_ms: int,
    until_ms: int,
    width_ms: int,
    rolled_ms: int,
    last_ms: int,
) -> list[Bucket]:
    """Add up rollups in wider buckets that begin at `begin_ms`, and the readings behind the last of them.

    Rollups end at `rolled_ms`; the last reading up to `until_ms` is of `last_ms`.
    """
    segments: list[tuple[Tier, int, int]] = []
    from_ms = begin_ms
    if tier is DAYS:
        days_ms = _rolled_until(ask, DAYS, series_id)
        segments.append((DAYS, from_ms, min(until_ms, days_ms - 1)))
        from_ms, tier = max(from_ms, days_ms), HOURS
    segments.append((tier, from_ms, min(until_ms, rolled_ms - 1)))
    sums: dict[int, list[float]] = {}
    for part, first_ms, end_ms in segments:
        if first_ms > end_ms:
            continue
        statement = _SEGMENT.format(width=part.width_ms, table=part.table, whole=IS_WHOLE_QUICKLY)
        first, last = first_ms // part.width_ms, end_ms // part.width_ms
        for place, start, low, total, high, *rest in ask.all(statement, (begin_ms, width_ms, series_id, first, last)):
            _add(sums, place, [start * part.width_ms, low / 1000, total / 1000, high / 1000, *rest])
    if rolled_ms <= last_ms:
        fine_ms = min(width_ms, tier.width_ms)
        for bucket in ask.raw_buckets(series_id, max(from_ms, rolled_ms), last_ms, fine_ms):
            at_ms = round(bucket.at * 1000)
            told = [at_ms, bucket.min, bucket.mean * bucket.count, bucket.max, bucket.count, 0.0, 0.0]
            _add(sums, (at_ms - begin_ms) // width_ms, told)
    return [
        Bucket(
            at=at_ms / 1000,
            min=low,
            mean=total / count,
            max=high,
            count=int(count),
            weighted_mean=area / held / 1000 if held else None,
        )
        for _, (at_ms, low, total, high, count, area, held) in sorted(sums.items())
    ]


def _add(sums: dict[int, list[float]], place: int, more: list[float]) -> None:
    known = sums.get(place)
    if known is None:
        sums[place] = more
        return
    first, low, total, high, *rest = known
    added = [one + other for one, other in zip(rest, more[4:], strict=True)]
    sums[place] = [min(first, more[0]), min(low, more[1]), total + more[2], max(high, more[3]), *added]


def _rows(ask: Question, tier: Tier, series_id: int, first_ms: int, last_ms: int, limit: int) -> list[Rollup]:
    """Rollups that begin from one time to another, in their order; the last `limit` of them."""
    found = ask.all(
        f"SELECT {COLUMNS} FROM {tier.table} WHERE series_id = ? AND start BETWEEN ? AND ? AND {IS_WHOLE}"  # noqa: S608
        " ORDER BY start DESC LIMIT ?",
        (series_id, first_ms // tier.width_ms, last_ms // tier.width_ms, limit),
    )
    return [decode(tier, cells) for cells in reversed(found)]


def _last_of(rollup: Rollup) -> Reading:
    return Reading(rollup.last_ms, rollup.last)


def _reading(row: Row, kind: str) -> Reading | None:
    """A row as it is rolled up; None where it says another kind of thing than its series."""
    if kind == "text":
        return None if row.text is None else Reading(round(row.at * 1000), row.text)
    return None if row.value is None else Reading(round(row.at * 1000), scaled(stored(row.value)))


def _summary(rollup: Rollup, now_ms: int) -> Summary:
    if isinstance(rollup.last, str):
        numbers: dict[str, float | None] = dict.fromkeys(("min", "mean", "max", "weighted_mean", "known"))
        last: float | str = rollup.last
    else:
        last = rollup.last / 1000
        numbers = {
            "min": rollup.low / 1000,
            "mean": float(rollup.total / rollup.count) / 1000,
            "max": rollup.high / 1000,
            "weighted_mean": float(rollup.area / rollup.held_ms) / 1000 if rollup.held_ms else None,
            "known": known_share(rollup.held_ms, rollup.start_ms, rollup.end_ms, now_ms),
        }
    increase = None if rollup.increase is None else float(rollup.increase) / 1000
    return Summary(at=rollup.start_ms / 1000, count=rollup.count, last=last, sum=increase, **numbers)
