"""What tells a whole record from a damaged one: a checksum over all its fields, beside them in its row."""

from zlib import crc32

from appliance.encoding import FIRST_BYTES, message_pack_into


def checksum(*fields: float | str | bytes | None) -> int:
    """Give the CRC-32 of the fields, their types and lengths among them, as four bytes with a sign.

    Numbers as they come back from the database: an `int` and the equal `float` differ.
    """
    buffer = bytearray(FIRST_BYTES)
    message_pack_into(fields, buffer)
    return crc32(buffer) - 0x8000_0000  # SQLite takes four bytes for a signed one, six for an unsigned
