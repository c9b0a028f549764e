"""Moved readings of one series as columns, where all of them are numbers in thousandths, as nearly all are.

SQLite writes each column as one text, which is read back at once: that takes half the time of row after row.
"""

import sqlite3
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from appliance.store.reading_rows import MODULUS, TICKS_PER_MS, key_sum

MOST: Final = 100_000  # rows; beyond, the texts would take more memory than they are worth
LATE_BITS: Final = 16  # of late_check, for the checksum

_IN_SPAN: Final = "FROM readings WHERE series_id = ?1 AND tick BETWEEN ?2 AND ?3"
_COUNT: Final = f"SELECT count(*) FROM (SELECT 1 {_IN_SPAN} LIMIT ?4)"  # noqa: S608 our own
# What `reading_rows.CHECKSUM` takes of the columns beside tick and value, less the checksums: added up for all rows.
_OTHERS: Final = (
    f"sum(ifnull(seq, -1) % {MODULUS}) * 13 + sum(late_check >> 16) * 17 + sum(stretch_id) * 19"
    " - sum(late_check & 65535)"
)
_VALUES: Final = f"SELECT json_group_array(tick), json_group_array(value), {_OTHERS} {_IN_SPAN}"
_ALL: Final = (
    "SELECT json_group_array(tick), json_group_array(value), json_group_array(seq),"
    f" json_group_array(late_check), json_group_array(stretch_id) {_IN_SPAN}"
)
_numbers: Final = msgspec.json.Decoder(list[int]).decode
_seqs: Final = msgspec.json.Decoder(list[int | None]).decode


class Span(NamedTuple):
    """Readings of a series from one tick to another, both included."""

    series_id: int
    first_tick: int
    last_tick: int


class Columns(NamedTuple):
    """All readings of a span in the order of ticks; late_ms less LATE_BIAS_MS."""

    ticks: list[int]
    values: list[int]
    seqs: list[int | None]
    late: list[int]
    stretch_ids: list[int]


def columns(connection: sqlite3.Connection, span: Span, most: int = MOST) -> Columns | None:
    """Give everything of a span; None where it is more, or something else than whole rows of thousandths."""
    told = _ask(connection, span, min(most, MOST), _ALL)
    if told is None:
        return None
    ticks, values, *texts = told
    try:
        seqs, late_checks, stretch_ids = _seqs(texts[0]), _numbers(texts[1]), _numbers(texts[2])
    except msgspec.DecodeError:
        return None
    late = [one >> LATE_BITS for one in late_checks]
    total_late = sum(late)
    others = (
        sum(seq for seq in seqs if seq is not None) * 13
        - seqs.count(None) * 13
        + total_late * 17
        + sum(stretch_ids) * 19
        - (sum(late_checks) - (total_late << LATE_BITS))
    )
    return Columns(ticks, values, seqs, late, stretch_ids) if _are_whole(span, ticks, values, others) else None


def buckets(
    connection: sqlite3.Connection, span: Span, shift_ms: int, width_ms: int
) -> Iterator[tuple[int, int, int, int, int, int]] | None:
    """Count up the readings of a span in buckets of equal length: place, first tick, min, sum, max and count.

    A bucket's place is its number from where a tick of `-shift_ms` begins the first. None as of `columns`.
    """
    told = _ask(connection, span, MOST, _VALUES)
    if told is None:
        return None
    ticks, values, others = told
    return _buckets(ticks, values, shift_ms, width_ms) if _are_whole(span, ticks, values, others or 0) else None


def _are_whole(span: Span, ticks: list[int], values: list[int], others: int) -> bool:
    """Tell whether all rows have their checksums, by their sum: as one damaged row changes its own, it changes that."""
    return not (len(ticks) * key_sum(span.series_id) + sum(ticks) * 7 + sum(values) * 11 + others) % MODULUS


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
    """Give ticks and values and what else was asked for; None as of `columns`."""
    (count,) = connection.execute(_COUNT, (*span, most + 1)).fetchone()
    if count > most:
        return None
    try:
        ticks, values, *others = connection.execute(statement, span).fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
            raise
        return None  # something of a damaged row that has no place in a text or a sum
    if "." in values:
        return None
    try:
        told = _numbers(ticks), _numbers(values), *others
    except msgspec.DecodeError:
        return None
    return told if told[0] == sorted(told[0]) else None
