"""What the kernel tells in files below /sys and /proc."""

import errno
import shutil
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol


class Sysfs(Protocol):
    """Small text files by path, without the leading slash."""

    def read(self, path: str) -> str:
        """Give the text without blanks and NULs around it. Raises OSError, as the kernel does when a device fails."""

    def read_bytes(self, path: str) -> bytes:
        """Give all of the file as it is, as the numbers of the device tree are no text. Raises OSError."""

    def glob(self, pattern: str) -> list[str]:
        """Give the paths that match, sorted; a `*` stays within its level."""

    def used_share(self, path: str) -> float:
        """Give which part of the file system at `path` is used, 0 … 1, as `df` counts it. Raises OSError."""


def text_of(sysfs: Sysfs, path: str) -> str | None:
    """Give what a file says; None where there is no such file, or nothing in it."""
    try:
        return sysfs.read(path) or None
    except OSError:
        return None


class SysfsTree:
    """The files of this computer, or of a tree that looks like one."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def read(self, path: str) -> str:
        """See Sysfs."""
        # The device tree ends its strings with NUL.
        return self.read_bytes(path).decode("utf-8", "replace").strip("\0 \n\t")

    def read_bytes(self, path: str) -> bytes:
        """See Sysfs."""
        return (self._root / path).read_bytes()

    def glob(self, pattern: str) -> list[str]:
        """See Sysfs."""
        return sorted(found.relative_to(self._root).as_posix() for found in self._root.glob(pattern))

    def used_share(self, path: str) -> float:
        """See Sysfs."""
        disk = shutil.disk_usage(self._root / path)
        if not disk.total:
            raise OSError(errno.EINVAL, "nothing is stored there", path)  # /proc and the like
        # What root keeps in reserve is neither used nor free to anybody else, so df leaves it out.
        return disk.used / (disk.used + disk.free)


class FakeSysfs:
    """Files out of a dict; an OSError in place of a text is raised when that file is read."""

    def __init__(self, files: Mapping[str, str | bytes | OSError], *, disks: Mapping[str, float] | None = None) -> None:
        self.files = dict(files)
        self.disks = dict(disks or {})

    def read(self, path: str) -> str:
        """See Sysfs."""
        return self.read_bytes(path).decode("utf-8", "replace").strip("\0 \n\t")

    def read_bytes(self, path: str) -> bytes:
        """See Sysfs."""
        try:
            content = self.files[path]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", path) from None
        if isinstance(content, OSError):
            raise content
        return content.encode() if isinstance(content, str) else content

    def glob(self, pattern: str) -> list[str]:
        """See Sysfs."""
        levels = pattern.split("/")
        found = set()
        for path in self.files:
            head = path.split("/")[: len(levels)]
            if len(head) == len(levels) and all(map(fnmatchcase, head, levels)):
                found.add("/".join(head))
        return sorted(found)

    def used_share(self, path: str) -> float:
        """See Sysfs."""
        try:
            return self.disks[path]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", path) from None
