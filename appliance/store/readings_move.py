"""The move of readings from the journal to where they are read, series by series, a few at a step.

The row of `moving` makes that safe to interrupt: of the rows up to its cut, those of the series below its series are
there. A step is part of the caller's transaction, so that mark and rows change together.
"""

import sqlite3
from collections.abc import Callable
from typing import Final, NamedTuple

from appliance.store.reading_rows import LATE_CHECK

MOVED_ROWS: Final = 1_000  # of one step, or all of one series
ALL_SERIES: Final = 2**62


class _Share(NamedTuple):
    """Staged rows of one series that a move is to bring over."""

    series_id: int
    rows: int
    first_tick: int
    last_tick: int


class ReadingsMove:
    """One move after the other. `on_moved(series_id, first_tick, last_tick)` is told what a step brought over."""

    def __init__(self, connection: sqlite3.Connection, on_moved: Callable[[int, int, int], None]) -> None:
        self._ask = connection.execute
        self._on_moved = on_moved
        self.cut_id: int
        self._next_series: int
        self.cut_id, self._next_series = self._ask("SELECT cut_id, series_id FROM moving").fetchone()
        self._shares: list[_Share] | None = None  # what is left of the move, once looked up

    def is_due(self, cut_id: int) -> bool:
        """Whether there is something to bring over, first of a move that was begun, then of one up to that id."""
        if self.cut_id and self._next_series < ALL_SERIES:
            return True
        if cut_id <= self.cut_id or self._has_staged_up_to(self.cut_id):
            return False
        self._mark(cut_id, 0)
        self._shares = None
        return True

    def step(self) -> bool:
        """Bring some over; False when everything up to `cut_id` is there."""
        if self._shares is None:
            self._shares = self._left()
        step: list[_Share] = []
        while self._shares and (not step or sum(share.rows for share in step) + self._shares[-1].rows <= MOVED_ROWS):
            step.append(self._shares.pop())
        if step:
            self._bring_over(step)
        if self._shares:
            self._mark(self.cut_id, step[-1].series_id + 1)
            return True
        self._mark(self.cut_id, ALL_SERIES)
        self._shares = None
        return False

    def forget(self) -> None:
        """Know that all rows up to `cut_id` are gone, so that their ids may be used again."""
        self._mark(0, 0)

    def _has_staged_up_to(self, row_id: int) -> bool:
        found = self._ask("SELECT 1 FROM journal WHERE id <= ? AND series_id IS NOT NULL LIMIT 1", (row_id,))
        return found.fetchone() is not None

    def _left(self) -> list[_Share]:
        """What of the cut is still staged, the first series last."""
        found = self._ask(
            "SELECT series_id, count(*), min(tick), max(tick) FROM journal WHERE id <= ? AND series_id >= ?"
            " GROUP BY series_id ORDER BY series_id DESC",
            (self.cut_id, self._next_series),
        )
        return [_Share(*fields) for fields in found]

    def _bring_over(self, step: list[_Share]) -> None:
        # OR IGNORE: a salvaged file may have lost how far the move was; the rows are then the same.
        self._ask(
            f"INSERT OR IGNORE INTO readings SELECT series_id, tick, value, seq, {LATE_CHECK}, stretch_id"  # noqa: S608
            " FROM journal WHERE id <= ? AND series_id BETWEEN ? AND ? ORDER BY series_id, tick",
            (self.cut_id, step[0].series_id, step[-1].series_id),
        )
        for share in step:
            self._on_moved(share.series_id, share.first_tick, share.last_tick)

    def _mark(self, cut_id: int, next_series: int) -> None:
        self.cut_id, self._next_series = cut_id, next_series
        self._ask("UPDATE moving SET cut_id = ?, series_id = ?", (cut_id, next_series))
