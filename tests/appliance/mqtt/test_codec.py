from contextlib import suppress

import pytest
import wire_vectors
from hypothesis import given
from hypothesis import strategies as st
from strategies import VERSIONS, versioned_packets

from appliance.mqtt.codec import READERS, WRITERS, decode, encode
from appliance.mqtt.errors import MalformedPacket, MqttError, ProtocolError, UnsupportedVersion
from appliance.mqtt.packets import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    PingReq,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    Subscription,
)
from appliance.mqtt.properties import EMPTY, Properties
from appliance.mqtt.types import ConnectReturnCode, PacketType, QoS, ReasonCode, Version
from appliance.mqtt.wire import encode_varint, frame_size

GOOD = list(wire_vectors.good())
BAD = list(wire_vectors.bad())


def name(vector):
    return vector.name


def test_every_packet_has_a_reader_a_writer_and_vectors():
    assert set(READERS) == set(WRITERS) == set(PacketType)
    for version in VERSIONS:
        types = set(PacketType) - (set() if version is Version.MQTT_5 else {PacketType.AUTH})
        assert {vector.packet.packet_type for vector in GOOD if vector.version is version} >= (
            types if version is not Version.MQTT_3_1 else set()
        )


@pytest.mark.parametrize("vector", GOOD, ids=name)
def test_good_bytes(vector):
    assert decode(vector.data, vector.version) == vector.packet
    encoded = encode(vector.packet, vector.version)
    if vector.shortest:
        assert encoded.hex(" ") == vector.data.hex(" ")
    assert decode(encoded, vector.version) == vector.packet


@pytest.mark.parametrize("vector", BAD, ids=name)
def test_bad_bytes(vector):
    with pytest.raises(MqttError) as caught:
        decode(vector.data, vector.version)
    assert caught.type is vector.error
    assert str(caught.value).startswith(vector.says)
    assert str(caught.value).isprintable()


@given(versioned_packets)
def test_there_and_back(case):
    version, packet = case
    encoded = encode(packet, version)
    assert frame_size(encoded) == len(encoded)
    assert decode(encoded, version) == packet


@given(versioned_packets)
def test_a_body_cut_anywhere_is_a_packet_or_an_mqtt_error(case):
    version, packet = case
    encoded = encode(packet, version)
    body = encoded[1 + len(encode_varint(_remaining(encoded))) :]
    for size in range(len(body)):
        with suppress(MqttError):
            decode(encoded[:1] + encode_varint(size) + body[:size], version)


@given(versioned_packets)
def test_any_flipped_bit_gives_a_packet_or_an_mqtt_error(case):
    version, packet = case
    encoded = encode(packet, version)
    for bit in range(8 * min(len(encoded), 120)):
        flipped = bytearray(encoded)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        with suppress(MqttError):
            decode(bytes(flipped), version)


@given(st.integers(0, 255), st.binary(max_size=60), st.sampled_from(VERSIONS))
def test_any_body_gives_a_packet_or_an_mqtt_error(first, body, version):
    with suppress(MqttError):
        decode(bytes((first,)) + encode_varint(len(body)) + body, version)


def _remaining(encoded):
    size = frame_size(encoded)
    return next(size - header for header in (2, 3, 4, 5) if len(encode_varint(size - header)) == header - 1)


@pytest.mark.parametrize("first", range(0x10))
def test_packet_type_0(first):
    with pytest.raises(MalformedPacket, match="packet type 0 is reserved"):
        decode(bytes((first, 0)), Version.MQTT_5)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "packet_type", [kind for kind in PacketType if kind is not PacketType.PUBLISH], ids=lambda kind: kind.name
)
def test_every_wrong_flag_of_every_packet(packet_type, version):  # [MQTT-2.1.3-1]
    right = {0x02} if packet_type in {PacketType.PUBREL, PacketType.SUBSCRIBE, PacketType.UNSUBSCRIBE} else {0x00}
    if version is Version.MQTT_3_1 and 0x02 in right:
        right.add(0x0A)
    for flags in set(range(16)) - right:
        with pytest.raises(MalformedPacket, match=f"flags {flags:04b} on {packet_type.name}"):
            decode(bytes((packet_type << 4 | flags, 0)), version)


def test_a_packet_is_given_whole_and_alone():
    for data in ("C0", "C0 00 C0 00", "30 05 00 01 74"):
        with pytest.raises(MalformedPacket):
            decode(bytes.fromhex(data), Version.MQTT_5)
    with pytest.raises(MalformedPacket, match="packet ends"):
        decode(b"", Version.MQTT_5)


def test_a_packet_of_another_size_than_it_says_is_told_both_sizes():
    with pytest.raises(MalformedPacket, match=r"^3 bytes where the header says 5$"):
        decode(bytes.fromhex("30 05 00 01 74"), Version.MQTT_5)


