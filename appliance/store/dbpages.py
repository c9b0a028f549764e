"""SQLite's file format read without SQLite: what a damaged file still holds, row by row.

Nothing here trusts the file. A page that cannot be read is None, a cell or record that makes no sense is counted and
left out, and no page is walked twice. What a row says is believed only by its checksum, which others look at.
https://www.sqlite.org/fileformat2.html is the source of every number.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from appliance.store.log import Log

Value = int | float | str | bytes | None

MAGIC: Final = b"SQLite format 3\x00"
HEADER_BYTES: Final = 100
SIZES: Final = tuple(1 << power for power in range(9, 17))
INDEX_INTERIOR, TABLE_INTERIOR, INDEX_LEAF, TABLE_LEAF = 2, 5, 10, 13
KINDS: Final = {INDEX_INTERIOR, TABLE_INTERIOR, INDEX_LEAF, TABLE_LEAF}
MAX_RECORD_BYTES: Final = 64 * 1024 * 1024  # more than any row of ours; a damaged length asks for anything
FIXED_BYTES: Final = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)  # of a value, by its serial type
UNREADABLE: Final = (ValueError, IndexError, struct.error)


class Row(NamedTuple):
    """One record. rowid is None in a table without one, whose columns come in the order of its key."""

    rowid: int | None
    values: list[Value]


@dataclass(slots=True)
class Harm:
    """What a walk met that could not be read."""

    pages: int = 0
    cells: int = 0

    def __bool__(self) -> bool:
        return bool(self.pages or self.cells)


@dataclass(slots=True)
class Pages:
    """The pages of one file, those of its log over them. `file` is an open descriptor; others close it."""

    file: int
    page_size: int
    reserved: int
    count: int
    log: Log | None
    reached: set[int] = field(default_factory=set)  # pages that a walk has been to

    def page(self, number: int) -> bytes | None:
        """Give a page, None where it cannot be read whole; numbers count from 1."""
        if not 1 <= number <= self.count:
            return None
        if self.log is not None and (page := self.log.page(number)) is not None:
            return page
        try:
            page = os.pread(self.file, self.page_size, (number - 1) * self.page_size)
        except OSError:  # a bad block
            return None
        return page if len(page) == self.page_size else None

    def rows(self, root: int, harm: Harm) -> Iterator[Row]:
        """Give the rows of the table or index whose root this is, in the order of their keys."""
        todo: list[int | Row] = [root]
        while todo:
            one = todo.pop()
            if isinstance(one, Row):
                yield one
                continue
            page = None if one in self.reached else self.page(one)
            start = HEADER_BYTES if one == 1 else 0
            if page is None or page[start] not in KINDS:
                harm.pages += 1
                continue
            self.reached.add(one)
            below, rows = self._parts(page, start, harm)
            if not below:
                yield from rows
                continue
            # Of an index's inner page each row stands between two children; a table's inner page has none.
            todo.append(below[-1])
            for place in range(len(below) - 2, -1, -1):
                if (row := rows[place] if place < len(rows) else None) is not None:
                    todo.append(row)
                todo.append(below[place])

    def reach(self, root: int, into: set[int]) -> None:
        """Add the pages of a table or index to `into`, without a look at its leaves."""
        todo = [root]
        while todo:
            number = todo.pop()
            page = None if number in into else self.page(number)
            start = HEADER_BYTES if number == 1 else 0
            into.add(number)
            if page is None or page[start] not in {INDEX_INTERIOR, TABLE_INTERIOR}:
                continue
            below, _ = self._parts(page, start, Harm())
            todo.extend(one for one in below if 1 <= one <= self.count and one not in into)
            first = self.page(below[0]) if below else None
            if first is not None and first[0] in {INDEX_LEAF, TABLE_LEAF}:  # then all of them are leaves
                into.update(below)
                todo = [one for one in todo if one not in into]

    def leaf(self, number: int, kind: int, harm: Harm) -> list[Row] | None:
        """Give the rows of one leaf, None where the page is no leaf of that kind."""
        page = self.page(number)
        if page is None or page[0] != kind:
            return None
        return [row for row in self._parts(page, 0, harm)[1] if row is not None]

    def free(self) -> tuple[set[int], bool]:
        """Give the pages that nothing uses, and whether their list is whole."""
        first = self.page(1)
        if first is None:
            return set(), False
        trunk, wanted = struct.unpack_from(">II", first, 32)
        found: set[int] = set()
        while trunk:
            page = self.page(trunk)
            if page is None or trunk in found:
                return found, False
            found.add(trunk)
            trunk, leaves = struct.unpack_from(">II", page, 0)
            if leaves > self.page_size // 4 - 2:
                return found, False
            found.update(struct.unpack_from(f">{leaves}I", page, 8))
        return found, len(found) == wanted

    def _parts(self, page: bytes, start: int, harm: Harm) -> tuple[list[int], list[Row]]:
        """Give the children and the rows of a page; rows that cannot be read are left out and counted."""
        kind = page[start]
        inner = kind in {INDEX_INTERIOR, TABLE_INTERIOR}
        cells = struct.unpack_from(">H", page, start + 3)[0]
        pointers = start + (12 if inner else 8)
        if pointers + 2 * cells > self.page_size:
            harm.cells += 1
            cells = (self.page_size - pointers) // 2
        below: list[int] = []
        rows: list[Row] = []
        for (at,) in struct.iter_unpack(">H", page[pointers : pointers + 2 * cells]):
            try:
                if inner:
                    below.append(struct.unpack_from(">I", page, at)[0])
                    at += 4  # noqa: PLW2901 behind the child
                if kind != TABLE_INTERIOR:
                    rows.append(self._row(page, at, kind))
            except UNREADABLE:
                harm.cells += 1
        if inner:
            below.append(struct.unpack_from(">I", page, start + 8)[0])
        return below, rows

    def _row(self, page: bytes, at: int, kind: int) -> Row:
        size, at = varint(page, at)
        rowid: int | None = None
        if kind == TABLE_LEAF:
            rowid, at = varint(page, at)
            rowid = rowid - (1 << 64) if rowid >> 63 else rowid
        usable = self.page_size - self.reserved
        most = usable - 35 if kind == TABLE_LEAF else (usable - 12) * 64 // 255 - 23
        if size > MAX_RECORD_BYTES:
            raise ValueError("no record of ours is so long")
        if size <= most:
            if at + size > usable:
                raise ValueError("the record leaves its page")
            return Row(rowid, record(page[at : at + size]))
        least = (usable - 12) * 32 // 255 - 23
        here = least + (size - least) % (usable - 4)
        here = here if here <= most else least
        body = bytearray(page[at : at + here])
        self._overflow(body, struct.unpack_from(">I", page, at + here)[0], size, usable)
        return Row(rowid, record(bytes(body)))

    def _overflow(self, body: bytearray, number: int, size: int, usable: int) -> None:
        """Add the rest of a record, which stands in pages of its own."""
        used = set()
        while len(body) < size:
            page = self.page(number)
            if page is None or number in used:
                raise ValueError("the rest of a record cannot be read")
            used.add(number)
            (number,) = struct.unpack_from(">I", page, 0)
            body += page[4 : 4 + min(usable - 4, size - len(body))]


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a number of one to nine bytes; gives it and where it ends. IndexError past the end."""
    byte = data[at]
    if byte < 0x80:
        return byte, at + 1
    number = byte & 0x7F
    for at in range(at + 1, at + 8):  # noqa: B020, PLR1704 the place moves on
        byte = data[at]
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            return number, at + 1
    return number << 8 | data[at + 1], at + 2


