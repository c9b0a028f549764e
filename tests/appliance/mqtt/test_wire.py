from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import texts

from appliance.mqtt.errors import MalformedPacket
from appliance.mqtt.wire import MAX_PACKET_BYTES, MAX_VARINT, Reader, Writer, encode_varint, frame_size, utf8

VARINTS = [  # MQTT 5 §1.5.5, table 1-1
    (0, "00"),
    (127, "7F"),
    (128, "80 01"),
    (16_383, "FF 7F"),
    (16_384, "80 80 01"),
    (2_097_151, "FF FF 7F"),
    (2_097_152, "80 80 80 01"),
    (268_435_455, "FF FF FF 7F"),
]
BAD_VARINTS = [
    ("80 00", "more bytes than it needs"),  # [MQTT-1.5.5-1]
    ("80 80 00", "more bytes than it needs"),
    ("80 80 80 00", "more bytes than it needs"),
    ("FF FF FF FF", "past four bytes"),
    ("FF FF FF FF 7F", "past four bytes"),
    ("80 80 80 80", "past four bytes"),
]


@pytest.mark.parametrize(("value", "data"), VARINTS)
def test_varint(value, data):
    encoded = bytes.fromhex(data)
    assert encode_varint(value) == encoded
    reader = Reader(encoded)
    assert reader.varint() == value
    assert reader.done
    assert frame_size(b"\x30" + encoded) == 1 + len(encoded) + value


@given(st.integers(0, MAX_VARINT))
def test_varint_there_and_back(value):
    assert Reader(encode_varint(value)).varint() == value


def test_a_larger_varint_is_our_own_mistake():
    with pytest.raises(ValueError, match="268435456"):
        encode_varint(MAX_VARINT + 1)


@pytest.mark.parametrize(("data", "says"), BAD_VARINTS)
def test_bad_varint(data, says):
    with pytest.raises(MalformedPacket, match=says):
        Reader(bytes.fromhex(data)).varint()


@pytest.mark.parametrize(("data", "says"), BAD_VARINTS)
def test_bad_remaining_length(data, says):
    with pytest.raises(MalformedPacket, match=says):
        frame_size(b"\xc0" + bytes.fromhex(data))


@pytest.mark.parametrize("data", ["", "30", "30 80", "30 FF FF", "30 FF FF FF"])
def test_a_length_that_is_still_arriving(data):
    assert frame_size(bytes.fromhex(data)) is None


def test_frame_size_counts_from_its_position_and_takes_any_buffer():
    data = bytes.fromhex("C0 00 30 80 01")
    assert frame_size(data) == 2
    assert frame_size(bytearray(data), 2) == 131
    assert frame_size(memoryview(data), 2) == 131
    assert frame_size(data, 5) is None
    assert frame_size(bytes.fromhex("30 FF FF FF 7F")) == MAX_PACKET_BYTES


STRINGS = [  # §1.5.4
    ("", ""),
    ("61", "a"),
    ("41 F0 AA 9B 94", "A\U0002a6d4"),  # the specification's own example, figure 1-1
    ("EF BB BF 61", "\ufeffa"),  # a byte order mark is a character like any other [MQTT-1.5.4-3]
    ("61 CC 8A", "a\u030a"),  # not normalised
    ("01 7F C2 85", "\x01\x7f\x85"),  # control characters: "SHOULD NOT", so let in
    ("EF BF BE EF B7 90", "\ufffe\ufdd0"),  # non-characters likewise
    ("F4 8F BF BF", "\U0010ffff"),
]
BAD_STRINGS = [
    ("00", "U\\+0000"),  # [MQTT-1.5.4-2]
    ("61 00 62", "U\\+0000"),
    ("80", "not UTF-8"),  # a continuation alone
    ("C3", "not UTF-8"),  # a continuation missing
    ("C0 80", "not UTF-8"),  # overlong NUL
    ("C0 AF", "not UTF-8"),  # overlong /
    ("E0 80 AF", "not UTF-8"),
    ("F0 80 80 AF", "not UTF-8"),
    ("ED A0 80", "not UTF-8"),  # surrogate [MQTT-1.5.4-1]
    ("ED BF BF", "not UTF-8"),
    ("ED A0 B4 ED B4 9E", "not UTF-8"),  # a surrogate pair in CESU-8
    ("F4 90 80 80", "not UTF-8"),  # past U+10FFFF
    ("F8 88 80 80 80", "not UTF-8"),  # five bytes
    ("FE", "not UTF-8"),
]


