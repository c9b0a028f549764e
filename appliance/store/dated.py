"""Moved readings by their true times: ticks and the offsets of their epochs, put together."""

import sqlite3
from operator import itemgetter
from typing import Final, NamedTuple

from appliance.store.reading_rows import IS_WHOLE, TICKS_PER_MS
from appliance.store.rollup import Reading, Value

LARGEST: Final = 1e290  # thousandths beyond it could not be added up; nothing in a home is so large
MARGIN_TICKS: Final = 360_000 * TICKS_PER_MS  # a reading may be placed so far outside its epoch
MAX_STRETCHES: Final = 10_000  # known at a time


class _Span(NamedTuple):
    """The ticks that share an offset."""

    offset_ms: int
    first_tick: int
    last_tick: int | None  # None while one of its epochs is the newest: rows may be ahead of what it says


def scaled(value: Value) -> Value:
    """Give a value as it is stored in thousandths, also where it is no whole number of them."""
    return max(-LARGEST, min(value * 1000, LARGEST)) if isinstance(value, float) else value


class DatedReadings:
    """Asks `readings` by Unix milliseconds, as far as these are known: where the clock is not set they are provisional.

    Damaged readings do not exist for it.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._ask = connection.execute
        self._offsets: dict[int, int] = {}  # of a stretch
        self._spans: list[_Span] = []
        self.forget()

    def forget(self, *, all_offsets: bool = False) -> None:
        """Look at the epochs anew; call it in each transaction before asking, with `all_offsets` where one changed."""
        spans = self._ask(
            "SELECT offset_ms, min(first_tick),"
            " CASE WHEN max(id) < (SELECT max(id) FROM epochs) THEN max(last_tick) END"
            " FROM epochs GROUP BY offset_ms"
        )
        found = [_Span(*span) for span in spans]
        if all_offsets or found != self._spans or len(self._offsets) > MAX_STRETCHES:
            self._offsets.clear()
            self._spans = found

    def between(self, series_id: int, from_ms: int, until_ms: int) -> list[Reading]:
        """Readings from one time up to, not including, another, in their order."""
        found = self._found(series_id, from_ms, until_ms, "")
        return [Reading(at_ms, scaled(value)) for at_ms, _, value in found]

    def take_late(self, series_id: int, from_ms: int, until_ms: int) -> list[Reading]:
        """Take out of the table what came in after the readings of its time were thrown away."""
        late = "AND tick IN (SELECT tick FROM late WHERE late.series_id = readings.series_id)"
        found = self._found(series_id, from_ms, until_ms, late)
        for _, tick, _ in found:
            self._ask("DELETE FROM readings WHERE series_id = ? AND tick = ?", (series_id, tick))
            self._ask("DELETE FROM late WHERE series_id = ? AND tick = ?", (series_id, tick))
        return [Reading(at_ms, scaled(value)) for at_ms, _, value in found]

    def _found(self, series_id: int, from_ms: int, until_ms: int, where: str) -> list[tuple[int, int, Value]]:
        """Unix ms, tick and stored value of readings."""
        found: list[tuple[int, int, Value]] = []
        for span in self._spans:
            rows = self._ask(
                "SELECT tick, value, stretch_id FROM readings WHERE series_id = ? AND tick >= ? AND tick < ?"  # noqa: S608
                f" AND {IS_WHOLE} {where} ORDER BY tick",
                (series_id, *self._ticks(span, from_ms, until_ms)),
            )
            offset_ms = span.offset_ms
            for tick, value, stretch_id in rows:
                if self._offset(stretch_id) == offset_ms:
                    found.append((tick // TICKS_PER_MS + offset_ms, tick, value))
        if len(self._spans) > 1:
            found.sort(key=itemgetter(0, 1))
        return found

    def before(self, series_id: int, at_ms: int, *, texts: bool) -> Reading | None:
        """Newest reading before a time that is a text, or that is a number."""
        best: tuple[int, int, Value] | None = None
        for span in self._spans:
            row = self._ask(
                "SELECT tick, value FROM readings CROSS JOIN stretches ON stretches.id = readings.stretch_id"  # noqa: S608
                " JOIN epochs ON epochs.id = stretches.epoch_id"
                " WHERE series_id = ? AND tick >= ? AND tick < ? AND (typeof(value) = 'text') = ?"
                f" AND offset_ms = ? AND {IS_WHOLE} ORDER BY tick DESC LIMIT 1",
                (series_id, *self._ticks(span, 0, at_ms), texts, span.offset_ms),
            ).fetchone()
            if row is not None:
                best = max(best or (-1, 0, 0), (row[0] // TICKS_PER_MS + span.offset_ms, *row), key=itemgetter(0, 1))
        return None if best is None else Reading(best[0], scaled(best[2]))

    def _ticks(self, span: _Span, from_ms: int, until_ms: int) -> tuple[int, int]:
        """The ticks of a span that lie between two times."""
        first = (from_ms - span.offset_ms) * TICKS_PER_MS
        end = (until_ms - span.offset_ms) * TICKS_PER_MS
        if span.offset_ms == 0:  # measured times of strangers' clocks lie anywhere
            return first, end
        first = max(first, span.first_tick - MARGIN_TICKS)
        return first, end if span.last_tick is None else min(end, span.last_tick + MARGIN_TICKS)

    def _offset(self, stretch_id: int) -> int | None:
        """Offset of a stretch; None where there is no such stretch."""
        if stretch_id not in self._offsets:
            row = self._ask(
                "SELECT offset_ms FROM stretches JOIN epochs ON epochs.id = epoch_id WHERE stretches.id = ?",
                (stretch_id,),
            ).fetchone()
            if row is None:
                return None
            self._offsets[stretch_id] = row[0]
        return self._offsets[stretch_id]
