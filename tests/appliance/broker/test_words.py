"""What a client is told, and the log, word for word: it is all that whoever looks for the fault has."""

import pytest
from virtual import V5, V311, VirtualServer, accounts

from appliance.mqtt import codec
from appliance.mqtt.packets import ConnAck, Connect, Disconnect, Publish, Will
from appliance.mqtt.properties import Properties
from appliance.mqtt.types import QoS, ReasonCode

CONNECTED = [
    ("36 07 0001 61 0001 00 78", 0x81, "a PUBLISH of QoS 3"),
    ("38 04 0001 61 00", 0x81, "DUP on a PUBLISH of QoS 0"),
    ("30 00", 0x81, "a PUBLISH without a topic"),
    ("30 01 00", 0x81, "a PUBLISH without a topic"),
    ("30 03 0009 61", 0x81, "a PUBLISH shorter than its topic"),
    ("32 04 0001 61 00", 0x81, "a PUBLISH shorter than its topic"),
    ("30 03 0000 00", 0x82, "a PUBLISH with neither a topic name nor a topic alias"),
    ("32 06 0001 61 0000 00", 0x82, "packet id 0"),
    ("30 80 00", 0x81, "a remaining length in more bytes than it needs"),
    ("30 ff ff ff ff", 0x81, "the remaining length runs past four bytes"),
    ("30 e9 07", 0x95, "a packet of 1004 bytes; at most 1000 are taken"),
    ("c0 00 30 e9 07", 0x95, "a packet of 1004 bytes; at most 1000 are taken"),
    ("30 06 0001 61 05 0100", 0x81, "the properties are longer than their PUBLISH"),
    ("30 03 0001 61", 0x81, "the PUBLISH ends inside its property length"),
    ("30 04 0001 61 80", 0x81, "the PUBLISH ends inside its property length"),
    ("30 05 0001 61 80 00", 0x81, "a length in more bytes than it needs"),
    ("30 07 0001 61 80 80 80 80", 0x81, "the property length runs past four bytes"),
    ("30 0e 0001 61 0a 02 00000001 02 00000001", 0x82, "property 0x02 twice in a PUBLISH"),
    ("30 08 0001 61 04 02 000000", 0x81, "message expiry runs past the properties"),
    ("30 05 0001 61 01 01", 0x81, "payload format runs past the properties"),
    ("30 06 0001 61 02 01 02", 0x82, "payload format is neither 0 nor 1"),
    ("30 06 0001 61 02 03 00", 0x81, "a string runs past the properties"),
    ("30 07 0001 61 03 03 0001", 0x81, "a string runs past the properties"),
    ("30 08 0001 61 04 08 0001 2b", 0x90, "the topic name '+' contains a wildcard"),
    ("30 06 0001 61 02 09 00", 0x81, "correlation data runs past the properties"),
    ("30 07 0001 61 03 09 0001", 0x81, "property 0x09 runs past the properties"),
    ("30 06 0001 61 02 23 00", 0x81, "topic alias runs past the properties"),
    ("30 07 0001 61 03 23 0000", 0x94, "topic alias 0"),
    ("30 06 0001 61 02 0b 01", 0x82, "a client's PUBLISH must not carry a subscription identifier"),
    ("30 05 0001 61 01 11", 0x81, "property 0x11 has no place in a PUBLISH"),
    ("30 07 0001 61 03 23 000b", 0x94, "topic alias 11, and at most 10 are kept"),
    ("30 06 0000 03 23 000a", 0x82, "topic alias 10 stands for nothing yet"),
    ("40 02 0000", 0x82, "packet id 0"),
    ("50 02 0000", 0x82, "packet id 0"),
    ("62 02 0000", 0x82, "packet id 0"),
    ("70 02 0000", 0x82, "packet id 0"),
    ("10 0d 0004 4d515454 05 02 0000 00 0000", 0x82, "a second CONNECT"),
    ("f0 00", 0x82, "AUTH, and no authentication method was agreed on"),
    ("20 03 00 00 00", 0x82, "ConnAck is for a server to send"),
    ("90 04 0001 00 00", 0x82, "SubAck is for a server to send"),
    ("b0 04 0001 00 00", 0x82, "UnsubAck is for a server to send"),
    ("d0 00", 0x82, "PingResp is for a server to send"),
    ("e0 07 00 05 11 00000001", 0x82, "a session expiry at DISCONNECT where CONNECT had none"),
    ("00 00", 0x81, "packet type 0 is reserved"),
    ("a2 03 0001 00", 0x82, "an UNSUBSCRIBE without a topic filter"),
    ("82 02 0001", 0x81, "the packet ends inside a variable byte integer"),
]


@pytest.mark.parametrize(
    ("wire", "reason", "words"), CONNECTED, ids=[f"{wire}: {words}" for wire, _, words in CONNECTED]
)
def test_a_client_of_mqtt_5_is_told_what_was_wrong(wire, reason, words):
    server = VirtualServer(max_packet_bytes=1_000, topic_alias_maximum=10)
    client = server.client("bad", V5, clean_start=True)
    client.send(bytes.fromhex(wire))
    goodbye = client.packets()[-1]
    assert goodbye == Disconnect(ReasonCode(reason), Properties(reason_string=words))
    assert server.closed == [words]


UNCONNECTED = [
    ("c0 00", "the first packet is not a CONNECT"),
    ("10 ff ff ff 7f 01", "a CONNECT of 268435460 bytes"),
    ("30 03 0001 61", "the first packet is not a CONNECT"),
]


