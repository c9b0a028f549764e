"""The history as it is read: rows, charts, and the last value of each topic, now or at any moment.

Every question is one state of the file, over the rows that were moved to `readings` and those still staged in
`journal`. A time becomes one range of ticks for all epochs whose ticks are Unix time, and one more for each other
epoch that it touches; each is a range of the clustered key, so nothing is scanned.
"""

import sqlite3
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from appliance.clock import UNSYNCED
from appliance.mqtt.topics import matches
from appliance.store.database import StoreError, explain, open_reader
from appliance.store.hubclock import Epoch
from appliance.store.reading_rows import IS_WHOLE, LATE_MS, TICKS_PER_MS, Stored, prepare, shown
from appliance.store.readings import LAST_AT
from appliance.store.schema_ticks import IS_STAGED

MAX_ROWS: Final = 100_000
MAX_POINTS: Final = 10_000
READER_TIMEOUT_S: Final = 5.0  # a reader that stays longer pins the write-ahead log
STEPS_BETWEEN_LOOKS: Final = 20_000  # of SQLite's machine, some milliseconds
ENDLESS: Final = 2**62
MARGIN_TICKS: Final = 360_000 * TICKS_PER_MS  # a reading may be placed so far outside its epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What is known of one topic that has a history. kind: number, binary (ON is 1, OFF is 0) or text."""

    topic: str
    kind: str
    unit: str | None
    name: str | None
    quantity: str | None
    agent: str | None
    last_at: float | None