def test_only_connect_can_be_read_without_a_version():
    connect = Connect("c", version=Version.MQTT_3_1_1)
    assert decode(encode(connect, Version.MQTT_5)) == connect
    with pytest.raises(ProtocolError, match="PINGREQ before CONNECT"):  # [MQTT-3.1.0-1]
        decode(encode(PingReq(), Version.MQTT_5))


def test_connect_brings_its_own_version():
    for version in VERSIONS:
        connect = Connect("c", version=version)
        for other in VERSIONS:
            assert decode(encode(connect, other), other) == connect


def test_of_a_strange_protocol_name_20_letters_are_shown():
    data = bytes.fromhex("10 1C 00 16") + b"abcdefghijklmnopqrstuv" + bytes.fromhex("04 02 00 00")
    with pytest.raises(ProtocolError, match=r"^the protocol name is 'abcdefghijklmnopqrst', not MQTT$"):
        decode(data)


def test_an_unsupported_level_is_told_apart():
    with pytest.raises(UnsupportedVersion) as caught:
        decode(bytes.fromhex("10 0C 00 04 4D 51 54 54 06 02 00 00 00 00"))
    assert caught.value.dialect is Version.MQTT_3_1_1
    with pytest.raises(UnsupportedVersion) as caught:
        decode(bytes.fromhex("10 0D 00 04 4D 51 54 54 06 02 00 00 00 00 00"))
    assert caught.value.dialect is Version.MQTT_5


# What an older version cannot say


@pytest.mark.parametrize("version", [Version.MQTT_3_1, Version.MQTT_3_1_1])
def test_properties_and_reasons_are_not_written_before_mqtt_5(version):
    said = Properties(user_property=(("k", "v"),), reason_string="w")
    assert encode(PubAck(1, ReasonCode.QUOTA_EXCEEDED, said), version) == bytes.fromhex("40 02 00 01")
    assert encode(Disconnect(ReasonCode.SERVER_BUSY, said), version) == bytes.fromhex("E0 00")
    assert encode(Publish("t", b"1", properties=Properties(content_type="x")), version) == bytes.fromhex(
        "30 04 00 01 74 31"
    )
    subscription = Subscription("a", QoS.AT_LEAST_ONCE, no_local=True, retain_as_published=True, retain_handling=2)
    assert encode(Subscribe(1, (subscription,)), version) == bytes.fromhex("82 06 00 01 00 01 61 01")
    assert encode(SubAck(1, (0, 1, 0x80, 0x97)), version) == bytes.fromhex("90 06 00 01 00 01 80 80")


@pytest.mark.parametrize(
    ("reason", "old"),
    [
        (ReasonCode.SUCCESS, ConnectReturnCode.ACCEPTED),
        (ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, ConnectReturnCode.UNACCEPTABLE_PROTOCOL_VERSION),
        (ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, ConnectReturnCode.IDENTIFIER_REJECTED),
        (ReasonCode.BAD_USER_NAME_OR_PASSWORD, ConnectReturnCode.BAD_USER_NAME_OR_PASSWORD),
        (ReasonCode.NOT_AUTHORIZED, ConnectReturnCode.NOT_AUTHORIZED),
        (ReasonCode.BANNED, ConnectReturnCode.NOT_AUTHORIZED),
        (ReasonCode.SERVER_BUSY, ConnectReturnCode.SERVER_UNAVAILABLE),
        (ReasonCode.QUOTA_EXCEEDED, ConnectReturnCode.SERVER_UNAVAILABLE),
        (ReasonCode.UNSPECIFIED_ERROR, ConnectReturnCode.SERVER_UNAVAILABLE),
        (ConnectReturnCode.IDENTIFIER_REJECTED, ConnectReturnCode.IDENTIFIER_REJECTED),
    ],
)
def test_a_refusal_in_an_older_clients_words(reason, old):
    assert encode(ConnAck(reason_code=reason), Version.MQTT_3_1_1) == bytes((0x20, 2, 0, old))


def test_mqtt_3_1_has_no_session_present():
    assert encode(ConnAck(session_present=True), Version.MQTT_3_1) == bytes.fromhex("20 02 00 00")
    assert encode(ConnAck(session_present=True), Version.MQTT_3_1_1) == bytes.fromhex("20 02 01 00")


def test_auth_before_mqtt_5_is_our_own_mistake():
    with pytest.raises(ValueError, match="no AUTH before MQTT 5"):
        encode(Auth(), Version.MQTT_3_1_1)


def test_a_field_that_does_not_fit_is_our_own_mistake():
    with pytest.raises(ValueError, match="do not fit"):
        encode(Connect("c" * 65_536), Version.MQTT_5)


def test_a_large_payload():
    packet = Publish("t", bytes(3_000_000), properties=EMPTY)
    encoded = encode(packet, Version.MQTT_5)
    assert encoded[:5] == b"\x30\xc4\x8d\xb7\x01"
    assert decode(encoded, Version.MQTT_5) == packet
