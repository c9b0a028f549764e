"""Copies of the database: one is made while the service runs, and one is put in its place while it does not.

Whatever is written has another name until it is whole, checked and flushed; then it is renamed. A cut at any moment
leaves the old state or the new one, and at most a file `….part` that the next try takes over.
"""

import fcntl
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from appliance import private_file
from appliance.store.breaks import leave_open
from appliance.store.damage import is_damage
from appliance.store.database import (
    APPLICATION_ID,
    STEP_NAMES,
    StoreError,
    explain,
    foreign,
    newer,
    newer_steps,
    open_reader,
)
from appliance.store.gaps import RESTORED
from appliance.store.notes import read_steps
from appliance.store.reading_rows import IS_WHOLE, prepare
from appliance.store.suspicion import acquit, suspect

PART: Final = ".part"
NOT_WHOLE: Final = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
NAME_ONE: Final = "name a file that `appliance backup` has made"
SPARE_BYTES: Final = 1024 * 1024  # beside the copy: what the file system itself needs
MAGIC: Final = b"SQLite format 3\0"
SAMPLE_ROWS: Final = 500_000  # a second or two
STEPS_BETWEEN_LOOKS: Final = 200_000  # of SQLite's machine, some tens of milliseconds

Tell = Callable[[float], None]
"""Told how much of the copy is written, from 0 to 1."""


def backup(source: Path, target: Path, *, replace: bool = False, tell: Tell = lambda _: None) -> int:
    """Copy the database as it is at this moment, also while it is written to; gives the size of the copy in bytes.

    The copy is compact, has its content checked, and is readable for its owner only. The log of the source cannot
    shrink meanwhile. StoreError.
    """
    _check_target(source, target, replace=replace)
    with _part(target) as (part, descriptor):
        size = _copy(source, part, tell)
        check(part, source, cure="restart the service, which saves what is whole, then make the copy")
        os.fsync(descriptor)
        if not replace and target.exists():  # made meanwhile
            raise StoreError(_exists(target))
        _rename(part, target)
    return size


class Restored(NamedTuple):
    """Where the database that was there went, None if there was none, and how many rows of a sample were damaged."""

    aside: Path | None
    damaged_rows: int


def restore(source: Path, database: Path, *, tell: Tell = lambda _: None, at: float | None = None) -> Restored:
    """Put a copy of `source` in the place of the database.

    Nobody else may have the database open: hold its directory. StoreError says what is wrong with the source; the
    database is then as it was.
    """
    _check_source(source)
    if database.exists() and source.samefile(database):
        raise StoreError(f"{source} is the database itself: name a copy of it")
    with _part(database) as (part, descriptor):
        try:
            _copy(source, part, tell)
        except StoreError as error:
            if getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF in NOT_WHOLE:
                cause = error.__cause__
                raise StoreError(f"{source} is no whole database ({cause}): take another copy") from cause
            if str(error) == foreign(source):
                raise StoreError(f"{source} belongs to another program: {NAME_ONE}") from error
            raise
        check(part, source)
        damaged_rows = damaged(part)
        _mark(part, source)
        private_file.own(descriptor, database.parent)  # or the service could not open what root puts back
        os.fsync(descriptor)
        aside = _put_aside(database, time.time() if at is None else at)
        _forget_notes(database)
        _rename(part, database)
    return Restored(aside, damaged_rows)


def _check_source(source: Path) -> None:
    if source.is_dir():
        raise StoreError(f"{source} is a directory: {NAME_ONE}")
    if not source.is_file():
        raise StoreError(f"there is no file {source}: {NAME_ONE}")
    with source.open("rb") as file:
        head = file.read(len(MAGIC))
    if not head:
        raise StoreError(f"{source} is empty: {NAME_ONE}")
    if head != MAGIC:
        raise StoreError(f"{source} is no database: {NAME_ONE}")


