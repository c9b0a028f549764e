"""The ledger in the one SQLite file: groups go to the end of the journal, and are moved into the tables later."""

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

from appliance.broker.image import Image
from appliance.devices import Device
from appliance.store.damage import is_damage
from appliance.store.database import PAGE_BYTES, Database
from appliance.store.group import Entry, Group
from appliance.store.loading import last_stamp, load
from appliance.store.rescue import open_sound
from appliance.store.staged import INSERT, Placed, StagedRow, Staging
from appliance.store.state_move import StateMove
from appliance.store.state_tables import OnDamage, StateTables

CHECKPOINT_BYTES: Final = 4 * 1024 * 1024  # what the log may take before it is moved into the file
MOVE_ROWS: Final = 10_000
MOVE_BYTES: Final = 8 * 1024 * 1024
MOVE_AFTER_S: Final = 3_600.0
REST_S: Final = 1.0
ROW_BYTES: Final = 50  # of a row without texts and blocks
STEP_BYTES: Final = 64 * PAGE_BYTES  # of the log, that a step of the move takes, roughly


class Placing(Protocol):
    """The history, as far as the ledger asks it: it gives rows their history columns, and moves those later."""

    def learn(self, device: Device) -> object:
        """Keep the names and units an agent gives its readings."""

    def place(self, entry: Entry, group: Group) -> Sequence[Placed]:
        """Give the readings of a message with their places, without those that are already here."""

    def move(self, cut_id: int) -> bool:
        """Move the history columns of some staged rows up to `cut_id`; True while there are more."""


