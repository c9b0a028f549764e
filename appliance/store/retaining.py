"""How the readings of each series are retained: noted where that changes, in the transaction of the message.

A series that is always retained, or never, costs one row or none. A message of several values holds all the series of
its values, until its topic is given another one. A reading that a publisher sends once more counts once, when it came
first.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Final, NamedTuple

from appliance.store.checksum import checksum
from appliance.store.reading_rows import TICKS_PER_MS
from appliance.store.spelling import first

NOT_KNOWN: Final = 0  # from before this was noted, or lost
RETAINED: Final = 1  # from here on each reading is what its topic holds
PASSING: Final = 2  # readings come that are not retained: what was held before stays
DELETED: Final = 3  # nothing is held any more
REPLACED: Final = 4  # something is held that is no reading

PASSES: Final = 1  # beside the spellings: whether a reading that is not retained changes nothing
LOST: Final = "retaining_lost"  # mark: the tick up to which changes may be missing
COLUMNS: Final = "series_id, tick, state, spelling, expiry_s, topic, checksum"
# CROSS JOIN holds SQLite to this order: a look-up per series.
_LAST: Final = """
    SELECT retaining.* FROM series CROSS JOIN retaining ON series_id = series.id
      AND tick = (SELECT max(tick) FROM retaining WHERE series_id = series.id)"""
_LOSE: Final = f"""
    INSERT OR REPLACE INTO marks (name, value) SELECT ?, max(
      coalesce((SELECT max(last_tick) FROM epochs), 0),
      coalesce((SELECT max(tick) FROM retaining), 0),
      coalesce((SELECT max(tick + max(0, late_ms) * {TICKS_PER_MS}) FROM journal), 0))"""  # noqa: S608 our own number


class Kept(NamedTuple):
    """What is known of a series from a change on; of PASSING, spelling and what follows are those of what is held.

    expiry_s: for how long a message is retained, None for ever. topic: of a message of several values.
    """

    state: int
    spelling: int | None = None
    expiry_s: int | None = None
    topic: str | None = None


class Retaining:
    """Writes changes. Call it inside a transaction, and make a new one when a transaction failed.

    `next_tick` gives a tick behind everything that has arrived, and lets all that comes later come behind that.
    `modes` says of a series what changes nothing: PASSES, and the spellings of what is retained in the usual way.
    """

    def __init__(self, connection: sqlite3.Connection, next_tick: Callable[[], int]) -> None:
        self._ask = connection.execute
        self._next_tick = next_tick
        self.modes: dict[int, int] = {}
        self.last_tick = 0
        self._kept: dict[int, Kept] = {}
        self._parts: defaultdict[str, set[int]] = defaultdict(set)  # by the topic of the message that holds them
        for series_id, tick, *fields, _ in self._ask(_LAST).fetchall():
            self.last_tick = max(self.last_tick, tick)
            self._know(series_id, Kept(*fields))

    def retain(self, series_id: int, spellings: int, expiry_s: int | None, topic: str | None) -> None:
        """Know that a retained message brings a reading."""
        kept = self._kept.get(series_id)
        if (
            kept is None
            or kept.state != RETAINED
            or not (kept.spelling or 0) & spellings
            or (kept.expiry_s, kept.topic) != (expiry_s, topic)
        ):
            self._write(series_id, Kept(RETAINED, first(spellings), expiry_s, topic))

    def let_pass(self, series_id: int) -> None:
        """Know that a message which is not retained brings a reading."""
        kept = self._kept.get(series_id)
        if kept is not None and kept.state in (NOT_KNOWN, RETAINED):
            self._write(series_id, kept._replace(state=PASSING))

    def end(self, topic: str, series_id: int | None, state: int, besides: Collection[int] = ()) -> None:
        """Know that a topic holds nothing of what it held, but for what a message has just brought.

        `series_id` is the topic's own series, which is DELETED or REPLACED.
        """
        if series_id is not None and series_id not in besides:
            kept = self._kept.get(series_id)
            before = DELETED if kept is None else kept.state
            if before != state and (kept is None or kept.topic is None):
                self._write(series_id, Kept(state))
        for part in sorted(self._parts.get(topic, set()).difference(besides)):
            self._write(part, Kept(DELETED))

    def unknown(self) -> set[int]:
        """Give the series of which nothing is known."""
        return {series_id for series_id, kept in self._kept.items() if kept.state == NOT_KNOWN}

    def settle(self, found: Mapping[int, Kept], tick: int) -> None:
        """Know of series what was found out about them; `tick` is one that `next_tick` gave."""
        for series_id, kept in found.items():
            self._put(series_id, tick, kept)

    def _write(self, series_id: int, kept: Kept) -> None:
        self._put(series_id, self._next_tick(), kept)

    def _put(self, series_id: int, tick: int, kept: Kept) -> None:
        row = (series_id, tick, *kept)
        self._ask(f"INSERT INTO retaining ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, checksum(*row)))  # noqa: S608
        self._know(series_id, kept)

    def _know(self, series_id: int, kept: Kept) -> None:
        before = self._kept.get(series_id)
        if before is not None and before.topic is not None:
            self._parts[before.topic].discard(series_id)
            if not self._parts[before.topic]:
                del self._parts[before.topic]
        if kept.topic is not None:
            self._parts[kept.topic].add(series_id)
        self._kept[series_id] = kept
        if kept.state == RETAINED and kept.expiry_s is None and kept.topic is None:
            self.modes[series_id] = kept.spelling or 0
        else:
            self.modes[series_id] = 0 if kept.state in (NOT_KNOWN, RETAINED) else PASSES


def begin(connection: sqlite3.Connection) -> None:
    """Note of series without any change, that nothing is known of them: all of a history from before this was noted."""
    unknown = "SELECT id FROM series WHERE id NOT IN (SELECT series_id FROM retaining)"
    for (series_id,) in connection.execute(unknown).fetchall():
        row = (series_id, 0, *Kept(NOT_KNOWN))
        connection.execute(f"INSERT INTO retaining ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, checksum(*row)))  # noqa: S608


def lose(connection: sqlite3.Connection) -> None:
    """Note that some of what was noted up to now is lost."""
    connection.execute(_LOSE, (LOST,))
    begin(connection)


def prune(connection: sqlite3.Connection, series_id: int, before_tick: int, limit: int) -> int:
    """Throw changes of a series away that one up to a tick has overtaken; how many, up to `limit`."""
    return connection.execute(
        "DELETE FROM retaining WHERE series_id = ?1 AND tick IN (SELECT tick FROM retaining WHERE series_id = ?1"
        " AND tick < (SELECT max(tick) FROM retaining WHERE series_id = ?1 AND tick <= ?2) ORDER BY tick LIMIT ?3)",
        (series_id, before_tick, limit),
    ).rowcount
