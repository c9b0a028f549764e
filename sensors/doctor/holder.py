"""Which process has an outbox open: the running agent."""

import fcntl
import os
import struct
from pathlib import Path

FLOCK = struct.Struct("@hhqqi4x")  # type, whence, start, length, process
SQLITE_LOCKS = 0x4000_0000  # where SQLite locks its files, whatever their size
SQLITE_LOCK_BYTES = 512


def holder_of(path: Path) -> int | None:
    """Give the process that has a lock on an SQLite file; None where there is none, or no file. Locks nothing.

    A process that holds one itself must not ask: closing the file would end its own lock. Raises PermissionError.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        raise
    except OSError:
        return None
    try:
        question = FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, SQLITE_LOCKS, SQLITE_LOCK_BYTES, 0)
        kind, _, _, _, pid = FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, question))
    except OSError:  # a file system without locks
        return None
    finally:
        os.close(descriptor)
    return None if kind == fcntl.F_UNLCK else int(pid)
