"""The outbox's SQLite file: opened for one agent alone, laid out where it is new, kept aside where it is damaged."""

import contextlib
import os
import secrets
import sqlite3
from collections.abc import Iterator
from pathlib import Path

APPLICATION_ID = 0x53454E53  # "SENS": tells our file from anybody else's
SCHEMA_VERSION = 1
PRIVATE = 0o600
NEEDED = {"run", "next_seq", "dropped"}  # in `meta`; what came later may be missing

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE readings (
    seq INTEGER PRIMARY KEY, run TEXT NOT NULL, topic TEXT NOT NULL, value TEXT NOT NULL, time TEXT NOT NULL,
    quality TEXT NOT NULL, clock TEXT NOT NULL, size INTEGER NOT NULL
);
"""


class OutboxError(Exception):
    """The outbox file cannot be used; one line that says the cure."""


class ReadOnlyDisk(OutboxError):
    """The file system of the outbox cannot be written, as where a card fails."""


def open_file(path: Path) -> tuple[sqlite3.Connection, str]:
    """Open or create the file; OutboxError says why it cannot be used, ReadOnlyDisk where nobody could now.

    A damaged file is kept aside as `<path>.damaged` and a new one begun: the text then says so.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        try:
            return _load(path), ""
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            return replace_file(path, error)
    except (sqlite3.OperationalError, OSError) as error:
        if _is_read_only(path):
            raise ReadOnlyDisk(f"{path}: its file system is read-only; check the card, then start again") from error
        if isinstance(error, OSError):
            raise OutboxError(
                f"{path}: {error.strerror or error}; set data_dir to a directory this user may write"
            ) from error
        if "locked" in str(error):
            cure = "another agent uses this data_dir; stop it, or give each its own"
        else:
            cure = f"check that {path.parent} can be written by this user and has room, or set data_dir"
        raise OutboxError(f"{path}: {error}; {cure}") from error


def replace_file(path: Path, error: sqlite3.Error) -> tuple[sqlite3.Connection, str]:
    """Keep a damaged file aside, which nobody has open, and begin a new one; sqlite3.Error, OSError."""
    aside = path.with_name(path.name + ".damaged")
    path.replace(aside)
    for tail in ("-wal", "-shm"):
        path.with_name(path.name + tail).unlink(missing_ok=True)
    return _load(path), f"{path}: {error}; kept aside as {aside.name}, readings waiting in it were not sent"


def _is_read_only(path: Path) -> bool:
    place = next(parent for parent in path.parents if os.path.exists(parent))  # noqa: PTH110 Path.exists may raise
    return bool(os.statvfs(place).f_flag & os.ST_RDONLY)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether it says that what is in the file makes no sense, and not that the disk does not do its work."""
    return type(error) is sqlite3.DatabaseError  # those of the disk, of locks and of constraints have their own types


@contextlib.contextmanager
def transaction(db: sqlite3.Connection | None) -> Iterator[sqlite3.Connection]:
    """Keep all of what is written, or nothing."""
    if db is None:
        raise sqlite3.OperationalError("the outbox is closed")
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # a full disk may have rolled back by itself
            db.execute("ROLLBACK")
        raise


def _keep_private(path: Path) -> None:
    """Make the file, and let nobody but its owner read what is at home; its log gets the same mode from SQLite.

    Before it is opened: closing a descriptor of it ends this process's locks on it.
    """
    with contextlib.suppress(OSError):  # SQLite says better what is in the way
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE))
    for file in (path, path.with_name(path.name + "-wal")):  # of an older version, and of one that was killed
        with contextlib.suppress(OSError):  # another user's are theirs
            if file.is_file() and file.stat().st_mode & 0o077:
                file.chmod(PRIVATE)


def _load(path: Path) -> sqlite3.Connection:
    _keep_private(path)
    db = sqlite3.connect(path, timeout=1.0, isolation_level=None)
    try:
        # One agent, one outbox: the lock is the process's and goes with it, also after kill -9.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")  # a reserved block of numbers must survive a power cut
        with transaction(db):
            _own(db, path)
        _look(db)
    except BaseException:
        db.close()
        raise
    return db


def _look(db: sqlite3.Connection) -> None:
    """Read what the agent will need, so that damage shows; sqlite3.DatabaseError."""
    if not {key for (key,) in db.execute("SELECT key FROM meta")} >= NEEDED:
        raise sqlite3.DatabaseError("its own numbers are missing")
    db.execute("SELECT count(*), sum(size) FROM readings").fetchone()


def _own(db: sqlite3.Connection, path: Path) -> None:
    """Lay out a new file; OutboxError where it is not ours."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    kind = db.execute("PRAGMA application_id").fetchone()[0]
    if not version and not kind and not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        for statement in _SCHEMA.split(";"):
            db.execute(statement)
        db.executemany(
            "INSERT INTO meta VALUES (?, ?)",
            [("run", secrets.token_hex(8)), ("next_seq", 1), ("dropped", 0)],
        )
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    elif kind != APPLICATION_ID:
        raise OutboxError(f"{path}: is not an outbox of this program; move it away or set another data_dir")
    elif version > SCHEMA_VERSION:
        raise OutboxError(f"{path}: was written by a newer version of this program; install that version")
