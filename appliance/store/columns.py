"""Moved readings of one series as columns, where all of them are numbers in thousandths, as nearly all are.

SQLite writes each column as one text, which is read back at once: that takes half the time of row after row.
"""

import sqlite3
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from appliance.store.reading_rows import IS_LIKELY_WHOLE, LATE_BIAS_MS, TICKS_PER_MS, key_sum

MOST: Final = 100_000  # rows; beyond, the texts would take more memory than they are worth
STRETCH_BITS: Final = 40  # of a number that holds a stretch and how late a reading was, which is no whole 2**39 ms

_IN_SPAN: Final = "FROM readings WHERE series_id = ?1 AND tick BETWEEN ?2 AND ?3"
_COUNT: Final = f"SELECT count(*) FROM (SELECT 1 {_IN_SPAN} LIMIT ?4)"  # noqa: S608 our own
_WHOLE: Final = f"{_IN_SPAN} AND typeof(value) = 'integer' AND {IS_LIKELY_WHOLE.replace('?', '?4')}"
_VALUES: Final = f"SELECT json_group_array(tick), json_group_array(value) {_WHOLE}"  # noqa: S608
_ALL: Final = (
    "SELECT json_group_array(tick), json_group_array(value), json_group_array(seq),"  # noqa: S608
    f" json_group_array((stretch_id << {STRETCH_BITS}) + (late_check >> 16)), min(stretch_id), max(stretch_id) {_WHOLE}"
)
_numbers: Final = msgspec.json.Decoder(list[int]).decode
_seqs: Final = msgspec.json.Decoder(list[int | None]).decode


class Span(NamedTuple):
    """Readings of a series from one tick to another, both included."""

    series_id: int
    first_tick: int
    last_tick: int


class Columns(NamedTuple):
    """All readings of a span in the order of ticks.

    late: how many ms later each arrived, plus what `late_base` gives for the stretches, of which the first and the
    last id are told.
    """

    ticks: list[int]
    values: list[int]
    seqs: list[int | None]
    late: list[int]
    first_stretch: int
    last_stretch: int


def late_base(stretch_id: int) -> int:
    """Give what a reading of that stretch has in `late` when it was not late."""
    return (stretch_id << STRETCH_BITS) - LATE_BIAS_MS


def stretch_of(late: int) -> int:
    """Give the stretch of a reading."""
    return late + LATE_BIAS_MS + (1 << STRETCH_BITS - 1) >> STRETCH_BITS


def columns(connection: sqlite3.Connection, span: Span, most: int = MOST) -> Columns | None:
    """Give everything of a span; None where it is more, or something else than whole rows of thousandths."""
    told = _ask(connection, span, min(most, MOST), _ALL)
    if told is None:
        return None
    seqs, late, first_stretch, last_stretch = told[2:]
    return Columns(*told[:2], _seqs(seqs), _numbers(late), first_stretch or 0, last_stretch or 0)


def buckets(
    connection: sqlite3.Connection, span: Span, shift_ms: int, width_ms: int
) -> Iterator[tuple[int, int, int, int, int, int]] | None:
    """Count up the readings of a span in buckets of equal length: place, first tick, min, sum, max and count.

    A bucket's place is its number from where a tick of `-shift_ms` begins the first. None as of `columns`.
    """
    told = _ask(connection, span, MOST, _VALUES)
    return None if told is None else _buckets(told[0], told[1], shift_ms, width_ms)


def _buckets(
    ticks: list[int], values: list[int], shift_ms: int, width_ms: int
) -> Iterator[tuple[int, int, int, int, int, int]]:
    start, end = 0, len(ticks)
    while start < end:
        place = (ticks[start] // TICKS_PER_MS + shift_ms) // width_ms
        stop = bisect_left(ticks, ((place + 1) * width_ms - shift_ms) * TICKS_PER_MS, start + 1)
        part = values[start:stop]
        yield place, ticks[start], min(part), sum(part), max(part), stop - start
        start = stop


def _ask(connection: sqlite3.Connection, span: Span, most: int, statement: str) -> tuple[Any, ...] | None:
    """Give the columns with ticks and values read; None as of `columns`."""
    (count,) = connection.execute(_COUNT, (*span, most + 1)).fetchone()
    if count > most:
        return None
    ticks, values, *others = connection.execute(statement, (*span, key_sum(span.series_id))).fetchone()
    told = _numbers(ticks)
    if len(told) != count or told != sorted(told):
        return None
    return told, _numbers(values), *others
