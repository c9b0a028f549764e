"""The walk over received bytes: framing, QoS exchanges, any cut of the stream."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journal import RecordingJournal
from virtual import V5, V311, VirtualServer

from appliance.broker.gate import MOST_HELD
from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag
from appliance.mqtt import codec
from appliance.mqtt.packets import (
    Disconnect,
    PingReq,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    Subscribe,
    Subscription,
    Unsubscribe,
)
from appliance.mqtt.properties import EMPTY, Properties
from appliance.mqtt.types import QoS, ReasonCode

BAD = [
    ("30 ff ff ff ff 01", "a length of five bytes"),
    ("30 80 80 80 00", "a length in more bytes than it needs"),
    ("30 ff ff ff 7f", "larger than is taken"),
    ("36 05 0001 61 0001", "QoS 3 [MQTT-3.3.1-4]"),
    ("38 03 0001 61", "DUP at QoS 0 [MQTT-3.3.1-2]"),
    ("30 02 0000", "an empty topic [MQTT-4.7.3-1]"),
    ("30 00", "no topic"),
    ("30 03 0005 61", "shorter than its topic"),
    ("32 04 0001 61 00", "shorter than its packet id"),
    ("32 05 0001 61 0000", "packet id 0 [MQTT-2.3.1-1]"),
    ("30 03 0001 23", "# in a topic [MQTT-3.3.2-2]"),
    ("30 03 0001 2b", "+ in a topic [MQTT-3.3.2-2]"),
    ("30 03 0001 00", "NUL in a topic [MQTT-1.5.3-2]"),
    ("30 04 0002 c080", "overlong UTF-8 [MQTT-1.5.3-1]"),
    ("30 05 0003 eda080", "a surrogate [MQTT-1.5.3-1]"),
    ("00 00", "reserved type 0 [MQTT-2.2.2-2]"),
    ("f0 00", "reserved type 15 [MQTT-2.2.2-2]"),
    ("c1 00", "flags on PINGREQ [MQTT-2.2.2-2]"),
    ("c0 01 00", "a PINGREQ with a body"),
    ("60 02 0001", "flags on PUBREL [MQTT-3.6.1-1]"),
    ("40 01 00", "a short PUBACK"),
    ("40 02 0000", "PUBACK of id 0"),
    ("80 06 0001 0001 61 00", "flags on SUBSCRIBE [MQTT-3.8.1-1]"),
    ("82 02 0001", "SUBSCRIBE to nothing [MQTT-3.8.3-3]"),
    ("82 06 0001 0001 61 03", "SUBSCRIBE at QoS 3 [MQTT-3-8.3-4]"),
    ("82 08 0001 0003 612f61 04", "reserved bits of a SUBSCRIBE [MQTT-3-8.3-4]"),
    ("82 08 0001 0003 61232f 00", "a bad filter [MQTT-4.7.1-2]"),
    ("a2 02 0001", "UNSUBSCRIBE from nothing [MQTT-3.10.3-2]"),
    ("e1 00", "flags on DISCONNECT [MQTT-3.14.1-1]"),
]


@pytest.mark.parametrize(("wire", "why"), BAD, ids=[why for _, why in BAD])
def test_a_bad_packet_closes_its_link_and_no_other(wire, why):
    server = VirtualServer()
    other = server.client("other").subscribe("ok")
    other.packets()
    client = server.client("bad")
    good = codec.encode(Publish("ok", b"before"), V311)
    client.send(good + bytes.fromhex(wire) + codec.encode(Publish("ok", b"after"), V311))
    assert client.closed, why
    assert server.closed[-1] != "goodbye"
    assert other.messages() == [("ok", b"before", 0)]
    other.publish("ok", b"still here")
    assert other.messages() == [("ok", b"still here", 0)]


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        ("36 06 0001 61 0001 00", ReasonCode.MALFORMED_PACKET),
        ("30 ff ff ff 7f", ReasonCode.PACKET_TOO_LARGE),
        ("30 04 0001 2b 00", ReasonCode.TOPIC_NAME_INVALID),
        ("30 07 0001 61 03 23 000b", ReasonCode.TOPIC_ALIAS_INVALID),
        ("30 06 0001 61 02 0b01", ReasonCode.PROTOCOL_ERROR),  # [MQTT-3.3.4-6]
        ("30 08 0001 61 04 0101 0101", ReasonCode.PROTOCOL_ERROR),  # twice
        ("30 06 0001 61 02 0102", ReasonCode.PROTOCOL_ERROR),
        ("30 06 0001 61 05 0100", ReasonCode.MALFORMED_PACKET),  # properties longer than the packet
        ("30 07 0001 61 03 02 0001", ReasonCode.MALFORMED_PACKET),
        ("30 05 0001 61 01 11", ReasonCode.MALFORMED_PACKET),  # not in a PUBLISH
        ("30 09 0001 61 05 26 0001 61 00", ReasonCode.MALFORMED_PACKET),
        ("30 08 0001 61 04 08 0001 23", ReasonCode.TOPIC_NAME_INVALID),  # [MQTT-3.3.2-14]
    ],
)
def test_mqtt_5_is_told_why(wire, reason):
    client = VirtualServer().client("bad", V5)
    client.send(bytes.fromhex(wire))
    assert client.expect(Disconnect).reason_code == reason
    assert client.closed


# --- cuts ---

STREAM = [
    Subscribe(1, (Subscription("a/#", QoS(2)), Subscription("b", QoS(1)))),
    Publish("a/x", b"1"),
    Publish("a/x", b"2"),
    Publish("b", b"3" * 300),
    Publish("a/y", b"4", QoS(1), packet_id=5),
    PingReq(),
    Publish("a/z", b"5", QoS(2), retain=True, packet_id=6),
    PubRel(6),
    PubAck(1),
    PubRec(2),
    PubComp(2),
    Unsubscribe(2, ("b",)),
    Publish("b", b"unheard"),
    Publish("a/x", b"", retain=True),
]


def outcome(version, pieces):
    server = VirtualServer()
    client = server.client("a", version)
    start = len(client.received)
    for piece in pieces:
        client.send(piece)
    return client.received[start:], client.closed, sorted(server.broker.router.retained.topics("#"))


@pytest.mark.parametrize("version", [V311, V5])
@given(cuts=st.lists(st.integers(0, 500), max_size=8))
@settings(max_examples=60)
def test_any_cut_of_the_stream_has_the_same_outcome(version, cuts):
    stream = b"".join(codec.encode(packet, version) for packet in STREAM)
    edges = [0, *sorted(cuts), len(stream)]
    pieces = [stream[start:stop] for start, stop in pairwise(edges)]
    assert outcome(version, pieces) == outcome(version, [stream])


@pytest.mark.parametrize("version", [V311, V5])
def test_single_bytes_have_the_same_outcome(version):
    stream = b"".join(codec.encode(packet, version) for packet in STREAM)
    assert outcome(version, [bytes([byte]) for byte in stream]) == outcome(version, [stream])


@given(data=st.binary(max_size=200), version=st.sampled_from([V311, V5]))
def test_no_bytes_are_more_than_a_closed_link(data, version):
    server = VirtualServer()
    client = server.client("a", version)
    client.send(data)
    other = server.client("b").subscribe("x")
    other.packets()
    other.publish("x")
    assert len(other.packets()) == 1


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7), version=st.sampled_from([V311, V5]))
@settings(max_examples=300)
def test_a_flipped_bit_is_no_more_than_a_closed_link(position, bit, version):
    stream = bytearray(b"".join(codec.encode(packet, version) for packet in STREAM))
    stream[position % len(stream)] ^= 1 << bit
    server = VirtualServer()
    client = server.client("a", version)
    client.send(bytes(stream))
    if not client.closed:
        assert server.broker.sessions["a"].connection is client.connection


def test_nothing_is_reserved_for_what_a_length_claims():
    server = VirtualServer(max_packet_bytes=268_435_460)
    client = server.client("a")
    client.send(b"\x30\xff\xff\xff\x7f")
    assert not client.closed
    assert client.connection.tail == b"\x30\xff\xff\xff\x7f"
    client.send(bytes(1000))
    assert len(client.connection.tail) == 1005


def test_a_packet_that_drips_in_is_parsed_once():
    server = VirtualServer()
    client = server.client("a").subscribe("#")
    client.packets()
    packet = codec.encode(Publish("a", bytes(50_000)), V311)
    tail = client.connection.tail
    client.send(packet[:10])
    tail[0] = 0  # whoever looked at the half packet again would find no packet type
    for start in range(10, len(packet) - 10, 10):
        client.send(packet[start : start + 10])
    tail[0] = packet[0]
    client.send(packet[-10:])
    assert client.messages() == [("a", bytes(50_000), 0)]


# --- QoS 1 and 2 towards the server ---


@pytest.mark.parametrize("version", [V311, V5])
def test_exactly_once(version):  # [MQTT-4.3.3-2]
    server = VirtualServer()
    reader = server.client("reader").subscribe("a")
    reader.packets()
    client = server.client("a", version)
    for dup in (False, True, True):
        client.send(Publish("a", b"1", QoS(2), dup=dup, packet_id=7))
        assert client.expect(PubRec).packet_id == 7
    assert len(reader.packets()) == 1
    client.send(PubRel(7))
    assert client.expect(PubComp).packet_id == 7
    client.send(Publish("a", b"2", QoS(2), packet_id=7))
    client.expect(PubRec)
    assert [payload for _, payload, _ in reader.messages()] == [b"2"]
    assert len(server.broker.sessions["a"].incoming) == 1


def test_ids_received_survive_the_link():
    server = VirtualServer()
    reader = server.client("reader").subscribe("a")
    reader.packets()
    client = server.client("a", clean_start=False)
    client.send(Publish("a", b"1", QoS(2), packet_id=7))
    client.lose()
    client = server.client("a", clean_start=False)
    client.send(Publish("a", b"1", QoS(2), dup=True, packet_id=7))
    assert client.expect(PubRec).packet_id == 7
    assert len(reader.packets()) == 1


@pytest.mark.parametrize("version", [V311, V5])
def test_a_release_of_nothing_is_answered(version):
    client = VirtualServer().client("a", version)
    client.send(PubRel(9))
    assert client.expect(PubComp).reason_code == (ReasonCode.PACKET_IDENTIFIER_NOT_FOUND if version is V5 else 0)


@pytest.mark.parametrize("packet", [PubAck(9), PubComp(9)])
def test_an_acknowledgement_of_nothing_is_no_harm(packet):
    server = VirtualServer()
    client = server.client("a")
    client.send(packet)
    assert client.packets() == []
    assert not client.closed
    assert not server.broker.sessions["a"].in_flight


@pytest.mark.parametrize("version", [V311, V5])
def test_open_qos_2_ids_are_bounded_where_the_client_was_told(version):  # [MQTT-3.3.4-7]
    client = VirtualServer(receive_maximum=10).client("a", version)
    for number in range(1, 12):
        client.send(Publish("a", b"", QoS(2), packet_id=number))
    if version is V5:
        assert client.closed
        assert client.packets()[-1].reason_code == ReasonCode.RECEIVE_MAXIMUM_EXCEEDED
    else:
        assert client.packets() == [PubRec(number) for number in range(1, 12)]


def held_back(version, receive_maximum=10):
    """A client whose messages to `r` are acknowledged later."""
    server = VirtualServer(
        journal=RecordingJournal(), classify=lambda _topic: RouteFlag.RECORD, receive_maximum=receive_maximum
    )
    return server, server.client("a", version)


@pytest.mark.parametrize("qos", [1, 2])
def test_messages_whose_acknowledgement_is_held_back_count_once_each(qos):  # [MQTT-3.3.4-7]
    for most in (10, 11):
        server, client = held_back(V5)
        client.publish("r", qos=3 - qos, packet_id=100)
        for number in range(2, most + 1):
            client.publish("r", qos=qos, packet_id=number)
        assert client.closed is (most == 11)
    server.commit()
    assert [packet.reason_code for packet in client.packets()] == [ReasonCode.RECEIVE_MAXIMUM_EXCEEDED]


def test_held_back_answers_to_other_packets_count_for_nothing():
    server, client = held_back(V5)
    client.publish("r", qos=1, packet_id=1)
    for number in range(2, 30):
        client.send(PubRel(number))
        client.subscribe("x")
    for number in range(2, 11):
        client.publish("r", qos=1, packet_id=number)
    assert not client.closed
    assert client.packets() == []
    server.commit()
    assert len(client.packets()) == 10 + 2 * 28
    for number in range(11, 21):  # and everything is free again
        client.publish("r", qos=1, packet_id=number)
    assert not client.closed


@pytest.mark.parametrize("version", [V311, V5])
def test_what_is_held_back_for_one_client_is_bounded(version):
    server, client = held_back(version)
    client.publish("r", qos=1, packet_id=1)
    client.send(codec.encode(PubRel(7), version) * (MOST_HELD - 1))
    assert len(client.connection.held) == MOST_HELD
    assert not client.closed
    client.send(PubRel(7))
    assert client.closed
    assert server.broker.stats.connections_closed == {"quota exceeded": 1}
    assert len(client.connection.held) == client.connection.held_pubacks == 0


@pytest.mark.parametrize(
    ("version", "answers"),
    [
        (V311, [PubAck(1), PubRec(2), PubComp(2)]),
        (V5, [PubAck(1, 0x87), PubRec(2, 0x87), PubComp(2, 0x92)]),
    ],
)
def test_a_client_cannot_speak_on_the_servers_own_topics(version, answers):  # §4.7.2, [MQTT-3.3.5-2] of 3.1.1
    server = VirtualServer()
    reader = server.client("reader").subscribe("$SYS/#", qos=2)
    reader.packets()
    client = server.client("a", version)
    for qos in (0, 0, 1, 2):
        client.publish("$SYS/broker/version", qos=qos, packet_id=qos or None, retain=qos == 1)
    client.send(PubRel(2))
    assert [replace(packet, properties=EMPTY) for packet in client.packets()] == answers
    assert reader.packets() == []
    assert len(server.broker.router.retained) == 0
    assert server.broker.stats.dropped["publishing to $ topics is the server's"] == 4
    server.broker.publish(Message("$SYS/broker/version", b"1"), server.now)
    server.settle()
    assert reader.messages() == [("$SYS/broker/version", b"1", 0)]


def test_acknowledgements_come_in_the_order_of_the_messages():  # [MQTT-4.6.0-2], [MQTT-4.6.0-3]
    client = VirtualServer().client("a")
    client.send(
        b"".join(
            codec.encode(Publish("a", b"", QoS(qos), packet_id=number), V311)
            for number, qos in enumerate([1, 2, 1, 2, 2], start=1)
        )
    )
    assert [(type(packet), packet.packet_id) for packet in client.packets()] == [
        (PubAck, 1),
        (PubRec, 2),
        (PubAck, 3),
        (PubRec, 4),
        (PubRec, 5),
    ]


def test_mqtt_5_is_told_that_nobody_reads():
    client = VirtualServer().client("a", V5)
    client.send(Publish("a", b"", QoS(1), packet_id=1))
    assert client.expect(PubAck).reason_code == ReasonCode.NO_MATCHING_SUBSCRIBERS


# --- QoS 1 and 2 towards the client ---


def reading(version=V311, qos=2, **fields):
    server = VirtualServer()
    reader = server.client("reader", version, **fields).subscribe("a", qos=qos)
    reader.packets()
    return server, server.client("publisher"), reader


@pytest.mark.parametrize("version", [V311, V5])
def test_the_four_steps_of_qos_2(version):  # [MQTT-4.3.3-1]
    server, publisher, reader = reading(version)
    publisher.publish("a", b"1", qos=2)
    assert reader.expect(Publish).packet_id == 1
    for _ in range(2):
        reader.send(PubRec(1))
        assert reader.expect(PubRel).packet_id == 1
    reader.send(PubComp(1))
    assert reader.packets() == []
    assert not server.broker.sessions["reader"].in_flight


def test_the_wrong_acknowledgement_loses_nothing():
    server, publisher, reader = reading()
    publisher.publish("a", b"1", qos=1).publish("a", b"2", qos=2, packet_id=2)
    reader.packets()
    reader.send(PubRec(1))
    reader.send(PubAck(2))
    reader.send(PubComp(2))
    assert [message.payload for message, *_ in server.broker.sessions["reader"].in_flight.values()] == [
        b"1",
        b"2",
    ]


def test_mqtt_5_may_refuse_a_message():
    server, publisher, reader = reading(V5)
    publisher.publish("a", b"1", qos=1).publish("a", b"2", qos=2, packet_id=2)
    reader.packets()
    reader.send(PubAck(1, ReasonCode.QUOTA_EXCEEDED))
    reader.send(PubRec(2, ReasonCode.NOT_AUTHORIZED))
    assert reader.packets() == []
    assert not server.broker.sessions["reader"].in_flight
    reader.send(PubAck(1, ReasonCode.QUOTA_EXCEEDED))  # of nothing, and no harm
    assert server.broker.stats.dropped == {"refused by its reader": 2}


def test_an_acknowledgement_with_properties_counts_as_one():
    server, publisher, reader = reading(V5, qos=1)
    publisher.publish("a", b"1", qos=1)
    reader.packets()
    reader.send(PubAck(1, 0, Properties(reason_string="thank you")))
    assert not server.broker.sessions["reader"].in_flight
