"""The thread that writes the history: batches in, one transaction each, and trouble with the disk outlived.

The event loop hands over batches and never waits. What does not fit into the bound of waiting bytes is dropped and
counted. When the disk fails the batch is kept and tried again, on a fresh connection, until it is written; the trouble
and its cure are told meanwhile.
"""

import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition, Event, Thread
from typing import Final

from appliance.broker.message import Message
from appliance.broker.rights import Rights
from appliance.devices import Device
from appliance.store.database import Database, StoreError, explain
from appliance.store.epochs import load_clock, save_epochs
from appliance.store.group import Entry, Group
from appliance.store.history import History, Tally

LOG: Final = logging.getLogger(__name__)
MAX_WAITING_BYTES: Final = 8 * 1024 * 1024
MAX_SERIES: Final = 2_000
RETRY_S: Final = 2.0
MOVE_ROWS: Final = 5_000  # staged before they are moved
STAGE: Final = (
    "INSERT INTO journal (kind, series_id, tick, value, seq, late_ms, stretch_id) VALUES (0, ?, ?, ?, ?, ?, ?)"
)
MISUSE: Final = (  # the statement is wrong, not the disk: trying again cannot help
    sqlite3.IntegrityError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    sqlite3.DataError,
    sqlite3.NotSupportedError,
)


@dataclass(slots=True)
class Batch:
    """What belongs into one transaction: descriptions first, then messages with the wall time they arrived at."""

    messages: list[tuple[float, Message]] = field(default_factory=list)
    devices: list[Device] = field(default_factory=list)
    rights: dict[Message, Rights] = field(default_factory=dict)  # of publishers that speak for several topics
    size_bytes: int = 0


@dataclass(slots=True)
class WriterStats:
    """Plain counters, for any thread to read."""

    rows: int = 0
    duplicates: int = 0
    commits: int = 0
    refused: int = 0  # readings of topics beyond the cap on series
    forbidden: int = 0  # readings of topics that their publisher may not publish to
    dropped: int = 0  # messages that found no room to wait or no disk in time
    failures: int = 0  # transactions that the disk refused


