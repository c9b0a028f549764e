from itertools import pairwise

import pytest
import wire_vectors
from hypothesis import given
from hypothesis import strategies as st
from strategies import connects, packets, versioned_packets, versions

from appliance.mqtt.codec import encode
from appliance.mqtt.errors import MalformedPacket, MqttError, PacketTooLarge, ProtocolError
from appliance.mqtt.packets import Connect, PingReq, PubAck, Publish
from appliance.mqtt.stream import PacketStream, says_mqtt5
from appliance.mqtt.types import Version

GOOD = list(wire_vectors.good())
BAD = list(wire_vectors.bad())
PING = encode(PingReq(), Version.MQTT_5)


def name(vector):
    return vector.name


def take_all(stream):
    return list(iter(stream.next_packet, None))


def pieces_of(data, cuts):
    places = [0, *sorted(cuts), len(data)]
    return [data[start:stop] for start, stop in pairwise(places)]


@pytest.mark.parametrize("vector", GOOD, ids=name)
def test_every_prefix_says_wait(vector):
    for size in range(len(vector.data)):
        stream = PacketStream(vector.version)
        stream.feed(vector.data[:size])
        assert stream.next_packet() is None


@pytest.mark.parametrize("vector", GOOD, ids=name)
def test_every_split_gives_the_same_packet(vector):
    for size in range(len(vector.data) + 1):
        stream = PacketStream(vector.version)
        stream.feed(vector.data[:size])
        early = take_all(stream)
        stream.feed(vector.data[size:] + PING)
        assert early + take_all(stream) == [vector.packet, PingReq()]


@pytest.mark.parametrize("vector", BAD, ids=name)
def test_bad_bytes_fail_byte_by_byte_too_and_never_recover(vector):
    stream = PacketStream(vector.version)
    failed = None
    for i in range(len(vector.data)):
        stream.feed(vector.data[i : i + 1])
        try:
            assert stream.next_packet() is None
        except MqttError as error:
            failed = error
            break
    assert type(failed) is vector.error
    stream.feed(PING)
    with pytest.raises(vector.error):
        stream.next_packet()


@given(versioned_packets)
def test_every_prefix_of_any_packet_says_wait(case):
    version, packet = case
    stream = PacketStream(version)
    encoded = encode(packet, version)
    for i in range(len(encoded)):
        assert stream.next_packet() is None
        stream.feed(encoded[i : i + 1])
    assert stream.next_packet() == packet
    assert stream.next_packet() is None


@st.composite
def conversations(draw):
    version = draw(versions)
    sent = [draw(connects(version)), *draw(st.lists(packets(version), max_size=5))]
    data = b"".join(encode(packet, version) for packet in sent)
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=8))
    return sent, pieces_of(data, cuts)


@given(conversations())
def test_a_conversation_cut_anywhere_is_the_same(conversation):
    sent, pieces = conversation
    stream = PacketStream()
    got = []
    for piece in pieces:
        stream.feed(piece)
        got += take_all(stream)
    # A second CONNECT is the broker's business, and of its own version.
    assert got == sent


@given(st.binary(max_size=80), st.none() | versions)
def test_any_bytes_end_in_packets_or_an_mqtt_error(data, version):
    stream = PacketStream(version)
    stream.feed(data)
    try:
        take_all(stream)
    except MqttError as error:
        assert str(error).isprintable()  # noqa: PT017 both ends are right


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS ClientHello
        b"\x00",
        b"\xc0\x00",
        b"\x20",  # a CONNACK, before anything says how long it is
    ],
)
def test_what_is_not_connect_is_refused_at_its_first_byte(data):  # [MQTT-3.1.0-1]
    stream = PacketStream()
    stream.feed(data[:1])
    with pytest.raises(ProtocolError, match="the first packet is not CONNECT"):
        stream.next_packet()


def test_the_version_is_that_of_the_connect():
    stream = PacketStream()
    assert stream.version is None
    stream.feed(encode(Connect("c", version=Version.MQTT_3_1_1), Version.MQTT_3_1_1))
    assert isinstance(stream.next_packet(), Connect)
    assert stream.version is Version.MQTT_3_1_1
    stream.feed(bytes.fromhex("40 03 00 01 00"))  # MQTT 5 would read a reason
    with pytest.raises(MalformedPacket):
        stream.next_packet()


def test_a_refused_connect_leaves_no_version():
    stream = PacketStream()
    stream.feed(bytes.fromhex("10 0D 00 04 4D 51 54 54 05 03 00 00 00 00 00"))
    with pytest.raises(MalformedPacket):
        stream.next_packet()
    assert stream.version is None


def test_a_packet_of_the_largest_size_passes_and_one_byte_more_does_not():
    fits = encode(Publish("t", bytes(95)), Version.MQTT_3_1_1)
    assert len(fits) == 100
    stream = PacketStream(Version.MQTT_3_1_1, max_packet_bytes=100)
    stream.feed(fits)
    assert stream.next_packet() == Publish("t", bytes(95))
    stream.feed(encode(Publish("t", bytes(96)), Version.MQTT_3_1_1)[:2])  # the header alone says it
    with pytest.raises(PacketTooLarge, match="a packet of 101 bytes, at most 100 are taken"):
        stream.next_packet()


def test_a_promise_of_256_mib_costs_nothing():
    stream = PacketStream(Version.MQTT_5)
    stream.feed(bytes.fromhex("30 FF FF FF 7F"))
    assert stream.next_packet() is None
    assert len(stream._buffer) == 5


def test_what_was_taken_is_forgotten():
    stream = PacketStream(Version.MQTT_5)
    for _ in range(3):
        stream.feed(PING * 1_000 + b"\xc0")
        assert len(take_all(stream)) == 1_000
        stream.feed(b"\x00")
        assert take_all(stream) == [PingReq()]
    stream.feed(b"")
    assert len(stream._buffer) == 0


def test_a_packet_before_a_bad_one_still_arrives():
    stream = PacketStream(Version.MQTT_5)
    stream.feed(encode(PubAck(7), Version.MQTT_5) + b"\x01\x00")
    assert stream.next_packet() == PubAck(7)
    with pytest.raises(MalformedPacket, match="packet type 0"):
        stream.next_packet()


@pytest.mark.parametrize("version", Version)
def test_an_mqtt_5_connect_is_known_by_its_first_bytes(version):
    data = encode(Connect("c" * 200, version=version), version)
    told = next(size for size in range(len(data)) if not (b"\0\4MQTT\5").startswith(data[3:size]))
    for size in range(len(data) + 1):
        known = size >= (10 if version is Version.MQTT_5 else told)
        assert says_mqtt5(data[:size]) is ((version is Version.MQTT_5) if known else None)
    assert says_mqtt5(b"\x10\xff\xff\xff\xff\x01") is False
