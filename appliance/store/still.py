"""Reading a database where not a byte can be written: on a full disk, or one that is mounted read-only.

SQLite then cannot keep the index of the log beside it; a connection of its own kind keeps it in memory, without locks.
"""

import errno
import os
import sqlite3
from pathlib import Path
from typing import Final

CANNOT_WRITE: Final = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}


def cannot_write(error: BaseException) -> bool:
    """Whether the error may only mean that nothing can be written; what is there may be readable."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in CANNOT_WRITE
    return isinstance(error, OSError) and not isinstance(error, PermissionError)


def is_harmless(error: BaseException) -> bool:
    """Whether the error says that the disk is full or read-only: what is there is as it was."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY}
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def is_read_only(path: Path) -> bool:
    """Whether the file system under a file is mounted read-only."""
    try:
        return bool(os.statvfs(path.parent).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def open_still(path: Path, *, any_thread: bool = False) -> sqlite3.Connection:
    """Open a file that nobody writes to meanwhile, with its log; writes nothing. sqlite3.Error, OSError."""
    log = path.with_name(f"{path.name}-wal")
    has_log = log.exists() and log.stat().st_size > 0
    way = "vfs=unix-none" if has_log else "immutable=1"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro&{way}", uri=True, isolation_level=None, check_same_thread=not any_thread
    )
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # the index of the log is then kept in memory
        connection.execute("PRAGMA query_only = ON")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def is_still(connection: sqlite3.Connection) -> bool:
    """Whether a connection is one of `open_still`."""
    (mode,) = connection.execute("PRAGMA locking_mode").fetchone()
    return bool(mode == "exclusive")
