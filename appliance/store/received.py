"""Which sequence numbers of each agent's run are here: ranges in memory, written where staged rows are moved.

A number that leaves no row is written at once: nothing else would tell that it came.
"""

import sqlite3
from bisect import bisect_right
from typing import Final

MAX_RUNS: Final = 1_024  # kept in memory; one whose ranges are not written yet stays in any case


class _Ranges:
    """Closed ranges of numbers, none touching another."""

    __slots__ = ("changed", "firsts", "lasts")

    def __init__(self) -> None:
        self.firsts: list[int] = []
        self.lasts: list[int] = []
        self.changed: set[int] = set()  # first numbers of ranges that are new, longer or gone

    def add(self, seq: int) -> bool:
        """Put a number in; False if it is in already."""
        firsts, lasts = self.firsts, self.lasts
        if lasts and seq == lasts[-1] + 1:  # almost always
            lasts[-1] = seq
            self.changed.add(firsts[-1])
            return True
        after = bisect_right(firsts, seq)
        if after and seq <= lasts[after - 1]:
            return False
        joins_before = after > 0 and lasts[after - 1] == seq - 1
        joins_after = after < len(firsts) and firsts[after] == seq + 1
        if joins_before and joins_after:
            lasts[after - 1] = lasts[after]
            self.changed.add(firsts[after])
            del firsts[after], lasts[after]
        elif joins_before:
            lasts[after - 1] = seq
        elif joins_after:
            self.changed.add(firsts[after])
            firsts[after] = seq
        else:
            firsts.insert(after, seq)
            lasts.insert(after, seq)
        self.changed.add(firsts[after - 1] if joins_before else seq)
        return True


class Received:
    """Knows the numbers of the table `received` and of the staged rows. Make a new one when a transaction failed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._ask = connection.execute
        self._runs: dict[int, _Ranges] = {}
        staged = self._ask(
            "SELECT DISTINCT run_id, seq FROM journal JOIN stretches ON stretches.id = stretch_id"
            " WHERE seq IS NOT NULL AND run_id IS NOT NULL"
        )
        for run_id, seq in staged.fetchall():
            self.add(run_id, seq)

    def add(self, run_id: int, seq: int) -> bool:
        """Note a number; False if it was here before."""
        ranges = self._runs.get(run_id)
        return (self._load(run_id) if ranges is None else ranges).add(seq)

    def save(self) -> None:
        """Write what is new, inside the caller's transaction."""
        for run_id in self._runs:
            self.save_run(run_id)
        if len(self._runs) > MAX_RUNS:
            self._runs.clear()

    def save_run(self, run_id: int) -> None:
        """Write what is new of a run that a number was added to: where no row will tell of that."""
        ranges = self._runs[run_id]
        for first in ranges.changed:
            at = bisect_right(ranges.firsts, first) - 1
            if at >= 0 and ranges.firsts[at] == first:
                self._ask(
                    "INSERT OR REPLACE INTO received (run_id, first_seq, last_seq) VALUES (?, ?, ?)",
                    (run_id, first, ranges.lasts[at]),
                )
            else:
                self._ask("DELETE FROM received WHERE run_id = ? AND first_seq = ?", (run_id, first))
        ranges.changed.clear()

    def _load(self, run_id: int) -> _Ranges:
        if len(self._runs) >= MAX_RUNS:
            self._runs = {known: ranges for known, ranges in self._runs.items() if ranges.changed}
        ranges = self._runs[run_id] = _Ranges()
        for first, last in self._ask(
            "SELECT first_seq, last_seq FROM received WHERE run_id = ? ORDER BY first_seq", (run_id,)
        ):
            ranges.firsts.append(first)
            ranges.lasts.append(last)
        return ranges
