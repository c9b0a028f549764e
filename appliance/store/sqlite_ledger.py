"""The ledger in the one SQLite file: groups go to the end of the journal, and are moved into the tables later."""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from appliance.broker.image import Image
from appliance.broker.message import Message
from appliance.clock import RELEASED_MS, UNSYNCED
from appliance.devices import Device
from appliance.store.chores import Chores, Trimming
from appliance.store.damage import MisfitError, is_damage
from appliance.store.database import PAGE_BYTES, Database, StoreError
from appliance.store.epochs import save_epochs
from appliance.store.gaps import GapNote, Gaps, Measured
from appliance.store.group import Entry, Group
from appliance.store.harms import CHANGED, UNREADABLE
from appliance.store.history import Placed
from appliance.store.hubclock import HubClock
from appliance.store.loading import last_stamp, load, load_retained
from appliance.store.remainder import Remainder
from appliance.store.staged import Moment, StagedRow, Staging, insert
from appliance.store.state_move import StateMove
from appliance.store.state_tables import OnDamage, StateTables
from appliance.store.suspicion import is_suspect

LOG: Final = logging.getLogger(__name__)
CHECKPOINT_BYTES: Final = 8 * 1024 * 1024  # of the log: a page that is written often goes to the file once
GROWTH_BYTES: Final = 4 * 1024 * 1024  # what the log may hold that the file has no room for: the reserve has
MOVE_ROWS: Final = 10_000
MOVE_BYTES: Final = 8 * 1024 * 1024
MOVE_AFTER_S: Final = 3_600.0
ENDED: Final = object()
REST_S: Final = 1.0
ROW_BYTES: Final = 50  # of a row without texts and blocks
STEP_BYTES: Final = 64 * PAGE_BYTES  # of the log, that a step of the move takes, roughly


class Placing(Protocol):
    """The history, as far as the ledger asks it: it gives rows their history columns, and moves those later."""

    def look(self, now: float, at: float) -> object:
        """See how monotonic and wall clock stand."""

    def learn(self, device: Device) -> object:
        """Keep the names and units an agent gives its readings."""

    def settle(self, now: float, retained: Callable[[], Mapping[str, Message]]) -> None:
        """Know at a start how it is retained what nothing was known of."""

    def place(self, entry: Entry, group: Group) -> Sequence[Placed]:
        """Give the readings of a message with their places, without those that are already here."""

    def move(self, cut_id: int) -> bool:
        """Move the history columns of some staged rows up to `cut_id`; True while there are more."""

    def deleted(self) -> None:
        """Know that all rows up to the cut are gone."""


class GapBook:
    """Gaps as the ledger writes them: the hub's clock gives them their places."""

    def __init__(self, connection: sqlite3.Connection, clock: HubClock) -> None:
        self._connection = connection
        self._gaps = Gaps(connection)
        self._clock = clock  # has not begun yet
        self._last_tick = clock.last_tick

    def begin(self) -> None:
        """Put down for how long the service was not there."""
        self._gaps.begin(self._last_tick or None, self._clock.epoch.first_tick)

    def write(self, notes: Sequence[GapNote]) -> None:
        """Put down what a group says of gaps."""
        if self._gaps.are_of_absence:
            self._gaps.back(self._clock.last_tick)
        if notes:
            self._gaps.write(notes, lambda now: self._clock.moment(now).tick, self._placed)

    def _placed(self, measured: Measured) -> tuple[int, int] | None:
        """Give the ticks of times that an agent measured, as those of its readings; None where they cannot be true."""
        ticks = []
        for at in measured[:2]:
            shown = self._clock.place_shown(round(at * 1000)) if measured.clock == UNSYNCED else None
            if shown is None and at * 1000 < RELEASED_MS:
                return None
            ticks.append((shown or self._clock.place(round(at * 1000))).tick)
        return (ticks[0], ticks[1])

    def end(self, now: float) -> None:
        """Put down that the service stops in order."""
        self._gaps.end(self._clock.tick(now))
        self._clock.close()
        save_epochs(self._connection, self._clock)


