from contextlib import suppress
from dataclasses import fields

import paho.mqtt.properties as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import properties

from appliance.mqtt.errors import MalformedPacket, MqttError, ProtocolError, TopicAliasInvalid, TopicNameInvalid
from appliance.mqtt.properties import (
    EMPTY,
    PROPERTIES,
    WILL,
    Properties,
    decode_properties,
    encode_properties,
    encode_property_block,
    read_properties,
)
from appliance.mqtt.types import PacketType
from appliance.mqtt.wire import Reader

PLACES = [*PacketType, WILL]

SAMPLES = {  # one value of each property as it is written
    "payload_format_indicator": ("01 01", 1),
    "message_expiry_interval": ("02 00 00 00 3C", 60),
    "content_type": ("03 00 04 6A 73 6F 6E", "json"),
    "response_topic": ("08 00 03 61 2F 62", "a/b"),
    "correlation_data": ("09 00 02 00 FF", b"\x00\xff"),
    "subscription_identifier": ("0B FF 7F", (16_383,)),
    "session_expiry_interval": ("11 FF FF FF FF", 0xFFFF_FFFF),
    "assigned_client_identifier": ("12 00 02 69 64", "id"),
    "server_keep_alive": ("13 00 3C", 60),
    "authentication_method": ("15 00 01 6D", "m"),
    "authentication_data": ("16 00 01 64", b"d"),
    "request_problem_information": ("17 00", 0),
    "will_delay_interval": ("18 00 00 00 05", 5),
    "request_response_information": ("19 01", 1),
    "response_information": ("1A 00 01 72", "r"),
    "server_reference": ("1C 00 01 73", "s"),
    "reason_string": ("1F 00 01 77", "w"),
    "receive_maximum": ("21 00 64", 100),
    "topic_alias_maximum": ("22 00 00", 0),
    "topic_alias": ("23 00 0A", 10),
    "maximum_qos": ("24 01", 1),
    "retain_available": ("25 01", 1),
    "user_property": ("26 00 01 6B 00 01 76", (("k", "v"),)),
    "maximum_packet_size": ("27 00 04 00 00", 262_144),
    "wildcard_subscription_available": ("28 01", 1),
    "subscription_identifier_available": ("29 01", 1),
    "shared_subscription_available": ("2A 00", 0),
}

# §2.2.2.2, table 2-4, row by row as it is printed
ACKS = "PUBACK PUBREC PUBREL PUBCOMP"
TABLE_2_4 = {
    0x01: "PUBLISH will",
    0x02: "PUBLISH will",
    0x03: "PUBLISH will",
    0x08: "PUBLISH will",
    0x09: "PUBLISH will",
    0x0B: "PUBLISH SUBSCRIBE",
    0x11: "CONNECT CONNACK DISCONNECT",
    0x12: "CONNACK",
    0x13: "CONNACK",
    0x15: "CONNECT CONNACK AUTH",
    0x16: "CONNECT CONNACK AUTH",
    0x17: "CONNECT",
    0x18: "will",
    0x19: "CONNECT",
    0x1A: "CONNACK",
    0x1C: "CONNACK DISCONNECT",
    0x1F: f"CONNACK {ACKS} SUBACK UNSUBACK DISCONNECT AUTH",
    0x21: "CONNECT CONNACK",
    0x22: "CONNECT CONNACK",
    0x23: "PUBLISH",
    0x24: "CONNACK",
    0x25: "CONNACK",
    0x26: f"CONNECT CONNACK PUBLISH will {ACKS} SUBSCRIBE SUBACK UNSUBSCRIBE UNSUBACK DISCONNECT AUTH",
    0x27: "CONNECT CONNACK",
    0x28: "CONNACK",
    0x29: "CONNACK",
    0x2A: "CONNACK",
}


def block(data):
    return bytes.fromhex(data)


def lengthened(data):
    return bytes((len(block(data)),)) + block(data)