class SqliteLedger:
    """Everything that is written to one open database; after an error it is closed and made anew."""

    def __init__(
        self,
        database: Database,
        history: Placing | None,
        *,
        age_ms: Callable[[float], int],
        on_damage: OnDamage = lambda _: None,
    ) -> None:
        self.next_number = 1
        self.next_key = 1
        self.short_of_space = False
        self.damaged = 0
        self._database = database
        self._history = history
        self._age_ms = age_ms
        self._on_damage = on_damage
        connection = database.connection
        self._tables = StateTables(connection, on_damage)
        self._staging = Staging(connection)
        (last_id,) = connection.execute("SELECT max(id) FROM journal").fetchone()
        self._cut_id = self._tables.mark("cut")
        self._next_id = max(last_id or 0, self._cut_id) + 1  # ids are never used again
        self.last_stamp = last_stamp(connection)
        self._log_bytes = 0
        self._staged_bytes = 0
        self._staged_since: float | None = None  # `now` of the first group that waits
        self._staged_until = 0.0
        self._moving: Iterator[None] | None = None
        if connection.execute("SELECT 1 FROM journal WHERE id <= ? LIMIT 1", (self._cut_id,)).fetchone():
            self._moving = self._move()  # goes on with what the last one left

    def load(self, now: float) -> Image:
        """Give the state as the last group left it, `now` being monotonic; writes nothing."""
        try:
            loaded = load(self._database.connection, now, self._age_ms(now), self._on_damage)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            self._database.suspect(str(error))
            self.damaged = 1
            return Image()
        self.next_number, self.next_key, self.damaged = loaded.next_number, loaded.next_key, loaded.damaged
        if loaded.damaged:
            self._database.suspect(f"{loaded.damaged} of its records were not what was written")
        return loaded.image

    def settle(self) -> None:
        """Move the whole log into the file and flush it: after a failure, only then is what was found durable."""
        if not self._database.checkpoint("TRUNCATE"):
            raise sqlite3.OperationalError("the log is in use by a reader")
        self._log_bytes = 0

    def write(self, group: Group) -> None:
        """Make the group durable: one transaction, one flush. sqlite3.Error says that nothing of it is."""
        place = None if self._history is None else self._history.place
        with self._database.transaction():
            if group.run != self.last_stamp[0]:
                self._begin_run(group.run)
            if self._history is not None:
                for device in group.devices:
                    self._history.learn(device)
            rows = self._staging.rows(group, self._next_id, self._age_ms, place)
            self._database.connection.executemany(INSERT, rows)
        self.last_stamp = group.run, group.number
        self._wrote(rows, group.now)

    def step(self) -> bool:
        """Do one small piece of what may wait; False when there is nothing to do."""
        if self._log_bytes >= CHECKPOINT_BYTES:
            self._checkpoint()
            return True
        if self._moving is None and self._is_due():
            self._moving = self._begin_move()
        return self._moving is not None and self._move_on()

    def trim(self) -> bool:
        """Give up a small piece of the oldest history to make room in the file; False when there is enough or none."""
        return False

    def rest(self, within_s: float = REST_S) -> None:
        """Bring everything into the tables before a stop, as far as the time allows; the next start goes on."""
        ends = time.monotonic() + within_s
        while time.monotonic() < ends:
            if self._moving is None:
                if not self._staged_rows():
                    return
                self._moving = self._begin_move()
            self._move_on()

    def close(self) -> None:
        """Let go of the database; may be called twice."""
        self._moving = None
        self._database.close()

    def _staged_rows(self) -> int:
        return self._next_id - 1 - self._cut_id

    def _is_due(self) -> bool:
        """Whether so much waits, or for so long, that it should be moved."""
        if self._staged_rows() >= MOVE_ROWS or self._staged_bytes >= MOVE_BYTES:
            return True
        return self._staged_since is not None and self._staged_until - self._staged_since >= MOVE_AFTER_S

    def _begin_move(self) -> Iterator[None]:
        """Fix how far the move goes: everything that is written by now."""
        with self._database.transaction():
            self._tables.set_mark("cut", self._next_id - 1)
            self._tables.set_mark("cut_key", 0)
        self._cut_id = self._next_id - 1
        self._staged_bytes = 0
        self._staged_since = None
        return self._move()

    def _move(self) -> Iterator[None]:
        """Move the history first: its columns are in no other row."""
        if self._history is not None:
            while self._history.move(self._cut_id):
                yield
        yield from StateMove(self._database, self._staging, self._cut_id, self._on_damage).steps()

    def _move_on(self) -> bool:
        """Do one piece of the move; True, since there may be more."""
        assert self._moving is not None  # noqa: S101 asked by both callers
        for _ in self._moving:
            self._log_bytes += STEP_BYTES
            return True
        self._moving = None
        return True

    def _begin_run(self, run: int) -> None:
        """Know that group numbers from here on are this run's."""
        self._tables.set_mark("run", run)
        self._tables.set_mark("run_id", self._next_id)
        self._tables.set_mark("group", 0)

    def _wrote(self, rows: list[StagedRow], now: float) -> None:
        """Count what waits now, and what the commit adds to the log: pages for its rows, and the one it begins on."""
        size_bytes = sum(ROW_BYTES + sum(len(field) for field in row if isinstance(field, bytes | str)) for row in rows)
        self._next_id += len(rows)
        self._log_bytes += size_bytes + 2 * PAGE_BYTES
        self._staged_bytes += size_bytes
        self._staged_until = now
        if rows and self._staged_since is None:
            self._staged_since = now

    def _checkpoint(self) -> None:
        self._database.checkpoint("PASSIVE")
        self._log_bytes = 0


def open_ledger(
    path: Path,
    *,
    age_ms: Callable[[float], int],
    history: Callable[[Database], Placing] | None = None,
    on_damage: OnDamage = lambda _: None,
) -> SqliteLedger:
    """Open or create the database for writing; StoreError says in one line why not."""
    try:
        return _open(path, age_ms, history, on_damage)
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
    return _open(path, age_ms, history, on_damage)  # salvaged, because it is suspected now


def _open(
    path: Path,
    age_ms: Callable[[float], int],
    history: Callable[[Database], Placing] | None,
    on_damage: OnDamage,
) -> SqliteLedger:
    database = open_sound(path)
    try:
        placing = None if history is None else history(database)
        return SqliteLedger(database, placing, age_ms=age_ms, on_damage=on_damage)
    except BaseException as error:
        if isinstance(error, sqlite3.Error) and is_damage(error):
            database.suspect(str(error))
        database.close()
        raise
