"""Gaps in the history are data: from when to when nothing was recorded of what, and why.

They are written in the transaction of the messages that told of them. A gap that is still open has no end. While the
service is down, its own gap is open: a clean stop opens it, a start closes it; where a start finds none, the service
was cut, and the gap begins with the last that is known to be on disk.
"""

import sqlite3
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from appliance.store.checksum import checksum

SERIES, AGENT, HUB, UNKEPT = "series", "agent", "hub", "unkept"
"""Whom a gap concerns: one topic, all topics of an agent, everything, or only topics that have no history."""

AGENT_OFFLINE: Final = "agent offline"
BROKER_DOWN: Final = "broker down"
CLOCK_UNSET: Final = "clock unset"
DROPPED: Final = "dropped by limit"
NEVER_GIVEN: Final = "never given"  # of no reading: numbers that an agent reserved, and no stretch of time
SENSOR_FAILING: Final = "sensor failing"
DAMAGED: Final = "lost to damage"
RESTORED: Final = "restored from a backup"
CAUSES: Final = (AGENT_OFFLINE, BROKER_DOWN, CLOCK_UNSET, DROPPED, SENSOR_FAILING, DAMAGED, RESTORED)
UNTIL_START: Final = (BROKER_DOWN, DAMAGED, RESTORED)  # where open, they end with the next start

BEYOND_SERIES: Final = "more series than history.max_series"  # details of DROPPED, of what is UNKEPT
FORBIDDEN: Final = "not the publisher's to record"

STOPPED: Final = "stopped"
CUT: Final = "not stopped: power cut or crash"
MAX_DETAIL_CHARS: Final = 200
MOST: Final = 100_000  # rows; the oldest go first
COLUMNS: Final = "scope, name, cause, detail, from_tick, to_tick, run, first_seq, last_seq"
MAX_OPEN: Final = 10_000  # nobody has so many agents; a stranger may claim to


def counted(readings: int) -> str:
    """Say how many were dropped, behind the reason."""
    return f": {readings} reading{'' if readings == 1 else 's'} dropped"


class Measured(NamedTuple):
    """Unix seconds of an agent's clock, and what that was worth then."""

    since_at: float
    until_at: float
    clock: str


class GapNote(NamedTuple):
    """What a group says of a gap.

    `opened` alone opens one unless it is open, `closed` alone closes it, both are one that is over. Times are
    monotonic, as `now`; times that an agent measured are better, where it tells them. `run`, `first_seq` and `last_seq`
    name readings that it dropped: then `detail` does not count them.
    """

    scope: str
    name: str
    cause: str
    opened: float | None
    closed: float | None
    detail: str = ""
    run: str | None = None
    first_seq: int | None = None
    last_seq: int | None = None
    measured: Measured | None = None


Key = tuple[str, str, str, str]
"""Scope, name, cause and detail: of these, one gap is open at a time."""


