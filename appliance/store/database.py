"""The one SQLite file: the one connection that writes, read-only ones beside it, and what to say when it fails."""

import errno
import fcntl
import logging
import os
import sqlite3
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self

import msgspec

from appliance.store.damage import MisfitError, is_damage
from appliance.store.harms import UNREADABLE
from appliance.store.notes import (
    GENERATION,
    is_noted,
    read_began_ms,
    read_generation,
    read_notes,
    read_steps,
    take_notes,
    write_notes,
)
from appliance.store.room import is_full
from appliance.store.sealed import prepare_seals
from appliance.store.still import cannot_write, is_read_only, open_still

LOG: Final = logging.getLogger(__name__)
APPLICATION_ID = 0x48534131  # "HSA1"; marks the file as ours
BUSY_TIMEOUT_S = 5.0
STEP_NAMES = {
    "0001_history",
    "0002_journal",
    "0003_ticks",
    "0004_tiers",
    "0005_gaps",
    "0006_retaining",
    "0008_clock",
    "0009_seals",
}  # of schema.STEPS: a file that has them all is opened without loading sqlite-utils
PAGE_BYTES = 1024  # of a new file: a small commit writes a page or two, and on a card every byte of them counts
LOG_BYTES = 12 * 1024 * 1024  # what the write-ahead log shrinks back to after a long reader let it grow

CURES = {  # primary result code -> what happened and what to do; {path} and {reason} are filled in
    sqlite3.SQLITE_BUSY: "{path} is locked by another program: close it there",
    sqlite3.SQLITE_LOCKED: "{path} is locked by another program: close it there",
    sqlite3.SQLITE_PERM: "{path} may not be opened: give its directory to this user",
    sqlite3.SQLITE_AUTH: "{path} may not be opened: give its directory to this user",
    sqlite3.SQLITE_READONLY: "{path} cannot be written: mount its disk writable, give the file to this user",
    sqlite3.SQLITE_IOERR: "the disk under {path} fails ({reason}): check its free space, then the disk or card itself",
    sqlite3.SQLITE_CORRUPT: "{path} is damaged: restart the service, which saves what is whole (`appliance status` then"
    " says what)",
    sqlite3.SQLITE_NOTADB: "{path} is not a database: move it away or choose another data directory",
    sqlite3.SQLITE_FULL: "the disk under {path} is full: free some space",
    sqlite3.SQLITE_CANTOPEN: "{path} cannot be opened: check that its directory exists and belongs to this user",
    sqlite3.SQLITE_INTERRUPT: "asking {path} took too long: ask for a shorter time",
}


CODES = {  # errno -> the result code that says the same
    errno.EROFS: sqlite3.SQLITE_READONLY,
    errno.ENOSPC: sqlite3.SQLITE_FULL,
    errno.EDQUOT: sqlite3.SQLITE_FULL,
    errno.EIO: sqlite3.SQLITE_IOERR,
}

Mend = Callable[[int, sqlite3.Error | None], bool]
"""Called with the lock before the file is opened (None), and with the error when that failed; True: try once more."""


class StoreError(Exception):
    """The database cannot be used; the text is one line that names the file and the cure."""


def explain(path: Path, error: sqlite3.Error | OSError) -> str:
    """Say in one line what is wrong with the database at `path` and what to do."""
    if isinstance(error, OSError):
        if (code := CODES.get(error.errno or 0)) is not None:
            return CURES[code].format(path=path, reason=error.strerror)
        return f"{path} cannot be used ({error.strerror or error}): check its directory, its rights and its disk"
    if isinstance(error, MisfitError):  # found by the service itself, which opens the file anew
        return f"{path} is damaged: what is whole of it is copied into a new file"
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # an extended code's low byte is the primary one
    if is_full(error):
        code = sqlite3.SQLITE_FULL
    elif is_damage(error) and code != sqlite3.SQLITE_IOERR and (code != sqlite3.SQLITE_NOTADB or is_noted(path)):
        LOG.debug("%s: %s", path, error)
        code = sqlite3.SQLITE_CORRUPT
    cure = CURES.get(code, "{path} cannot be used ({reason}): check its disk")
    return cure.format(path=path, reason=error)


