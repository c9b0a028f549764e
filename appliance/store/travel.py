"""Time travel: what a new subscriber would have been sent as retained messages at a moment of the past.

Everything is told by ticks of arrival: those of the readings, and those of the changes in how they are retained
(retaining.py). What the history does not keep is no part of it; a message of several values is shown as these, each
under its path.
"""

import sqlite3
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from appliance.mqtt.topics import matches
from appliance.store.asking import asking
from appliance.store.calendar import Calendar
from appliance.store.checksum import checksum
from appliance.store.database import StoreError
from appliance.store.history import EARLIEST_MS, LATEST_MS
from appliance.store.history_reader import to_ms
from appliance.store.question import Found, Question
from appliance.store.reading_rows import IS_WHOLE, LATE_BIAS_MS, LATE_MS, TICKS_PER_MS
from appliance.store.readings import BINARY, EVENT_KEYS, TEXT
from appliance.store.retaining import COLUMNS, LOST, NOT_KNOWN, PASSING, REPLACED, RETAINED, Kept
from appliance.store.schema_ticks import IS_STAGED
from appliance.store.sealed import whole_series
from appliance.store.spelling import spelled
from appliance.store.staged import COLUMNS as STAGED_COLUMNS
from appliance.store.staged import StagedRow

_LIVE: Final = "(SELECT bundled FROM stretches WHERE stretches.id = stretch_id) IS NULL"
_ON_TIME: Final = f"BETWEEN {-LATEST_MS} AND {-EARLIEST_MS}"
_ARRIVED: Final = f"tick + {LATE_MS} * {TICKS_PER_MS}"
# One that arrived in time, and was the last that was measured; then, of those measured about then, the last to arrive.
_NEAR: Final = f"""
    SELECT tick, value, seq, late_check, stretch_id FROM readings
    WHERE series_id = ? AND tick BETWEEN ? AND ? AND {_ARRIVED} <= ? AND {LATE_MS} {_ON_TIME} AND {_LIVE} AND {IS_WHOLE}
    ORDER BY {{order}} DESC, tick DESC LIMIT 1"""  # noqa: S608 our own names
_STAGED: Final = f"""
    SELECT {STAGED_COLUMNS} FROM journal
    WHERE {IS_STAGED} AND tick + late_ms * {TICKS_PER_MS} <= ? AND late_ms {_ON_TIME} AND {_LIVE}"""  # noqa: S608
_CHANGES: Final = f"SELECT {COLUMNS} FROM retaining WHERE series_id = ? AND tick <= ? ORDER BY tick DESC"  # noqa: S608


class Held(NamedTuple):
    """The value of one topic, as it was published, and when it was measured (Unix seconds).

    sure: whether it is known that it was retained.
    """

    topic: str
    payload: str
    at: float
    sure: bool


class Holdings(NamedTuple):
    """What the topics held, by topic. Of `lost` the reading is gone, of `unrecorded` it never was one."""

    values: list[Held]
    lost: list[str]
    unrecorded: list[str]


def held_at(path: Path, filters: Iterable[str], at: float) -> Holdings:
    """Give what the topics that match were holding at a time, by topic; StoreError.

    Of a history from before it was noted how its readings are retained, a topic counts where it has a state: events,
    such as a press of a button, hold nothing.
    """
    wanted = list(filters)
    found = Holdings([], [], [])
    with asking(path) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'retaining'").fetchone():
            raise StoreError(f"{path} is from an earlier version: start the service once, which brings it up to date")
        past = Past(connection, Calendar(connection).tick(to_ms(at) / 1000 + (TICKS_PER_MS - 1) / TICKS_PER_MS / 1000))
        for series_id, topic, kind, _unit, _name, _quantity, agent in whole_series(connection):
            if any(one == "#" or matches(one, topic) for one in wanted):
                past.add(found, series_id, topic, kind, is_ours=agent is not None)
    for part in found:
        part.sort()
    return found


