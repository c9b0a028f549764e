"""The history: readings go in once each, and come out as rows, charts and latest values."""

import sqlite3
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.devices import Device
from appliance.store.database import StoreError, explain, open_reader
from appliance.store.readings import BINARY, LAST_AT, MAX_TOPIC_CHARS, NUMBER, TEXT, Measured, Origin, Value

KIND_OF_ROLE: Final = {"sensor": NUMBER, "binary_sensor": BINARY, "switch": BINARY, "event": TEXT}
WIDTH_OF_KIND: Final = {TEXT: 0, BINARY: 1, NUMBER: 2}  # a series that said ON and then 0.5 is a series of numbers
MAX_CACHED_RUNS: Final = 1_024
MAX_ROWS: Final = 100_000
MAX_POINTS: Final = 10_000
READER_TIMEOUT_S: Final = 5.0  # a reader that stays longer pins the write-ahead log
STEPS_BETWEEN_LOOKS: Final = 20_000  # of SQLite's machine, some milliseconds


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One reading. `at` is Unix seconds to the millisecond; agent, run and seq are None from a stranger."""

    at: float
    value: float | None
    text: str | None
    quality: str
    clock: str | None
    agent: str | None
    run: str | None
    seq: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """The readings of one stretch of a chart; `at` is the first of them, Unix seconds."""

    at: float
    min: float
    mean: float
    max: float
    count: int


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


@dataclass(slots=True)
class Tally:
    """What became of readings that were handed in."""

    rows: int = 0
    duplicates: int = 0
    refused: int = 0  # of series beyond the cap
    forbidden: int = 0  # of topics that their publisher may not publish to


class History:
    """Writes readings. Call it inside a transaction, and make a new one when a transaction failed."""

    def __init__(self, connection: sqlite3.Connection, *, max_series: int) -> None:
        self._ask = connection.execute
        self._max_series = max_series
        self._runs: dict[tuple[str, str], int] = {}
        # A failed transaction may leave names here whose rows were rolled back: hence "make a new one".
        self._series: dict[str, tuple[int, str]] = {
            topic: (series_id, kind) for series_id, topic, kind in self._ask("SELECT id, topic, kind FROM series")
        }

    def learn(self, device: Device) -> Tally:
        """Keep the names and units an agent gives its readings."""
        tally = Tally()
        for sensor in device.sensors:
            if len(sensor.topic) > MAX_TOPIC_CHARS or not sensor.topic.isprintable():
                continue
            series_id = self._series_id(sensor.topic, KIND_OF_ROLE[sensor.role])
            if series_id is None:
                tally.refused += 1
                continue
            said = (sensor.unit, sensor.name or None, sensor.kind, device.agent, series_id)
            self._ask(
                "UPDATE series SET unit = ?1, name = ?2, quantity = ?3, agent = ?4 WHERE id = ?5"
                " AND (unit, name, quantity, agent) IS NOT (?1, ?2, ?3, ?4)",
                said,
            )
        return tally

    def append(self, measured: Iterable[Measured]) -> Tally:
        """Add readings in their order; one whose (agent, run, seq) is already here is left out."""
        tally = Tally()
        for one in measured:
            run_id = None if one.origin is None else self._run_id(one.origin)
            if one.origin is not None and run_id is not None and not self._receive(run_id, one.origin.seq):
                tally.duplicates += len(one.values)
                continue
            for value in one.values:
                series_id = self._series_id(value.topic, value.kind)
                if series_id is None:
                    tally.refused += 1
                else:
                    self._insert(series_id, one, value, run_id)
                    tally.rows += 1
        return tally

    def _insert(self, series_id: int, one: Measured, value: Value, run_id: int | None) -> None:
        self._ask(
            "INSERT INTO readings (series_id, at_ms, nth, value, text, quality, clock, run_id, seq)"
            " SELECT ?1, ?2, coalesce(max(nth) + 1, 0), ?3, ?4, ?5, ?6, ?7, ?8"
            " FROM readings WHERE series_id = ?1 AND at_ms = ?2",
            (
                series_id,
                round(one.at * 1000),
                value.value,
                value.text,
                None if one.quality == "ok" else one.quality,
                None if one.clock == "synced" else one.clock,
                run_id,
                None if one.origin is None else one.origin.seq,
            ),
        )

    def _series_id(self, topic: str, kind: str) -> int | None:
        """Row of the topic's series, made if there is room; None beyond the cap."""
        known = self._series.get(topic)
        if known is None:
            if len(self._series) >= self._max_series:
                return None
            series_id = self._ask("INSERT INTO series (topic, kind) VALUES (?, ?)", (topic, kind)).lastrowid
            assert series_id is not None  # noqa: S101 an INSERT that did not raise has one
            self._series[topic] = (series_id, kind)
            return series_id
        series_id, widest = known
        if kind != widest and WIDTH_OF_KIND[kind] > WIDTH_OF_KIND[widest]:
            self._ask("UPDATE series SET kind = ? WHERE id = ?", (kind, series_id))
            self._series[topic] = (series_id, kind)
        return series_id

    def _run_id(self, origin: Origin) -> int:
        name = (origin.agent, origin.run)
        run_id = self._runs.get(name)
        if run_id is None:
            self._ask("INSERT OR IGNORE INTO runs (agent, run) VALUES (?, ?)", name)
            (run_id,) = self._ask("SELECT id FROM runs WHERE agent = ? AND run = ?", name).fetchone()
            if len(self._runs) >= MAX_CACHED_RUNS:
                self._runs.clear()
            self._runs[name] = run_id
        return run_id

    def _receive(self, run_id: int, seq: int) -> bool:
        """Note a sequence number; False if it was here before. Neighbouring numbers share one row of `received`."""
        before = self._ask(
            "SELECT first_seq, last_seq FROM received WHERE run_id = ? AND first_seq <= ?"
            " ORDER BY first_seq DESC LIMIT 1",
            (run_id, seq),
        ).fetchone()
        if before is not None and seq <= before[1]:
            return False
        after = self._ask(
            "SELECT last_seq FROM received WHERE run_id = ? AND first_seq = ?", (run_id, seq + 1)
        ).fetchone()
        first_seq = before[0] if before is not None and before[1] == seq - 1 else seq
        last_seq = seq
        if after is not None:
            last_seq = after[0]
            self._ask("DELETE FROM received WHERE run_id = ? AND first_seq = ?", (run_id, seq + 1))
        self._ask("INSERT OR REPLACE INTO received VALUES (?, ?, ?)", (run_id, first_seq, last_seq))
        return True


