"""The history as a file for other programs: row by row, in bounded memory, and never one long question."""

import csv
import io
import json
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from appliance.mqtt.topics import matches
from appliance.store.asking import asking
from appliance.store.calendar import Calendar
from appliance.store.travel import published
from appliance.timespan import rfc3339

PAGE_ROWS: Final = 20_000  # of one question, some tenths of a second; each has a connection of its own
FORMATS: Final = ("csv", "jsonl")
ROW_COLUMNS: Final = ("topic", "time", "value", "unit", "quality", "clock", "agent", "run", "seq")
BUCKET_COLUMNS: Final = ("topic", "time", "min", "mean", "max", "count", "last", "unit")

Fields = tuple[str | float | int | None, ...]


class Reading(NamedTuple):
    """A row of the history with the time it was measured at, in Unix seconds."""

    at: float
    value: float | None
    text: str | None
    fields: tuple[str, str | None, str | None, str | None, int | None]
    """Quality, clock, agent, run and seq."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to export: topics that match, from one time to another (both included), in buckets of `every_s` or as is."""

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


def export(path: Path, wanted: Wanted, form: str, tell: Callable[[int, int], None]) -> Generator[str]:
    """Give the file in pieces; `tell` hears after each piece how many of how many topics are done. StoreError."""
    columns = BUCKET_COLUMNS if wanted.every_s else ROW_COLUMNS
    series = _series(path, wanted.topic_filter)
    if form == "csv":
        yield _csv([columns])
    for done, one in enumerate(series):
        tell(done, len(series))
        for page in _pages(path, one, wanted):
            rows: Iterable[Fields] = page
            yield _csv(rows) if form == "csv" else "".join(
                json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n" for row in rows
            )
            tell(done, len(series))
    tell(len(series), len(series))


def _series(path: Path, topic_filter: str) -> list[Exported]:
    with asking(path) as connection:
        rows = connection.execute("SELECT id, topic, kind, unit FROM series ORDER BY topic").fetchall()
    return [Exported(*row) for row in rows if matches(topic_filter, row[1])]


def _pages(path: Path, series: Exported, wanted: Wanted) -> Iterator[list[Fields]]:
    if wanted.every_s is None:
        for page in _readings(path, series, wanted):
            yield [
                (
                    series.topic,
                    rfc3339(one.at),
                    one.value if series.kind == "number" and one.value is not None else _said(series, one),
                    series.unit,
                    *one.fields,
                )
                for one in page
            ]
        return
    bucket: Bucket | None = None
    for page in _readings(path, series, wanted):
        full: list[Fields] = []
        for one in page:
            begins = one.at // wanted.every_s * wanted.every_s
            if bucket is None or bucket.begins != begins:
                if bucket is not None:
                    full.append(bucket.row(series))
                bucket = Bucket(begins)
            bucket.add(one)
        yield full
    if bucket is not None:
        yield [bucket.row(series)]


class Bucket:
    """The readings of one stretch of `--every`; it is named for its beginning, counted from 1970 in UTC."""

    def __init__(self, begins: float) -> None:
        self.begins = begins
        self._values: list[float] = []
        self._last: Reading | None = None
        self._count = 0

    def add(self, one: Reading) -> None:
        """Take a reading, in order of time."""
        self._last = one
        self._count += 1
        if one.value is not None:
            low, total, high, number = self._values or (one.value, 0.0, one.value, 0)
            self._values = [min(low, one.value), total + one.value, max(high, one.value), number + 1]

    def row(self, series: Exported) -> Fields:
        """Give the columns of its row."""
        low, total, high, number = self._values or (None, 0.0, None, 0)
        mean = total / number if number else None
        last = "" if self._last is None else _said(series, self._last)
        return series.topic, rfc3339(self.begins), low, mean, high, self._count, last, series.unit


def _readings(path: Path, series: Exported, wanted: Wanted) -> Iterator[list[Reading]]:
    """Give the rows of a series in order, page by page; each goes on behind the last tick of the one before."""
    tick = -1
    while True:
        with asking(path) as connection:
            calendar = Calendar(connection)
            tick = max(tick, calendar.tick(wanted.since_at) - 1)
            rows = connection.execute(
                "SELECT tick, value, text, quality, clock, agent, run, seq FROM history"
                " WHERE topic = ? AND tick > ? AND tick <= ? ORDER BY tick LIMIT ?",
                (series.topic, tick, calendar.tick(wanted.until_at), PAGE_ROWS),
            ).fetchall()
        if rows:
            tick = rows[-1][0]
            yield [
                Reading(calendar.at(when), value, text, fields) for when, value, text, *rest in rows
                for fields in [(rest[0], rest[1], rest[2], rest[3], rest[4])]
            ]
        if len(rows) < PAGE_ROWS:
            return


def _said(series: Exported, one: Reading) -> str:
    return published(series.kind, one.value, one.text)


def _csv(rows: Iterable[Fields]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
