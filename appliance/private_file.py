"""Files of secrets, and of what belongs to them: written whole or not at all, for their owner alone."""

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

OWNERS: Final = 0o600
NO_LINK: Final = os.O_NOFOLLOW | os.O_CLOEXEC


def write(path: Path, data: bytes) -> None:
    """Put the bytes in place of the file, whole or not at all, also when the power goes; OSError.

    What root writes belongs to whoever owns the folder. What an interrupted write left is cleared away.
    """
    with _locked(path.parent) as folder:
        _put(path.name, data, folder, owner=os.fstat(folder), mode=OWNERS)


def edit(path: Path, change: Callable[[bytes], bytes], like: Path | None = None) -> bool:
    """Likewise with what the change makes of it; of two who edit at once, one after the other.

    Where the file's group may read it, that stays so. A file that is not there is made, of no bytes; if by root, it
    belongs to whom `like` does, else the folder. Gives whether anything changed. Raises OSError, and what `change`
    raises; then all is as it was.
    """
    _trust(path)
    target = path.resolve() if path.is_symlink() else path  # a link stays a link
    with _locked(target.parent) as folder:
        before, was = b"", None
        with suppress(FileNotFoundError), _opened(target.name, folder) as file:
            before, was = file.read(), os.fstat(file.fileno())
        data = change(before)
        if was is None:
            owner = os.fstat(folder) if like is None else like.stat()
            _put(target.name, data, folder, owner=owner, mode=OWNERS)
        elif data == before:
            return False
        else:
            _put(target.name, data, folder, owner=was, mode=OWNERS | was.st_mode & stat.S_IRGRP)
    return True


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Give the folder's descriptor; nobody else writes files of this kind in it meanwhile."""
    with _entered(folder) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor


@contextmanager
def _entered(folder: Path) -> Iterator[int]:
    """Give the folder's descriptor, and close it at the end."""
    descriptor = _open_folder(folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_folder(folder: Path) -> int:
    """Open it once: what is done there then is done there, whatever its user puts in its place meanwhile."""
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | NO_LINK)
    except OSError as error:
        if error.errno not in {errno.ELOOP, errno.ENOTDIR} or not folder.is_symlink():
            raise
    _trust(folder)
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _trust(path: Path) -> None:
    """Refuse to be led by a link that root has not made, where we are root; PermissionError.

    Who owns a folder may put a link anywhere, and root would write there, or give away what is there.
    """
    if os.geteuid() == 0 and path.is_symlink() and path.lstat().st_uid != 0:
        raise PermissionError(errno.EPERM, "root follows no link that another user has made; remove it", str(path))


@contextmanager
def _opened(name: str, folder: int) -> Iterator[BinaryIO]:
    descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | NO_LINK, dir_fd=folder)  # a pipe there keeps nobody
    with open(descriptor, "rb") as file:  # noqa: PTH123 a descriptor has no path
        yield file


def _put(name: str, data: bytes, folder: int, *, owner: os.stat_result, mode: int) -> None:
    """Put it there in a locked folder; a group that is not the owner's may not read it, whatever the mode."""
    _clear(name, folder)
    beside = f".{name}.new"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK, OWNERS, dir_fd=folder)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 a descriptor has no path
            if os.geteuid() == 0:
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            if os.fstat(file.fileno()).st_gid == owner.st_gid:
                os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        _unlink(beside, folder)
        raise
    os.fsync(folder)


def _clear(name: str, folder: int) -> None:
    """Remove what interrupted writes left beside the file."""
    for left in os.listdir(folder):
        if left.startswith(f".{name}.") and left.endswith("new"):
            _unlink(left, folder)


def _unlink(name: str, folder: int) -> bool:
    """Remove a name, if there is one; whether there was."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
        return True
    return False


def read(path: Path) -> bytes | None:
    """Give what stands in a file, None where there is none; OSError where it may not be read."""
    _trust(path)
    with suppress(FileNotFoundError):
        return path.read_bytes()
    return None


def remove(path: Path) -> bool:
    """Remove a file and what interrupted writes left beside it; whether there was one. OSError."""
    with suppress(FileNotFoundError), _entered(path.parent) as folder:
        _clear(path.name, folder)
        was_there = _unlink(path.name, folder)
        os.fsync(folder)
        return was_there
    return False


def make_folder(folder: Path) -> None:
    """Make a folder that its owner alone may enter; one that is there stays as it is. OSError."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        with _entered(folder) as made:
            own(made, folder.parent)
        sync(folder.parent)


def own(what: int, folder: Path) -> None:
    """Give what root makes to the owner of the folder in which it lies, so that the service goes on reading it."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(what, owner.st_uid, owner.st_gid)


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
