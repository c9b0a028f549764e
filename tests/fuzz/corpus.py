"""What a fuzzer starts from: the wire vectors, alone and as steps of a conversation."""

from collections.abc import Iterator

from tests import wire_vectors
from tests.fuzz.targets import VERSIONS

SEND, LEAVE, WAIT, GREET, SEND_REST = 0, 4, 5, 6, 7


def step(what: int, number: int, how_much: int, data: bytes = b"") -> bytes:
    """One step of the broker's target."""
    return bytes((what << 2 | number, how_much)) + data


def vectors() -> list[tuple[int, bytes]]:
    """Every vector as protocol level and bytes."""
    rows = [*wire_vectors.good(), *wire_vectors.bad(), *wire_vectors.good_properties()]
    return sorted({(int(row.version), row.data) for row in rows})


def seeds(target: str) -> Iterator[bytes]:
    """Inputs of a target."""
    rows = vectors()
    if target == "stream":
        for level, data in rows:
            yield bytes((VERSIONS.index(next(one for one in VERSIONS if one == level)) | 2 << 2,)) + data
            if data[0] == 0x10:
                yield b"\x08" + data + b"\xc0\x00"
        return
    subscribe = {3: "820600010001 2302", 4: "820600010001 2302", 5: "820700010000012302"}
    for level, data in rows:
        if len(data) > 255:
            continue
        choice = {3: 0, 4: 1, 5: 2}[level]
        greet = step(GREET, 0, choice + 252 if choice + 252 < 256 and (choice + 252) % 3 == choice else choice)
        hello = step(SEND, 0, 0)
        asked = bytes.fromhex(subscribe[level])
        yield b"\x00" + greet + hello + step(SEND, 0, len(data), data)
        yield (
            b"\x20"
            + greet
            + step(SEND, 0, len(asked), asked)
            + step(SEND, 0, len(data), data)
            + step(SEND, 0, len(data), data)
            + step(LEAVE, 0, 0)
            + step(GREET, 0, 6)
            + step(WAIT, 0, 200)
        )
        if data[0] == 0x10:
            yield b"\x10" + step(SEND, 1, len(data), data) + step(SEND, 1, 2, b"\xc0\x00")
