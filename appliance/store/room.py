"""Room on the disk: how full it is, and a reserve file that is given up when it is full."""

import contextlib
import errno
import logging
import os
import sqlite3
from pathlib import Path
from typing import Final

LOG: Final = logging.getLogger(__name__)
RESERVE: Final = "appliance.reserve"
MB: Final = 1_000_000
TIGHT: Final = 0.90  # of the disk in use, from which the history makes room by itself
FULL: Final = {errno.ENOSPC, errno.EDQUOT}


def is_full(error: BaseException) -> bool:
    """Whether the error says that there is no room."""
    if isinstance(error, OSError):
        return error.errno in FULL
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE  # the log's index cannot grow


class Room:
    """The disk under the database. For the thread that writes; `free_bytes` for any."""

    def __init__(self, directory: Path, reserve_mb: int) -> None:
        self._directory = directory
        self._path = directory / RESERVE
        self._size = reserve_mb * MB
        self._has_told = False

    def keep(self) -> None:
        """Set the reserve aside, if there is room for it and as much again."""
        with contextlib.suppress(OSError):  # the next time, then
            has = self._path.stat().st_size if self._path.exists() else 0
            if has == self._size:
                return
            if has:  # its size was changed, or it is what is left of a try
                self._path.unlink()
            if self._size and self.free_bytes() >= 2 * self._size:
                self._allocate()
            elif self._size and not self._has_told:
                self._has_told = True
                LOG.warning("%s", self.lack())

    def lack(self) -> str | None:
        """Say in one line that the reserve is not there and what to do; None where it is, or none is wanted."""
        if not self._size or self._path.exists():
            return None
        return (
            f"the reserve of {self._size // MB} MB does not fit on the disk under {self._directory}, which needs twice"
            " that: free some space, or set store.reserve_mb lower"
        )

    def _allocate(self) -> None:
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, self._size)
        except OSError:
            self._path.unlink()
            raise
        finally:
            os.close(file)

    def give_up(self) -> bool:
        """Free the reserve; False where there is none."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True

    def free_bytes(self) -> int:
        """Give what this user may still write; OSError."""
        found = os.statvfs(self._directory)
        return found.f_bavail * found.f_frsize

    def is_tight(self) -> bool:
        """Whether the disk is so full that the history should make room; the reserve counts as free."""
        try:
            found = os.statvfs(self._directory)
            kept = self._path.stat().st_size if self._path.exists() else 0
        except OSError:
            return False
        usable = (found.f_bavail + found.f_blocks - found.f_bfree) * found.f_frsize  # without what is root's own
        return usable > 0 and 1 - (found.f_bavail * found.f_frsize + kept) / usable >= TIGHT
