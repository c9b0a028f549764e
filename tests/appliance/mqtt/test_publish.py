"""The hot path's reading and writing of PUBLISH gives what the codec gives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mqtt import codec
from appliance.mqtt.errors import MqttError
from appliance.mqtt.packets import Publish
from appliance.mqtt.properties import Properties, decode_properties, encode_property_block, read_properties
from appliance.mqtt.publish import (
    delivered_properties,
    publish_parts,
    scan_properties,
    seconds_left,
    topic_and_id,
    translate_run,
)
from appliance.mqtt.types import PacketType, QoS, Version
from appliance.mqtt.wire import Reader, encode_varint

V311, V5 = Version.MQTT_3_1_1, Version.MQTT_5

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
topics = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0+#"), min_size=1, max_size=20)
properties = st.builds(
    Properties,
    payload_format_indicator=st.none() | st.integers(0, 1),
    message_expiry_interval=st.none() | st.integers(0, 2**32 - 1),
    content_type=st.none() | texts,
    response_topic=st.none() | topics,
    correlation_data=st.none() | st.binary(max_size=20),
    topic_alias=st.none() | st.integers(1, 65_535),
    user_property=st.lists(st.tuples(texts, texts), max_size=4).map(tuple),
)


def block(content):
    return encode_varint(len(content)) + content


@given(properties, st.binary(max_size=5), st.binary(max_size=5))
def test_scanning_keeps_all_but_the_expiry(sent, before, after):
    data = before + block(encode_property_block(sent)) + after
    scanned = scan_properties(data, len(before), len(data))
    assert scanned.expiry_s == sent.message_expiry_interval
    assert data[scanned.end :] == after
    assert scanned.alias == (sent.topic_alias or 0)
    assert scanned.is_text == (sent.payload_format_indicator == 1)
    delivered = delivered_properties(scanned.forwarded, scanned.expiry_s, (), scanned.alias)
    assert read_properties(Reader(delivered), PacketType.PUBLISH) == sent


def reason_to_refuse(packet, pos):
    try:
        scan_properties(packet, pos, len(packet))
    except MqttError as error:
        return error.reason
    return None


@given(st.binary(max_size=40))
def test_scanning_refuses_what_the_codec_refuses(content):
    """On any bytes: both read the block, or both refuse it for the same reason. The codec knows no direction."""
    packet = b"\x30" + encode_varint(3 + len(content)) + b"\x00\x01a" + content
    try:
        publish = codec.decode(packet, V5)
    except MqttError as error:
        expected = error.reason
    else:
        expected = None
        if publish.properties.subscription_identifier:
            return  # a server's: test_what_only_a_server_may_send
    assert reason_to_refuse(packet, len(packet) - len(content)) == expected


@pytest.mark.parametrize(("content", "reason"), [("0b01", 0x82), ("230000", 0x94)])
def test_what_only_a_server_may_send_or_nobody(content, reason):
    with pytest.raises(MqttError) as caught:
        scan_properties(block(bytes.fromhex(content)), 0, 1 + len(content) // 2)
    assert caught.value.reason == reason


@given(
    topics,
    st.binary(max_size=200),
    st.sampled_from(QoS),
    st.booleans(),
    properties,
    st.sampled_from([V311, V5]),
    st.integers(1, 65_535),
)
def test_parts_are_what_the_codec_writes(topic, payload, qos, retain, sent, version, packet_id):
    number = packet_id if qos else None
    expected = codec.encode(Publish(topic, payload, qos, retain, packet_id=number, properties=sent), version)
    written = block(encode_property_block(sent)) if version is V5 else b""
    head, rest = publish_parts(topic.encode(), payload, qos, retain, written)
    assert head + (packet_id.to_bytes(2, "big") if qos else b"") + rest == expected


@given(topics, st.binary(max_size=200), st.sampled_from(QoS), st.sampled_from([V311, V5]), st.integers(1, 65_535))
def test_topic_and_packet_id_of_a_whole_packet(topic, payload, qos, version, packet_id):
    number = packet_id if qos else None
    packet = codec.encode(Publish(topic, payload, qos, packet_id=number), version)
    assert topic_and_id(packet) == (topic, number or 0)


def test_identifiers_and_what_is_left_of_the_expiry_are_added():
    delivered = delivered_properties(b"\x01\x01", 19, (1, 300))
    assert decode_properties(delivered[1:]) == Properties(
        payload_format_indicator=1, message_expiry_interval=19, subscription_identifier=(1, 300)
    )


@given(st.lists(st.tuples(topics, st.binary(max_size=300)), min_size=1, max_size=5))
def test_a_run_is_translated_both_ways(messages):
    old, new = (b"".join(codec.encode(Publish(*message), version) for message in messages) for version in (V311, V5))
    around = b"xx" + old + b"yy"
    assert translate_run(around, 2, len(around) - 2, to_mqtt5=True) == new
    assert translate_run(new, 0, len(new), to_mqtt5=False) == old


@pytest.mark.parametrize(
    ("life_s", "waited_s", "left_s"),
    [
        (10, 0, 10),
        (10, 0.5, 10),
        (10, 1.5, 9),
        (10, 9.2, 1),
        (10, 9.9995, 1),  # not over yet
        (10, 10, 0),
        (10, 11, 0),
        (0, 0, 0),
        (0xFFFF_FFFF, 1, 0xFFFF_FFFE),
    ],
)
@pytest.mark.parametrize("start", [0.0, 0.1, 1_000.7, 1e6 + 0.3])
def test_what_is_left_of_a_life(start, life_s, waited_s, left_s):
    assert seconds_left(start + life_s, start + waited_s) == left_s


@given(st.floats(0, 1e7), st.integers(0, 0xFFFF_FFFF))
def test_what_has_not_waited_has_its_whole_life(now, life_s):
    assert seconds_left(now + life_s, now) == life_s
