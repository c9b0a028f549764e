"""The thread that writes: one group after the other made durable, and trouble with the disk outlived.

It owns the ledger and with it the one connection that writes. The event loop hands groups over and never waits; what
became of them is told by three calls, made in this thread. When the disk fails, the connection is closed, because what
a failed flush left behind cannot be known from it; the file is opened anew, its log moved over and flushed, what the
failed commit really wrote is read from it, and only the rest is written again.
"""

import logging
import sqlite3
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Condition, Thread
from time import monotonic
from typing import Final

from appliance.broker.image import Image
from appliance.store.calm import Calm
from appliance.store.database import StoreError, explain
from appliance.store.group import Group, count, merged
from appliance.store.ledger import Ledger
from appliance.store.misfits import MISUSE, write_what_fits
from appliance.store.opened import Opened
from appliance.store.pulse import Pulse
from appliance.store.room import Room, is_full
from appliance.store.still import cannot_write
from appliance.store.wear import Wear
from appliance.store.written import Loaded, WriterStats

LOG: Final = logging.getLogger(__name__)
MERGED_BYTES: Final = 1_048_576  # of waiting groups that share a transaction
RETRY_S: Final = 1.0  # between tries to open the file again
REST: Final = 4.0  # how long the thread rests after a step, in lengths of that step: a fifth of the time is for them
IDLE_S: Final = 60.0  # until it asks again for something to do when there was nothing
AFTER_S: Final = 1.0  # until it asks for something to do after a commit
LOOK_S: Final = 10.0  # between looks at how full the disk is
AMEND_S: Final = 30.0  # that the loop has to say what is missing in the file
TRIMS: Final = 200  # small pieces of history that are given up at once when the disk is full


