"""Chores: what is done to the database in small steps while nothing waits to be written."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How many days each tier is kept, 0 for ever, and how large the file may become."""

    raw_days: int = 90
    minute_days: int = 365
    hour_days: int = 3_650
    day_days: int = 0
    max_bytes: int = 4_000_000_000


class Chore(Protocol):
    """One kind of work that may wait."""

    def step(self, now: float) -> bool:
        """Do one small piece in a transaction of its own, some milliseconds; False when there is nothing to do.

        `now` is monotonic. sqlite3.Error says that nothing of the piece was done.
        """


class Trimming(Chore, Protocol):
    """The chore that throws away."""

    def trim(self, now: float) -> bool:
        """Throw some rows away at once because there is no room; False when nothing may go, or there is enough."""


class Chores:
    """Several chores that take turns, so that none of them waits for the end of another."""

    def __init__(self, chores: Sequence[Chore]) -> None:
        self._chores = list(chores)
        self._next = 0

    def step(self, now: float) -> bool:
        """Let one chore do a piece, the next in turn that has any; False when none has."""
        for place in range(len(self._chores)):
            turn = (self._next + place) % len(self._chores)
            if self._chores[turn].step(now):
                self._next = turn + 1
                return True
        return False
