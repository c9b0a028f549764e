"""Orders for a disk that fails: the side of `faulty.c` that gives them."""

import errno
import mmap
import struct
import subprocess
from enum import IntFlag
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

SOURCE = Path(__file__).with_name("faulty.c")
FIELDS = ("done", "at", "error", "sticky", "kinds", "slow_us", "failed", "retried")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE)


class Kinds(IntFlag):
    """What can fail."""

    WRITES = 1
    FLUSHES = 2
    TRUNCATES = 4
    OPENS = 8
    ALLOCATES = 16
    ALL = 31


ONLY = {errno.EMFILE: Kinds.OPENS}  # an error that only some operations can have


@cache
def library() -> Path:
    """Compile it once; it stays until `forget`."""
    made = Path(mkdtemp(prefix="appliance-faulty-")) / "faulty.so"
    subprocess.run(["cc", "-O2", "-Wall", "-shared", "-fPIC", "-o", made, SOURCE, "-ldl"], check=True)
    return made


def forget() -> None:
    """Remove what was compiled."""
    if library.cache_info().currsize:
        library().unlink(missing_ok=True)
        library().parent.rmdir()
        library.cache_clear()


class Orders:
    """A mapped file in which both sides read and write numbers."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(4096))
        self.path = path
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 4096)

    def __getitem__(self, name: str) -> int:
        return struct.unpack_from("=q", self._map, 8 * FIELDS.index(name))[0]

    def __setitem__(self, name: str, value: int) -> None:
        struct.pack_into("=q", self._map, 8 * FIELDS.index(name), value)

    def fail(self, at: int, error: int, *, sticky: bool = False) -> None:
        """Let the operation with this number fail, counted from now; all after it too if it is sticky."""
        self["at"] = 0
        self["failed"] = self["retried"] = self["done"] = 0
        self["error"], self["sticky"], self["kinds"] = error, sticky, ONLY.get(error, Kinds.ALL)
        self["at"] = at

    def end(self) -> None:
        """Let everything work again."""
        self["at"] = 0

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()


def environment(directory: Path, orders: Path) -> dict[str, str]:
    """Give what a process needs to have such a disk."""
    return {"LD_PRELOAD": str(library()), "FAULTY_DIR": str(directory), "FAULTY_ORDERS": str(orders)}
