"""Property blocks of readings without what repeats: sequence number and time stay, the rest is stored once.

Our agents send the same user properties in the same order with every reading; only `seq` and `time` change. A block
is cut at those two, and only where putting it together again gives the identical bytes.
"""

import sqlite3
import time
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

MAX_TEMPLATES = 1_024  # one an agent, its quality and its clock; a stranger that sends new ones each time gets no more

SEQ = b"\x26\x00\x03seq"  # a user property's id and its name, MQTT 5 §3.3.2.3.7
TIME = b"\x26\x00\x04time"
TIME_CHARS = 24  # 2026-11-22T20:05:51.120Z
TIME_LENGTH = TIME_CHARS.to_bytes(2, "big")
SEQ_BYTES, TIME_BYTES, STAMP_BYTES = len(SEQ), len(TIME), len(TIME_LENGTH) + TIME_CHARS
MAX_DIGITS = 19  # of a sequence number
ZERO = 0x30


class Template(NamedTuple):
    """Who publishes, and the block before the sequence number, between it and the time, and behind the time."""

    client_id: str
    head: bytes
    middle: bytes
    tail: bytes

    def fill(self, seq: int, time_ms: int) -> bytes:
        """Give the block with this sequence number and time (Unix)."""
        return b"".join((self.head, _number(seq), self.middle, TIME_LENGTH, _stamp(time_ms), self.tail))


class Parts(NamedTuple):
    """A block taken apart: `frame` is its head, middle and tail, as a template has them."""

    frame: tuple[bytes, bytes, bytes]
    seq: int
    time_ms: int


@lru_cache(maxsize=1)  # history and journal ask for the same message's one behind the other
def apart(properties: bytes) -> Parts | None:
    """Take a block apart at its sequence number and its time (Unix); None where it is none of that form."""
    start = properties.find(SEQ) + SEQ_BYTES
    named = properties.find(TIME, start) + TIME_BYTES
    end = named + STAMP_BYTES
    if start < SEQ_BYTES or named < TIME_BYTES or len(properties) < end:
        return None
    stop = start + 2 + (properties[start] << 8 | properties[start + 1])
    digits = properties[start + 2 : stop]
    if stop > named - TIME_BYTES or not digits.isdigit() or len(digits) > MAX_DIGITS:
        return None
    if (digits[0] == ZERO and digits != b"0") or properties[named : named + 2] != TIME_LENGTH:
        return None
    time_ms = _milliseconds(properties[named + 2 : end])
    if time_ms is None:
        return None
    return Parts((properties[:start], properties[stop:named], properties[end:]), int(digits), time_ms)


def cut(client_id: str, properties: bytes, seq: int) -> tuple[Template, int] | None:
    """Take a block with this `seq` apart into its template and its time; None where it is none of that form."""
    parts = apart(properties)
    if parts is None or parts.seq != seq:
        return None
    return Template(client_id, *parts.frame), parts.time_ms


class Templates:
    """The table of templates, held in memory. Its rows join the transaction that they are made in."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._ask = connection.execute
        self._by_id: dict[int, Template] = {}
        self._ids: dict[Template, int] = {}
        for number, *parts in self._ask("SELECT id, client_id, head, middle, tail FROM templates"):
            self._by_id[number] = Template(*parts)
            self._ids[self._by_id[number]] = number

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, number: int) -> Template | None:
        """Give a template by its id."""
        return self._by_id.get(number)

    def take(self, template: Template) -> int | None:
        """Give the id of a template, which is stored if it is new; None where there are too many."""
        number = self._ids.get(template)
        if number is None and len(self._by_id) < MAX_TEMPLATES:
            number = self._ask(
                "INSERT INTO templates (client_id, head, middle, tail) VALUES (?, ?, ?, ?)", template
            ).lastrowid
            assert number is not None  # noqa: S101 an INSERT that did not raise has one
            self._by_id[number] = template
            self._ids[template] = number
        return number

    def clear(self) -> None:
        """Forget all; for when no row refers to any."""
        self._ask("DELETE FROM templates")
        self._by_id.clear()
        self._ids.clear()


def _number(seq: int) -> bytes:
    digits = b"%d" % seq
    return len(digits).to_bytes(2, "big") + digits


def _stamp(time_ms: int) -> bytes:
    """Write Unix milliseconds as UTC."""
    whole, milliseconds = divmod(time_ms, 1000)
    return b"%s.%03dZ" % (_second(whole), milliseconds)


@lru_cache(maxsize=64)
def _second(at: int) -> bytes:
    """Write whole Unix seconds as UTC; empty where they are beyond any year that can be written."""
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)).encode()
    except (OverflowError, OSError, ValueError):
        return b""


def _milliseconds(written: bytes) -> int | None:
    """Read what `_stamp` writes; None for everything else, also for the same time in another form."""
    second = _read_second(written[:20])
    milliseconds = written[20:23]
    if second is None or not milliseconds.isdigit() or written[23:] != b"Z":
        return None
    return second * 1000 + int(milliseconds)


@lru_cache(maxsize=64)
def _read_second(written: bytes) -> int | None:
    """Read what `_second` writes, with the point behind it."""
    try:
        second = round(datetime.fromisoformat(written[:19].decode() + "+00:00").timestamp())
    except (ValueError, OverflowError):
        return None
    return second if _second(second) + b"." == written else None