def _mark(part: Path, source: Path) -> None:
    """Put down as a gap that what came after this copy is not in it."""
    try:
        with closing(sqlite3.connect(part, isolation_level=None)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'gaps'").fetchone():
                return  # an old copy
            connection.execute("PRAGMA journal_mode = MEMORY")
            connection.execute("PRAGMA synchronous = OFF")  # it is flushed whole
            connection.execute("BEGIN IMMEDIATE")
            leave_open(connection, RESTORED, source.name, is_stop=True)
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise StoreError(explain(part, error)) from error


def _forget_notes(database: Path) -> None:
    """Forget what is known of the database that was there: its tables, its log, its damage, what was made of it."""
    for end in (".salvaged", ".salvaging"):
        for more in ("", "-wal", "-shm", "-journal"):
            _beside(database, end + more).unlink(missing_ok=True)
    acquit(database)
    lock = _beside(database, ".lock")
    if lock.exists():
        os.truncate(lock, 0)


def damaged(path: Path) -> int:
    """Count the readings whose checksum is wrong, among the first so many; they are never shown, whatever they say."""
    with closing(_untouched(path)) as connection:
        prepare(connection)
        (count,) = connection.execute(
            f"SELECT count(*) FROM (SELECT * FROM readings LIMIT {SAMPLE_ROWS}) WHERE NOT {IS_WHOLE}"  # noqa: S608
        ).fetchone()
    return int(count)


def _untouched(path: Path) -> sqlite3.Connection:
    """Open a file that nobody writes to: no lock and no log is looked for."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)


def check(path: Path, name: Path | None = None, *, cure: str = "take another copy") -> None:
    """StoreError unless the file is a whole database of ours, none of a newer version; it is called `name`."""
    name = name or path
    try:
        with closing(_untouched(path)) as connection:
            (application_id,) = connection.execute("PRAGMA application_id").fetchone()
            if application_id != APPLICATION_ID:
                raise StoreError(f"{name} belongs to another program: {NAME_ONE}")
            steps = read_steps(connection)
            if unknown := newer_steps(steps):
                raise newer(name, unknown)
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if verdict == "ok" and not steps <= STEP_NAMES:
                verdict = "its list of schema steps"
    except sqlite3.Error as error:
        raise StoreError(f"{name} is no whole database ({error}): {cure}") from error
    if verdict != "ok":
        raise StoreError(f"{name} is damaged ({verdict.splitlines()[-1]}): {cure}")


def _check_target(source: Path, target: Path, *, replace: bool) -> None:
    if target.is_dir():
        raise StoreError(f"{target} is a directory: name a file in it")
    ours = {source, source.with_name(f"{source.name}-wal"), source.with_name(f"{source.name}-shm")}
    if target.resolve() in {path.resolve() for path in ours}:
        raise StoreError(f"{target} is the database itself: name another file")
    if target.exists() and not replace:
        raise StoreError(_exists(target))


def _exists(target: Path) -> str:
    return f"{target} is there already: name another file, or add --force"


@contextmanager
def _part(target: Path) -> Generator[tuple[Path, int]]:
    """Hold the empty file that becomes `target`; it is gone afterwards, unless it was renamed or the process died."""
    part = target.with_name(target.name + PART)
    try:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StoreError(explain(target, error)) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.fchmod(descriptor, 0o600)
        os.truncate(descriptor, 0)
        try:
            yield part, descriptor
        except OSError as error:
            raise StoreError(explain(target, error)) from error
        finally:
            part.unlink(missing_ok=True)
    except BlockingIOError:
        raise StoreError(f"{part} is being written by another process: wait for its end") from None
    finally:
        os.close(descriptor)


def _copy(source: Path, part: Path, tell: Tell) -> int:
    """Write the source's content into the empty file; gives its size in bytes."""
    with closing(open_reader(source)) as connection:
        try:
            connection.execute("PRAGMA query_only = OFF")  # or not even the other file could be written
            pages, free, page_size = (
                int(connection.execute(f"PRAGMA {name}").fetchone()[0])
                for name in ("page_count", "freelist_count", "page_size")
            )
            needed = (pages - free) * page_size
            room = shutil.disk_usage(part.parent).free
            if room < needed + SPARE_BYTES:
                raise StoreError(
                    f"{part.parent} has {room >> 20} MB free and the copy needs {(needed >> 20) + 1} MB: "
                    "free some space, or write it to another disk"
                )
            connection.set_progress_handler(lambda: _told(tell, part, needed), STEPS_BETWEEN_LOOKS)
            connection.execute("VACUUM INTO ?", (str(part),))
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
                raise KeyboardInterrupt from error  # nothing else ends the copying
            if is_damage(error):
                suspect(source)
            full = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
            if full and shutil.disk_usage(part.parent).free >= SPARE_BYTES:  # what SQLite says of some damage too
                raise StoreError(
                    f"{source} is damaged and cannot be copied: start the service anew, which saves what is whole,"
                    " then make the copy"
                ) from error
            named = part.with_name(part.name.removesuffix(PART)) if full else source
            raise StoreError(explain(named, error)) from error
    return part.stat().st_size


def _told(tell: Tell, part: Path, needed: int) -> bool:
    tell(min(1.0, part.stat().st_size / max(1, needed)))
    return False


def _put_aside(database: Path, at: float) -> Path | None:
    """Give the present database a second name; it stays in its place until it is replaced."""
    if not database.exists():
        for left in (_beside(database, "-wal"), _beside(database, "-shm")):  # of a database that is gone
            left.unlink(missing_ok=True)
        return None
    aside = database.with_name(f"{database.name}.before-restore-{time.strftime('%Y%m%dT%H%M%S', time.gmtime(at))}")
    if aside.exists():
        raise StoreError(f"{aside} is there already: wait a second")
    _settle(database)
    for end in ("", "-wal"):
        if (present := _beside(database, end)).exists():
            _second_name(present, _beside(aside, end))
    _flush_folder(database.parent)
    # A log is left only of a database too damaged to take it in; beside the new one it would damage that too.
    for end in ("-wal", "-shm"):
        _beside(database, end).unlink(missing_ok=True)
    return aside


def _settle(database: Path) -> None:
    """Move the log into the file, so that one file is all; a damaged database is left as it is."""
    with database.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:  # SQLite would drop its log unread
            return
    try:
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error:
        return


def _second_name(present: Path, name: Path) -> None:
    try:
        os.link(present, name)
    except OSError:  # a file system without links, as on a memory stick
        shutil.copy2(present, name)
        with name.open("rb") as copied:
            os.fsync(copied.fileno())


def _beside(database: Path, end: str) -> Path:
    return database.with_name(database.name + end)


def _rename(part: Path, target: Path) -> None:
    part.replace(target)
    _flush_folder(target.parent)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
