"""The data representations of §1.5, read from and written to one packet at a time."""

from typing import Final

from appliance.mqtt.errors import MalformedPacket

MAX_VARINT: Final = 268_435_455  # four bytes of seven bits, §1.5.5
MAX_PACKET_BYTES: Final = 1 + 4 + MAX_VARINT
MAX_STRING_BYTES: Final = 65_535  # what two bytes of length can say, §1.5.4


def frame_size(buffer: bytes | bytearray | memoryview, pos: int = 0) -> int | None:
    """Bytes of the whole packet that starts at `pos`, header included; None while its length is still arriving.

    MalformedPacket when no further byte could make the length legal.
    """
    available = len(buffer) - pos
    if available < 2:
        return None
    byte = buffer[pos + 1]
    if byte < 0x80:
        return 2 + byte
    remaining = byte & 0x7F
    for i in range(2, 5):
        if i == available:
            return None
        byte = buffer[pos + i]
        remaining |= (byte & 0x7F) << 7 * (i - 1)
        if byte < 0x80:
            if byte == 0:  # [MQTT-1.5.5-1]; 3.1.1 is silent, and nothing that speaks it does so
                raise MalformedPacket("the remaining length is written in more bytes than it needs")
            return 1 + i + remaining
    raise MalformedPacket("the remaining length runs past four bytes")  # §2.1.4


def utf8(raw: bytes) -> str:
    """Text of a UTF-8 encoded string; MalformedPacket unless §1.5.4 allows it.

    Strict: no overlong forms, no surrogates [MQTT-1.5.4-1], no U+0000 [MQTT-1.5.4-2]; U+FEFF stays [MQTT-1.5.4-3].
    Control and non-characters pass: the specification only advises against them.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise MalformedPacket(f"a string is not UTF-8: {error.reason} at byte {error.start}") from None
    if "\0" in text:
        raise MalformedPacket("a string contains U+0000")
    return text


def encode_varint(value: int) -> bytes:
    """Variable byte integer in its shortest form [MQTT-1.5.5-1]; ValueError past 268,435,455."""
    if value < 0x80:
        return bytes((value,))
    if value > MAX_VARINT:
        raise ValueError(f"{value} does not fit in a variable byte integer")
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(0x80 | value & 0x7F)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


class Reader:
    """Takes one value after the other from `body[pos:end]`; MalformedPacket where a value runs past the end."""

    __slots__ = ("body", "end", "pos")

    def __init__(self, body: bytes, pos: int = 0, end: int | None = None) -> None:
        self.body = body
        self.pos = pos
        self.end = len(body) if end is None else end

    @property
    def done(self) -> bool:
        """Nothing is left."""
        return self.pos >= self.end

    def take(self, size: int, what: str) -> bytes:
        """Next `size` bytes; `what` names them in the error."""
        start = self.pos
        stop = start + size
        if stop > self.end:
            raise MalformedPacket(f"the packet ends inside {what}")
        self.pos = stop
        return self.body[start:stop]

    def byte(self) -> int:
        """Integer of one byte."""
        return self.take(1, "a byte")[0]

    def two_bytes(self) -> int:
        """Big-endian integer of two bytes, §1.5.2."""
        return int.from_bytes(self.take(2, "a two byte integer"), "big")

    def four_bytes(self) -> int:
        """Big-endian integer of four bytes, §1.5.3."""
        return int.from_bytes(self.take(4, "a four byte integer"), "big")

    def varint(self) -> int:
        """Variable byte integer, §1.5.5."""
        pos = self.pos
        if pos < self.end and self.body[pos] < 0x80:  # nearly always
            self.pos = pos + 1
            return self.body[pos]
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.take(1, "a variable byte integer")[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if byte == 0:  # [MQTT-1.5.5-1]
                    raise MalformedPacket("a variable byte integer is written in more bytes than it needs")
                return value
        raise MalformedPacket("a variable byte integer runs past four bytes")

    def utf8(self) -> str:
        """UTF-8 encoded string, §1.5.4."""
        return utf8(self._prefixed("a string"))

    def binary(self) -> bytes:
        """Binary data, §1.5.6."""
        return self._prefixed("binary data")

    def _prefixed(self, what: str) -> bytes:
        start = self.pos + 2
        if start > self.end:
            raise MalformedPacket(f"the packet ends inside the length of {what}")
        stop = start + (self.body[start - 2] << 8 | self.body[start - 1])
        if stop > self.end:
            raise MalformedPacket(f"the packet ends inside {what}")
        self.pos = stop
        return self.body[start:stop]

    def pair(self) -> tuple[str, str]:
        """UTF-8 string pair, §1.5.7."""
        return self.utf8(), self.utf8()  # [MQTT-1.5.7-1]

    def rest(self) -> bytes:
        """Everything that is left."""
        return self.take(self.end - self.pos, "the payload")

    def part(self, size: int, what: str) -> "Reader":
        """Reader of the next `size` bytes alone, which this one then has behind it."""
        start = self.pos
        if size > self.end - start:
            raise MalformedPacket(f"the packet ends inside {what}")
        self.pos = start + size
        return Reader(self.body, start, self.pos)


class Writer:
    """Appends one value after the other to `buffer`; ValueError for a value that does not fit its field."""

    __slots__ = ("buffer",)

    def __init__(self) -> None:
        self.buffer = bytearray()

    def byte(self, value: int) -> None:
        """Integer of one byte."""
        self.buffer.append(value)

    def two_bytes(self, value: int) -> None:
        """Big-endian integer of two bytes, §1.5.2."""
        self._integer(value, 2)

    def four_bytes(self, value: int) -> None:
        """Big-endian integer of four bytes, §1.5.3."""
        self._integer(value, 4)

    def _integer(self, value: int, size: int) -> None:
        if not 0 <= value < 1 << 8 * size:
            raise ValueError(f"{value} does not fit in {size} bytes")
        self.buffer += value.to_bytes(size, "big")

    def varint(self, value: int) -> None:
        """Variable byte integer, §1.5.5."""
        self.buffer += encode_varint(value)

    def utf8(self, text: str) -> None:
        """UTF-8 encoded string, §1.5.4."""
        self.binary(text.encode())

    def binary(self, data: bytes) -> None:
        """Binary data, §1.5.6."""
        if len(data) > MAX_STRING_BYTES:
            raise ValueError(f"{len(data)} bytes do not fit in a field of at most {MAX_STRING_BYTES}")
        self.buffer += len(data).to_bytes(2, "big")
        self.buffer += data

    def pair(self, pair: tuple[str, str]) -> None:
        """UTF-8 string pair, §1.5.7."""
        self.utf8(pair[0])
        self.utf8(pair[1])

    def raw(self, data: bytes) -> None:
        """Bytes as they are."""
        self.buffer += data
