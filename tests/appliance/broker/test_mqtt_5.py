"""What the whole core makes of MQTT 5: each property on each packet, each reason for which it takes leave."""

import pytest
from virtual import V5, V311, VirtualServer

from appliance.mqtt import codec
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
    Unsubscribe,
)
from appliance.mqtt.properties import (
    BINARY,
    BYTE,
    FOUR_BYTES,
    PAIR,
    PROPERTIES,
    TEXT,
    TWO_BYTES,
    VARINT,
    WILL,
    Properties,
    encode_property_block,
)
from appliance.mqtt.types import PacketType, QoS, ReasonCode

SAMPLE = {
    BYTE: 1,
    TWO_BYTES: 9,
    FOUR_BYTES: 600,
    VARINT: (7,),
    TEXT: "a",
    BINARY: b"d",
    PAIR: (("k", "v"),),
}  # a legal value of each kind

OPENING = bytes.fromhex("0004 4d515454 05 02 0000")
LAST_WILL = bytes.fromhex("0004 4d515454 05 06 0000 00 0001 61")

CLIENTS = {  # a client's packets: first byte, what stands before the properties and what after them
    PacketType.CONNECT: (0x10, OPENING, b"\0\1a"),
    WILL: (0x10, LAST_WILL, b"\0\1t\0\0"),
    PacketType.PUBLISH: (0x32, b"\0\1t\0\1", b"1"),
    PacketType.PUBACK: (0x40, b"\0\1\0", b""),
    PacketType.PUBREC: (0x50, b"\0\1\0", b""),
    PacketType.PUBREL: (0x62, b"\0\1\0", b""),
    PacketType.PUBCOMP: (0x70, b"\0\1\0", b""),
    PacketType.SUBSCRIBE: (0x82, b"\0\1", b"\0\1t\0"),
    PacketType.UNSUBSCRIBE: (0xA2, b"\0\1", b"\0\1t"),
    PacketType.DISCONNECT: (0xE0, b"\0", b""),
}

ANSWERS = {  # where a property may stand and is refused all the same
    ("authentication_method", PacketType.CONNECT): ReasonCode.BAD_AUTHENTICATION_METHOD,  # [MQTT-4.12.0-1]
    ("authentication_data", PacketType.CONNECT): ReasonCode.PROTOCOL_ERROR,  # without a method, §3.1.2.11.10
    ("subscription_identifier", PacketType.PUBLISH): ReasonCode.PROTOCOL_ERROR,  # [MQTT-3.3.4-6]
    ("session_expiry_interval", PacketType.DISCONNECT): ReasonCode.PROTOCOL_ERROR,  # CONNECT had none, §3.14.2.2.2
}


def sent(place, block):
    """What the core answers to this packet of an MQTT 5 client."""
    first, before, after = CLIENTS[place]
    body = before + bytes([len(block)]) + block + after
    server = VirtualServer()
    client = server.link(V5) if first == 0x10 else server.client("a", V5)
    client.packets()
    client.send(bytes([first, len(body)]) + body)
    return client, [packet for packet in client.packets() if isinstance(packet, ConnAck | Disconnect)]


def refusal(place, block):
    client, answers = sent(place, block)
    assert client.closed
    (answer,) = answers
    return answer.reason_code


@pytest.mark.parametrize("place", CLIENTS, ids=str)
@pytest.mark.parametrize("row", PROPERTIES, ids=lambda row: row.name)
def test_every_property_on_every_packet(row, place):  # §2.2.2.2
    block = encode_property_block(Properties(**{row.name: SAMPLE[row.kind]}))
    if place not in row.places:
        if (place, row.name) == (PacketType.PUBLISH, "subscription_identifier"):
            assert refusal(place, block) == ReasonCode.PROTOCOL_ERROR
        else:
            assert refusal(place, block) == ReasonCode.MALFORMED_PACKET
        return
    expected = ANSWERS.get((row.name, place))
    if expected is not None:
        assert refusal(place, block) == expected
        return
    client, answers = sent(place, block)
    assert client.closed is (place is PacketType.DISCONNECT)
    assert [answer.reason_code for answer in answers] == ([0] if place in (PacketType.CONNECT, WILL) else [])
    if not row.repeats_in & {place}:
        assert refusal(place, block + block) == ReasonCode.PROTOCOL_ERROR
    else:
        assert sent(place, block + block)[0].closed is (place is PacketType.DISCONNECT)


@pytest.mark.parametrize("place", CLIENTS, ids=str)
@pytest.mark.parametrize("identifier", [0x00, 0x04, 0x0A, 0x14, 0x1B, 0x20, 0x2B, 0x7F, 0x8001, 0x8101])
def test_properties_that_there_are_not(place, identifier):
    block = identifier.to_bytes(2 if identifier > 0xFF else 1, "big") + b"\1"
    assert refusal(place, block) == ReasonCode.MALFORMED_PACKET


