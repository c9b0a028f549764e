"""The log of storage operations, and the states that a disk may be in when the power fails while they go on.

What was flushed is there. Of what was written since, each write may be there, missing, or torn at a sector, whatever
became of those before and after it; files do not wait for each other. Names come and go in their order, and are sure
once their directory was flushed.
"""

import mmap
import random
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HEAD = struct.Struct("=IIQQQ")
CREATE, WRITE, TRUNCATE, FLUSH, FLUSH_DIR, RENAME, UNLINK = range(1, 8)
SECTOR = 512
SOURCE = Path(__file__).with_name("recorder.c")
FLUSH_US = 1_000


class Op(NamedTuple):
    """One operation; offset is the new size of a TRUNCATE and the number of operations that a FLUSH covers."""

    kind: int
    inode: int
    offset: int
    ns: int
    data: bytes


class Recorder:
    """Compiles what is preloaded, and tells how many operations there have been."""

    def __init__(self, scratch: Path, data: Path) -> None:
        library = scratch / "recorder.so"
        subprocess.run(
            ["gcc", "-O1", "-Wall", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-lpthread"], check=True
        )
        self.log, count = scratch / "operations", scratch / "count"
        count.write_bytes(bytes(8))
        with count.open("r+b") as file:
            self._count = mmap.mmap(file.fileno(), 8)
        self.env = {
            "LD_PRELOAD": str(library),
            "RECORDER_DIR": str(data),
            "RECORDER_LOG": str(self.log),
            "RECORDER_COUNT": str(count),
            "RECORDER_FLUSH_US": str(FLUSH_US),
        }

    def position(self) -> int:
        """Give the number of operations so far."""
        return int.from_bytes(self._count[:8], "little")

    def close(self) -> None:
        """Let go of the count."""
        self._count.close()


def operations(log: Path) -> list[Op]:
    """Read the log."""
    found, data, at = [], log.read_bytes(), 0
    while at < len(data):
        kind, length, inode, offset, ns = HEAD.unpack_from(data, at)
        at += HEAD.size
        found.append(Op(kind, inode, offset, ns, data[at : at + length]))
        at += length
    return found


class File:
    """One file: what is sure, and the operations on it that are not yet."""

    def __init__(self) -> None:
        self.sure = bytearray()
        self.unsure: list[tuple[int, Op]] = []

    def flush(self, covers: int) -> None:
        """Make sure of what was done before."""
        while self.unsure and self.unsure[0][0] < covers:
            apply(self.sure, self.unsure.pop(0)[1])


def apply(image: bytearray, op: Op) -> None:
    """Carry one operation out."""
    if op.kind == TRUNCATE:
        del image[op.offset :]
        image.extend(bytes(op.offset - len(image)))
        return
    image.extend(bytes(max(0, op.offset - len(image))))
    image[op.offset : op.offset + len(op.data)] = op.data


class Disk:
    """A disk on which operations go on; `cut` gives the files as they may be after the power fails."""

    def __init__(self, operations: list[Op]) -> None:
        self._operations = operations
        self.position = 0
        self._files: dict[int, File] = {}
        self._names: dict[str, int] = {}  # sure
        self._renames: list[Op] = []  # CREATE, RENAME, UNLINK that are not

    def go_on(self, position: int) -> None:
        """Carry out the operations before this one."""
        while self.position < position:
            op, number = self._operations[self.position], self.position
            self.position += 1
            if op.kind in (WRITE, TRUNCATE):
                self._files[op.inode].unsure.append((number, op))
            elif op.kind == FLUSH:
                self._files[op.inode].flush(op.offset)
            elif op.kind == FLUSH_DIR:
                for one in self._renames:
                    rename(self._names, one)
                self._renames.clear()
            else:
                if op.kind == CREATE:  # a number that was free again is a new file
                    self._files[op.inode] = File()
                self._renames.append(op)

    def cut(self, dice: random.Random) -> dict[str, bytes]:
        """Give one of the states that are possible now; files by name."""
        names = dict(self._names)
        for op in self._renames[: dice.randint(0, len(self._renames))]:
            rename(names, op)
        share = dice.choice((0.0, 0.1, 0.5, 0.9, 1.0))  # of the writes that got through
        torn = dice.choice((0.0, 0.0, 0.3))
        return {name: bytes(self._surviving(self._files[inode], dice, share, torn)) for name, inode in names.items()}

    def lie(self) -> dict[str, bytes]:
        """Give the state in which everything up to now is there, flushed or not, in its order."""
        names = dict(self._names)
        for op in self._renames:
            rename(names, op)
        files = {}
        for name, inode in names.items():
            image = bytearray(self._files[inode].sure)
            for _, op in self._files[inode].unsure:
                apply(image, op)
            files[name] = bytes(image)
        return files

    @staticmethod
    def _surviving(file: File, dice: random.Random, share: float, torn: float) -> bytearray:
        image = bytearray(file.sure)
        for _, op in file.unsure:
            if op.kind == WRITE and dice.random() < torn:
                for piece in sectors(op):
                    if dice.random() < 0.5:
                        apply(image, piece)
            elif dice.random() < share:
                apply(image, op)
        return image


def sectors(op: Op) -> Iterator[Op]:
    """Take a write apart at the sectors of the disk."""
    at, end = op.offset, op.offset + len(op.data)
    while at < end:
        stop = min(end, (at // SECTOR + 1) * SECTOR)
        yield op._replace(offset=at, data=op.data[at - op.offset : stop - op.offset])
        at = stop


def rename(names: dict[str, int], op: Op) -> None:
    """Carry out one operation on names."""
    if op.kind == CREATE:
        names[op.data.decode()] = op.inode
    elif op.kind == UNLINK:
        names.pop(op.data.decode(), None)
    else:
        old, new = op.data.decode().split("\0")
        if old in names:
            names[new] = names.pop(old)


def write_out(files: dict[str, bytes], directory: Path) -> None:
    """Put the files there, and nothing else."""
    for old in directory.iterdir():
        old.unlink()
    for name, content in files.items():
        (directory / name).write_bytes(content)