class Gaps:
    """Writes gaps. Call it inside a transaction, and make a new one when a transaction failed.

    `tick_of` gives the tick of a monotonic time, `place` those of times that an agent measured, None where it does not
    believe them. Ticks are the hub's own count of time: they never go back.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._ask = connection.execute
        open_now = self._ask("SELECT scope, name, cause, detail, id FROM gaps WHERE to_tick IS NULL")
        self._open: dict[Key, int] = {(scope, name, cause, detail): id_ for scope, name, cause, detail, id_ in open_now}

    def write(
        self,
        notes: Iterable[GapNote],
        tick_of: Callable[[float], int],
        place: Callable[[Measured], tuple[int, int] | None] = lambda _: None,
    ) -> None:
        """Put down what a group says of gaps."""
        for note in notes:
            detail = note.detail[:MAX_DETAIL_CHARS]
            key = (note.scope, note.name, note.cause, detail)
            if note.opened is None:
                if note.closed is not None:
                    self._close(key, tick_of(note.closed))
            elif note.closed is not None:
                whole = (note.run, note.first_seq, note.last_seq)
                if note.run is not None and self._knows(note):
                    continue
                placed = place(note.measured) if note.measured is not None else None
                begins, ends = placed or (tick_of(note.opened), tick_of(note.closed))
                self._insert(key, begins, ends, whole)
            elif key not in self._open and len(self._open) < MAX_OPEN:
                self._open[key] = self._insert(key, tick_of(note.opened), None)

    def begin(self, last_tick: int | None, tick: int) -> None:
        """Say that the service has started; `last_tick` is the last that is on disk from before, None in a new file."""
        down = [key for key in self._open if key[2] in UNTIL_START]
        for key in [key for key in self._open if key[2] == DROPPED]:  # whoever would have closed it is gone
            self._close(key, tick if last_tick is None else last_tick)
        for key in down:
            self._close(key, tick)
        if not down and last_tick is not None:
            self._insert((HUB, "", BROKER_DOWN, CUT), last_tick, tick)

    @property
    def are_of_absence(self) -> bool:
        """Whether one is open that only a service which does not run can leave."""
        return any(key[2] in UNTIL_START for key in self._open)

    def back(self, tick: int) -> None:
        """Say that the service runs on: what a salvage left open in its midst is over."""
        for key in [key for key in self._open if key[2] in UNTIL_START]:
            self._close(key, tick)

    def end(self, tick: int) -> None:
        """Say that the service stops in order; nothing may be written afterwards."""
        key = (HUB, "", BROKER_DOWN, STOPPED)
        if key not in self._open:
            self._open[key] = self._insert(key, tick, None)

    def _knows(self, note: GapNote) -> bool:
        """Whether an agent has named these readings before, maybe to an earlier life of the service."""
        found = self._ask(
            "SELECT 1 FROM gaps WHERE name = ? AND run = ? AND first_seq <= ? AND last_seq >= ?",
            (note.name, note.run, note.first_seq, note.last_seq),
        )
        return found.fetchone() is not None

    def _insert(
        self,
        key: Key,
        from_tick: int,
        to_tick: int | None,
        dropped: tuple[str | None, int | None, int | None] = (None, None, None),
    ) -> int:
        return insert(self._connection, key, from_tick, to_tick, dropped)

    def _close(self, key: Key, to_tick: int) -> None:
        gap_id = self._open.pop(key, None)
        if gap_id is None:
            return
        (from_tick,) = self._ask("SELECT from_tick FROM gaps WHERE id = ?", (gap_id,)).fetchone()
        ends = max(from_tick, to_tick)
        row = (*key, from_tick, ends, None, None, None)
        self._ask("UPDATE gaps SET to_tick = ?, checksum = ? WHERE id = ?", (ends, checksum(*row), gap_id))


def insert(
    connection: sqlite3.Connection,
    key: Key,
    from_tick: int,
    to_tick: int | None,
    dropped: tuple[str | None, int | None, int | None] = (None, None, None),
) -> int:
    """Write one gap, inside the caller's transaction; gives its id."""
    *named, detail = key
    row = (*named, detail[:MAX_DETAIL_CHARS], from_tick, to_tick if to_tick is None else max(from_tick, to_tick))
    row += dropped
    gap_id = connection.execute(
        "INSERT INTO gaps (scope, name, cause, detail, from_tick, to_tick, run, first_seq, last_seq, checksum)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*row, checksum(*row)),
    ).lastrowid
    assert gap_id is not None  # noqa: S101 an INSERT that did not raise has one
    return gap_id


def prune(connection: sqlite3.Connection, before_tick: int, limit: int, most: int = MOST) -> int:
    """Throw away gaps that ended before a tick, and the oldest of too many; how many, of each up to `limit`.

    One that is still open stays. Call it inside a transaction.
    """
    (old,) = connection.execute(
        "SELECT count(*) FROM (SELECT 1 FROM gaps WHERE to_tick < ? LIMIT ?)", (before_tick, limit)
    ).fetchone()
    (rows,) = connection.execute("SELECT count(*) FROM gaps").fetchone()
    gone = max(old, min(rows - most, limit))
    if gone <= 0:
        return 0
    return connection.execute(
        "DELETE FROM gaps WHERE id IN (SELECT id FROM gaps WHERE to_tick IS NOT NULL ORDER BY to_tick LIMIT ?)", (gone,)
    ).rowcount
