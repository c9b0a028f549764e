"""Asks for gaps: those of one series as its chart shows them, and the last ones of all."""

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from appliance.store.asking import asking
from appliance.store.calendar import Calendar
from appliance.store.checksum import checksum
from appliance.store.gaps import CLOCK_UNSET, COLUMNS, DROPPED, HUB, NEVER_GIVEN, UNKEPT, counted
from appliance.store.history_reader import HistoryReader
from appliance.store.holes import Gap, holes

DAY_S: Final = 86_400.0
MAX_GAPS: Final = 1_000  # of one answer, the newest
JOINED_S: Final = 300.0  # losses of one kind that are no further apart are one gap
LOOKED_AT: Final = 10_000  # readings that fill one gap


class GapReader:
    """Each question opens its own read-only connection, so any thread may ask. StoreError as of `HistoryReader`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def of(self, topic: str, at: Sequence[float], since_at: float, until_at: float) -> list[Gap]:
        """Give what the readings of a topic, measured `at`, leave empty of a stretch of time, with the cause."""
        with asking(self._path) as connection:
            found = connection.execute("SELECT agent FROM series WHERE topic = ?", (topic,)).fetchone()
            agent = found[0] if found else None
            gaps = gaps_between(connection, Calendar(connection), since_at, until_at)
        mine = [gap for gap in gaps if gap.scope == HUB or (gap.scope != UNKEPT and gap.name in {topic, agent})]
        filled = holes([gap for gap in mine if gap.cause != CLOCK_UNSET], at, since_at, until_at)
        # Readings do not fill that one: they are there, it is their time that is not known.
        unset = holes([gap for gap in mine if gap.cause == CLOCK_UNSET], [], since_at, until_at)
        return sorted(filled + unset, key=lambda gap: (gap.since_at, gap.cause))

    def of_periods(self, history: HistoryReader, topic: str, since_at: float, until_at: float) -> list[Gap]:
        """Give them where no single readings are at hand; those that lie in a gap are looked up, so far as kept."""
        gaps = self.of(topic, [], since_at, until_at)
        inside = {
            row.at
            for gap in gaps
            if gap.cause != CLOCK_UNSET
            for row in history.rows(topic, gap.since_at, until_at if gap.until_at is None else gap.until_at, LOOKED_AT)
        }
        return self.of(topic, sorted(inside), since_at, until_at) if inside else gaps

    def last(self, since_at: float, until_at: float, limit: int = 50) -> list[Gap]:
        """Give the newest gaps of a stretch of time, the newest first."""
        with asking(self._path) as connection:
            gaps = gaps_between(connection, Calendar(connection), since_at, until_at)
        return sorted(gaps, key=lambda gap: gap.since_at, reverse=True)[:limit]

    def news(self, at: float) -> dict[str, object]:
        """Give what the status says: how many gaps the last day had, and the newest; whether the clock is not set."""
        with asking(self._path) as connection:
            gaps = gaps_between(connection, Calendar(connection), at - DAY_S, at)
        newest = max(gaps, key=lambda gap: gap.since_at, default=None)
        lasting = [gap for gap in gaps if gap.until_at is None]
        return {
            "day": len(gaps),
            "lasting": len(lasting),
            "newest": None if newest is None else newest.told(),
            "clock_unset": any(gap.cause == CLOCK_UNSET for gap in lasting),
        }


def gaps_between(
    connection: sqlite3.Connection, calendar: Calendar, since_at: float, until_at: float, limit: int = MAX_GAPS
) -> list[Gap]:
    """Give all gaps that touch a stretch of time, of those that are over the newest; a damaged row is left out.

    What one agent dropped for one reason, range by range of its numbers, is one gap where it lies close together.
    """
    rows = connection.execute(
        f"SELECT {COLUMNS}, checksum FROM gaps WHERE to_tick IS NULL AND from_tick <= ?1"  # noqa: S608 our own columns
        f" UNION ALL SELECT * FROM (SELECT {COLUMNS}, checksum FROM gaps WHERE to_tick >= ?2 AND from_tick <= ?1"
        " AND cause <> ?4 ORDER BY to_tick DESC LIMIT ?3)",
        (calendar.tick(until_at), calendar.tick(since_at), limit, NEVER_GIVEN),
    ).fetchall()
    found: list[Gap] = []
    dropped: dict[tuple[str, str], list[tuple[Gap, int]]] = {}  # name and reason -> gaps, each with its readings
    for *said, kept in rows:
        if checksum(*said) != kept:
            continue
        gap = _gap(calendar, *said[:6])
        *_, first, last = said
        if gap.cause != DROPPED or first is None or gap.detail.endswith(" dropped"):  # as it was once written
            found.append(gap)
        else:
            dropped.setdefault((gap.name, gap.detail), []).append((gap, last - first + 1))
    for losses in dropped.values():
        found += _joined(losses)
    found += [_gap(calendar, HUB, "", CLOCK_UNSET, "", begins, ends) for begins, ends in calendar.unset()]
    return [gap for gap in found if gap.since_at <= until_at and (gap.until_at is None or gap.until_at >= since_at)]


def _joined(losses: list[tuple[Gap, int]]) -> list[Gap]:
    """Make one gap of those that touch or lie close together, and count the readings in it."""
    together: list[tuple[Gap, int]] = []
    for gap, count in sorted(losses, key=lambda loss: loss[0].since_at):
        before, so_far = together[-1] if together else (gap, 0)
        begins_at, ended_at, ends_at = gap.since_at, before.until_at, gap.until_at
        if together and ended_at is not None and ends_at is not None and begins_at - ended_at <= JOINED_S:
            together[-1] = replace(before, until_at=max(ended_at, ends_at)), so_far + count
        else:
            together.append((gap, count))
    return [replace(gap, detail=f"{gap.detail}{counted(count)}") for gap, count in together]


def _gap(
    calendar: Calendar, scope: str, name: str, cause: str, detail: str, from_tick: int, to_tick: int | None
) -> Gap:
    return Gap(
        since_at=calendar.at(from_tick),
        until_at=None if to_tick is None else calendar.at(to_tick),
        cause=cause,
        detail=detail,
        scope=scope,
        name=name,
    )
