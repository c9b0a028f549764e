"""The rows of one series from the first to the last, page by page: bounded memory, and no question that stays long."""

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Final, TypeVar

from appliance.store.answers import Row
from appliance.store.asking import asking
from appliance.store.question import Found, Question
from appliance.store.reading_rows import IS_WHOLE, LATE_BIAS_MS
from appliance.store.readings import LAST_AT
from appliance.store.schema_ticks import IS_STAGED

T = TypeVar("T")

PAGE_ROWS: Final = 20_000  # of one question, some tenths of a second
# Each half is a range in the order of its key, or of few rows; so neither page is sorted for long.
PAGE: Final = f"""
    SELECT * FROM (
      SELECT tick, value, seq, late_check, stretch_id FROM readings
      WHERE series_id = ?1 AND tick > ?2 AND tick <= ?3 AND {IS_WHOLE} ORDER BY tick LIMIT ?4)
    UNION ALL
    SELECT * FROM (
      SELECT tick, value, seq, late_ms - {LATE_BIAS_MS} << 16, stretch_id FROM journal
      WHERE {IS_STAGED} AND series_id = ?1 AND tick > ?2 AND tick <= ?3 ORDER BY tick LIMIT ?4)
    ORDER BY tick LIMIT ?4"""  # noqa: S608 our own columns


def pages(
    path: Path, series_id: int, since_at: float, until_at: float, *, page_rows: int = PAGE_ROWS
) -> Iterator[list[Row]]:
    """Give the readings from one time to another, both included, in the order of ticks; StoreError.

    Each page has a connection of its own, closed before the page is given, and goes on behind the last tick of the one
    before.
    """
    since_at, until_at = max(0.0, since_at), min(until_at, LAST_AT)

    def told(ask: Question, found: list[Found]) -> list[Row]:
        return [row for row in ask.told(found) if since_at <= row.at <= until_at]  # offsets of others lie between

    return filter(None, _read(path, series_id, since_at, until_at, page_rows, told))


def numbers(
    path: Path, series_id: int, since_at: float, *, page_rows: int = PAGE_ROWS
) -> Iterator[tuple[int, int, int]]:
    """Give tick, seq and stretch of the readings that have a number, from about a time on, likewise."""

    def told(_ask: Question, found: list[Found]) -> list[tuple[int, int, int]]:
        return [(tick, seq, stretch_id) for tick, _, seq, _, stretch_id in found if seq is not None]

    return chain.from_iterable(_read(path, series_id, max(0.0, since_at), LAST_AT, page_rows, told))


def _read(
    path: Path,
    series_id: int,
    since_at: float,
    until_at: float,
    page_rows: int,
    told: Callable[[Question, list[Found]], list[T]],
) -> Iterator[list[T]]:
    after: int | None = None
    while True:
        with asking(path) as connection:
            ask = Question(connection)
            spans = ask.spans(round(since_at * 1000), round(until_at * 1000))
            first, last = min(span.first_tick for span in spans) - 1, max(span.last_tick for span in spans)
            after = first if after is None else max(first, after)
            found = connection.execute(PAGE, (series_id, after, last, page_rows)).fetchall()
            page = told(ask, found)
        yield page
        if len(found) < page_rows:
            return
        after = found[-1][0]
