"""The history as a file for other programs: row by row, in bounded memory."""

import csv
import io
import json
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from appliance.mqtt.topics import matches
from appliance.store.answers import Row
from appliance.store.asking import asking
from appliance.store.pages import pages
from appliance.store.readings import NUMBER
from appliance.store.travel import published

FORMATS: Final = ("csv", "jsonl")
ROW_COLUMNS: Final = ("topic", "time", "value", "unit", "quality", "clock", "agent", "run", "seq")
BUCKET_COLUMNS: Final = ("topic", "time", "min", "mean", "max", "count", "last", "unit")

Fields = tuple[str | float | int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to export: topics that match, from one time to another (both included), each reading or by `every_s`."""

    topic_filter: str
    since_at: float
    until_at: float
    every_s: float | None = None


class Exported(NamedTuple):
    """One series."""

    id: int
    topic: str
    kind: str
    unit: str | None


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


def _series(path: Path, topic_filter: str) -> list[Exported]:
    with asking(path) as connection:
        rows = connection.execute("SELECT id, topic, kind, unit FROM series ORDER BY topic").fetchall()
    return [Exported(*row) for row in rows if matches(topic_filter, row[1])]


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
        for row in page:
            begins_at = row.at // every_s * every_s
            if bucket is None or bucket.begins_at != begins_at:
                if bucket is not None:
                    full.append(bucket.fields(series))
                bucket = Bucket(begins_at)
            bucket.add(row)
        yield full
    if bucket is not None:
        yield [bucket.fields(series)]


class Bucket:
    """The readings of one stretch of `every_s`; its time is its beginning, counted from 1970 in UTC."""

    def __init__(self, begins_at: float) -> None:
        self.begins_at = begins_at
        self._last: Row | None = None
        self._rows = 0
        self._numbers = 0
        self._sum = 0.0
        self._low: float | None = None
        self._high: float | None = None

    def add(self, row: Row) -> None:
        """Take the next reading."""
        self._last = row
        self._rows += 1
        if row.value is not None:
            self._numbers += 1
            self._sum += row.value
            self._low = row.value if self._low is None else min(self._low, row.value)
            self._high = row.value if self._high is None else max(self._high, row.value)

    def fields(self, series: Exported) -> Fields:
        """Give its row."""
        mean = self._sum / self._numbers if self._numbers else None
        last = None if self._last is None else _value(series, self._last)
        return series.topic, _time(self.begins_at), self._low, mean, self._high, self._rows, last, series.unit


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
