"""The write-ahead log read without SQLite: which of its pages are whole, and whether some were lost.

SQLite reads a log up to the first frame that is not whole and forgets the rest without a word. That is right after a
power cut, when the last transaction is torn. Whole transactions behind a broken one are another matter: they were on
disk, so the frame was damaged later.
"""

import os
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

MAGICS: Final = {0x377F0682: "<", 0x377F0683: ">"}  # byte order of the sums
HEAD_BYTES: Final = 32
FRAME_BYTES: Final = 24
SIZES: Final = tuple(1 << power for power in range(9, 17))
MASK: Final = 0xFFFFFFFF
READ_BYTES: Final = 512 * 1024  # at once
LOOK_AHEAD_BYTES: Final = 128 * 1024  # more than a bad block of a card takes
Sums = tuple[int, int]


@dataclass(slots=True)
class Log:
    """What a log holds. `frames`: page number -> where its last whole copy begins; `pages`: how many the file then has.

    torn: the last transaction is not whole. damaged: something is broken that had been written whole.
    """

    file: int
    page_size: int
    torn: bool = False
    damaged: bool = False
    pages: int = 0
    frames: dict[int, int] = field(default_factory=dict)

    def page(self, number: int) -> bytes | None:
        """Give the page's last whole copy; None where the log has none."""
        at = self.frames.get(number)
        if at is None:
            return None
        try:
            page = os.pread(self.file, self.page_size, at)
        except OSError:  # a bad block
            return None
        return page if len(page) == self.page_size else None


def read_log(file: int, *, page_size: int | None = None) -> Log | None:
    """Read an open log; None where it is empty. `page_size` is that of its database, should its own head be broken."""
    head = os.pread(file, HEAD_BYTES, 0)
    size = os.fstat(file).st_size
    if len(head) < HEAD_BYTES or (not any(head) and not any(os.pread(file, LOOK_AHEAD_BYTES, HEAD_BYTES))):
        return None
    magic, _, said, _, *salts = struct.unpack_from(">IIIIII", head)
    sums: Sums = struct.unpack_from(">II", head, 24)
    order = MAGICS.get(magic, "<")
    whole = magic in MAGICS and said in SIZES and add(head[:24], (0, 0), order) == sums
    if not whole and size <= HEAD_BYTES:
        return None
    chosen = said if said in SIZES and (whole or page_size is None) else page_size or 0
    if chosen not in SIZES:
        return Log(file, 1024, damaged=True)
    log = Log(file, chosen, damaged=not whole)
    if not whole:
        salts = _find_salts(log, size)
    _read(log, size, salts, sums, order)
    return log


def _find_salts(log: Log, size: int) -> list[int]:
    """Give what marks the frames of the present use of the log: the first two neighbours that agree on it."""
    before: list[int] = []
    for at in range(HEAD_BYTES, min(size, LOOK_AHEAD_BYTES), FRAME_BYTES + log.page_size):
        salts = list(struct.unpack(">II", os.pread(log.file, 8, at + 8).ljust(8, b"\0")))
        if any(salts) and salts == before:
            return salts
        before = salts
    return before


def _read(log: Log, size: int, salts: list[int], sums: Sums, order: str) -> None:
    """Note the last whole copy of every page, up to the last commit."""
    open_frames: dict[int, int] = {}
    broken_here = broken_before = False  # in the transaction that is being read; in one that another follows
    for at, head, is_summed in _each(log, size, sums, order):
        number, commit = struct.unpack_from(">II", head)
        of_this_log = list(struct.unpack_from(">II", head, 8)) == salts
        is_whole = of_this_log and number > 0 and is_summed
        if not is_whole:
            if not of_this_log and not _goes_on(log, at, size, salts):
                break  # what an earlier use of the file left
            broken_here = True
            continue
        if broken_before and not log.damaged:  # a transaction had begun behind the broken one, so that one was whole
            log.damaged = True
            log.frames.update(open_frames)
            open_frames.clear()
        open_frames[number] = at + FRAME_BYTES
        if not commit:
            continue
        if log.damaged or not (broken_here or broken_before):
            log.frames.update(open_frames)
            log.pages = commit
            open_frames.clear()
        broken_before |= broken_here
        broken_here = False
    log.torn = not log.damaged and (bool(open_frames) or broken_here or broken_before)


def _each(log: Log, size: int, sums: Sums, order: str) -> Iterator[tuple[int, bytes, bool]]:
    """Give each frame's place, its head, and whether it is there whole with the right sum, many read at once."""
    step = FRAME_BYTES + log.page_size
    many = max(1, READ_BYTES // step)
    for start in range(HEAD_BYTES, size - FRAME_BYTES + 1, many * step):
        frames = os.pread(log.file, many * step, start)
        count = len(frames) // step
        # A sum goes on from that of the frame before, as it stands there: one broken frame spoils few others.
        own = [struct.unpack_from(">II", frames, place * step + 16) for place in range(count)]
        right = sums_of(frames[: count * step], step, [sums, *own[:-1]][:count], order)
        for place in range(count):
            yield start + place * step, frames[place * step : place * step + FRAME_BYTES], right[place] == own[place]
        if len(frames) - count * step >= FRAME_BYTES:  # the last one is cut off
            yield start + count * step, frames[count * step : count * step + FRAME_BYTES], False
        sums = own[-1] if own else sums


def sums_of(frames: bytes, step: int, before: list[Sums], order: str) -> list[Sums]:
    """Carry the sums on over each of these frames of `step` bytes, from those `before`; all at once.

    What has to be added one after the other is added for all frames in one large number, of 64 bits for each.
    """
    count = len(before)
    if not count:
        return []
    words = array("I", frames)
    if order == ">":
        words.byteswap()  # now they lie little-endian, whatever this machine is
    stride = step // 4
    lanes = array("I", bytes(8 * count))
    mask = int.from_bytes(b"\xff\xff\xff\xff\0\0\0\0" * count, "little")

    def column(place: int) -> int:
        lanes[::2] = words[place::stride]
        return int.from_bytes(lanes.tobytes(), "little")

    first = int.from_bytes(struct.pack(f"<{count}Q", *(one for one, _ in before)), "little")
    second = int.from_bytes(struct.pack(f"<{count}Q", *(other for _, other in before)), "little")
    for place in (0, *range(FRAME_BYTES // 4, stride, 2)):  # a frame's sum leaves out what follows its first 8 bytes
        first = (first + column(place) + second) & mask
        second = (second + column(place + 1) + first) & mask
    firsts, seconds = (struct.unpack(f"<{count}Q", one.to_bytes(8 * count, "little")) for one in (first, second))
    return list(zip(firsts, seconds, strict=True))


def _goes_on(log: Log, at: int, size: int, salts: list[int]) -> bool:
    """Tell whether a frame of this use of the log follows within the next pages."""
    step = FRAME_BYTES + log.page_size
    for following in range(at + step, min(size, at + LOOK_AHEAD_BYTES), step):
        if list(struct.unpack(">II", os.pread(log.file, 8, following + 8).ljust(8, b"\0"))) == salts:
            return True
    return False


def add(data: bytes, sums: Sums, order: str) -> Sums:
    """Carry the log's sums on over these bytes, eight at a time."""
    first, second = sums
    for one, other in struct.iter_unpack(f"{order}II", data):
        first = (first + one + second) & MASK
        second = (second + other + first) & MASK
    return first, second
