"""One state of the history, as any question sees it: rows that were moved to `readings`, and those still staged.

A time becomes one range of ticks for all epochs whose ticks are Unix time, and one more for each other epoch that it
touches; each is a range of the clustered key, so nothing is scanned.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from appliance.clock import UNSYNCED
from appliance.store import columns
from appliance.store.answers import Bucket, Row
from appliance.store.hubclock import Epoch
from appliance.store.reading_rows import (
    IS_LIKELY_WHOLE,
    IS_WHOLE,
    LATE_BIAS_MS,
    TICKS_PER_MS,
    Stored,
    is_whole,
    key_sum,
    shown,
)
from appliance.store.schema_ticks import IS_STAGED
from appliance.store.sealed import whole_series
from appliance.store.staged import COLUMNS, StagedRow, Staging

FEW: Final = 100  # rows are not worth another way
ENDLESS: Final = 2**62
MARGIN_TICKS: Final = 360_000 * TICKS_PER_MS  # a reading may be placed so far outside its epoch


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
"""A row as it is found, moved or staged: tick, value, seq, late_check, stretch_id."""

Sum = tuple[int, float, float, float, int]
"""Readings of one bucket: ms of the first, min, sum, max, count."""

_IN_SPAN: Final = "series_id = ? AND tick BETWEEN ? AND ?"
_MOVED: Final = f"SELECT tick, value, seq, late_check, stretch_id FROM readings WHERE {_IN_SPAN}"  # noqa: S608 our own
_NEWEST: Final = "ORDER BY tick DESC LIMIT ?"
# Numbers in thousandths are told quickly; `is_whole` looks at all others, which SQLite could only ask Python about.
_NOT_DAMAGED: Final = f"({IS_LIKELY_WHOLE} OR typeof(value) <> 'integer' OR {IS_WHOLE})"
_STAGED: Final = f"SELECT {COLUMNS} FROM journal WHERE series_id = ? AND {IS_STAGED}"  # noqa: S608
_LAST_STAGED: Final = f"SELECT {COLUMNS}, max(tick) FROM journal WHERE {IS_STAGED} GROUP BY series_id"  # noqa: S608
_OF_OFFSET: Final = (
    " AND stretch_id IN (SELECT stretches.id FROM epochs JOIN stretches ON epoch_id = epochs.id WHERE offset_ms = ?)"
)
_PLACE: Final = f"(tick / {TICKS_PER_MS} + ?) / ? AS place"
_BUCKETS: Final = f"SELECT {_PLACE}, min(tick), min(value), total(value), max(value), count(*) FROM readings"  # noqa: S608
_THOUSANDTHS: Final = f"{_BUCKETS} WHERE {_IN_SPAN} AND typeof(value) = 'integer' AND ({IS_LIKELY_WHOLE} OR {IS_WHOLE})"
_REALS: Final = f"{_BUCKETS} WHERE {_IN_SPAN} AND typeof(value) = 'real' AND {IS_WHOLE}"


class Question:
    """One state of the history, on an open connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._ask = connection.execute
        self._stretches: dict[int, Stretch] = {}
        self._staged: dict[int, list[Found]] = {}  # by series
        self._staging: Staging | None = None
        self._shifted: list[Epoch] | None = None

    def all(self, statement: str, values: tuple[object, ...] = ()) -> list[Any]:
        """All rows of an answer."""
        return self._ask(statement, values).fetchall()

    def series_id(self, topic: str) -> int | None:
        """Row of a topic's series."""
        found = whole_series(self.connection, topic)
        return int(found[0][0]) if found else None

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

    def rows(self, series_id: int, spans: list[Span], limit: int) -> list[Row]:
        """Readings of a series in some spans, oldest first; the last `limit` of them."""
        (span, *others) = spans
        if not others and not span.mixed and limit >= FEW:
            found = columns.columns(self.connection, columns.Span(series_id, *span[1:3]), limit)
            staged = self._staged_in(series_id, span) if found is not None else []
            if found is not None and (not staged or not found.ticks or found.ticks[-1] < staged[0][0]):
                return (self._alike(found) + self.told(staged))[-limit:]
        return self.told(self.newest(series_id, spans, limit))

    def _alike(self, found: columns.Columns) -> list[Row]:
        """Rows of columns."""
        ticks, values, seqs, late, stretch_ids = found
        if not ticks:
            return []
        if stretch_ids.count(stretch_ids[0]) < len(ticks):
            return self.told(zip(ticks, values, seqs, [one << 16 for one in late], stretch_ids, strict=True))
        offset_ms, quality, clock, agent, run = self._stretch(stretch_ids[0])
        at = [tick // TICKS_PER_MS + offset_ms for tick in ticks]
        return [
            Row(ms / 1000, value / 1000, None, quality, clock, agent, run, seq, (ms + one + LATE_BIAS_MS) / 1000)
            for ms, value, seq, one in zip(at, values, seqs, late, strict=True)
        ]

    def newest(self, series_id: int, spans: list[Span], limit: int) -> list[Found]:
        """Rows of a series in some spans, in the order of ticks; the last `limit` of them."""
        found: list[Found] = []
        is_sorted = True
        for span in spans:
            where = (series_id, span.first_tick, span.last_tick, *((span.offset_ms,) if span.mixed else ()))
            of_offset = _OF_OFFSET if span.mixed else ""
            moved = self._moved(series_id, where, of_offset, limit)
            moved.reverse()
            staged = self._staged_in(series_id, span)
            is_sorted = is_sorted and not found and (not staged or not moved or moved[-1][0] < staged[0][0])
            found = found + moved + staged if found else moved + staged
        if not is_sorted:
            found.sort(key=_tick_of)
        return found[-limit:] if limit else []

    def last_rows(self, series: Iterable[int]) -> dict[int, Row]:
        """Last reading of each series."""
        last: dict[int, Found] = {}
        everything = Span(0, -ENDLESS, ENDLESS, mixed=False)
        for fields in self.all(_LAST_STAGED):
            row = StagedRow(*fields[:-1])
            if row.series_id is None:
                continue
            found = self.found(row)
            if found is None:  # the last whole one, in the place of a damaged one
                before = self._staged_in(row.series_id, everything)
                found = before[-1] if before else None
            if found is not None:
                _keep_later(last, row.series_id, found)
        for series_id in series:
            for moved in self._moved(series_id, (series_id, *everything[1:3]), "", 1):
                _keep_later(last, series_id, moved)
        return dict(zip(last, self.told(last.values()), strict=True))

    def raw_buckets(self, series_id: int, since_ms: int, until_ms: int, width_ms: int) -> list[Bucket]:
        """Count up the readings themselves in buckets of equal length."""
        sums: dict[int, Sum] = {}  # by the place of the bucket
        for span in self.spans(since_ms, until_ms):
            shift_ms = span.offset_ms - since_ms
            for place, tick, lowest, total, highest, count, one in self._buckets(series_id, span, shift_ms, width_ms):
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

    def _buckets(self, series_id: int, span: Span, shift_ms: int, width_ms: int) -> Iterator[tuple[Any, ...]]:
        """Sums of what was moved: place, first tick, min, sum, max, count, and what of these numbers is 1."""
        ticks = span.first_tick, span.last_tick
        quick = None
        if not span.mixed:
            quick = columns.buckets(self.connection, columns.Span(series_id, *ticks), shift_ms, width_ms)
        if quick is not None:
            for bucket in quick:
                yield *bucket, 1000
            return
        ending = f"{_OF_OFFSET if span.mixed else ''} GROUP BY place"
        of_offset = (span.offset_ms,) if span.mixed else ()
        for statement, one, sums in ((_THOUSANDTHS, 1000, (key_sum(series_id),)), (_REALS, 1, ())):
            values = (shift_ms, width_ms, series_id, *ticks, *sums, *of_offset)
            for bucket in self._ask(f"{statement}{ending}", values):
                yield *bucket, one

    def told(self, found: Iterable[Found]) -> list[Row]:
        """Rows with what their stretches say of them."""
        rows: list[Row] = []
        known_id = -1
        offset_ms, quality, clock, agent, run = Stretch(0, "", None, None, None)
        append = rows.append
        for tick, value, seq, late_check, stretch_id in found:
            if stretch_id != known_id:
                known_id = stretch_id
                offset_ms, quality, clock, agent, run = self._stretch(stretch_id)
            at_ms = tick // TICKS_PER_MS + offset_ms
            received = (at_ms + (late_check >> 16) + LATE_BIAS_MS) / 1000
            if type(value) is int:
                append(Row(at_ms / 1000, value / 1000, None, quality, clock, agent, run, seq, received))
            else:
                text = value if type(value) is str else None
                append(Row(at_ms / 1000, shown(value), text, quality, clock, agent, run, seq, received))
        return rows

    def _staged_in(self, series_id: int, span: Span) -> list[Found]:
        """Rows of a series in a span that are not moved yet, in the order of ticks."""
        if series_id not in self._staged:
            rows = map(self.found, map(StagedRow._make, self.all(_STAGED, (series_id,))))
            self._staged[series_id] = sorted((found for found in rows if found is not None), key=_tick_of)
        return [
            found
            for found in self._staged[series_id]
            if span.first_tick <= found[0] <= span.last_tick
            and (not span.mixed or self._stretch(found[4]).offset_ms == span.offset_ms)
        ]

    def _moved(self, series_id: int, where: tuple[object, ...], of_offset: str, limit: int) -> list[Found]:
        """Rows of a series that were moved, the newest first; at most `limit` of them."""
        asked = f"{_MOVED}{of_offset} AND {_NOT_DAMAGED} {_NEWEST}"
        found: list[Found] = self.all(asked, (*where, key_sum(series_id), limit))
        if all(type(row[1]) is int or is_whole(series_id, *row) for row in found):
            return found
        return self.all(f"{_MOVED}{of_offset} AND {IS_WHOLE} {_NEWEST}", (*where, limit))

    def found(self, row: StagedRow) -> Found | None:
        """Give what a row of the journal says; None where it is damaged."""
        if self._staging is None:
            self._staging = Staging(self.connection)
        if row.tick is None or row.value is None or row.late_ms is None or row.stretch_id is None:
            return None
        if not self._staging.is_whole(row):
            return None
        return row.tick, row.value, row.seq, row.late_ms - LATE_BIAS_MS << 16, row.stretch_id

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