class Writer:
    """Writes groups in a thread of its own; `run` tells them from those of an earlier start.

    on_committed: the groups up to this number are durable. on_failure: what waits cannot be written now; a line for
    people says why and what to do, and stands in `trouble` too. on_recovery: it is written again. on_astray: what the
    file holds now may be less than what counts as durable; what is missing is to be handed over, and `amended` called.
    reopen_ledger: opens a file that was whole and only could not be written.
    read: gives what is in the file where it cannot be written at the start, so that there is one.
    """

    def __init__(
        self,
        path: Path,
        open_ledger: Callable[[], Ledger],
        *,
        run: int,
        room: Room,
        wear: Wear,
        on_committed: Callable[[int], None],
        on_failure: Callable[[str], None],
        on_recovery: Callable[[], None],
        on_astray: Callable[[Image], None] | None = None,
        reopen_ledger: Callable[[], Ledger] | None = None,
        read: Callable[[float], Loaded] | None = None,
        retry_s: float = RETRY_S,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.stats = WriterStats()
        self.trouble: str | None = None
        self._path = path
        self._read = read
        self._run_id = run
        self._room = room
        self._wear = wear
        self._on_committed = on_committed
        self._on_failure = on_failure
        self._on_recovery = on_recovery
        self._on_astray = on_astray
        self._retry_s = retry_s
        self._clock = clock
        self._groups: deque[Group] = deque()  # not durable yet, the one in work too
        self._closing = False
        self._compares = False  # the loop wants to be told what is in the file
        self._amended: int | None = None  # number of the group that makes the file whole again, and those before it
        self._changed = Condition()
        self._thread: Thread | None = None
        # What only the thread touches once it runs.
        self._opened = Opened(path, open_ledger, reopen_ledger)
        self._calm = Calm(retry_s)
        self.pulse = Pulse(clock)  # for the loop too
        self._next_try = self._next_step = self._no_step_before = self._next_look = 0.0
        self._refused = False  # the loop was told of a failure and not yet of its end
        self._full = False  # it failed for want of room

    # --- for the loop ---

    def start(self, now: float) -> Loaded:
        """Open the file and give what is in it; StoreError says in one line why it cannot. Blocks until done."""
        outcome: list[Loaded | Exception] = []
        opened = Condition()

        def opening() -> None:
            try:
                found: Loaded | Exception = self._load(now)
            except Exception as error:  # noqa: BLE001 the starting thread raises it
                self._opened.let_go()
                found = error
            with opened:
                outcome.append(found)
                opened.notify()
            if isinstance(found, Loaded):
                with self.pulse.life():
                    self._work()

        self._thread = Thread(target=opening, name="writer", daemon=True)
        with opened:
            self._thread.start()
            opened.wait_for(lambda: outcome)  # SQLite's connection belongs to the thread that opens it
        (found,) = outcome
        if isinstance(found, Loaded):
            return found
        self._thread.join()
        self._thread = None
        if isinstance(found, (sqlite3.Error, OSError)):
            raise StoreError(explain(self._path, found)) from found
        raise found

    def submit(self, group: Group) -> None:
        """Hand over a group; groups become durable in the order of their numbers."""
        with self._changed:
            self._groups.append(group)
            self._changed.notify()

    def compare(self) -> None:
        """Have `on_astray` called when everything is written that waits."""
        with self._changed:
            self._compares = True
            self._changed.notify()

    def amended(self, number: int) -> None:
        """Say that what is missing in the file was handed over, up to that group; it is written in one transaction."""
        with self._changed:
            self._amended = number
            self._changed.notify()

    def close(self) -> None:
        """Write everything that was handed over, close the file, end the thread; may be called twice.

        Blocks until done. Only if the disk refuses is the rest given up, after one more try, and counted.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    # --- the thread ---

    def _load(self, now: float) -> Loaded:
        try:
            return self._load_to_write(now)
        except (StoreError, sqlite3.Error, OSError) as error:
            cause = error.__cause__ if isinstance(error, StoreError) else error
            if self._read is None or cause is None or not cannot_write(cause):
                raise
            self._opened.let_go()
            try:
                found = self._read(now)
            except (sqlite3.Error, OSError):
                raise error from cause
            if found.is_all:
                self._opened.take_place(is_whole=False)
            self._fail(error)
            self._next_try = self._clock() + self._retry_s
            return found

    def _load_to_write(self, now: float) -> Loaded:
        try:
            ledger = self._opened.open()
        except StoreError as error:  # the reserve is there for this
            if error.__cause__ is None or not is_full(error.__cause__) or not self._room.give_up():
                raise
            ledger = self._opened.open()
        image = ledger.load(now)
        if ledger.damaged:  # opened anew, it is salvaged: what is damaged goes into a file of its own
            self._opened.let_go()
            ledger = self._opened.open()
            image = ledger.load(now)
        self._opened.take_place()
        self._room.keep()
        self._wear.look(at_once=True)
        return Loaded(image, ledger.next_number, ledger.next_key)

    def _work(self) -> None:
        tries = 0  # to write what is left when closing
        while self._wait():
            tries += self._closing
            try:
                self._do_next()
            except Exception as error:  # a fault of ours; without this thread nothing would ever be acknowledged again
                LOG.exception("the writer goes on after an error of the server")
                self._fail(StoreError(f"{self._path} could not be written: {error}"))
            if self._opened.ledger is None and tries > 1:
                break
        self._give_up()
        if self._opened.ledger is not None:
            with suppress(sqlite3.Error, OSError):  # everything is durable; the next start does what is left
                self._opened.ledger.finish()
        self._opened.let_go()

    def _do_next(self) -> None:
        if self._opened.ledger is None:
            self._open_again()
        if (ledger := self._opened.ledger) is not None:
            with self.pulse:
                if self._groups:
                    self._write(ledger)
                elif self._compares:
                    self._compare(ledger)
                elif self._refused and self._clock() >= self._calm.until:
                    self._recover()
                elif not self._closing and self._clock() >= self._next_step:
                    self._step(ledger)

    def _wait(self) -> bool:
        """Wait until there is something to do; False when closing and nothing is left."""
        with self._changed:
            while True:
                if self._closing:
                    return bool(self._groups) or (self._compares and self._opened.ledger is not None)
                due = self._next_step
                if self._opened.ledger is None:
                    due = self._next_try
                elif self._groups or self._compares:
                    return True
                elif self._refused:
                    due = min(due, self._calm.until)
                left = due - self._clock()
                if left <= 0:
                    return True
                self._changed.wait(left)

    def _write(self, ledger: Ledger) -> None:
        batch = self._next_batch()
        try:
            self._opened.check_place()
            ledger.write(batch)
        except (sqlite3.Error, OSError, StoreError) as error:
            if not isinstance(error, MISUSE) or self._opened.suspect(error):
                self._fail(error)
            else:
                self._misfit(batch, error)
        except Exception as error:  # noqa: BLE001 one bad group must not end the writing of all later ones
            self._misfit(batch, error)
        else:
            self._done(batch.number)
            self._recover()
        self._next_step = max(self._no_step_before, min(self._next_step, self._clock() + AFTER_S))
        self._wear.look()

    def _next_batch(self) -> Group:
        """Give the groups that share the next transaction, as one with the number of the last."""
        with self._changed:
            waiting = list(self._groups)
            whole = self._amended or 0
        if len(waiting) == 1:
            return waiting[0]
        batch: list[Group] = []
        size = 0
        for group in waiting:
            size += group.size_bytes
            if batch and size > MERGED_BYTES and group.number > whole:
                break
            batch.append(group)
        return merged(batch)

    def _done(self, number: int) -> None:
        """Say that the groups up to this number are durable."""
        done = 0
        with self._changed:
            while self._groups and self._groups[0].number <= number:
                self._groups.popleft()
                done += 1
        if done:
            self.stats.commits += 1
            self.stats.groups += done
            self._tell(self._on_committed, number)

    def _step(self, ledger: Ledger) -> None:
        """Do a piece of what may wait, and rest four times as long as it took."""
        now = self._clock()
        try:
            if now >= self._next_look:
                self._next_look = now + LOOK_S
                self._opened.check_place()
                ledger.short_of_space = self._room.is_tight()
                self._room.keep()
            more = (ledger.short_of_space and ledger.trim()) or ledger.step()
        except StoreError as error:
            self._fail(error)
            return
        except Exception as error:  # nothing of it waited; what waits next finds out how the disk is
            if not isinstance(error, (sqlite3.Error, OSError)) or isinstance(error, MISUSE):
                LOG.exception("what may wait in %s could not be done", self._path)
            self.stats.failures += 1
            self._full = self._full or is_full(error)
            self._complain(explain(self._path, error) if isinstance(error, (sqlite3.Error, OSError)) else str(error))
            self._opened.doubt(error)
            self._opened.let_go()
            self._next_try = self._clock()
            self._next_step = self._no_step_before = self._next_try + IDLE_S
            return
        ended = self._clock()
        self._next_step = ended + ((ended - now) * REST if more else IDLE_S)
        if not self._refused and not self._calm.is_restless(ended):
            self.trouble = None
        self._wear.look()

    # --- trouble ---

    def _fail(self, error: sqlite3.Error | OSError | StoreError) -> None:
        """Let go of the file and tell the loop; the next try follows at once, then one every `retry_s`."""
        self.stats.failures += 1
        self._opened.doubt(error)
        self._opened.let_go()
        self._next_try = self._clock() + (self._retry_s if self._refused else 0.0)
        self._calm.failed(self._clock(), is_new=not self._refused)
        cause = error.__cause__ if isinstance(error, StoreError) else error
        if cause is not None and is_full(cause):
            self._full = True
        trouble = str(error) if isinstance(error, StoreError) else explain(self._path, error)
        if isinstance(error, sqlite3.IntegrityError):
            trouble = f"{self._path} is damaged ({error}): what is whole is copied into a new file"
        self._complain(trouble)
        if not self._refused:
            self._refused = True
            self._tell(self._on_failure, trouble)

    def _open_again(self) -> None:
        """Open the file, make sure of what is in it, and make room where that was missing."""
        if self._full:
            self._room.give_up()
        try:
            if not self._path.exists():
                self._opened.check_place()  # not a new one: it would lack what everybody believes to be kept
            ledger = self._opened.open()
            self._opened.take_place()
            run, number = ledger.last_stamp
            finds = run == self._run_id and self._waits_for(number)
            self._opened.settle(ledger, finds=finds)
            if finds:
                self._done(number)  # the commit that failed had written them after all
            if self._opened.is_astray:
                self._amend(ledger)
            if self._full:
                ledger.short_of_space = True
                for _ in range(TRIMS):
                    if not ledger.trim():
                        break
        except (sqlite3.Error, OSError, StoreError) as error:
            self._fail(error)
        except Exception as error:
            LOG.exception("%s could not be opened again", self._path)
            self._fail(StoreError(f"{self._path} cannot be used: {error}"))
        else:
            self._full = False
            if not self._groups:
                self._recover()

    def _compare(self, ledger: Ledger) -> None:
        self._compares = False
        try:
            self._amend(ledger)
        except (sqlite3.Error, OSError, StoreError) as error:
            self._compares = True
            self._fail(error)

    def _amend(self, ledger: Ledger) -> None:
        """Say what is in the file, and wait until what is missing is handed over; nothing is written before that."""
        if self._on_astray is not None:
            image = ledger.load(self._clock())
            with self._changed:
                self._amended = None
            self._tell(self._on_astray, image)
            with self._changed:
                if not self._changed.wait_for(lambda: self._amended is not None, AMEND_S):
                    raise StoreError(f"{self._path} lacks what was kept before, and nobody says what that was")
        self._opened.is_astray = False

    def _waits_for(self, number: int) -> bool:
        with self._changed:
            return bool(self._groups) and self._groups[0].number <= number

    def _recover(self) -> None:
        """Tell that all is well again, unless that was said too often of late."""
        now = self._clock()
        if self._refused and now < self._calm.until:
            return
        if self._refused:
            self._calm.recovered(now)
        if not self._calm.is_restless(now):
            self.trouble = None
        if self._refused:
            self._refused = False
            self._next_look = 0.0
            self._tell(self._on_recovery)

    def _misfit(self, batch: Group, error: Exception) -> None:
        """Write what can be written of a group that a fault of ours keeps from being written whole.

        Links that wait for what is left out are closed, with all others that wait: it must not count as kept.
        """
        LOG.error("a group of %d could not be written as it is", count(batch), exc_info=error)
        self._opened.let_go()  # with what it believed to have written
        owed = f"a message or change does not fit into {self._path}: the log shows it"
        with self._changed:
            groups = [group for group in self._groups if group.number <= batch.number]
        try:
            for group in groups:  # one by one: a part of several could be taken for the first of them
                if write_what_fits(self._opened, group, self.stats):
                    self._refused = True
                    self._tell(self._on_failure, owed)
                self._done(group.number)
        except (sqlite3.Error, OSError, StoreError) as trouble:
            self._fail(trouble)
            return
        self._recover()

    def _give_up(self) -> None:
        """Count what stays unwritten because the disk failed until the end."""
        with self._changed:
            lost = sum(map(count, self._groups))
            self._groups.clear()
        if lost:
            self.stats.given_up += lost
            LOG.error("%d messages and changes were not written: %s", lost, self.trouble)

    def _complain(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            LOG.warning("%s", trouble)

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            callback(*arguments)
        except Exception:  # the listener's fault must not end the writing
            LOG.exception("nobody could be told of %s", arguments or "the recovery")
