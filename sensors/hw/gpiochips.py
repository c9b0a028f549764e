"""GPIO chips as the kernel shows them: labels, who holds a line, and the edges of one that is asked. No library.

The calls are those of linux/gpio.h, version 2, which every kernel since 5.10 has. Only `drawn` and `edges` take a line,
and give it back: gpiozero's pins on lgpio stay claimed for as long as the process lives.
"""

import fcntl
import os
import select
import struct
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

GET_CHIP_INFO = 0x8044_B401
GET_LINE_INFO = 0xC100_B405
GET_LINE = 0xC250_B407
SET_CONFIG = 0xC110_B40D
GET_VALUES = 0xC010_B40E
CHIP_INFO = struct.Struct("=32s32sI")
LINE_INFO = struct.Struct("=32s32sIIQ160s16s")  # name, consumer, offset, attributes, flags
CONFIG = struct.Struct("=QI20s240s")  # flags, attributes
REQUEST = struct.Struct(f"=256s32s{CONFIG.size}sII20si")  # offsets, consumer, config, lines, buffered events, fd
VALUES = struct.Struct("=QQ")  # bits, and which lines are asked
EVENT = struct.Struct("=QIIII24s")  # ns, id, offset, numbers

USED, INPUT, OUTPUT, RISING, FALLING, PULL_UP, PULL_DOWN = 1 << 0, 1 << 2, 1 << 3, 1 << 4, 1 << 5, 1 << 8, 1 << 9
RISES = 1  # id of an event
BUFFERED = 256  # events; a DHT's answer has 84
NAME = b"sensors doctor"

Edge = tuple[int, bool]
"""Nanoseconds, and whether it rises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What the kernel tells of a line of the header."""

    used: bool = False
    consumer: str = ""  # what its holder calls itself


@dataclass(frozen=True, slots=True)
class Program:
    """A process that has lines of a GPIO chip open."""

    pid: int
    name: str

    def __str__(self) -> str:
        """Say which, for people."""
        return f"{self.name} (process {self.pid})"


class Chips(Protocol):
    """The GPIO chips of one computer, by the paths of their device files."""

    def label(self, path: str) -> str:
        """Give what its driver is called: pinctrl-rp1. Raises OSError."""

    def line(self, path: str, offset: int) -> Line:
        """Look who holds a line, without touching it. Raises OSError, EINVAL where the chip has no such line."""

    def drawn(self, path: str, offset: int, *, up: bool, settle_s: float) -> bool:
        """Draw a line up or down with the chip's weak resistor, and see its level. Raises OSError as `edges` does."""

    def edges(self, path: str, offset: int, *, low_s: float, listen_s: float) -> tuple[Edge, ...]:
        """Hold a line low, let go of it, and hear what comes. Raises OSError, EBUSY where somebody holds it."""


class KernelChips:
    """Those of this computer; `ioctl` is where a test stands in for the kernel."""

    def __init__(self, root: Path = Path("/"), ioctl: Callable[[int, int, bytearray], object] = fcntl.ioctl) -> None:
        self._root = root
        self._ioctl = ioctl

    def label(self, path: str) -> str:
        """See Chips."""
        info = self._ask(path, GET_CHIP_INFO, bytearray(CHIP_INFO.size))
        _name, label, _lines = CHIP_INFO.unpack(info)
        return _text(label)

    def line(self, path: str, offset: int) -> Line:
        """See Chips."""
        question = bytearray(LINE_INFO.pack(b"", b"", offset, 0, 0, b"", b""))
        _name, consumer, _offset, _count, flags, _, _ = LINE_INFO.unpack(self._ask(path, GET_LINE_INFO, question))
        return Line(used=bool(flags & USED), consumer=_text(consumer))

    def drawn(self, path: str, offset: int, *, up: bool, settle_s: float) -> bool:
        """See Chips."""
        with self._taken(path, offset, INPUT | (PULL_UP if up else PULL_DOWN)) as line:
            time.sleep(settle_s)
            asked = bytearray(VALUES.pack(0, 1))
            self._ioctl(line, GET_VALUES, asked)
            return bool(VALUES.unpack(asked)[0] & 1)

    def edges(self, path: str, offset: int, *, low_s: float, listen_s: float) -> tuple[Edge, ...]:
        """See Chips."""
        with self._taken(path, offset, OUTPUT) as line:  # at 0 V, where no attribute says another level
            time.sleep(low_s)
            self._ioctl(line, SET_CONFIG, bytearray(CONFIG.pack(INPUT | RISING | FALLING | PULL_UP, 0, b"", b"")))
            return _heard(line, listen_s)

    @contextmanager
    def _taken(self, path: str, offset: int, flags: int) -> Generator[int]:
        """Hold a line for a while; gives its descriptor."""
        config = CONFIG.pack(flags, 0, b"", b"")
        request = bytearray(REQUEST.pack(struct.pack("=I", offset), NAME, config, 1, BUFFERED, b"", -1))
        line = int(REQUEST.unpack(self._ask(path, GET_LINE, request))[-1])
        try:
            yield line
        finally:
            os.close(line)

    def _ask(self, path: str, request: int, packed: bytearray) -> bytearray:
        descriptor = os.open(self._root / path.lstrip("/"), os.O_RDWR | os.O_CLOEXEC)
        try:
            self._ioctl(descriptor, request, packed)
        finally:
            os.close(descriptor)
        return packed


def programs(root: Path = Path("/")) -> tuple[Program, ...]:
    """Give the other processes that have lines of a GPIO chip open, of those that this user may look into."""
    found = []
    for directory in root.glob("proc/[0-9]*"):
        pid = int(directory.name)
        if pid != os.getpid() and _has_lines(directory):
            name = ""
            with suppress(OSError):
                name = (directory / "comm").read_text("utf-8", "replace").strip()
            found.append(Program(pid, name or "?"))
    return tuple(sorted(found, key=lambda program: program.pid))


def _has_lines(process: Path) -> bool:
    try:
        targets = [str(descriptor.readlink()) for descriptor in (process / "fd").iterdir()]
    except OSError:  # not ours to look into, or it ended
        return False
    return any(target.startswith(("anon_inode:gpio", "anon_inode:[gpio", "/dev/gpiochip")) for target in targets)


def _heard(line: int, listen_s: float) -> tuple[Edge, ...]:
    """Read the events that come in that time; the kernel keeps them, with its own times."""
    time.sleep(listen_s)
    found: list[Edge] = []
    poller = select.poll()
    poller.register(line, select.POLLIN)
    while poller.poll(0) and (data := os.read(line, EVENT.size * BUFFERED)):
        for at_ns, kind, *_ in EVENT.iter_unpack(data):
            found.append((at_ns, kind == RISES))
    return tuple(found)


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("utf-8", "replace")