def test_no_property_of_a_message_is_lost_on_its_way():
    said = {
        "payload_format_indicator": 1,
        "content_type": "text/plain",
        "response_topic": "answer",
        "correlation_data": bytes(range(256)),
        "user_property": (("k", "2"), ("k", "1"), ("", "")),  # [MQTT-3.3.2-17], [MQTT-3.3.2-18]
    }
    server = VirtualServer()
    live = server.client("live", V5).subscribe("a", qos=1)
    keep = {"clean_start": False, "properties": Properties(session_expiry_interval=60)}
    server.client("queued", V5, **keep).subscribe("a", qos=1).lose()
    properties = Properties(**said, message_expiry_interval=50, topic_alias=3)
    server.client("p", V5).publish("a", b"text", qos=1, retain=True, properties=properties)
    queued = server.client("queued", V5, **keep)
    late = server.client("late", V5).subscribe("a", qos=1)
    for packet in (live.packets()[1], queued.resumed[0], late.packets()[1]):
        assert packet.properties == Properties(**said, message_expiry_interval=50)


# --- taking leave ---


def silent(server, _client):
    server.advance(20)


def taken_over(server, _client):
    server.client("a", V5)


def stopped(server, _client):
    server.broker.stop(server.now)
    server.settle()


def ousted(server, _client):
    server.broker.reauthorize(lambda _username: True, server.now)
    server.settle()


def reads_nothing(server, client):
    client.reads = False
    for _ in range(9):
        client.send(codec.encode(PingReq(), V5) * 10_000)
    client.reads = True
    server.settle()


def sends(data):
    def send(_server, client):
        client.send(bytes.fromhex(data) if isinstance(data, str) else data)

    return send


FAREWELLS = [
    (taken_over, ReasonCode.SESSION_TAKEN_OVER),
    (silent, ReasonCode.KEEP_ALIVE_TIMEOUT),
    (stopped, ReasonCode.SERVER_SHUTTING_DOWN),
    (ousted, ReasonCode.NOT_AUTHORIZED),
    (reads_nothing, ReasonCode.QUOTA_EXCEEDED),
    (sends("30 ff ff 7f"), ReasonCode.PACKET_TOO_LARGE),
    (sends("00 00"), ReasonCode.MALFORMED_PACKET),
    (sends(Connect("a")), ReasonCode.PROTOCOL_ERROR),
    (sends(Auth(ReasonCode.RE_AUTHENTICATE, Properties(authentication_method="x"))), ReasonCode.PROTOCOL_ERROR),
    (sends(Auth()), ReasonCode.PROTOCOL_ERROR),  # [MQTT-4.12.0-7]
    (sends("82 09 0001 00 0003 61 2f 23 03"), ReasonCode.PROTOCOL_ERROR),  # QoS 3
    (sends("82 09 0001 00 0003 61 2f 23 30"), ReasonCode.PROTOCOL_ERROR),  # retain handling 3
    (sends("82 09 0001 00 0003 61 2f 23 40"), ReasonCode.MALFORMED_PACKET),  # [MQTT-3.8.3-5]
    (sends("82 10 0001 00 000a 24 73 68 61 72 65 2f 67 2f 61 04"), ReasonCode.PROTOCOL_ERROR),  # [MQTT-3.8.3-4]
    (sends("82 09 0001 00 0003 23 2f 61 00"), ReasonCode.TOPIC_FILTER_INVALID),
    (sends("30 04 0001 23 00"), ReasonCode.TOPIC_NAME_INVALID),
    (sends("30 07 0001 61 03 23 0064"), ReasonCode.TOPIC_ALIAS_INVALID),
    (sends("30 07 0001 61 03 23 0000"), ReasonCode.TOPIC_ALIAS_INVALID),
    (sends("30 06 0000 03 23 0001"), ReasonCode.PROTOCOL_ERROR),  # an alias that was never set
    (sends("30 03 0000 00"), ReasonCode.PROTOCOL_ERROR),  # neither topic nor alias
    (
        sends(b"".join(codec.encode(Publish("a", b"", QoS(2), packet_id=n), V5) for n in range(1, 5))),
        ReasonCode.RECEIVE_MAXIMUM_EXCEEDED,
    ),
]


@pytest.mark.parametrize(("happens", "reason"), FAREWELLS)
def test_a_client_is_told_why_it_is_closed(happens, reason):  # [MQTT-3.14.2-1], §4.13
    server = VirtualServer(receive_maximum=3, max_output_bytes=1_024, max_packet_bytes=1_024)
    client = server.client("a", V5, keep_alive_s=10)
    happens(server, client)
    assert client.closed
    farewell = client.packets()[-1]
    assert (type(farewell), farewell.reason_code) == (Disconnect, reason)
    assert farewell.properties.reason_string
    assert farewell.properties.session_expiry_interval is None  # [MQTT-3.14.2-2]
    name = reason.name.lower().replace("_", " ")
    assert server.broker.stats.connections_closed == {name: 1}