@pytest.mark.parametrize(("wire", "words"), UNCONNECTED)
def test_who_did_not_get_in_is_told_nothing_and_the_log_why(wire, words):  # [MQTT-3.1.4-1]
    server = VirtualServer()
    client = server.link(V5)
    client.send(bytes.fromhex(wire))
    assert client.received == b""
    assert [why[: len(words)] for why in server.closed] == [words]


LONG = "$" + "a" * 100
REFUSED = [
    (
        Connect("", clean_start=False, version=V311),
        ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
        "no client id and no clean session",
    ),
    (
        Connect("c" * 257, version=V5),
        ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
        "a client id of more than 256 bytes",
    ),
    (
        Connect("c", will=Will(LONG, b""), version=V5),
        ReasonCode.NOT_AUTHORIZED,
        f"a will to {LONG[:60]}: $-topics are the server's own",
    ),
    (
        Connect("c", will=Will("/" * 200, b""), version=V5),
        ReasonCode.TOPIC_NAME_INVALID,
        "a will to a topic of more than 200 levels",
    ),
    (
        Connect("c", properties=Properties(authentication_method="m"), version=V5),
        ReasonCode.BAD_AUTHENTICATION_METHOD,
        "an authentication method, and none is offered here",
    ),
]


@pytest.mark.parametrize(("connect", "reason", "words"), REFUSED, ids=[words for _, _, words in REFUSED])
def test_a_refused_client_is_told_why_in_its_own_dialect(connect, reason, words):
    server = VirtualServer(max_topic_levels=200)
    client = server.link(connect.version)
    client.send(connect)
    answer = client.expect(ConnAck)
    if connect.version is V5:
        assert answer == ConnAck(reason_code=reason, properties=Properties(reason_string=words))
    else:
        assert client.received == codec.encode(ConnAck(reason_code=reason), V311)
    assert server.closed == [words]


def test_the_door_says_why():
    server = VirtualServer(answer=ReasonCode.BAD_USER_NAME_OR_PASSWORD)
    client = server.link(V5)
    client.send(Connect("c", username="u", password=b"p", version=V5))
    assert client.expect(ConnAck).properties.reason_string == "not authenticated"
    assert [(ask.client_id, ask.username, ask.password) for ask in server.asked] == [("c", "u", b"p")]
    server = VirtualServer(max_sessions=1)
    server.client("one")
    late = server.link(V5)
    late.send(Connect("two", version=V5))
    assert late.expect(ConnAck).properties.reason_string == "there are 1 sessions already"


def test_another_users_id_is_refused():
    server = VirtualServer(authorize=accounts)
    server.client("same", username="one")
    other = server.link(V5)
    other.send(Connect("same", username="two", version=V5))
    assert other.expect(ConnAck) == ConnAck(
        reason_code=ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
        properties=Properties(reason_string="this client id is another user's"),
    )


def goodbye_of(client):
    packet = client.packets()[-1]
    assert client.closed
    return packet.reason_code, packet.properties.reason_string


def test_a_client_that_is_sent_away_is_told_why():
    server = VirtualServer()
    old = server.client("same", V5, clean_start=True)
    server.client("same", V5, clean_start=True)
    assert goodbye_of(old) == (ReasonCode.SESSION_TAKEN_OVER, "taken over by a new link")
    silent = server.client("silent", V5, keep_alive_s=10)
    server.advance(15.1)
    assert goodbye_of(silent) == (ReasonCode.KEEP_ALIVE_TIMEOUT, "keep-alive time-out")
    last = server.client("last", V5)
    server.broker.stop(server.now)
    server.settle()
    assert goodbye_of(last) == (ReasonCode.SERVER_SHUTTING_DOWN, "the server is shutting down")


def test_the_log_says_how_a_link_ended():
    server = VirtualServer(connect_timeout_s=2.5)
    server.goodbye(server.client("polite"))
    server.link()
    server.advance(3)
    assert server.closed == ["goodbye", "no CONNECT within 2.5 s"]


def test_too_many_messages_at_once_are_named():  # [MQTT-3.3.4-7]
    server = VirtualServer(receive_maximum=2)
    client = server.client("c", V5)
    for packet_id in (1, 2, 3):
        client.publish("t", qos=2, packet_id=packet_id)
    assert goodbye_of(client) == (
        ReasonCode.RECEIVE_MAXIMUM_EXCEEDED,
        "more than 2 messages without waiting for their acknowledgement",
    )


def test_who_asks_and_does_not_read_is_named():
    server = VirtualServer(max_output_bytes=1_000, max_packet_bytes=1_000)
    client = server.client("c", V5)
    client.reads = False
    while not client.closed:
        client.send(bytes.fromhex("c000") * 100)
    assert goodbye_of(client) == (ReasonCode.QUOTA_EXCEEDED, "it asks and does not read the answers")


def test_a_denied_message_is_counted_by_its_cause():
    server = VirtualServer()
    client = server.client("c", V5)
    client.publish("$SYS/x", qos=1)
    client.send(Publish("t", b"\xff", QoS(1), packet_id=2, properties=Properties(payload_format_indicator=1)))
    assert [packet.reason_code for packet in client.packets()] == [0x87, 0x99]
    assert dict(server.broker.stats.dropped) == {
        "publishing to $ topics is the server's": 1,
        "text that is not UTF-8": 1,
    }