class Row(msgspec.Struct, frozen=True):
    """One reading. `at` and `received` are Unix seconds to the ms; agent, run and seq are None from a stranger.

    clock: what the time rests on. The agent's word, synced or unsynced, or None; unsynced too while the hub's own
    clock is not set, and redated where it was set later.
    """

    at: float
    value: float | None
    text: str | None
    quality: str
    clock: str | None
    agent: str | None
    run: str | None
    seq: int | None
    received: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """The readings of one stretch of a chart; `at` is the first of them, or begins what is rolled up; Unix seconds.

    In `weighted_mean` each value counts for as long as it stood; None where the readings themselves are drawn.
    """

    at: float
    min: float
    mean: float
    max: float
    count: int
    weighted_mean: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A stretch of one series in at most as many buckets as were asked for; buckets without a reading are left out.

    `before` is the last reading before the stretch: what held when it began.
    """

    topic: str
    since_at: float
    until_at: float
    bucket_s: float
    before: Row | None
    buckets: list[Bucket]


class Span(NamedTuple):
    """Ticks that mean Unix time by one offset; `mixed` where rows of another offset may lie among them."""

    offset_ms: int
    first_tick: int
    last_tick: int
    mixed: bool


class Stretch(NamedTuple):
    """What is the same for a run of rows."""

    offset_ms: int
    quality: str
    clock: str | None
    agent: str | None
    run: str | None


Found = tuple[int, Stored, int | None, int, int]
"""A row as it is found: tick, value, seq, late_ms, stretch_id."""

Sum = tuple[int, float, float, float, int]
"""Readings of one bucket: ms of the first, min, sum, max, count."""

_IN_SPAN: Final = "series_id = ? AND tick BETWEEN ? AND ?"
_MOVED: Final = f"SELECT tick, value, seq, {LATE_MS}, stretch_id FROM readings WHERE {_IN_SPAN}"  # noqa: S608 our own
_STAGED: Final = f"SELECT tick, value, seq, late_ms, stretch_id FROM journal WHERE series_id = ? AND {IS_STAGED}"  # noqa: S608
_OF_OFFSET: Final = (
    " AND stretch_id IN (SELECT stretches.id FROM epochs JOIN stretches ON epoch_id = epochs.id WHERE offset_ms = ?)"
)
_KINDS: Final = (("integer", 1000), ("real", 1))  # how numbers are stored, and what of one is 1
_BUCKETS: Final = (
    f"SELECT (tick / {TICKS_PER_MS} + ?) / ? AS place, min(tick), min(value), total(value), max(value), count(*)"  # noqa: S608
    f" FROM readings WHERE {_IN_SPAN} AND typeof(value) = ? AND {IS_WHOLE}"
)


class HistoryReader:
    """Asks the history; each question opens its own read-only connection, so any thread may ask.

    Every question ends within `timeout_s`; StoreError says in one line what went wrong and what to do. A row whose
    checksum is wrong is never given.
    """

    def __init__(self, path: Path, *, timeout_s: float = READER_TIMEOUT_S) -> None:
        self._path = path
        self._timeout_s = timeout_s

    @property
    def path(self) -> Path:
        """Where the database lies, for questions of other kinds."""
        return self._path

    def rows(self, topic: str, since_at: float, until_at: float, limit: int = MAX_ROWS) -> list[Row]:
        """Readings of a topic from one time to another, both included, oldest first; the newest `limit` of them."""
        with self._question() as ask:
            series_id = ask.series_id(topic)
            if series_id is None:
                return []
            limit = max(0, min(limit, MAX_ROWS))
            return ask.told(ask.newest(series_id, ask.spans(to_ms(since_at), to_ms(until_at)), limit))

    def chart(self, topic: str, since_at: float, until_at: float, points: int = 500) -> Chart:
        """Draw a topic from one time to another, both included, in at most `points` buckets of equal length."""
        points = max(1, min(points, MAX_POINTS))
        since_ms, until_ms = to_ms(since_at), to_ms(until_at)
        width_ms = max(1, -(-(until_ms - since_ms + 1) // points))
        buckets: list[Bucket] = []
        before: list[Row] = []
        with self._question() as ask:
            series_id = ask.series_id(topic)
            if series_id is not None:
                before = ask.told(ask.newest(series_id, ask.spans(0, since_ms - 1), 1))
                buckets = ask.raw_buckets(series_id, since_ms, until_ms, width_ms)
        return Chart(
            topic=topic,
            since_at=since_ms / 1000,
            until_at=until_ms / 1000,
            bucket_s=width_ms / 1000,
            before=before[0] if before else None,
            buckets=buckets,
        )

    def topics(self) -> list[Series]:
        """Everything that has a history, by topic."""
        with self._question() as ask:
            found = ask.all("SELECT id, topic, kind, unit, name, quantity, agent FROM series ORDER BY topic")
            last = ask.last_rows([fields[0] for fields in found], None)
        return [
            Series(
                topic=topic,
                kind=kind,
                unit=unit,
                name=name,
                quantity=quantity,
                agent=agent,
                last_at=last[series_id].at if series_id in last else None,
            )
            for series_id, topic, kind, unit, name, quantity, agent in found
        ]

    def latest(self) -> dict[str, Row]:
        """Newest reading of every topic."""
        return self._last(None, "#")

    def at(self, at: float, topic_filter: str = "#") -> dict[str, Row]:
        """Give the last reading of every topic that an MQTT filter matches, as it was known at a moment."""
        return self._last(at, topic_filter)

    def _last(self, at: float | None, topic_filter: str) -> dict[str, Row]:
        with self._question() as ask:
            series = {
                series_id: topic
                for series_id, topic in ask.all("SELECT id, topic FROM series ORDER BY topic")
                if topic_filter == "#" or matches(topic_filter, topic)
            }
            last = ask.last_rows(series, None if at is None else ask.spans(0, to_ms(at)))
        return {topic: last[series_id] for series_id, topic in series.items() if series_id in last}

    @contextmanager
    def _question(self) -> "Generator[Question]":
        connection = open_reader(self._path)
        prepare(connection)
        ends = time.monotonic() + self._timeout_s
        connection.set_progress_handler(lambda: time.monotonic() > ends, STEPS_BETWEEN_LOOKS)
        try:
            connection.execute("BEGIN")  # one state of the history for the whole answer
            yield Question(connection)
        except sqlite3.Error as error:
            raise StoreError(explain(self._path, error)) from error
        finally:
            connection.close()


class Question:
    """One state of the history, on an open connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._ask = connection.execute
        self._stretches: dict[int, Stretch] = {}
        self._staged: dict[int, list[Found]] = {}  # by series
        self._shifted: list[Epoch] | None = None

    def all(self, statement: str, values: tuple[object, ...] = ()) -> list[Any]:
        """All rows of an answer."""
        return self._ask(statement, values).fetchall()

    def series_id(self, topic: str) -> int | None:
        """Row of a topic's series."""
        found = self._ask("SELECT id FROM series WHERE topic = ?", (topic,)).fetchone()
        return None if found is None else int(found[0])

    def spans(self, since_ms: int, until_ms: int) -> list[Span]:
        """Ranges of ticks where readings from one time to another may lie, both included."""
        if self._shifted is None:
            self._shifted = [
                Epoch(*fields)
                for fields in self._ask(
                    "SELECT id, boot, first_tick, CASE id WHEN (SELECT max(id) FROM epochs) THEN ? ELSE last_tick END,"
                    " monotonic_ms, offset_ms, clock, age_ms FROM epochs WHERE offset_ms <> 0",
                    (ENDLESS,),
                )
            ]
        first, last = since_ms * TICKS_PER_MS, until_ms * TICKS_PER_MS + TICKS_PER_MS - 1
        areas = [(epoch.first_tick - MARGIN_TICKS, epoch.last_tick + MARGIN_TICKS) for epoch in self._shifted]
        spans = [Span(0, first, last, any(start <= last and first <= end for start, end in areas))]
        by_offset: dict[int, tuple[int, int]] = {}
        for epoch, (start, end) in zip(self._shifted, areas, strict=True):
            shift = epoch.offset_ms * TICKS_PER_MS
            inside = max(first - shift, start), min(last - shift, end)
            if inside[0] <= inside[1]:
                known = by_offset.get(epoch.offset_ms, inside)
                by_offset[epoch.offset_ms] = min(known[0], inside[0]), max(known[1], inside[1])
        return spans + [Span(offset_ms, *ticks, mixed=True) for offset_ms, ticks in by_offset.items()]

    def newest(self, series_id: int, spans: list[Span], limit: int) -> list[Found]:
        """Rows of a series in some spans, in the order of ticks; the last `limit` of them."""
        found: list[Found] = []
        is_sorted = True
        for span in spans:
            where = (series_id, span.first_tick, span.last_tick, *((span.offset_ms,) if span.mixed else ()))
            of_offset = _OF_OFFSET if span.mixed else ""
            moved = self._ask(
                f"{_MOVED}{of_offset} AND {IS_WHOLE} ORDER BY tick DESC LIMIT ?",
                (*where, limit),
            ).fetchall()
            moved.reverse()
            staged = self._staged_in(series_id, span)
            is_sorted = is_sorted and not found and (not staged or not moved or moved[-1][0] < staged[0][0])
            found = found + moved + staged if found else moved + staged
        if not is_sorted:
            found.sort(key=_tick_of)
        return found[-limit:] if limit else []

    def last_rows(self, series: Iterable[int], spans: list[Span] | None) -> dict[int, Row]:
        """Last reading of each series, of all or in some spans."""
        last: dict[int, Found] = {}
        everything = [Span(0, -ENDLESS, ENDLESS, mixed=False)] if spans is None else spans
        for span in everything:
            of_offset = _OF_OFFSET if span.mixed else ""
            offset = (span.offset_ms,) if span.mixed else ()
            staged = self._ask(
                f"SELECT series_id, max(tick), value, seq, late_ms, stretch_id FROM journal WHERE {IS_STAGED}"  # noqa: S608
                f" AND tick BETWEEN ? AND ?{of_offset} GROUP BY series_id",
                (span.first_tick, span.last_tick, *offset),
            )
            for series_id, *found in staged:
                _keep_later(last, series_id, tuple(found))
            for series_id in series:
                moved = self._ask(
                    f"{_MOVED}{of_offset} AND {IS_WHOLE} ORDER BY tick DESC LIMIT 1",
                    (series_id, span.first_tick, span.last_tick, *offset),
                ).fetchone()
                if moved is not None:
                    _keep_later(last, series_id, moved)
        return dict(zip(last, self.told(last.values()), strict=True))

    def raw_buckets(self, series_id: int, since_ms: int, until_ms: int, width_ms: int) -> list[Bucket]:
        """Count up the readings themselves in buckets of equal length."""
        sums: dict[int, Sum] = {}  # by the place of the bucket
        for span in self.spans(since_ms, until_ms):
            shift_ms = span.offset_ms - since_ms
            of_offset = (span.offset_ms,) if span.mixed else ()
            for kind, one in _KINDS:
                for place, tick, lowest, total, highest, count in self._ask(
                    f"{_BUCKETS}{_OF_OFFSET if span.mixed else ''} GROUP BY place",
                    (shift_ms, width_ms, series_id, span.first_tick, span.last_tick, kind, *of_offset),
                ):
                    at_ms = tick // TICKS_PER_MS + span.offset_ms
                    _add(sums, place, (at_ms, lowest / one, total / one, highest / one, count))
            for tick, value, *_ in self._staged_in(series_id, span):
                number = shown(value)
                if number is not None:
                    after_ms = tick // TICKS_PER_MS + shift_ms
                    _add(sums, after_ms // width_ms, (after_ms + since_ms, number, number, number, 1))
        return [
            Bucket(at=at_ms / 1000, min=lowest, mean=total / count, max=highest, count=count)
            for _, (at_ms, lowest, total, highest, count) in sorted(sums.items())
        ]

    def told(self, found: Iterable[Found]) -> list[Row]:
        """Rows with what their stretches say of them."""
        rows = []
        known_id = -1
        offset_ms, quality, clock, agent, run = Stretch(0, "", None, None, None)
        for tick, value, seq, late_ms, stretch_id in found:
            if stretch_id != known_id:
                known_id = stretch_id
                offset_ms, quality, clock, agent, run = self._stretch(stretch_id)
            at_ms = tick // TICKS_PER_MS + offset_ms
            number = value / 1000 if type(value) is int else shown(value)
            text = value if type(value) is str else None
            rows.append(Row(at_ms / 1000, number, text, quality, clock, agent, run, seq, (at_ms + late_ms) / 1000))
        return rows

    def _staged_in(self, series_id: int, span: Span) -> list[Found]:
        """Rows of a series in a span that are not moved yet, in the order of ticks."""
        if series_id not in self._staged:
            self._staged[series_id] = sorted(self._ask(_STAGED, (series_id,)), key=_tick_of)
        return [
            found
            for found in self._staged[series_id]
            if span.first_tick <= found[0] <= span.last_tick
            and (not span.mixed or self._stretch(found[4]).offset_ms == span.offset_ms)
        ]

    def _stretch(self, stretch_id: int) -> Stretch:
        known = self._stretches.get(stretch_id)
        if known is not None:
            return known
        found = self._ask(
            "SELECT offset_ms, coalesce(quality, 'ok'), stretches.clock, agent, run, epochs.clock FROM stretches"
            " JOIN epochs ON epochs.id = epoch_id LEFT JOIN runs ON runs.id = run_id WHERE stretches.id = ?",
            (stretch_id,),
        ).fetchone()
        offset_ms, quality, clock, agent, run, of_epoch = found
        if of_epoch != "synced" and clock != UNSYNCED:
            clock = of_epoch
        stretch = self._stretches[stretch_id] = Stretch(offset_ms, quality, clock, agent, run)
        return stretch


def _add(sums: dict[int, Sum], place: int, more: Sum) -> None:
    known = sums.get(place)
    if known is not None:
        at_ms, lowest, total, highest, count = known
        more = (
            min(at_ms, more[0]),
            min(lowest, more[1]),
            total + more[2],
            max(highest, more[3]),
            count + more[4],
        )
    sums[place] = more


def _keep_later(last: dict[int, Found], series_id: int, found: Found) -> None:
    known = last.get(series_id)
    if known is None or found[0] > known[0]:
        last[series_id] = found


def _tick_of(found: Found) -> int:
    return found[0]


def to_ms(at: float) -> int:
    """Unix seconds as ms, within what the database may hold."""
    return round(max(0.0, min(at, LAST_AT)) * 1000)
