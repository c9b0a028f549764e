"""The chore that reads the whole history again, a few rows at a time, so that damage is found before somebody needs it.

A start looks through a small file only. Once a week of running everything is read: rows in the order of their keys,
each held to its checksum, then the small tables with their indexes. What is damaged is salvaged at once.
"""

import logging
import sqlite3
from collections.abc import Callable, Mapping
from typing import Final

from appliance.store.damage import CHECK_BYTES, MisfitError, is_damage
from appliance.store.database import Database
from appliance.store.harms import CHANGED, UNREADABLE
from appliance.store.reading_rows import prepare
from appliance.store.sealed import find_broken
from appliance.store.state_tables import StateTables

LOG: Final = logging.getLogger(__name__)
ROWS_A_STEP: Final = 300  # a millisecond or two, and some pages of a slow card
EVERY_MS: Final = 7 * 86_400_000  # of running
KEYS: Final[Mapping[str, tuple[str, str]]] = {
    "readings": ("series_id", "tick"), "minutes": ("series_id", "start"), "hours": ("series_id", "start"),
    "days": ("series_id", "start"),
}  # fmt: skip
NOTED_STEPS: Final = 1_000  # after so many the place is written down, where a start goes on
SWEPT, TABLE, SERIES, PLACE = "swept_age_ms", "sweep_table", "sweep_series", "sweep_place"
"""Marks: how old the service was when it had read everything, and where it is; the first table is 0."""


class Sweep:
    """Reads on from where it was. `sums`: what is true of each whole row of the tables of KEYS."""

    def __init__(self, database: Database, sums: Mapping[str, str], age_ms: Callable[[float], int]) -> None:
        self._database = database
        self._sums = sums
        self._age_ms = age_ms
        self._marks = StateTables(database.connection)
        mark = self._marks.mark
        self._swept_ms = mark(SWEPT)
        self._table = mark(TABLE)
        self._after: tuple[int, int] | None = (mark(SERIES), mark(PLACE)) if mark(SERIES) else None
        self._steps = 0
        # Of a file that no start looks through, the first time comes at once.
        self._is_due = bool(self._table or self._after) or (
            not self._swept_ms and database.path.stat().st_size > CHECK_BYTES
        )
        prepare(database.connection)

    def step(self, now: float) -> bool:
        """Look at some rows; False while nothing is due. sqlite3.Error, MisfitError among them, says what was found."""
        if not self._is_due:
            self._is_due = self._age_ms(now) - self._swept_ms >= EVERY_MS
            if not self._is_due:
                return False
        try:
            self._look(now)
        except sqlite3.Error as error:
            if is_damage(error):
                self._database.suspect(CHANGED if isinstance(error, MisfitError) else UNREADABLE)
            raise
        return True

    def _look(self, now: float) -> None:
        tables = list(KEYS)
        if self._table < len(tables):
            if not self._look_at(tables[self._table]):
                self._table, self._after = self._table + 1, None
        else:
            if broken := find_broken(self._database.connection):
                raise MisfitError(broken)
            self._is_due, self._table, self._after = False, 0, None
            self._swept_ms = max(1, self._age_ms(now))
            self._note()
            return
        self._steps += 1
        if self._steps % NOTED_STEPS == 0:
            self._note()

    def _look_at(self, table: str) -> bool:
        """Look at the next rows of a table; False at its end."""
        first, second = KEYS[table]
        after = (-1, 0) if self._after is None else self._after
        rows = self._database.connection.execute(
            f"SELECT {first}, {second}, ({self._sums[table]}) IS TRUE FROM {table}"  # noqa: S608 our own names
            f" WHERE ({first}, {second}) > (?, ?) ORDER BY {first}, {second} LIMIT {ROWS_A_STEP}",
            after,
        ).fetchall()
        for series_id, place, is_whole in rows:
            if not is_whole or not after < (series_id, place):
                raise MisfitError(f"a row of {table} is not what was written")
            after = series_id, place
        self._after = after
        return len(rows) == ROWS_A_STEP

    def _note(self) -> None:
        """Write down how far it is."""
        series_id, place = self._after or (0, 0)
        with self._database.transaction():
            for name, value in ((SWEPT, self._swept_ms), (TABLE, self._table), (SERIES, series_id), (PLACE, place)):
                self._marks.set_mark(name, value)