class SqliteLedger:
    """Everything that is written to one open database; after an error it is closed and made anew."""

    def __init__(
        self,
        database: Database,
        history: Placing | None,
        *,
        age_ms: Callable[[float], int],
        on_damage: OnDamage = lambda _: None,
        gaps: GapBook | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.next_number = 1
        self.next_key = 1
        self.short_of_space = False
        self.damaged = 0
        self._database = database
        self._history = history
        self._age_ms = age_ms
        self._on_damage = on_damage
        self._gaps = gaps
        self._clock = clock
        self._chores = Chores(())
        self._retention: Trimming | None = None
        self._hire: Callable[[], tuple[Chores, Trimming]] | None = None
        connection = database.connection
        self._tables = StateTables(connection, on_damage)
        self._staging = Staging(connection)
        (last_id,) = connection.execute("SELECT max(id) FROM journal").fetchone()
        self._cut_id = self._tables.mark("cut")
        self._next_id = max(last_id or 0, self._cut_id) + 1  # ids are never used again
        self.last_stamp = last_stamp(connection)
        self._damaged_ids: list[int] = []
        self._is_begun = False  # while the gap before this start is not down, nothing may be summed up
        self._remainder = Remainder(database.path, connection)
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
            loaded = load(self._database.connection, Moment(now, self._age_ms(now)), self._on_damage)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            LOG.debug("%s: %s", self._database.path, error)
            self._database.suspect(UNREADABLE)
            self.damaged = 1
            return Image()
        self.next_number, self.next_key, self.damaged = loaded.next_number, loaded.next_key, loaded.damaged
        self._damaged_ids = loaded.damaged_ids
        if loaded.damaged:
            self._database.suspect(CHANGED)
        return loaded.image

    def settle(self) -> None:
        """Move the whole log into the file and flush it: after a failure, only then is what was found durable."""
        if not self._database.checkpoint("TRUNCATE"):
            path = self._database.path
            raise StoreError(f"a reader holds the log of {path}: it ends by itself, or close the program that reads it")
        self._log_bytes = 0

    def write(self, group: Group) -> None:
        """Make the group durable: one transaction, one flush. sqlite3.Error says that nothing of it is."""
        history = self._history
        connection = self._database.connection
        generation = 0
        with self._database.transaction():
            if self._database.log_is_new:
                generation = self._database.begin_log()
            if group.run != self.last_stamp[0]:
                self._begin_run(group.run)
            if history is not None:
                for now, at in group.earlier:
                    history.look(now, at)
                history.look(group.now, group.at)
                if group.run != self.last_stamp[0]:
                    now = group.entries[0][2] if group.entries else group.now
                    history.settle(now, lambda: load_retained(connection, Moment(now, self._age_ms(now))))
                for device in group.devices:
                    history.learn(device)
            if self._gaps is not None:
                self._gaps.write(group.gaps)
            rows = self._staging.rows(group, self._next_id, self._age_ms, None if history is None else history.place)
            insert(connection, rows)
        if generation:
            self._database.note_log(generation)
        self.last_stamp = group.run, group.number
        self._is_begun = True
        self._wrote(rows, group.now)

    def suspect(self, why: str) -> None:
        """Have the file salvaged when it is opened next."""
        self._database.suspect(why)

    def step(self) -> bool:
        """Do one small piece of what may wait; False when there is nothing to do."""
        if is_suspect(self._database.path):  # a reader met damage: opened anew, the file is salvaged
            self._database.suspect(UNREADABLE)
            raise MisfitError("a reader met damage")
        if self._log_bytes >= GROWTH_BYTES and self._is_log_full():
            self._checkpoint()
            return True
        if self._damaged_ids:
            self._forget_damaged()
            return True
        if self._moving is None and self._is_due():
            self._moving = self._begin_move()
        if self._moving is not None:
            return self._move_on()
        if is_left := self._remainder.step():  # a piece of each in turn: this may take days
            self._log_bytes += STEP_BYTES
        if not self._is_begun:
            return is_left
        self._begin_work()
        return self._chores.step(self._clock()) or is_left

    def work(self, hire: Callable[[], tuple[Chores, Trimming]]) -> None:
        """Have what this gives done while nothing waits: all chores, and the one of them that makes room."""
        self._hire = hire

    def _begin_work(self) -> None:
        if self._hire is not None:
            (self._chores, self._retention), self._hire = self._hire(), None

    def trim(self) -> bool:
        """Give up a small piece of the oldest history to make room in the file; False when there is enough or none."""
        self._begin_work()
        return self._retention is not None and self._retention.trim(self._clock())

    def rest(self, within_s: float = REST_S) -> None:
        """Bring everything into the tables before a stop, as far as the time allows; the next start goes on."""
        ends = time.monotonic() + within_s
        while time.monotonic() < ends:
            if self._moving is None:
                if not self._staged_rows():
                    return
                self._moving = self._begin_move()
            self._move_on()

    def finish(self) -> None:
        """Bring everything into its tables, as far as a second allows, and note that the service stops in order."""
        self.rest()
        if self._gaps is not None:
            with self._database.transaction():
                self._gaps.end(self._clock())

    def close(self) -> None:
        """Let go of the database; may be called twice."""
        self._moving = None
        self._remainder.close()
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
        """Move the history before the state: its columns stand in no other row."""
        history = self._history
        on_deleted = (lambda: None) if history is None else history.deleted
        # Of a move that a start goes on with, the next one sees what is over.
        age_ms = self._age_ms(self._staged_until) if self._staged_until else 0
        move = StateMove(self._database, self._staging, self._cut_id, self._on_damage, on_deleted, age_ms)
        yield from move.scan()
        more = True
        while history is not None and more:
            with self._database.transaction():
                more = history.move(self._cut_id)
            yield
        yield from move.finish()

    def _move_on(self) -> bool:
        """Do one piece of the move; True, since there may be more."""
        assert self._moving is not None  # noqa: S101 asked by both callers
        if next(self._moving, ENDED) is ENDED:
            self._moving = None
        self._log_bytes += STEP_BYTES
        return True

    def _forget_damaged(self) -> None:
        """Delete the rows of the journal that were found damaged, lest somebody else reads them."""
        with self._database.transaction():
            self._tables.forget(self._damaged_ids)
        self._damaged_ids = []

    def _begin_run(self, run: int) -> None:
        """Know that group numbers from here on are this run's."""
        if self._gaps is not None:
            self._gaps.begin()
        self._tables.set_mark("run", run)
        self._tables.set_mark("run_id", self._next_id)
        self._tables.set_mark("group", 0)

    def _wrote(self, rows: list[StagedRow], now: float) -> None:
        """Count what waits now, and what the commit adds to the log: pages for its rows, and the one it begins on."""
        size_bytes = sum(map(bytes_of, rows))
        self._next_id += len(rows)
        self._log_bytes += size_bytes + 2 * PAGE_BYTES
        self._staged_bytes += size_bytes
        self._staged_until = now
        if rows and self._staged_since is None:
            self._staged_since = now

    def _is_log_full(self) -> bool:
        """Whether the log is to be moved into the file: for its length, or because the disk must have room for it."""
        if self._log_bytes >= CHECKPOINT_BYTES or self.short_of_space:
            return True
        (pages,) = self._database.connection.execute("PRAGMA page_count").fetchone()
        (page_bytes,) = self._database.connection.execute("PRAGMA page_size").fetchone()
        try:
            return bool(pages * page_bytes - self._database.path.stat().st_size >= GROWTH_BYTES)
        except OSError:  # it was moved away: who writes next finds that out
            return False

    def _checkpoint(self) -> None:
        self._database.checkpoint("PASSIVE")
        self._log_bytes = 0


def bytes_of(row: StagedRow) -> int:
    """Give about what a row takes in the file."""
    size_bytes = ROW_BYTES
    _, _, _, _, _, value, _, _, _, _, topic, payload, properties, client_id, _, body, _ = row
    if topic is not None:
        size_bytes += len(topic)
    if payload is not None:
        size_bytes += len(payload)
    if client_id is not None:
        size_bytes += len(client_id)
    if properties.__class__ is bytes:
        size_bytes += len(properties)
    if body.__class__ is bytes:
        size_bytes += len(body)
    if value.__class__ is str:
        size_bytes += len(value)
    return size_bytes