def test_the_table_is_the_specifications():
    assert {row.identifier: set(row.places) for row in PROPERTIES} == {
        identifier: {WILL if name == "will" else PacketType[name] for name in names.split()}
        for identifier, names in TABLE_2_4.items()
    }
    assert [row.name for row in PROPERTIES] == [field.name for field in fields(Properties)]
    assert len(PROPERTIES) == 27


@pytest.mark.parametrize("row", PROPERTIES, ids=lambda row: row.name)
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place if place == WILL else place.name)
def test_every_property_in_every_place(row, place):
    data, value = SAMPLES[row.name]
    method = "15 00 01 6D " if row.name == "authentication_data" else ""
    reader = Reader(lengthened(method + data))
    if place not in row.places:
        with pytest.raises(MalformedPacket, match="does not belong into"):
            read_properties(reader, place)
        return
    decoded = read_properties(reader, place)
    assert reader.done
    assert getattr(decoded, row.name) == value
    assert encode_properties(decoded) == lengthened(method + data)
    assert encode_property_block(decoded) == block(method + data)


@pytest.mark.parametrize("row", PROPERTIES, ids=lambda row: row.name)
def test_twice_is_a_protocol_error_unless_it_may_repeat(row):
    data, value = SAMPLES[row.name]
    for place in row.places:
        reader = Reader(lengthened(data + data))
        if place in row.repeats_in:
            assert getattr(read_properties(reader, place), row.name) == value + value
        else:
            with pytest.raises(ProtocolError, match=f"{row.name} stands twice in (a will|[A-Z]+)"):
                read_properties(reader, place)


def test_what_may_repeat():
    assert {row.name for row in PROPERTIES if row.repeats_in} == {"user_property", "subscription_identifier"}


def of_paho(row, place):
    """The bytes that an independent implementation writes for the sample."""
    there = paho.Properties(99 if place == WILL else int(place))
    value = SAMPLES[row.name][1]
    name = "".join(word.capitalize() for word in row.name.split("_")).replace("Qos", "QoS")
    setattr(there, name, list(value) if row.repeats_in else value)
    return there.pack()


@pytest.mark.parametrize("row", PROPERTIES, ids=lambda row: row.name)
def test_paho_writes_the_same(row):
    for place in row.places:
        if row.name == "subscription_identifier" and place is PacketType.PUBLISH:
            continue  # a client never sends it there
        assert of_paho(row, place) == lengthened(SAMPLES[row.name][0])


BAD = [
    ("00", PacketType.PUBLISH, MalformedPacket, "no property 0x00"),
    ("04 00", PacketType.PUBLISH, MalformedPacket, "no property 0x04"),
    ("2B 00", PacketType.CONNACK, MalformedPacket, "no property 0x2B"),
    ("FF 7F", PacketType.CONNACK, MalformedPacket, "no property 0x3FFF"),
    ("81 00 01", PacketType.PUBLISH, MalformedPacket, "more bytes than it needs"),  # [MQTT-1.5.5-1]
    ("80", PacketType.PUBLISH, MalformedPacket, "ends inside a variable byte integer"),
    ("01", PacketType.PUBLISH, MalformedPacket, "ends inside a byte"),
    ("01 02", PacketType.PUBLISH, ProtocolError, "payload_format_indicator is 2"),
    ("02 00 00 00", PacketType.PUBLISH, MalformedPacket, "ends inside a four byte integer"),
    ("08 00 03 61 2F 23", PacketType.PUBLISH, TopicNameInvalid, "wildcard"),  # [MQTT-3.3.2-14]
    ("08 00 00", WILL, TopicNameInvalid, "empty"),  # [MQTT-4.7.3-1]
    ("0B 00", PacketType.SUBSCRIBE, ProtocolError, "subscription_identifier is 0"),  # §3.8.2.1.2
    ("0B FF FF FF FF 7F", PacketType.SUBSCRIBE, MalformedPacket, "past four bytes"),
    ("16 00 01 64", PacketType.CONNECT, ProtocolError, "without authentication_method"),  # §3.1.2.11.10
    ("17 02", PacketType.CONNECT, ProtocolError, "request_problem_information is 2"),
    ("19 FF", PacketType.CONNECT, ProtocolError, "request_response_information is 255"),
    ("1F 00 05 77", PacketType.PUBACK, MalformedPacket, "ends inside a string"),
    ("1F 00 01 00", PacketType.PUBACK, MalformedPacket, "U\\+0000"),  # [MQTT-1.5.4-2]
    ("1F 00 03 ED A0 80", PacketType.PUBACK, MalformedPacket, "not UTF-8"),  # [MQTT-1.5.4-1]
    ("21 00 00", PacketType.CONNECT, ProtocolError, "receive_maximum is 0"),  # §3.1.2.11.3
    ("23 00 00", PacketType.PUBLISH, TopicAliasInvalid, "topic_alias is 0"),  # [MQTT-3.3.2-8]
    ("24 02", PacketType.CONNACK, ProtocolError, "maximum_qos is 2"),  # §3.2.2.3.4
    ("26 00 01 6B", PacketType.CONNECT, MalformedPacket, "ends inside"),  # a name without a value
    ("27 00 00 00 00", PacketType.CONNECT, ProtocolError, "maximum_packet_size is 0"),  # §3.1.2.11.4
    ("28 02", PacketType.CONNACK, ProtocolError, "wildcard_subscription_available is 2"),
]


