"""Where a salvage met harm: what was lost lay between the neighbours that were kept. These stretches become gaps."""

import sqlite3
from typing import Final, NamedTuple

from appliance.store.epochs import load_clock
from appliance.store.gaps import BROKER_DOWN, DAMAGED, HUB, SERIES, insert

MAX_SPANS: Final = 1_000  # beyond, a series' spans become one

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


def write_breaks(connection: sqlite3.Connection, breaks: Breaks, why: str) -> None:
    """Put down what may have been lost as gaps, in a transaction of its own."""
    topics = dict(connection.execute("SELECT id, topic FROM series").fetchall())
    first, last = _bounds(connection)
    if not last:
        return
    spans = list(breaks.spans)
    for after, before in breaks.skipped:
        spans += [Span(series_id, None, None) for series_id in topics if after < series_id < before]
    if len(spans) > MAX_SPANS:
        spans = [Span(series_id, None, None) for series_id in sorted({span.series_id for span in spans})]
    connection.execute("BEGIN IMMEDIATE")
    try:
        for series_id, from_tick, to_tick in dict.fromkeys(spans):
            begins = first if from_tick is None else from_tick
            ends = max(begins, last if to_tick is None else to_tick)
            if not series_id:
                insert(connection, (HUB, "", DAMAGED, why), begins, ends)
            elif series_id in topics:
                insert(connection, (SERIES, topics[series_id], DAMAGED, why), begins, ends)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


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
