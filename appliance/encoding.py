"""JSON and MessagePack by msgspec, in the way that lives through an end of the memory, and through strangers' texts.

What msgspec 0.22 encodes to bytes ends the process when those bytes cannot grow: the failed growth has given them up,
and they are given up once more. A bytearray, into which it encodes as well, outlives its failed growth, and whoever
asked gets a MemoryError.
"""

from typing import TypeVar

import msgspec
from msgspec.json import Encoder as JsonEncoder
from msgspec.msgpack import Encoder as MessagePackEncoder

T = TypeVar("T")

FIRST_BYTES = 256  # hold most records, so that nothing is moved

message_pack_into = MessagePackEncoder().encode_into
"""Writes a value as MessagePack over a bytearray; MemoryError when that cannot grow."""
_json_into = JsonEncoder().encode_into


def to_json(value: object) -> bytes:
    """Give the JSON text of a value, in UTF-8; MemoryError when there is no room."""
    buffer = bytearray(FIRST_BYTES)
    _json_into(value, buffer)
    return bytes(buffer)


def to_message_pack(value: object) -> bytes:
    """Give a value as MessagePack; MemoryError when there is no room."""
    buffer = bytearray(FIRST_BYTES)
    message_pack_into(value, buffer)
    return bytes(buffer)


def from_json(text: bytes | str, kind: type[T]) -> T:
    """Read a JSON text of that type. Whatever is wrong with it is a msgspec.DecodeError, which says what.

    Of msgspec itself come two more: for what is no UTF-8, and for brackets in brackets without end.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None
