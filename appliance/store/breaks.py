"""Where a salvage met harm: what was lost lay between the neighbours that were kept. These stretches become gaps."""

import sqlite3
from collections.abc import Iterator
from typing import Final, NamedTuple

from appliance.store.calendar import Calendar
from appliance.store.epochs import SALVAGED, load_clock
from appliance.store.gaps import BROKER_DOWN, DAMAGED, HUB, SERIES, insert
from appliance.store.hubclock import REDATED
from appliance.store.reading_rows import TICKS_PER_MS

MOST_SERIES: Final = 3  # of more, a gap is no longer told one by one

Place = tuple[int, int]
"""Series (0: any of them) and tick of a row; rows come in this order."""


class Span(NamedTuple):
    """What may have been lost of a series, or of all (0); None: from its first row, to its last."""

    series_id: int
    from_tick: int | None
    to_tick: int | None


class Breaks:
    """Follows one walk through the rows of a table."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.skipped: list[Place] = []  # series between these two, without them, may be gone whole
        self._last: Place | None = None
        self._harm = 0
        self._is_broken = False

    def row(self, place: Place | None, harm: int) -> None:
        """Know of the next row, None where it was lost, and how much harm the walk has met in all."""
        self._is_broken = self._is_broken or place is None or harm > self._harm
        self._harm = harm
        if place is None:
            return
        if self._is_broken:
            self._close(place)
            self._is_broken = False
        self._last = place

    def end(self, harm: int) -> None:
        """Know that the walk is over."""
        if self._is_broken or harm > self._harm:
            self._close(None)
        self._is_broken = False
        self._harm = harm

    def _close(self, after: Place | None) -> None:
        before = self._last
        if before is None and after is None:
            self.spans.append(Span(0, None, None))
        elif before is not None and after is not None and before[0] == after[0]:
            self.spans.append(Span(before[0], min(before[1], after[1]), max(before[1], after[1])))
        else:
            if before is not None:
                self.spans.append(Span(before[0], before[1], None))
            if after is not None:
                self.spans.append(Span(after[0], None, after[1]))
            self.skipped.append((before[0] if before else 0, after[0] if after else 2**62))


class Lost(NamedTuple):
    """What a salvage could not give back of the history: from when to when, in Unix seconds, and of which topics."""

    since: float
    until: float
    topics: list[str]


class Stretch(NamedTuple):
    """A span whose ends are known."""

    from_tick: int
    to_tick: int
    series_id: int


def write_breaks(connection: sqlite3.Connection, breaks: Breaks, why: str) -> Lost | None:
    """Put down what may have been lost as gaps, in a transaction of its own; None where there is nothing of the kind.

    Stretches that touch become one; where they are of more than a few series, it is a gap of the hub's.
    """
    topics = dict(connection.execute("SELECT id, topic FROM series").fetchall())
    first, last = _bounds(connection)
    if not last:
        return None
    spans = list(breaks.spans)
    for after, before in breaks.skipped:
        spans += [Span(series_id, None, None) for series_id in topics if after < series_id < before]
    stretches = sorted(
        Stretch(begins, ends, series_id)
        for series_id, from_tick, to_tick in set(spans)
        for begins in [first if from_tick is None else from_tick]
        for ends in [last if to_tick is None else to_tick]
        if begins < ends and (not series_id or series_id in topics)
    )
    if not stretches:
        return None
    connection.execute("BEGIN IMMEDIATE")
    try:
        for together in _touching(stretches):
            _write_together(connection, together, topics, why)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    calendar = Calendar(connection)
    return Lost(
        calendar.at(min(one.from_tick for one in stretches)),
        calendar.at(max(one.to_tick for one in stretches)),
        sorted({topics[one.series_id] for one in stretches if one.series_id}),
    )


def _touching(stretches: list[Stretch]) -> Iterator[list[Stretch]]:
    """Give those together that overlap, in the order of time."""
    together: list[Stretch] = []
    ends = 0
    for one in stretches:
        if together and one.from_tick > ends:
            yield together
            together = []
        ends = one.to_tick if not together else max(ends, one.to_tick)
        together.append(one)
    yield together


def _write_together(connection: sqlite3.Connection, stretches: list[Stretch], topics: dict[int, str], why: str) -> None:
    of_series: dict[int, tuple[int, int]] = {}
    for from_tick, to_tick, series_id in stretches:
        begins, ends = of_series.get(series_id, (from_tick, to_tick))
        of_series[series_id] = min(begins, from_tick), max(ends, to_tick)
    if 0 not in of_series and len(of_series) <= MOST_SERIES:
        for series_id, (begins, ends) in of_series.items():
            insert(connection, (SERIES, topics[series_id], DAMAGED, why), begins, ends)
        return
    named = sorted(topics[series_id] for series_id in of_series if series_id)
    detail = why if 0 in of_series else f"{why}: {', '.join(named)}"
    begins, ends = min(begins for begins, _ in of_series.values()), max(ends for _, ends in of_series.values())
    insert(connection, (HUB, "", DAMAGED, detail), begins, ends)


def leave_all(connection: sqlite3.Connection, since_ms: int, why: str) -> bool:
    """Put down that nothing is left of what was written from a time on, in a file that holds none; True where it is.

    Inside the caller's transaction.
    """
    if _bounds(connection)[1] or since_ms <= 0:
        return False
    tick = since_ms * TICKS_PER_MS
    connection.execute(
        "INSERT INTO epochs (boot, first_tick, last_tick, monotonic_ms, offset_ms, clock, age_ms)"
        " VALUES (?1, ?2, ?2, 0, 0, ?3, 0)",
        (SALVAGED, tick, REDATED),
    )
    insert(connection, (HUB, "", DAMAGED, why), tick, None)
    return True


def leave_open(connection: sqlite3.Connection, cause: str, detail: str, *, is_stop: bool) -> None:
    """Put down that from the last that is here to the next start nothing is known, and why.

    is_stop: also where the service had been stopped in order, because that was not the end of what there was.
    """
    _, last = _bounds(connection)
    stops = connection.execute(
        "SELECT id, scope, name, cause, detail, from_tick FROM gaps WHERE cause = ? AND to_tick IS NULL", (BROKER_DOWN,)
    ).fetchall()
    if not last or (stops and not is_stop):
        return
    for gap_id, *_ in stops:
        connection.execute("DELETE FROM gaps WHERE id = ?", (gap_id,))
    insert(connection, (HUB, "", cause, detail), last, None)


def _bounds(connection: sqlite3.Connection) -> tuple[int, int]:
    """Give the first and the last tick that are known; 0 and 0 in an empty file."""
    last = load_clock(connection).last_tick
    (first,) = connection.execute(
        "SELECT min(tick) FROM (SELECT min(first_tick) AS tick FROM epochs WHERE first_tick > 0"
        " UNION ALL SELECT min(tick) FROM journal WHERE tick > 0)"
    ).fetchone()
    (newest,) = connection.execute("SELECT max(to_tick) FROM gaps").fetchone()
    last = max(last, newest or 0)
    return min(first or 0, last), last
