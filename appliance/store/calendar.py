"""Which time a tick of the hub's own clock means, as the epochs of the database tell it."""

import sqlite3
from bisect import bisect_right
from typing import Final, NamedTuple

TICKS_PER_S: Final = 16_000
LAST_TICK: Final = 253_402_300_799 * TICKS_PER_S  # end of the year 9999


class Stretch(NamedTuple):
    """An epoch as a reader needs it; `unset` while nobody knows the time of it."""

    first_tick: int
    last_tick: int
    offset_ms: int
    unset: bool


class Calendar:
    """Times of ticks and ticks of times, as they are known now."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        rows = connection.execute(
            "SELECT first_tick, last_tick, offset_ms, clock = 'unsynced' FROM epochs ORDER BY first_tick, id"
        )
        self.epochs = [Stretch(first, last, offset, bool(unset)) for first, last, offset, unset in rows]
        self._first = [epoch.first_tick for epoch in self.epochs]

    def at(self, tick: int) -> float:
        """Unix seconds of a tick."""
        index = bisect_right(self._first, tick) - 1
        offset_ms = self.epochs[index].offset_ms if index >= 0 else 0
        return (tick / 16 + offset_ms) / 1000

    def tick(self, at: float) -> int:
        """Give the last tick that is not after a time, in Unix seconds."""
        for index in reversed(range(len(self.epochs))):
            first_tick, _, offset_ms, _ = self.epochs[index]
            tick = round((at * 1000 - offset_ms) * 16)
            if tick >= first_tick:
                return min(tick, self._first[index + 1] - 1) if index + 1 < len(self._first) else min(tick, LAST_TICK)
        return 0

    def unset(self) -> list[tuple[int, int | None]]:
        """Stretches of ticks whose time nobody knows, over several starts in a row; the last may still go on."""
        found: list[tuple[int, int | None]] = []
        goes_on = False
        for index, epoch in enumerate(self.epochs):
            if epoch.unset:
                follows = index + 1 < len(self.epochs)
                first_tick = found.pop()[0] if goes_on else epoch.first_tick
                found.append((first_tick, max(epoch.first_tick, epoch.last_tick) if follows else None))
            goes_on = epoch.unset
        return found