def record(data: bytes) -> list[Value]:
    """Read the values of one record; ValueError, IndexError or struct.error where it makes no sense."""
    body, at = varint(data, 0)
    place = body
    values: list[Value] = []
    while at < body:
        kind, at = varint(data, at)
        if kind >= 12:
            size = (kind - 12) >> 1
            piece = data[place : place + size]
            values.append(piece.decode() if kind & 1 else piece)
        elif kind in {10, 11}:
            raise ValueError("no such type of value")
        else:
            size = FIXED_BYTES[kind]
            if kind == 7:
                values.append(struct.unpack_from(">d", data, place)[0])
            elif kind:
                values.append(kind - 8 if kind >= 8 else int.from_bytes(data[place : place + size], "big", signed=True))
            else:
                values.append(None)
        place += size
    if at != body or place != len(data):
        raise ValueError("the record's length is wrong")
    return values


def open_pages(file: int, log: Log | None, *, page_size: int | None = None) -> Pages | None:
    """Look at an open database file; None where there is nothing in it that could be pages.

    The size of a page comes from the header, where that is damaged from the log or from `page_size`, and at last from
    what looks most like pages.
    """
    size = os.fstat(file).st_size
    first = log.page(1) if log is not None else None
    if first is None:
        try:
            first = os.pread(file, HEADER_BYTES, 0)
        except OSError:
            first = b""
    said = struct.unpack_from(">H", first, 16)[0] if len(first) >= HEADER_BYTES else 0
    said = 65_536 if said == 1 else said
    candidates = [log.page_size if log is not None else 0, said if first.startswith(MAGIC) else 0, page_size or 0, said]
    chosen = next((one for one in candidates if one in SIZES and _likely(file, size, one, log)), 0)
    chosen = chosen or max(SIZES, key=lambda one: _likely(file, size, one, log))
    reserved = first[20] if first.startswith(MAGIC) and len(first) > 20 and first[20] <= 32 else 0
    count = max(-(-size // chosen), max(log.frames, default=0) if log is not None else 0)
    return Pages(file, chosen, reserved, count, log) if count and _likely(file, size, chosen, log) else None


def _likely(file: int, size: int, page_size: int, log: Log | None) -> int:
    """Count the pages that look like those of a table or index at this size; a log's count as they are."""
    if log is not None and log.page_size == page_size and log.frames:
        return 1
    return sum(_looks_like_one(file, at, page_size) for at in range(0, min(size, 256 * page_size), page_size))


def _looks_like_one(file: int, at: int, page_size: int) -> bool:
    try:
        head = os.pread(file, 8, at + (HEADER_BYTES if at == 0 else 0))
    except OSError:
        return False
    if len(head) < 8 or head[0] not in KINDS:
        return False
    cells, content = struct.unpack_from(">HH", head, 3)
    return bool(8 + 2 * cells <= content <= page_size)
