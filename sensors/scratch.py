"""A directory for as long as a process lives, however that ends: who starts next clears away what a killed one left.

A process that lives holds a lock on its directory, and the kernel takes it back with the process.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def scratch(prefix: str) -> Generator[Path]:
    """Make a directory among the temporary files, and remove it at the end with all that is in it."""
    for left in sorted(Path(tempfile.gettempdir()).glob(f"{prefix}*")):
        _clear(left)
    directory, lock = _made(prefix)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)  # what is left of it, the next start clears away
        os.close(lock)


def _made(prefix: str) -> tuple[Path, int]:
    """Make it and lock it; the descriptor holds the lock."""
    while True:
        directory = Path(tempfile.mkdtemp(prefix=prefix))
        with suppress(FileNotFoundError):  # somebody took it for one of the dead, before it was locked
            lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            with suppress(OSError):  # a file system without locks: there nobody clears anything away
                fcntl.flock(lock, fcntl.LOCK_EX)
            if directory.exists():
                return directory, lock
            os.close(lock)


def _clear(directory: Path) -> None:
    """Remove a directory of this user's that nobody holds."""
    try:
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # gone by now, no directory, or not ours to look into
        return
    try:
        if os.fstat(lock).st_uid == os.geteuid():
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(directory, ignore_errors=True)
    except OSError:  # its process lives
        return
    finally:
        os.close(lock)
