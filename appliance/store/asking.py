"""A question to the database: a read-only connection with one state of the file, that ends before it pins the log."""

import sqlite3
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from appliance.store.damage import is_damage
from appliance.store.database import StoreError, explain, open_reader
from appliance.store.reading_rows import prepare
from appliance.store.still import is_still
from appliance.store.suspicion import suspect

READER_TIMEOUT_S: Final = 5.0  # a reader that stays longer pins the write-ahead log
STEPS_BETWEEN_LOOKS: Final = 20_000  # of SQLite's machine, some milliseconds


class Asker:
    """Asks one file, from any thread. Each question has a connection to itself.

    keeps: one connection stays open between questions, outside any transaction, so that it holds up no checkpoint.
    It must be closed before the service's own, which moves the log only when it is the last one. One that was opened
    where nothing can be written does not stay: it would not see what is written later.
    """

    def __init__(self, path: Path, *, timeout_s: float = READER_TIMEOUT_S, keeps: bool = False) -> None:
        self.path = path
        self._timeout_s = timeout_s
        self._keeps = keeps
        self._log = path.with_name(f"{path.name}-wal")
        self._lock = threading.Lock()
        self._kept: tuple[sqlite3.Connection, tuple[int, int, int]] | None = None  # and which file and log it is of

    @contextmanager
    def question(self) -> Generator[sqlite3.Connection]:
        """Give a connection; what runs longer is interrupted. StoreError says what was wrong."""
        connection, file = self._take()
        ends = time.monotonic() + self._timeout_s
        connection.set_progress_handler(lambda: time.monotonic() > ends, STEPS_BETWEEN_LOOKS)
        is_done = False
        try:
            connection.execute("BEGIN")  # one state of the file for the whole answer
            yield connection
            connection.execute("COMMIT")
            is_done = True
        except sqlite3.Error as error:
            _tell_of(self.path, error)
            raise StoreError(explain(self.path, error)) from error
        finally:
            self._give_back(connection, file, is_done=is_done)

    def close(self) -> None:
        """Keep no connection any more; may be called twice."""
        with self._lock:
            self._keeps = False
            kept, self._kept = self._kept, None
        if kept is not None:
            kept[0].close()

    def __del__(self) -> None:
        self.close()

    def _take(self) -> tuple[sqlite3.Connection, tuple[int, int, int]]:
        """Give the connection that was kept, or a new one, and the file that it is of."""
        with self._lock:
            kept, self._kept = self._kept, None
        if not self._keeps:
            file = (0, 0, 0)
        else:
            try:
                status = self.path.stat()
                log = self._log.stat().st_ino if self._log.exists() else 0  # a deleted one shows what was
                file = status.st_dev, status.st_ino, log
            except OSError:  # opening it says what is wrong
                file = (0, 0, 0)
        if kept is not None:
            if kept[1] == file:
                return kept
            kept[0].close()  # another file has taken its place
        try:
            connection = open_reader(self.path, any_thread=True)
        except StoreError as error:
            _tell_of(self.path, error.__cause__)
            raise
        prepare(connection)
        return connection, file

    def _give_back(self, connection: sqlite3.Connection, file: tuple[int, int, int], *, is_done: bool) -> None:
        if is_done:
            with self._lock:
                if self._keeps and self._kept is None and not is_still(connection):
                    self._kept = connection, file
                    return
        connection.close()


def _tell_of(path: Path, error: BaseException | None) -> None:
    """Have damage salvaged that was met; a table or column that is not there may be that of another version."""
    if isinstance(error, sqlite3.Error) and is_damage(error) and not str(error).startswith("no such"):
        suspect(path)


@contextmanager
def asking(path: Path, timeout_s: float = READER_TIMEOUT_S) -> Generator[sqlite3.Connection]:
    """Give a connection for one question; StoreError."""
    with Asker(path, timeout_s=timeout_s).question() as connection:
        yield connection