@pytest.mark.parametrize(("data", "place", "error", "says"), BAD)
def test_bad_properties(data, place, error, says):
    for read in (
        lambda: read_properties(Reader(lengthened(data)), place),
        lambda: decode_properties(block(data), place),
    ):
        with pytest.raises(error, match=says) as caught:
            read()
        assert caught.type is error


def test_a_length_past_the_packet():
    with pytest.raises(MalformedPacket, match="ends inside the properties"):
        read_properties(Reader(block("03 01 01")), PacketType.PUBLISH)


def test_a_value_does_not_reach_past_the_properties_into_the_payload():
    with pytest.raises(MalformedPacket, match="ends inside a four byte integer"):
        read_properties(Reader(block("03 02 00 00 00 3C")), PacketType.PUBLISH)


def test_no_properties():
    assert read_properties(Reader(b"\0"), PacketType.PUBLISH) is EMPTY
    assert decode_properties(b"") is EMPTY
    assert encode_properties(EMPTY) == b"\0"  # [MQTT-2.2.2-1]
    assert encode_property_block(EMPTY) == b""


def test_user_properties_keep_their_order_and_repeat():  # [MQTT-3.3.2-18]
    pairs = (("b", "1"), ("a", "2"), ("b", "1"))
    encoded = encode_property_block(Properties(user_property=pairs))
    assert decode_properties(encoded).user_property == pairs


def test_a_value_that_no_packet_may_carry_is_not_written():
    with pytest.raises(ProtocolError, match="maximum_qos is 2"):
        encode_properties(Properties(maximum_qos=2))
    with pytest.raises(ProtocolError, match="subscription_identifier is 0"):
        encode_properties(Properties(subscription_identifier=(1, 0)))


def test_only_what_was_said_is_shown():
    assert repr(EMPTY) == "Properties()"
    assert repr(Properties(topic_alias=3, maximum_qos=0)) == "Properties(topic_alias=3, maximum_qos=0)"


@given(st.sampled_from(PLACES).flatmap(lambda place: st.tuples(st.just(place), properties(place))))
def test_there_and_back(case):
    place, original = case
    encoded = encode_properties(original)
    reader = Reader(encoded + b"behind")
    assert read_properties(reader, place) == original
    assert reader.rest() == b"behind"
    assert decode_properties(encode_property_block(original), place) == original


@given(st.binary(max_size=40), st.sampled_from(PLACES))
def test_any_bytes_are_properties_or_an_mqtt_error(data, place):
    with suppress(MqttError):
        decode_properties(data, place)