@pytest.mark.parametrize("happens", [taken_over, silent, stopped, ousted])
def test_an_older_client_is_closed_without_a_word(happens):
    server = VirtualServer()
    client = server.client("a", V311, keep_alive_s=10)
    happens(server, client)
    assert client.closed
    assert client.packets() == []


# --- subscribing ---


@pytest.mark.parametrize("version", [V311, V5])
def test_five_hundred_filters_in_one_packet(version):
    server = VirtualServer()
    publisher = server.client("p")
    for number in range(500):
        publisher.publish(f"homeassistant/sensor/device_{number}/state", b"%d" % number, retain=True, qos=1)
    client = server.client("ha", version)
    filters = tuple(Subscription(f"homeassistant/sensor/device_{number}/+", QoS(number % 3)) for number in range(500))
    for packet_id in (1, 2, 3):  # as on every restart: all retained messages come every time
        client.send(Subscribe(packet_id, filters))
        answer, *retained = client.packets()
        seen = set()
        while retained:
            for packet in retained:
                assert packet.retain
                seen.add(packet.payload)
                if packet.qos:
                    client.send(PubAck(packet.packet_id))
            retained = client.packets()
        assert answer == SubAck(packet_id, tuple(number % 3 for number in range(500)))
        assert len(seen) == 500
    client.send(Unsubscribe(4, tuple(one.topic_filter for one in filters)))
    client.packets()
    assert server.broker.sessions["ha"].subscriptions == {}
    assert not server.broker.router._tree._root.children


def identifiers(client):
    """Of each message that came; in no promised order."""
    return sorted(sorted(packet.properties.subscription_identifier) for packet in client.packets())


def test_identifiers_of_everything_that_matched():
    server = VirtualServer()
    publisher = server.client("p").publish("a/b", b"kept", retain=True)
    client = server.client("five", V5)
    client.subscribe("a/b", identifier=1).subscribe("a/+", identifier=268_435_455).subscribe("#")
    client.subscribe("$share/g/a/#", identifier=9)
    replays = [packet.properties.subscription_identifier for packet in client.packets() if isinstance(packet, Publish)]
    assert replays == [(1,), (268_435_455,), ()]  # each of its own subscription, [MQTT-3.3.4-3]
    publisher.publish("a/b")
    assert identifiers(client) == [[1, 268_435_455], [9]]  # one copy for the client itself, one for the group
    client.subscribe("a/b", identifier=2, retain_handling=2).subscribe("a/+", retain_handling=2)
    client.packets()
    publisher.publish("a/b")
    assert identifiers(client) == [[2], [9]]  # replaced, and taken away [MQTT-3.8.4-3]


def test_identifiers_wait_with_a_queued_message():
    server = VirtualServer()
    keep = {"clean_start": False, "properties": Properties(session_expiry_interval=60)}
    client = server.client("five", V5, **keep)
    client.subscribe("a", qos=1, identifier=5).subscribe("+", qos=1, identifier=6).lose()
    server.client("p").publish("a", qos=1)
    for dup in (False, True):
        client = server.client("five", V5, **keep)
        (packet,) = client.resumed
        assert (packet.dup, sorted(packet.properties.subscription_identifier)) == (dup, [5, 6])


# --- flow ---


@pytest.mark.parametrize("version", [V311, V5])
def test_all_packet_ids_in_flight_and_none_given_twice(version):  # [MQTT-2.2.1-3]; 3.1.1: [MQTT-2.3.1-2]
    server = VirtualServer(max_inflight=65_535, max_queued_messages=10)
    client = server.client("reader", version).subscribe("a", qos=1)
    client.packets()
    publisher = server.client("p")
    one = codec.encode(Publish("a", b"x", QoS(1), packet_id=1), V311)
    for _ in range(65):
        publisher.send(one * 1_000)
    publisher.send(one * 545)  # ten more than there are ids
    ids = [packet.packet_id for packet in client.packets()]
    assert sorted(ids) == list(range(1, 65_536))
    session = server.broker.sessions["reader"]
    assert (len(session.in_flight), len(session.queue)) == (65_535, 10)
    for packet_id in (70, 65_535, 1):
        client.send(PubAck(packet_id))
        (packet,) = client.packets()
        assert packet.packet_id == packet_id  # the only one that is free
    assert (len(session.in_flight), len(session.queue)) == (65_535, 7)
    assert server.broker.stats.dropped == {}
