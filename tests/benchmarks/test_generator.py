"""The load generator's packets are those of MQTT 3.1.1 and 5, written out by hand."""

import pytest
from benchmarks.generator import (
    acknowledgements,
    connect_packet,
    publish_packet,
    subscribe_packet,
    varint,
)

LOGIN = " 0004 6c6f6164 000c 6e6f742061207365637265 74"
PACKETS = [
    (connect_packet("a", 60), "10 21 0004 4d515454 04 c2 003c 0001 61" + LOGIN),
    (subscribe_packet(1, ["a/b", "#"], 1), "82 0c 0001 0003 612f62 01 0001 23 01"),
    (publish_packet("a/b", b"21.4"), "30 09 0003 612f62 32312e34"),
    (publish_packet("a/b", b"21.4", 1, 258), "32 0b 0003 612f62 0102 32312e34"),
    (publish_packet("a/b", b"", 2, 1, retain=True), "35 07 0003 612f62 0001"),
    (connect_packet("a", 60, level=5), "10 22 0004 4d515454 05 c2 003c 00 0001 61" + LOGIN),
    (subscribe_packet(1, ["a/b", "#"], 1, level=5), "82 0d 0001 00 0003 612f62 01 0001 23 01"),
    (publish_packet("a/b", b"21.4", level=5), "30 0a 0003 612f62 00 32312e34"),
    (publish_packet("a/b", b"21.4", 1, 258, level=5), "32 0c 0003 612f62 0102 00 32312e34"),
]


@pytest.mark.parametrize(("packet", "expected"), PACKETS)
def test_packets(packet, expected):
    assert packet == bytes.fromhex(expected)


@pytest.mark.parametrize(
    ("number", "expected"), [(0, "00"), (127, "7f"), (128, "8001"), (16_383, "ff7f"), (268_435_455, "ffffff7f")]
)
def test_varint(number, expected):
    assert varint(number) == bytes.fromhex(expected)


@pytest.mark.parametrize("count", [1, 2, 100])
def test_acknowledgements_carry_the_ids_of_the_packets(count):
    packets = [publish_packet("a/b", b"21.4", 1, 250 + i) for i in range(count)]
    size = len(packets[0])
    reply = acknowledgements(0x40, b"".join(packets), size, size - 6)
    assert reply == b"".join(b"\x40\x02" + (250 + i).to_bytes(2, "big") for i in range(count))