class HistoryWriter:
    """Owns the one connection that writes, in a thread of its own.

    `on_trouble` is called in that thread: with one line for people when writing fails, with None when it works again.
    The same line stands in `trouble` meanwhile.
    """

    def __init__(
        self,
        path: Path,
        *,
        site: str,
        max_series: int = MAX_SERIES,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
        retry_s: float = RETRY_S,
        on_trouble: Callable[[str | None], None] = lambda _: None,
        open_database: Callable[[Path], Database] = Database.open,
    ) -> None:
        self.stats = WriterStats()
        self.trouble: str | None = None
        self._path = path
        self._site = site
        self._max_series = max_series
        self._max_waiting_bytes = max_waiting_bytes
        self._retry_s = retry_s
        self._on_trouble = on_trouble
        self._open_database = open_database
        self._waiting: deque[Batch] = deque()
        self._waiting_bytes = 0  # of the batch in work too
        self._closing = False
        self._changed = Condition()
        self._thread: Thread | None = None
        # What only the thread touches once it runs; both are None after a failure, until the next try.
        self._database: Database | None = None
        self._history: History | None = None
        self._staged = 0
        self._number = 0

    def start(self) -> None:
        """Open the database and begin to write; StoreError says in one line why it cannot."""
        refused: list[Exception] = []
        opened = Event()
        self._thread = Thread(target=self._run, args=(opened, refused), name="history-writer", daemon=True)
        self._thread.start()
        opened.wait()  # SQLite's connection belongs to the thread that opens it
        if refused:
            self._thread.join()
            self._thread = None
            raise refused[0]

    def submit(self, batch: Batch) -> bool:
        """Hand over a batch without waiting; False if there was no room and its messages were dropped and counted."""
        with self._changed:
            room = not self._closing and self._waiting_bytes + batch.size_bytes <= self._max_waiting_bytes
            if room:
                self._waiting.append(batch)
                self._waiting_bytes += batch.size_bytes
                self._changed.notify()
            else:
                self.stats.dropped += len(batch.messages)
        return room

    def close(self) -> None:
        """Write everything that was handed over, close the database, end the thread; may be called twice.

        Blocks until done. Only if the disk refuses is the rest given up, after one more try, and counted.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, opened: Event, refused: list[Exception]) -> None:
        try:
            self._database = self._open_database(self._path)
        except Exception as error:  # noqa: BLE001 the starting thread raises it
            refused.append(error)
            return
        finally:
            opened.set()
        while (batch := self._next()) is not None:
            last_try = False
            while not self._recorded(batch):
                if last_try:
                    self._give_up(batch)
                    break
                last_try = self._closes_within_retry()
            self._done(batch)
        self._let_go()

    def _recorded(self, batch: Batch) -> bool:
        """Try to write one batch in one transaction; False if it should be tried again."""
        try:
            self._write(batch)
        except StoreError as error:  # could not be opened again
            self._tell(str(error))
            return False
        except Exception as error:  # one bad batch must not end the recording of all later ones
            self._let_go()  # with what its caches believed to have been written
            if isinstance(error, sqlite3.Error) and not isinstance(error, MISUSE):
                self.stats.failures += 1
                self._tell(explain(self._path, error))
                return False
            LOG.exception("%d messages could not be recorded", len(batch.messages))
            self._drop(len(batch.messages))
        else:
            self._tell(None)
        return True

    def _write(self, batch: Batch) -> None:
        if self._database is None:
            self._database = self._open_database(self._path)
        connection = self._database.connection
        now, at = time.monotonic(), time.time()
        self._number += 1
        group = Group(self._number, now=now, at=at)
        with self._database.transaction():
            if self._history is None:
                clock = load_clock(connection)
                clock.begin(now, at)
                save_epochs(connection, clock)
                self._history = History(connection, clock, site=self._site, max_series=self._max_series)
            history = self._history
            history.tally = Tally()
            for device in batch.devices:
                history.learn(device)
            for arrived_at, message in batch.messages:
                entry: Entry = (message, 0, now - max(0.0, at - arrived_at), batch.rights.get(message))
                connection.executemany(STAGE, history.place(entry, group))
        self.stats.commits += 1
        self.stats.forbidden += history.tally.forbidden
        self.stats.rows += history.tally.rows
        self.stats.duplicates += history.tally.duplicates
        self.stats.refused += history.tally.refused
        self._staged += history.tally.rows
        if self._staged >= MOVE_ROWS:
            self._move(self._database, history)

    def _move(self, database: Database, history: History) -> None:
        """Bring everything staged to where it is read."""
        (cut_id,) = database.connection.execute("SELECT coalesce(max(id), 0) FROM journal").fetchone()
        more = True
        while more:
            with database.transaction():
                more = history.move(cut_id)
        with database.transaction():
            database.connection.execute("DELETE FROM journal WHERE id <= ?", (history.cut_id,))
            history.deleted()
        self._staged = 0

    def _next(self) -> Batch | None:
        """Wait for a batch; None when closing and nothing is left."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            return self._waiting.popleft() if self._waiting else None

    def _done(self, batch: Batch) -> None:
        with self._changed:
            self._waiting_bytes -= batch.size_bytes

    def _closes_within_retry(self) -> bool:
        """Wait until the next try is due; True if the writer is to close."""
        with self._changed:
            return self._changed.wait_for(lambda: self._closing, self._retry_s)

    def _give_up(self, batch: Batch) -> None:
        """Count what stays unwritten because the disk failed until the end."""
        with self._changed:
            self._waiting.appendleft(batch)
            lost = sum(len(waiting.messages) for waiting in self._waiting)
            self._waiting.clear()
            self.stats.dropped += lost
        LOG.error("%d messages were not recorded: %s", lost, self.trouble)

    def _drop(self, messages: int) -> None:
        with self._changed:
            self.stats.dropped += messages

    def _let_go(self) -> None:
        """Close the connection, whatever state it is in."""
        self._history = None
        if self._database is not None:
            database, self._database = self._database, None
            try:
                database.close()
            except sqlite3.Error as error:
                self._tell(explain(self._path, error))

    def _tell(self, trouble: str | None) -> None:
        """Report trouble, or that it is over, once each."""
        if trouble == self.trouble:
            return
        self.trouble = trouble
        try:
            self._on_trouble(trouble)
        except Exception:  # the listener's fault must not end the recording
            LOG.exception("nobody could be told: %s", trouble)