class HistoryReader:
    """Asks the history; each question opens its own read-only connection, so any thread may ask.

    Every question ends within `timeout_s`; StoreError says in one line what went wrong and what to do.
    """

    def __init__(self, path: Path, *, timeout_s: float = READER_TIMEOUT_S) -> None:
        self._path = path
        self._timeout_s = timeout_s

    def rows(self, topic: str, since_at: float, until_at: float, limit: int = MAX_ROWS) -> list[Row]:
        """Readings of a topic from one time to another, both included, oldest first; the newest `limit` of them."""
        with self._connection() as connection:
            found = connection.execute(
                f"{ROW} WHERE topic = ? AND at_ms BETWEEN ? AND ? ORDER BY at_ms DESC, nth DESC LIMIT ?",
                (topic, _ms(since_at), _ms(until_at), max(0, min(limit, MAX_ROWS))),
            ).fetchall()
        return [_row(*fields) for fields in reversed(found)]

    def chart(self, topic: str, since_at: float, until_at: float, points: int = 500) -> Chart:
        """Draw a topic from one time to another, both included, in at most `points` buckets of equal length."""
        points = max(1, min(points, MAX_POINTS))
        since, until = _ms(since_at), _ms(until_at)
        width = max(1, -(-(until - since + 1) // points))
        buckets: list[Bucket] = []
        before: Row | None = None
        with self._connection() as connection:
            connection.execute("BEGIN")  # one state of the history for all buckets
            series = connection.execute("SELECT id FROM series WHERE topic = ?", (topic,)).fetchone()
            if series is not None:
                earlier = connection.execute(
                    f"{ROW} WHERE topic = ? AND at_ms < ? ORDER BY at_ms DESC, nth DESC LIMIT 1",
                    (topic, since),
                ).fetchone()
                before = _row(*earlier) if earlier else None
                for start in range(since, until + 1, width):
                    # A range of the clustered key each: nothing is sorted, nothing is gathered.
                    first, lowest, mean, highest, count = connection.execute(
                        "SELECT min(at_ms), min(value), avg(value), max(value), count(*) FROM readings"
                        " WHERE series_id = ? AND at_ms BETWEEN ? AND ? AND value IS NOT NULL",
                        (series[0], start, min(start + width - 1, until)),
                    ).fetchone()
                    if count:
                        buckets.append(Bucket(at=first / 1000, min=lowest, mean=mean, max=highest, count=count))
        return Chart(
            topic=topic,
            since_at=since / 1000,
            until_at=until / 1000,
            bucket_s=width / 1000,
            before=before,
            buckets=buckets,
        )

    def topics(self) -> list[Series]:
        """Everything that has a history, by topic."""
        with self._connection() as connection:
            found = connection.execute(
                "SELECT topic, kind, unit, name, quantity, agent,"
                " (SELECT max(at_ms) FROM readings WHERE series_id = series.id) FROM series ORDER BY topic"
            ).fetchall()
        return [
            Series(
                topic=topic,
                kind=kind,
                unit=unit,
                name=name,
                quantity=quantity,
                agent=agent,
                last_at=None if last_ms is None else last_ms / 1000,
            )
            for topic, kind, unit, name, quantity, agent, last_ms in found
        ]

    def latest(self) -> dict[str, Row]:
        """Newest reading of every topic."""
        with self._connection() as connection:
            found = connection.execute(f"SELECT topic, {ROW_COLUMNS} FROM latest ORDER BY topic").fetchall()  # noqa: S608
        return {topic: _row(*fields) for topic, *fields in found}

    @contextmanager
    def _connection(self) -> Generator[sqlite3.Connection]:
        connection = open_reader(self._path)
        ends = time.monotonic() + self._timeout_s
        connection.set_progress_handler(lambda: time.monotonic() > ends, STEPS_BETWEEN_LOOKS)
        try:
            yield connection
        except sqlite3.Error as error:
            raise StoreError(explain(self._path, error)) from error
        finally:
            connection.close()


ROW_COLUMNS: Final = "at_ms, value, text, quality, clock, agent, run, seq"
ROW: Final = f"SELECT {ROW_COLUMNS} FROM history"  # noqa: S608 our own names


def _row(
    at_ms: int,
    value: float | None,
    text: str | None,
    quality: str,
    clock: str | None,
    agent: str | None,
    run: str | None,
    seq: int | None,
) -> Row:
    return Row(at=at_ms / 1000, value=value, text=text, quality=quality, clock=clock, agent=agent, run=run, seq=seq)


def _ms(at: float) -> int:
    """Unix seconds as the database counts them, within what it may hold."""
    return round(max(0.0, min(at, LAST_AT)) * 1000)
