"""A broker that breaks every promise, so that each harness is seen to catch it.

It speaks just enough MQTT 3.1.1. Its mistakes, each of a kind that brokers have had: it sizes a buffer from the
remaining length, waits for ever for a CONNECT, lets writes pile up without a bound, remembers every connection it
ever had, trips over what it does not know, and a link that takes an id over gets neither subscriptions nor messages.
"""

import asyncio
import sys
from contextlib import suppress

MOST = 4_194_304
ever: list[object] = []  # mistake: nothing is ever taken out
links: dict[str, asyncio.StreamWriter] = {}
readers: dict[str, dict[str, asyncio.StreamWriter]] = {}


async def packet(reader: asyncio.StreamReader) -> tuple[int, bytearray]:
    """Read one."""
    first, length, shift = (await reader.readexactly(1))[0], 0, 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if length > MOST:
        raise ValueError("even this broker has a limit, for the sake of the machine that runs the tests")
    body = bytearray(length)  # mistake: the peer decides how much memory this is
    for start in range(0, length, 4096):
        piece = await reader.readexactly(min(4096, length - start))
        body[start : start + len(piece)] = piece
    return first, body


def text(body: bytearray, at: int) -> tuple[str, int]:
    """Read a string."""
    end = at + 2 + int.from_bytes(body[at : at + 2], "big")
    return body[at + 2 : end].decode(), end


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one link; mistake: there is no time-out."""
    ever.append(bytearray(2_000))
    try:
        await converse(reader, writer)
    finally:  # mistake: what went wrong is nobody's business
        writer.close()


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Act on packets for ever."""
    client_id = ""
    numbers = 0
    while True:
        first, body = await packet(reader)
        match first >> 4:
            case 1:
                client_id = text(body, 10)[0] or str(id(writer))
                if (old := links.get(client_id)) is not None:
                    old.close()
                links[client_id] = writer
                writer.write(b"\x20\x02\x00\x00")
            case 3:
                topic, end = text(body, 0)
                qos = first >> 1 & 3
                if qos:
                    writer.write((b"\x40\x02" if qos == 1 else b"\x50\x02") + bytes(body[end : end + 2]))
                    end += 2
                for other in readers.get(topic, {}).values():
                    numbers = numbers % 65_535 + 1
                    sent = body[: 2 + len(topic.encode())] + numbers.to_bytes(2, "big") * bool(qos) + body[end:]
                    with suppress(RuntimeError):
                        # mistake: no bound, no drain, and whoever took the id over is not who reads
                        other.write(bytes([first]) + length(len(sent)) + sent)
            case 6:
                writer.write(b"\x70\x02" + bytes(body[:2]))
            case 8:
                topic, _ = text(body, 2)
                readers.setdefault(topic, {})[client_id] = writer
                writer.write(b"\x90\x03" + bytes(body[:2]) + bytes([body[-1]]))
            case 12:
                writer.write(b"\xd0\x00")
            case 14:
                writer.close()


def length(number: int) -> bytes:
    """Write a remaining length."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


async def main(port: int) -> None:
    """Serve until it is killed."""
    async with await asyncio.start_server(serve, "127.0.0.1", port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1])))