class Database:
    """The connection that writes; one per file at a time, held by a lock on the file beside it.

    Every statement runs at once unless it stands in `transaction()`. Use it in the thread that opened it.
    """

    def __init__(
        self, path: Path, connection: sqlite3.Connection, lock: int, *, left_open_at: float | None = None
    ) -> None:
        self.path = path
        self.left_open_at = left_open_at  # Unix time when somebody opened it who has not closed it in order
        self.connection = connection
        self.log_is_new = True  # what is written next is the first in it
        self._lock = lock
        self._failed = False  # the disk did, under this connection
        # Only the last connection to close moves the log, and this one cannot write.
        self._other: sqlite3.Connection | None = open_reader(path)

    @classmethod
    def open(cls, path: Path, *, mend: Mend = lambda _lock, _error: False) -> Self:
        """Open or create the file, bring its schema up to date, and hold it; StoreError says why not."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = _lock(path)
        except OSError as error:
            raise StoreError(explain(path, error)) from error
        try:
            left_open_at = _left_open_at(lock)
            mend(lock, None)
            try:
                connection = _connect(path)
            except sqlite3.Error as error:
                if not mend(lock, error):
                    raise
                connection = _connect(path)
            try:
                notes = take_notes(connection, sorted(_applied(connection)))
                with suppress(OSError):  # a full disk need not keep anybody from reading
                    write_notes(path, notes)
                    _to_disk(path.parent)  # the log is there, and stays until it is closed in order
                return cls(path, connection, lock, left_open_at=left_open_at)
            except BaseException:
                connection.close()
                raise
        except BaseException as error:
            os.close(lock)
            if isinstance(error, (sqlite3.Error, OSError)):
                raise StoreError(explain(path, error)) from error
            raise

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Make what is written inside durable at the end, all of it or none."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException as error:
            self._note(error)
            if self.connection.in_transaction:  # a full disk may have rolled it back already
                self.connection.execute("ROLLBACK")
            raise

    def _close_other(self) -> None:
        other, self._other = self._other, None
        if other is not None:
            other.close()

    def checkpoint(self, mode: str) -> bool:
        """Move the log into the file; False where a reader kept some of it there. sqlite3.Error."""
        try:
            busy, logged, moved = self.connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        except sqlite3.Error as error:
            self._note(error)
            raise
        self.log_is_new = True
        return not busy or 0 <= logged == moved  # a reader may hold a log that is in the file and flushed

    def begin_log(self) -> int:
        """Count one more life of the log, inside the caller's transaction; `note_log` afterwards.

        A log that is gone at the next start was moved into the file by somebody if the file holds the newest number.
        """
        generation = read_generation(self.connection) + 1
        self.connection.execute("INSERT OR REPLACE INTO marks (name, value) VALUES (?, ?)", (GENERATION, generation))
        return generation

    def note_log(self, generation: int) -> None:
        """Know that this is durable."""
        self.log_is_new = False
        notes = read_notes(self._lock)
        if notes is not None:
            with suppress(OSError):  # then the loss of its log goes unnoticed
                began_ms = notes.began_ms or read_began_ms(self.connection)
                write_notes(self.path, msgspec.structs.replace(notes, generation=generation, began_ms=began_ms))

    def _note(self, error: BaseException) -> None:
        """Remember what an error means for the file and for this connection."""
        if isinstance(error, sqlite3.Error) and is_damage(error):
            LOG.debug("%s: %s", self.path, error)
            self.suspect(UNREADABLE)
        if isinstance(error, sqlite3.OperationalError):
            self._failed = True

    def suspect(self, why: str) -> None:
        """Have the file salvaged when it is opened next, because what it holds is not what was written."""
        notes = read_notes(self._lock)
        if notes is not None and not notes.suspect:
            with suppress(OSError):  # then it is found out once more
                write_notes(self.path, msgspec.structs.replace(notes, suspect=why))

    def close(self) -> None:
        """Move the log into the file and let go of both; may be called twice.

        After an error the log stays as it is: a flush that failed says nothing when it is tried again.
        """
        if self._lock < 0:
            return
        try:
            if not self._failed:
                self._close_other()
            self.connection.close()
            self._close_other()
            notes = read_notes(self._lock)
            if notes is not None and not self.path.with_name(f"{self.path.name}-wal").exists():
                write_notes(self.path, msgspec.structs.replace(notes, is_open=False))
        except OSError:  # then the next start asks for the log
            pass
        finally:
            os.close(self._lock)
            self._lock = -1


def create(path: Path, steps: set[str]) -> sqlite3.Connection:
    """Make a new file with these steps of the schema, for filling: nothing is durable before it is synced whole."""
    import sqlite_utils  # noqa: PLC0415 as below

    from appliance.store.schema import STEPS, step_names  # noqa: PLC0415

    connection = sqlite3.connect(path, isolation_level=None)
    try:
        for pragma in (
            f"page_size = {PAGE_BYTES}",
            "journal_mode = MEMORY",
            "synchronous = OFF",
            f"application_id = {APPLICATION_ID}",
        ):
            connection.execute(f"PRAGMA {pragma}")
        prepare_seals(connection)
        database = sqlite_utils.Database(connection, execute_plugins=False)
        STEPS.apply(database, stop_before=step_names() - steps)
        connection.execute("PRAGMA foreign_keys = OFF")
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: Path, *, any_thread: bool = False) -> sqlite3.Connection:
    """Open the file for reading only; the connection cannot write and never moves the log. StoreError says why not.

    any_thread: it may be used by one thread after another.
    """
    try:
        connection = _reader(path, any_thread=any_thread)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(explain(path, error)) from error
    try:
        ours = _number(connection, "PRAGMA application_id") == APPLICATION_ID
    except sqlite3.Error as error:
        connection.close()
        raise StoreError(explain(path, error)) from error
    if not ours:
        connection.close()
        raise StoreError(foreign(path))
    return connection


def _reader(path: Path, *, any_thread: bool) -> sqlite3.Connection:
    if is_read_only(path) and path.exists():
        # In the usual way the index of the log would be opened, for this whole process, never to be written again.
        return open_still(path, any_thread=any_thread)
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        isolation_level=None,
        timeout=BUSY_TIMEOUT_S,
        check_same_thread=not any_thread,
    )
    try:
        connection.execute("PRAGMA query_only = ON")
        _number(connection, "PRAGMA application_id")
    except sqlite3.Error as error:
        connection.close()
        if path.exists() and (is_full(error) or (cannot_write(error) and is_read_only(path))):
            return open_still(path, any_thread=any_thread)
        raise
    return connection


def _lock(path: Path) -> int:
    """Hold `<path>.lock` until its descriptor is closed, at the latest when the process ends."""
    # Never the database file itself: closing any descriptor of it would drop SQLite's own locks.
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise StoreError(
            f"{path} is in use by another running appliance: stop that one or choose another data directory"
        ) from None
    except OSError:
        os.close(lock)
        raise
    return lock


def _left_open_at(lock: int) -> float | None:
    """Say when the file was opened by somebody who has not closed it in order, None where all is in order."""
    notes = read_notes(lock)
    return os.fstat(lock).st_mtime if notes is not None and notes.is_open else None


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file, make sure that it is ours, and bring its schema up to date."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_S)
    try:
        prepare_seals(connection)
        _claim(path, connection)
        _migrate(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _to_disk(directory: Path) -> None:
    """Have the names in a directory on the disk."""
    opened = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _claim(path: Path, connection: sqlite3.Connection) -> None:
    """Make sure that the file is ours or empty, mark it, and set how it is written."""
    application_id = _number(connection, "PRAGMA application_id")
    empty = not application_id and not _number(connection, "SELECT count(*) FROM sqlite_master")
    if application_id != APPLICATION_ID and not empty:
        raise StoreError(foreign(path))
    if empty:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # before anything else makes the first page
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # a commit that returned has reached the disk
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
    connection.execute("PRAGMA secure_delete = OFF")  # some distributions write zeros over all that is deleted
    connection.execute("PRAGMA temp_store = MEMORY")  # what a statement keeps to take itself back is no card's business
    connection.execute("PRAGMA wal_autocheckpoint = 0")  # the log moves when nobody waits for a commit: ledger.py


def _migrate(path: Path, connection: sqlite3.Connection) -> None:
    """Apply the steps of the schema that are missing, each in one transaction with the record that it was."""
    if _applied(connection) == STEP_NAMES:
        return
    import sqlite_utils  # noqa: PLC0415 a tenth of a second and 6 MB, only where there is something to do

    from appliance.store.schema import STEPS, step_names  # noqa: PLC0415 imports sqlite_utils too

    database = sqlite_utils.Database(connection, execute_plugins=False)
    applied = {step.name for step in STEPS.applied(database)}
    if unknown := newer_steps(applied):
        raise newer(path, unknown)
    if applied != set(sorted(step_names())[: len(applied)]):
        raise MisfitError("its list of schema steps is damaged")
    try:
        STEPS.apply(database)
    except sqlite3.OperationalError as error:
        if "already exists" in str(error):
            raise MisfitError("its list of schema steps is damaged") from error
        raise


def _applied(connection: sqlite3.Connection) -> set[str]:
    """Names of the steps that sqlite-utils has noted as applied."""
    try:
        return read_steps(connection)
    except sqlite3.OperationalError:  # no such table: a new file
        return set()


def newer_steps(steps: Iterable[str]) -> set[str]:
    """Give those steps that come after all that are known here; a step in between is a damaged name."""
    number = max(STEP_NAMES)[:4]
    return {step for step in steps if step[:4] > number}


def newer(path: Path, unknown: Iterable[str]) -> StoreError:
    """Give the refusal of a file that has steps of the schema that are unknown here."""
    return StoreError(
        f"{path} was written by a newer version (step {max(unknown)} is unknown here): update this installation"
    )


def foreign(path: Path) -> str:
    """Say that a file is a database, but none of ours."""
    return f"{path} belongs to another program: move it away or choose another data directory"


def _number(connection: sqlite3.Connection, statement: str) -> int:
    (number,) = connection.execute(statement).fetchone()
    return int(number)