@pytest.mark.parametrize(("data", "text"), STRINGS)
def test_utf8(data, text):
    raw = bytes.fromhex(data)
    assert utf8(raw) == text
    assert Reader(len(raw).to_bytes(2, "big") + raw).utf8() == text


@pytest.mark.parametrize(("data", "says"), BAD_STRINGS)
def test_bad_utf8(data, says):
    with pytest.raises(MalformedPacket, match=says):
        utf8(bytes.fromhex(data))


@given(st.binary(max_size=8))
def test_any_bytes_are_text_or_malformed(raw):
    with suppress(MalformedPacket):
        assert utf8(raw).encode() == raw


@given(
    st.integers(0, 0xFF),
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFF_FFFF),
    st.integers(0, MAX_VARINT),
    texts,
    st.binary(max_size=300),
    st.tuples(texts, texts),
    st.binary(max_size=20),
)
def test_what_was_written_is_read(byte, two, four, varint, text, data, pair, rest):
    writer = Writer()
    writer.byte(byte)
    writer.two_bytes(two)
    writer.four_bytes(four)
    writer.varint(varint)
    writer.utf8(text)
    writer.binary(data)
    writer.pair(pair)
    writer.raw(rest)
    reader = Reader(bytes(writer.buffer))
    assert reader.byte() == byte
    assert reader.two_bytes() == two
    assert reader.four_bytes() == four
    assert reader.varint() == varint
    assert reader.utf8() == text
    assert reader.binary() == data
    assert reader.pair() == pair
    assert reader.done is (rest == b"")
    assert reader.rest() == rest
    assert reader.done


CUT = [
    ("", Reader.byte, "a byte"),
    ("00", Reader.two_bytes, "a two byte integer"),
    ("00 00 00", Reader.four_bytes, "a four byte integer"),
    ("80", Reader.varint, "a variable byte integer"),
    ("00", Reader.utf8, "the length of a string"),
    ("", Reader.binary, "the length of binary data"),
    ("00 02 61", Reader.utf8, "a string"),
    ("00 02 61", Reader.binary, "binary data"),
    ("00 01 61 00", Reader.pair, "the length of a string"),
    ("", Reader.varint, "a variable byte integer"),
    ("00 00", lambda reader: reader.part(3, "the properties"), "the properties"),
]


@pytest.mark.parametrize(("data", "read", "inside"), CUT)
def test_a_value_cut_short(data, read, inside):
    with pytest.raises(MalformedPacket, match=f"ends inside {inside}"):
        read(Reader(bytes.fromhex(data)))


def test_a_reader_stays_within_its_bounds():
    reader = Reader(b"abcdef", 1, 3)
    assert reader.take(2, "both") == b"bc"
    with pytest.raises(MalformedPacket):
        reader.byte()


def test_a_part_is_behind_its_reader():
    reader = Reader(b"abcd")
    part = reader.part(3, "three")
    assert part.rest() == b"abc"
    assert reader.rest() == b"d"


@pytest.mark.parametrize(
    "write",
    [
        lambda writer: writer.byte(256),
        lambda writer: writer.two_bytes(0x1_0000),
        lambda writer: writer.two_bytes(-1),
        lambda writer: writer.four_bytes(0x1_0000_0000),
        lambda writer: writer.binary(bytes(65_536)),
        lambda writer: writer.utf8("é" * 32_768),
    ],
)
def test_what_does_not_fit_is_our_own_mistake(write):
    with pytest.raises(ValueError, match=r"256|fit"):
        write(Writer())


def test_a_string_may_have_65535_bytes():
    writer = Writer()
    writer.utf8("x" * 65_535)
    assert Reader(bytes(writer.buffer)).utf8() == "x" * 65_535
