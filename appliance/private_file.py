"""Files of secrets, and of what belongs to them: written whole or not at all, for their owner alone."""

import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

OWNERS: Final = 0o600


def write(path: Path, data: bytes) -> None:
    """Put the bytes in place of the file, whole or not at all, also when the power goes; OSError.

    What root writes belongs to whoever owns the folder. What an interrupted write left is cleared away.
    """
    with _locked(path.parent) as folder:
        _put(path, data, folder, owner=path.parent.stat(), mode=OWNERS)


def edit(path: Path, change: Callable[[bytes], bytes], like: Path | None = None) -> bool:
    """Likewise with what the change makes of it; of two who edit at once, one after the other.

    Where the file's group may read it, that stays so. A file that is not there is made, of no bytes; if by root, it
    belongs to whom `like` does, else the folder. Gives whether anything changed. Raises OSError, and what `change`
    raises; then all is as it was.
    """
    target = path.resolve()  # a link stays a link
    with _locked(target.parent) as folder:
        before = read(target)
        data = change(before or b"")
        if data == before:
            return False
        if before is None:
            _put(target, data, folder, owner=(like or target.parent).stat(), mode=OWNERS)
        else:
            was = target.stat()
            _put(target, data, folder, owner=was, mode=OWNERS | was.st_mode & stat.S_IRGRP)
    return True


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Give the folder's descriptor; nobody else writes files of this kind in it meanwhile."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _put(path: Path, data: bytes, folder: int, *, owner: os.stat_result, mode: int) -> None:
    """Put it there in a locked folder; a group that is not the owner's may not read it, whatever the mode."""
    _clear(path)
    beside = path.with_name(f".{path.name}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNERS)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 a descriptor has no path
            if os.geteuid() == 0:
                os.chown(file.fileno(), owner.st_uid, owner.st_gid)
            if os.fstat(file.fileno()).st_gid == owner.st_gid:
                os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    os.fsync(folder)


def _clear(path: Path) -> None:
    """Remove what interrupted writes left beside the file."""
    for left in path.parent.glob(f".{path.name}.*new"):
        left.unlink()


def read(path: Path) -> bytes | None:
    """Give what stands in a file, None where there is none; OSError where it may not be read."""
    with suppress(FileNotFoundError):
        return path.read_bytes()
    return None


def remove(path: Path) -> bool:
    """Remove a file and what interrupted writes left beside it; whether there was one. OSError."""
    was_there = path.exists()
    _clear(path)
    path.unlink(missing_ok=True)
    if path.parent.is_dir():
        sync(path.parent)
    return was_there


def make_folder(folder: Path) -> None:
    """Make a folder that its owner alone may enter; one that is there stays as it is. OSError."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        own(folder, folder.parent)
        sync(folder.parent)


def own(what: int | Path, folder: Path) -> None:
    """Give what root makes to the owner of the folder in which it lies, so that the service goes on reading it."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.chown(what, owner.st_uid, owner.st_gid)


def shut_out(owner: int) -> str:
    """Name the user who could not open what we make in a folder of theirs, as we are root; empty where nobody is.

    `own` is for single files; a whole service makes too many.
    """
    if os.geteuid() != 0 or owner == 0:
        return ""
    import pwd  # noqa: PLC0415 for root alone

    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:  # of another system, as a container sees the folders that it is given
        return ""


def sync(folder: Path) -> None:
    """See that what was renamed or removed in a folder stays so."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
