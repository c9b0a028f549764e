"""A row of `readings`: how its value is stored and shown, and the checksum that tells a damaged row.

The same few pieces of SQL serve the move, the readers and whoever looks over a file, so that they cannot disagree.
"""

import sqlite3
import struct
import zlib
from typing import Final

TICKS_PER_MS: Final = 16
MAX_INTEGER: Final = 2**47  # of a value stored in thousandths; the checksum of a row must not leave 64 bits
MODULUS: Final = 65_521  # a prime: no flipped bit of any field leaves the sum as it was

# Of the columns series_id, tick, value, seq, late_ms and stretch_id, from 0 to 65535.
CHECKSUM: Final = (
    "((series_id * 3 + tick * 7 + CASE typeof(value) WHEN 'integer' THEN value ELSE value_sum(value) END * 11"
    f" + coalesce(seq, -1) % {MODULUS} * 13 + late_ms * 17 + stretch_id * 19) % {MODULUS} & 65535)"
)
# A row keeps both in one number; live readings are up to a quarter of a second late, which then fits three bytes.
LATE_BIAS_MS: Final = 128
LATE_MS: Final = f"((late_check >> 16) + {LATE_BIAS_MS})"
LATE_CHECK: Final = f"(late_ms - {LATE_BIAS_MS} << 16 | {CHECKSUM})"
IS_WHOLE: Final = f"(late_check & 65535) = {CHECKSUM.replace('late_ms', LATE_MS)}"
# The same sum where the value is an integer, in half the time; `?` is `key_sum(series_id)`. Else it says nothing.
IS_LIKELY_WHOLE: Final = (
    f"(late_check & 65535) = (? + tick * 7 + value * 11 + ifnull(seq, -1) % {MODULUS} * 13"
    f" + (late_check >> 16) * 17 + stretch_id * 19) % {MODULUS}"
)
SHOWN_VALUE: Final = "CASE typeof(value) WHEN 'integer' THEN value / 1000.0 WHEN 'real' THEN value END"
SHOWN_TEXT: Final = "CASE typeof(value) WHEN 'text' THEN value END"

Stored = int | float | str


def stored(value: float) -> int | float:
    """Give a number as it is stored: whole thousandths where they give it back exactly, else as it is."""
    scaled = round(value * 1000) if abs(value) < MAX_INTEGER / 1000 else 0
    return scaled if scaled / 1000.0 == value else value


def shown(value: Stored | None) -> float | None:
    """Give back the number; None for a text."""
    if isinstance(value, int):
        return value / 1000.0
    return value if isinstance(value, float) else None


def key_sum(series_id: int) -> int:
    """Give what is the same for all rows of a series in their checksums."""
    return series_id * 3 + LATE_BIAS_MS * 17


def is_whole(series_id: int, tick: int, value: Stored, seq: int | None, late_check: int, stretch_id: int) -> bool:
    """Tell of one row what `IS_WHOLE` does."""
    total = (
        key_sum(series_id)
        + tick * 7
        + (value if isinstance(value, int) else _value_sum(value)) * 11
        + _remainder(-1 if seq is None else seq) * 13
        + (late_check >> 16) * 17
        + stretch_id * 19
    )
    return late_check & 65535 == _remainder(total) & 65535


def _remainder(number: int) -> int:
    """Divide as SQLite does, towards zero."""
    return number % MODULUS if number >= 0 else -(-number % MODULUS)


def prepare(connection: sqlite3.Connection) -> None:
    """Teach a connection what `CHECKSUM` and `IS_WHOLE` call."""
    connection.create_function("value_sum", 1, _value_sum, deterministic=True)


def _value_sum(value: Stored | bytes | None) -> int:
    """Sum of a value that is no integer."""
    if isinstance(value, float):
        return zlib.crc32(struct.pack("<d", value)) % MODULUS
    if isinstance(value, str):
        return zlib.crc32(value.encode(errors="surrogatepass")) % MODULUS
    return -1 if value is None else -2
