"""The data directory: made where it is missing, and used by one service at a time."""

import errno
import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from appliance import private_file
from appliance.exits import CommandError, Exit

LOCK = "appliance.lock"
CURES = {
    errno.EACCES: "give it to this user",
    errno.EPERM: "give it to this user",
    errno.EROFS: "mount its disk writable",
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.ENOTDIR: "move the file away that is a part of its path",
    errno.ELOOP: f"remove the link {LOCK} in it",
    errno.EEXIST: "move the file of that name away",
    errno.ENAMETOOLONG: "shorten its path",
}


@contextmanager
def held(data_dir: Path) -> Generator[None]:
    """Make the data directory if need be and keep other services out of it; CommandError."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _open_lock(data_dir / LOCK)
    except OSError as error:
        raise unusable(data_dir, error) from None
    try:
        _lock(data_dir, lock)
        yield
    finally:
        os.close(lock)


def _open_lock(path: Path) -> int:
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        if error.errno != errno.EROFS or not path.exists():
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)  # it can be held all the same
    private_file.own(lock, path.parent)
    return lock


def _lock(data_dir: Path, lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(OSError):  # a full disk; it is for the message below only, the lock is the kernel's
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            os.truncate(lock, len(f"{os.getpid()}\n"))
    except BlockingIOError:
        holder = os.read(lock, 20).decode("ascii", "replace").strip()
        raise CommandError(
            f"another appliance{f' (process {holder})' if holder else ''} uses {data_dir}; "
            "stop it, or choose another directory with --data",
            Exit.UNAVAILABLE,
        ) from None
    except OSError as error:
        raise unusable(data_dir, error) from None


def unusable(data_dir: Path, error: OSError) -> CommandError:
    """Say what is wrong with the data directory."""
    cure = CURES.get(error.errno or 0, "check its path, its rights and its disk")
    return CommandError(
        f"data directory {data_dir} cannot be used ({error.strerror}); {cure}, or choose another with --data", Exit.DATA
    )
