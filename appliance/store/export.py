"""The history as a file for other programs: row by row, in bounded memory."""

import csv
import io
import json
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Final, NamedTuple

from appliance.mqtt.topics import matches
from appliance.store.answers import Row
from appliance.store.asking import asking
from appliance.store.calendar import Calendar
from appliance.store.gap_reader import gaps_between
from appliance.store.gaps import HUB, MOST
from appliance.store.pages import pages
from appliance.store.readings import LAST_AT, NUMBER
from appliance.store.rollup import NEVER_MS, Silence, hold_ms, is_counter, known_share, stands_ms
from appliance.store.sealed import whole_series
from appliance.store.silence import Silences
from appliance.store.travel import published

FORMATS: Final = ("csv", "jsonl")
ROW_COLUMNS: Final = ("topic", "time", "value", "unit", "quality", "clock", "agent", "run", "seq")
GAP_COLUMNS: Final = ("since", "until", "cause", "detail", "scope", "name")
BUCKET_COLUMNS: Final = (
    "topic",
    "time",
    "min",
    "mean",
    "weighted_mean",
    "max",
    "sum",
    "count",
    "last",
    "unit",
    "known",
)

Fields = tuple[str | float | int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to export: topics that match, from one time to another (both included), each reading or by `every_s`.

    What stands at the end stands up to `now_at`.
    """

    topic_filter: str
    since_at: float
    until_at: float
    every_s: float | None = None
    now_at: float = inf


class Exported(NamedTuple):
    """One series."""

    id: int
    topic: str
    kind: str
    unit: str | None
    quantity: str | None


def export(
    path: Path, wanted: Wanted, form: str, tell: Callable[[int, int], None] = lambda _done, _of: None
) -> Generator[str]:
    """Give the file in pieces, by topic and time; `tell` hears how many of how many topics are done. StoreError."""
    columns = BUCKET_COLUMNS if wanted.every_s else ROW_COLUMNS
    series = _series(path, wanted.topic_filter)
    if form == "csv":
        yield _csv([columns])
    for done, one in enumerate(series):
        for rows in _buckets(path, one, wanted, wanted.every_s) if wanted.every_s else _rows(path, one, wanted):
            tell(done, len(series))
            yield _csv(rows) if form == "csv" else _json_lines(columns, rows)
    tell(len(series), len(series))


def export_gaps(path: Path, wanted: Wanted, form: str) -> Generator[str]:
    """Give the gaps of the topics that match in the same manner, by time; one that lasts has no `until`. StoreError.

    What concerns everything is always among them, an agent's where one of its topics matches.
    """
    with asking(path) as connection:
        topics = [row for row in whole_series(connection) if matches(wanted.topic_filter, row[1])]
        gaps = gaps_between(connection, Calendar(connection), wanted.since_at, min(wanted.until_at, LAST_AT), MOST)
    concerned = {*(row[1] for row in topics), *(row[-1] for row in topics)}  # topics and agents
    if form == "csv":
        yield _csv([GAP_COLUMNS])
    rows: list[Fields] = [
        (
            _time(gap.since_at),
            None if gap.until_at is None else _time(gap.until_at),
            gap.cause,
            gap.detail,
            gap.scope,
            gap.name,
        )
        for gap in sorted(gaps, key=lambda gap: (gap.since_at, gap.cause, gap.name))
        if gap.scope == HUB or gap.name in concerned or wanted.topic_filter == "#"
    ]
    yield _csv(rows) if form == "csv" else _json_lines(GAP_COLUMNS, rows)


def _series(path: Path, topic_filter: str) -> list[Exported]:
    with asking(path) as connection:
        rows = whole_series(connection)
    return [
        Exported(series_id, topic, kind, unit, quantity)
        for series_id, topic, kind, unit, _, quantity, _ in rows
        if matches(topic_filter, topic)
    ]


def _rows(path: Path, series: Exported, wanted: Wanted) -> Iterator[list[Fields]]:
    for page in pages(path, series.id, wanted.since_at, wanted.until_at):
        yield [
            (
                series.topic,
                _time(row.at),
                _value(series, row),
                series.unit,
                row.quality,
                row.clock,
                row.agent,
                row.run,
                row.seq,
            )
            for row in page
        ]


def _buckets(path: Path, series: Exported, wanted: Wanted, every_s: float) -> Iterator[list[Fields]]:
    bucket: Bucket | None = None
    for page in pages(path, series.id, wanted.since_at, wanted.until_at):
        full: list[Fields] = []
        silences = _silences(path, series.topic, page[0].at // every_s * every_s, page[-1].at + every_s) if page else ()
        if bucket is not None:
            bucket.silences = _silences(path, series.topic, bucket.begins_at, bucket.begins_at + every_s)
        for row in page:
            begins_at = row.at // every_s * every_s
            if bucket is None or bucket.begins_at != begins_at:
                if bucket is not None:
                    full.append(bucket.fields(series, wanted.now_at))
                bucket = Bucket(series, begins_at, every_s, None if bucket is None else bucket.last)
                bucket.silences = silences
            bucket.add(row)
        yield full
    if bucket is not None:
        yield [bucket.fields(series, wanted.now_at)]


def _silences(path: Path, topic: str, since_at: float, until_at: float) -> tuple[Silence, ...]:
    with asking(path) as connection:
        return Silences(connection).of(topic, round(since_at * 1000), round(until_at * 1000))


class Bucket:
    """The readings of one stretch of `every_s`; its time is its beginning, counted from 1970 in UTC.

    Its numbers are those of the minutes, hours and days that the history keeps (`rollup.py`): `mean` counts every
    reading the same, `weighted_mean` each value for as long as it stood, `known` is the share of the time of which one
    is known, `sum` is how far a counter rose. `before` is the last reading of the bucket before; of the first one
    nothing earlier is known.
    """

    def __init__(self, series: Exported, begins_at: float, every_s: float, before: Row | None) -> None:
        self.begins_at = begins_at
        self.last = before
        self.silences: tuple[Silence, ...] = ()
        self._begins_ms = round(begins_at * 1000)
        self._ends_ms = round((begins_at + every_s) * 1000)
        self._hold_ms = hold_ms(series.kind)
        self._rows = 0
        self._numbers = 0
        self._sum = 0.0
        self._low: float | None = None
        self._high: float | None = None
        self._area = 0.0
        self._held_ms = 0
        counts = is_counter(series.kind, series.quantity, series.unit, series.topic)
        self._rise: float | None = 0.0 if counts else None

    def add(self, row: Row) -> None:
        """Take the next reading."""
        before, self.last = self.last, row
        self._rows += 1
        self._stand(before, round(row.at * 1000), is_told=True)
        if row.value is None:
            return
        self._numbers += 1
        self._sum += row.value
        self._low = row.value if self._low is None else min(self._low, row.value)
        self._high = row.value if self._high is None else max(self._high, row.value)
        if self._rise is not None and before is not None and before.value is not None:
            # A counter that begins again has risen from 0 since.
            self._rise += row.value - before.value if row.value >= before.value else max(0.0, row.value)

    def _stand(self, row: Row | None, until_ms: int, *, is_told: bool = False) -> None:
        """Let a value stand until then, as far as it lies in the bucket and the value is still known."""
        if row is not None and row.value is not None:
            at_ms = round(row.at * 1000)
            held = stands_ms(at_ms, self._begins_ms, until_ms, self._hold_ms, self.silences, is_told=is_told)
            self._held_ms += held
            self._area += row.value * held

    def fields(self, series: Exported, now_at: float) -> Fields:
        """Give its row, once no more follow."""
        now_ms = NEVER_MS if now_at == inf else round(now_at * 1000)
        self._stand(self.last, min(self._ends_ms, now_ms))
        known = known_share(self._held_ms, self._begins_ms, self._ends_ms, now_ms) if self._numbers else None
        return (
            series.topic,
            _time(self.begins_at),
            self._low,
            self._sum / self._numbers if self._numbers else None,
            self._area / self._held_ms if self._held_ms else None,
            self._high,
            self._rise,
            self._rows,
            None if self.last is None else _value(series, self.last),
            series.unit,
            known,
        )


def _value(series: Exported, row: Row) -> str | float | int:
    if series.kind == NUMBER and row.value is not None:
        return int(row.value) if row.value.is_integer() and abs(row.value) < 2**53 else row.value
    return published(series.kind, row.value, row.text)


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _csv(rows: Iterable[Fields]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _json_lines(columns: tuple[str, ...], rows: Iterable[Fields]) -> str:
    return "".join(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n" for row in rows)