class Past:
    """One moment of an open database, by its tick."""

    def __init__(self, connection: sqlite3.Connection, tick: int) -> None:
        self._ask = connection.execute
        self._question = Question(connection)
        self._tick = tick
        lost = self._ask("SELECT value FROM marks WHERE name = ?", (LOST,)).fetchone()
        self._lost_tick = -1 if lost is None else int(lost[0])
        self._ages = self._ask("SELECT first_tick, age_ms FROM epochs ORDER BY first_tick, id").fetchall()
        self._staged: defaultdict[int, list[tuple[int, int, StagedRow]]] = defaultdict(list)
        for row in map(StagedRow._make, self._ask(_STAGED, (self._tick,))):
            if row.series_id is not None and row.tick is not None and row.late_ms is not None:
                arrived = row.tick + row.late_ms * TICKS_PER_MS
                self._staged[row.series_id].append((arrived, row.tick, row))

    def add(self, found: Holdings, series_id: int, topic: str, kind: str, *, is_ours: bool) -> None:
        """Add what a series tells of its topic."""
        change = next(self._changes(series_id), None)
        if change is None:
            return
        tick, kept, is_sure = change
        if kept.state == REPLACED:
            found.unrecorded.append(topic)
        if kept.state not in (NOT_KNOWN, RETAINED, PASSING):
            return
        is_known = kept.spelling is not None
        if not is_known and is_event(topic, kind, is_ours=is_ours):
            return
        since = tick if kept.state == RETAINED else 0  # what came before may not have been retained
        row = self.last(series_id, since, tick - 1 if kept.state == PASSING else self._tick)
        if row is None:
            if is_known:
                found.lost.append(topic)
            return
        if kept.expiry_s is not None and self.age_ms(self._tick) - self.age_ms(arrived_at(row)) > kept.expiry_s * 1000:
            return
        (one,) = self._question.told([row])
        payload = spelled(kept.spelling, row[1]) if kept.spelling is not None else None
        if payload is None:
            payload = published(kind, one.value, one.text)
        found.values.append(Held(topic, payload, one.at, is_known and is_sure))

    def _changes(self, series_id: int) -> Iterator[tuple[int, Kept, bool]]:
        """Give the changes of a series up to the moment, the last one first, and whether none after it is lost."""
        is_sure = True
        for row in self._ask(_CHANGES, (series_id, self._tick)):
            _, tick, *fields, kept = row
            if checksum(*row[:-1]) == kept:
                yield tick, Kept(*fields), is_sure and tick > self._lost_tick
            else:
                is_sure = False

    def last(self, series_id: int, since: int, until: int) -> Found | None:
        """Give the last reading of a series to arrive from one tick to another, alone and not in a bundle."""
        best = None
        for arrived, _, row in sorted(self._staged.get(series_id, ()), key=_place_of, reverse=True):
            if arrived <= until and (best := self._question.found(row)) is not None:
                break
        begins, ends = since + EARLIEST_MS * TICKS_PER_MS, until + LATEST_MS * TICKS_PER_MS
        moved = self._ask(_NEAR.format(order="tick"), (series_id, begins, ends, until)).fetchone()
        found: Found | None = None
        if moved is not None:
            begins = arrived_at(moved) + EARLIEST_MS * TICKS_PER_MS
            found = self._ask(_NEAR.format(order=_ARRIVED), (series_id, begins, ends, until)).fetchone()
        if found is None or (best is not None and _order_of(best) > _order_of(found)):
            found = best
        return found if found is not None and arrived_at(found) >= since else None

    def age_ms(self, tick: int) -> float:
        """How long the service had run in all at a tick, in ms."""
        index = max(0, bisect_right(self._ages, tick, key=lambda epoch: epoch[0]) - 1)
        first_tick, age_ms = self._ages[index]
        age: float = age_ms + max(0, tick - first_tick) / TICKS_PER_MS
        return age if index + 1 == len(self._ages) else min(age, self._ages[index + 1][1])


def _place_of(staged: tuple[int, int, StagedRow]) -> tuple[int, int]:
    return staged[:2]


def arrived_at(row: Found) -> int:
    """Tick at which a reading arrived."""
    return row[0] + ((row[3] >> 16) + LATE_BIAS_MS) * TICKS_PER_MS


def _order_of(row: Found) -> tuple[int, int]:
    return arrived_at(row), row[0]


def is_event(topic: str, kind: str, *, is_ours: bool) -> bool:
    """Whether a series tells what happened and not how something is: words of our agents, or of a key for events."""
    return kind == TEXT and (is_ours or topic.rpartition("/")[2] in EVENT_KEYS)


def published(kind: str, value: float | None, text: str | None) -> str:
    """Give a value as its publisher may have written it: ON, OFF, a number without needless digits, a text."""
    if value is None:
        return text or ""
    if kind == BINARY:
        return "ON" if value else "OFF"
    return f"{value:.15g}"
