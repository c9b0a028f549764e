"""Files of secrets, and of what belongs to them: written whole or not at all, for their owner alone."""

import os
from contextlib import suppress
from pathlib import Path


def write(path: Path, data: bytes) -> None:
    """Put the bytes in place of the file, whole or not at all, also when the power goes; OSError.

    What root writes belongs to whoever owns the folder. What an interrupted write left is taken over by the next.
    """
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 a descriptor has no path
            file.write(data)
            own(file.fileno(), path.parent)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync(path.parent)


def read(path: Path) -> bytes | None:
    """Give what stands in a file, None where there is none; OSError where it may not be read."""
    with suppress(FileNotFoundError):
        return path.read_bytes()
    return None


def remove(path: Path) -> bool:
    """Remove a file and what interrupted writes left beside it; whether there was one. OSError."""
    was_there = path.exists()
    for one in (*path.parent.glob(f".{path.name}.*new"), path):
        one.unlink(missing_ok=True)
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


def sync(folder: Path) -> None:
    """See that what was renamed or removed in a folder stays so."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
