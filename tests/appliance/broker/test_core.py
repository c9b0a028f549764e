"""Connecting, sessions, take-over, wills, time."""

import pytest
from virtual import V5, V311, VirtualServer, accounts

from appliance.broker.topictree import LEVEL_BYTES
from appliance.mqtt import codec
from appliance.mqtt.packets import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    PubRec,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
)
from appliance.mqtt.properties import Properties
from appliance.mqtt.types import QoS, ReasonCode, Version

# --- before and at CONNECT ---


@pytest.mark.parametrize(
    "packet", [bytes([kind << 4 | flags, 0]) for kind in range(16) for flags in (0, 2) if kind != 1]
)
def test_the_first_packet_must_be_connect(packet):  # [MQTT-3.1.0-1]
    server = VirtualServer()
    client = server.link()
    client.send(packet)
    assert client.closed
    assert client.received == b""


def test_a_second_connect_closes():  # [MQTT-3.1.0-2]
    client = VirtualServer().client("a")
    client.send(Connect(client_id="a", version=V311))
    assert client.closed


OLD_FORM, NEW_FORM = "02 000a 0001 61", "02 000a 00 0001 61"  # what follows the level in 3.1.1 and in 5

UNKNOWN = [
    ("MQTT", 0, OLD_FORM, V311),
    ("MQTT", 3, OLD_FORM, V311),  # 3.1 has another name
    ("MQTT", 3, NEW_FORM, V311),
    ("MQTT", 6, OLD_FORM, V311),
    ("MQTT", 6, NEW_FORM, V5),
    ("MQTT", 6, "06 000a 00 0001 61 0002 1802 0001 61 0000", V311),  # neither form
    ("MQTT", 0x84, OLD_FORM, V311),  # Mosquitto's bridge tries this first, and then 4
    ("MQTT", 0x85, NEW_FORM, V5),
    ("MQTT", 255, OLD_FORM, V311),
    ("MQTT", 255, NEW_FORM, V5),
    ("MQIsdp", 0x83, OLD_FORM, V311),
    ("MQIsdp", 4, OLD_FORM, V311),
    ("MQIsdp", 6, NEW_FORM, V311),  # a name that MQTT 5 never had
]


@pytest.mark.parametrize(("name", "level", "rest", "dialect"), UNKNOWN)
def test_an_unknown_version_is_told_so_in_its_own_dialect(name, level, rest, dialect):  # [MQTT-3.1.2-2] of 3.1.1
    """MQTT 5 leaves it open whether to answer at all: we do, so that a client can try another version."""
    client = VirtualServer().link(dialect)
    body = len(name).to_bytes(2, "big") + name.encode() + bytes([level]) + bytes.fromhex(rest)
    client.send(b"\x10" + bytes([len(body)]) + body)
    assert client.closed
    if dialect is V311:
        assert client.received == b"\x20\x02\x00\x01"
    else:
        refusal = client.expect(ConnAck)
        assert refusal.reason_code == ReasonCode.UNSUPPORTED_PROTOCOL_VERSION
        assert str(level) in refusal.properties.reason_string


BAD_CONNECTS = [  # from the flags on, and what an MQTT 5 client is told
    ("03 000a 00 0001 61", ReasonCode.MALFORMED_PACKET),  # reserved flag [MQTT-3.1.2-3]
    ("02 000a 00 0005 61", ReasonCode.MALFORMED_PACKET),  # ends inside the client id
    ("02 000a 02 7e01 0001 61", ReasonCode.MALFORMED_PACKET),  # no such property
    ("02 000a 02 2401 0001 61", ReasonCode.MALFORMED_PACKET),  # maximum QoS is the server's to say
    ("02 000a 04 1701 1701 0001 61", ReasonCode.PROTOCOL_ERROR),  # twice
    ("02 000a 02 1702 0001 61", ReasonCode.PROTOCOL_ERROR),  # neither 0 nor 1
    ("02 000a 03 210000 0001 61", ReasonCode.PROTOCOL_ERROR),  # receive maximum 0
    ("02 000a 05 2700000000 0001 61", ReasonCode.PROTOCOL_ERROR),  # maximum packet size 0
    ("02 000a 04 160001ff 0001 61", ReasonCode.PROTOCOL_ERROR),  # data without an authentication method
    ("06 000a 00 0001 61 00 0003 61 2f 23 0000", ReasonCode.TOPIC_NAME_INVALID),  # will to a/#
    ("06 000a 00 0001 61 00 0001 ff 0000", ReasonCode.MALFORMED_PACKET),  # will topic is not UTF-8
]


@pytest.mark.parametrize(("rest", "reason"), BAD_CONNECTS)
def test_a_bad_connect_of_mqtt_5_is_told_why(rest, reason):  # [MQTT-3.1.4-1], §4.13.1
    body = b"\0\4MQTT\5" + bytes.fromhex(rest)
    for pieces in ([bytes([0x10, len(body)]) + body], [bytes([byte]) for byte in bytes([0x10, len(body)]) + body]):
        client = VirtualServer().link(V5)
        for piece in pieces:
            client.send(piece)
        assert client.expect(ConnAck).reason_code == reason
        assert client.closed


def test_a_bad_connect_of_an_older_version_is_closed_without_a_word():  # [MQTT-3.1.4-1] of 3.1.1
    client = VirtualServer().link()
    client.send(bytes.fromhex("10 0d 0004 4d515454 04 03 000a 0001 61"))
    assert client.closed
    assert client.received == b""


@pytest.mark.parametrize("limit", [1_024, 262_144])
def test_a_connect_larger_than_is_taken_is_told_so(limit):
    server = VirtualServer(max_packet_bytes=limit)
    largest = min(limit, 61_440)
    client = server.link(V5)
    head = len(codec.encode(Connect("a", username="u", password=b""), V5)) + (1 if limit == 1_024 else 2)
    client.send(Connect("a", username="u", password=bytes(largest - head)))
    assert client.expect(ConnAck).reason_code == 0
    client = server.link(V5)
    client.send(Connect("a", username="u", password=bytes(largest - head + 1)))
    assert client.expect(ConnAck).reason_code == ReasonCode.PACKET_TOO_LARGE
    assert client.closed


@pytest.mark.parametrize("most", range(1, 30))
def test_a_client_that_takes_too_little_for_an_answer_is_turned_away(most):  # [MQTT-3.1.2-24]
    client = VirtualServer().link(V5)
    client.send(Connect("a", keep_alive_s=60, properties=Properties(maximum_packet_size=most)))
    answer = client.packets()
    assert len(client.received) <= most
    assert client.closed is (most < 16)
    assert [packet.reason_code for packet in answer] == (
        [0] if most >= 16 else [ReasonCode.PACKET_TOO_LARGE] if most >= 5 else []
    )


def test_mqtt_3_1_is_let_in():
    client = VirtualServer().client("old", Version.MQTT_3_1)
    assert client.connack == ConnAck()


@pytest.mark.parametrize(("client_id", "answer"), [("", 2), ("x", 0), ("x" * 23, 0), ("x" * 24, 0), ("x" * 100, 0)])
@pytest.mark.parametrize("clean", [True, False])
def test_ids_of_mqtt_3_1(client_id, clean, answer):  # as Mosquitto, which does not hold them to 23 letters
    client = VirtualServer().link(Version.MQTT_3_1)
    client.send(Connect(client_id, clean, version=Version.MQTT_3_1))
    assert client.received == bytes([0x20, 2, 0, answer])


def test_mqtt_3_1_keeps_its_session_and_is_not_told():
    server = VirtualServer()
    keep = {"clean_start": False}
    server.client("a", Version.MQTT_3_1, **keep).subscribe("x", qos=1).lose()
    server.client("b").publish("x", b"1", qos=1)
    client = server.client("a", Version.MQTT_3_1, **keep)
    assert client.connack == ConnAck()  # the byte is reserved there
    assert [packet.payload for packet in client.resumed] == [b"1"]


def test_no_id_and_no_clean_session_is_refused():  # [MQTT-3.1.3-8] of 3.1.1
    client = VirtualServer().link()
    client.send(Connect(client_id="", clean_start=False, version=V311))
    assert client.received == b"\x20\x02\x00\x02"
    assert client.closed


@pytest.mark.parametrize("version", [V311, V5])
def test_a_client_without_id_gets_one(version):  # [MQTT-3.1.3-6]
    client = VirtualServer().client("", version)
    assert client.connection.client_id == "auto-1"
    assert client.connack.properties.assigned_client_identifier == ("auto-1" if version is V5 else None)


def test_an_mqtt_5_client_is_told_the_limits():
    connack = VirtualServer(receive_maximum=7, max_packet_bytes=2_000).client("a", V5).connack
    assert connack.properties.receive_maximum == 7
    assert connack.properties.maximum_packet_size == 2_000
    assert connack.properties.shared_subscription_available is None  # absent means yes, §3.2.2.3.13


def test_a_client_id_over_the_limit_is_refused():
    client = VirtualServer().link()
    client.send(Connect(client_id="x" * 257, version=V311))
    assert client.received == b"\x20\x02\x00\x02"
    assert client.closed


@pytest.mark.parametrize(("version", "answer"), [(V311, 5), (V5, ReasonCode.NOT_AUTHORIZED)])
def test_who_may_not_in_is_told_and_nothing_behind_the_connect_runs(version, answer):  # [MQTT-3.1.4-5]
    server = VirtualServer(answer=ReasonCode.NOT_AUTHORIZED)
    client = server.link(version)
    client.send(
        codec.encode(Connect(client_id="a", version=version), version)
        + codec.encode(Publish("a/b", b"1", retain=True), version)
    )
    assert client.expect(ConnAck).reason_code == answer
    assert client.closed
    assert len(server.broker.router.retained) == 0
    assert server.broker.sessions == {}


def test_what_arrives_while_asking_who_this_is_waits():
    server = VirtualServer(answer=None)
    client = server.link()
    client.send(Connect(client_id="a", version=V311))
    client.send(PingReq())
    assert client.received == b""
    server.broker.authenticated(client.connection, ReasonCode.SUCCESS, server.now)
    server.settle()
    assert [type(packet) for packet in client.packets()] == [ConnAck, PingResp]


def test_a_client_that_leaves_while_asked_about_is_not_let_in():
    server = VirtualServer(answer=None)
    client = server.link()
    client.send(Connect(client_id="a", version=V311))
    client.lose()
    server.broker.authenticated(client.connection, ReasonCode.SUCCESS, server.now)
    assert server.broker.sessions == {}


def test_who_has_said_connect_in_time_waits_longer_for_the_answer_but_not_for_ever():
    server = VirtualServer(answer=None)
    slow, never = server.link(), server.link()
    for client in (slow, never):
        client.send(Connect(client_id="a", version=V311))
    server.advance(59)
    server.broker.authenticated(slow.connection, ReasonCode.SUCCESS, server.now)
    server.settle()
    slow.expect(ConnAck)
    assert not never.closed
    server.advance(1)
    assert never.closed
    assert not slow.closed


def test_a_stranger_may_send_64_kib_and_no_more():
    server = VirtualServer(answer=None)
    client = server.link()
    client.send(Connect(client_id="a", version=V311))
    for _ in range(65):
        client.send(bytes(1024))
    assert client.closed


@pytest.mark.parametrize("words", [b"\0\4MQTT\4", b"\0\4MQTT\5", b"\1", b"\0\6"])
def test_a_connect_that_claims_to_be_huge_is_cut_when_it_has_said_which_dialect_it_speaks(words):
    client = VirtualServer().link()
    client.send(b"\x10\xff\xff\xff\x7f")
    for byte in words:
        assert not client.closed
        client.send(bytes([byte]))
    assert client.closed


def test_no_connect_in_time():
    server = VirtualServer()
    client = server.link()
    client.send(b"\x10")
    server.advance(4.9)
    assert not client.closed
    server.advance(0.2)
    assert client.closed


def test_the_number_of_connections_is_bounded():
    server = VirtualServer(max_connections=2)
    first, _, third = server.link(), server.link(), server.link()
    assert third.closed
    first.lose()
    assert not server.link().closed


def test_the_number_of_connections_from_an_address_is_bounded():
    server = VirtualServer(max_connections_per_address=2)
    hoard = [server.link(peer=f"10.0.0.1:{port}") for port in range(1, 5)]
    assert [link.closed for link in hoard] == [False, False, True, True]
    assert not server.link(peer="10.0.0.2:1").closed
    hoard[0].lose()
    hoard[2].lose()
    assert not server.link(peer="10.0.0.1:9").closed
    assert server.link(peer="10.0.0.1:10").closed


def test_who_is_turned_away_is_counted_by_cause():
    server = VirtualServer(max_connections=3, max_connections_per_address=2, max_sessions=1)
    server.client("a")
    full = server.link(V5)
    full.send(Connect(client_id="b"))
    full.lose()
    for peer in ("test", "test", "10.0.0.2:1", "10.0.0.3:1"):
        server.link(peer=peer)
    server.advance(6)
    server.link().send(PingReq())
    server.link().send(bytes.fromhex("10 0d 00 04 4d515454 03 02 000a 0001 61"))
    server.link().send(bytes.fromhex("10 03 00 04 4d"))
    assert server.broker.stats.connections_turned_away == {
        "quota exceeded": 1,
        "too many connections from one address": 1,
        "too many connections": 1,
        "no CONNECT in time": 2,
        "protocol error": 1,
        "unsupported protocol version": 1,
        "malformed packet": 1,
    }
    assert server.broker.stats.connects_received == 4
    assert (server.broker.stats.clients_now, server.broker.stats.clients_max) == (1, 1)


def test_the_number_of_sessions_is_bounded():
    server = VirtualServer(max_sessions=1)
    server.client("a")
    client = server.link(V5)
    client.send(Connect(client_id="b"))
    assert client.expect(ConnAck).reason_code == ReasonCode.QUOTA_EXCEEDED


def test_absent_sessions_make_room_and_nobody_is_locked_out():
    server = VirtualServer(max_sessions=5)
    fine = server.client("fine")
    for number in range(20):
        server.client(f"random-{number}", clean_start=False).subscribe("x", qos=1).lose()
    assert len(server.broker.sessions) == 5
    fine.publish("x", qos=1)
    newcomer = server.client("newcomer")
    assert newcomer.connack.reason_code == 0
    assert set(server.broker.sessions) == {"fine", "newcomer", "random-17", "random-18", "random-19"}
    assert server.broker.stats.dropped == {"session ended to make room": 1}
    assert server.broker.stats.sessions_ended == {"to make room": 17}


# --- keep-alive ---


@pytest.mark.parametrize("version", [V311, V5])
def test_silence_of_one_and_a_half_keep_alives_closes(version):  # [MQTT-3.1.2-24]
    server = VirtualServer()
    client = server.client("a", version, keep_alive_s=10)
    server.advance(14.9)
    client.send(PingReq())
    client.expect(PingResp)
    server.advance(14.9)
    assert not client.closed
    server.advance(0.2)
    assert client.closed
    if version is V5:
        assert client.expect(Disconnect).reason_code == ReasonCode.KEEP_ALIVE_TIMEOUT


def test_a_keep_alive_shorter_than_the_time_to_connect():
    server = VirtualServer()
    client = server.client("a", keep_alive_s=1)
    server.advance(1.6)
    assert client.closed


def test_no_keep_alive_is_for_ever():
    server = VirtualServer()
    client = server.client("a", keep_alive_s=0)
    server.advance(1e7)
    assert not client.closed


def test_bytes_that_are_no_packet_yet_do_not_count():
    server = VirtualServer()
    client = server.client("a", keep_alive_s=2)
    for _ in range(3):
        client.send(b"\xc0" if client.connection.tail == b"" else b"")
        server.advance(1)
    assert client.closed


def test_deadlines_do_not_pile_up():
    server = VirtualServer()
    client = server.client("a", keep_alive_s=10)
    for _ in range(1000):
        client.send(PingReq())
        server.advance(5)
    assert len(server.broker._deadlines._heap) <= 2


def test_sessions_that_come_and_go_leave_no_deadlines():
    server = VirtualServer()
    for number in range(1_000):
        server.client("a", clean_start=bool(number % 2)).lose()
        server.client("b", V5, clean_start=False, properties=Properties(session_expiry_interval=9_999)).lose()
    assert len(server.broker._deadlines) == 0
    assert len(server.broker._sessions._deadlines) == 1  # that of the session that is still there


@pytest.mark.parametrize("flood", [PingReq(), Publish("a", b"", QoS(1), packet_id=1)])
def test_who_asks_and_does_not_read_the_answers_is_closed(flood):
    server = VirtualServer(max_output_bytes=1_024, max_packet_bytes=1_024)
    client = server.client("a", keep_alive_s=0)
    client.reads = False
    data = codec.encode(flood, V311) * 1_000
    for _ in range(100):
        if not client.closed:
            client.send(data)
    assert client.closed
    assert client.connection.backlog < 100_000
    assert "does not read" in server.closed[-1]


def test_an_mqtt_5_client_must_speak_within_the_ceiling():
    server = VirtualServer(max_keep_alive_s=10)
    client = server.client("a", V5, keep_alive_s=0)
    assert client.connack.properties.server_keep_alive == 10
    server.advance(14)
    assert not client.closed
    server.advance(2)
    assert client.closed


def test_a_closed_mqtt_5_client_can_read_why():
    client = VirtualServer().client("a", V5)
    client.send(b"\xc1\x00")
    assert "flags" in client.expect(Disconnect).properties.reason_string


def test_a_goodbye_is_no_larger_than_the_client_takes():  # [MQTT-3.14.2-3], [MQTT-3.14.2-4], [MQTT-3.1.2-24] of 5
    client = VirtualServer(max_keep_alive_s=0).client("a", V5, properties=Properties(maximum_packet_size=20))
    start = len(client.received)
    client.send(b"\xc1\x00")
    assert client.expect(Disconnect) == Disconnect(ReasonCode.MALFORMED_PACKET)
    assert len(client.received) - start <= 20
    assert client.closed


# --- sessions ---


def test_a_clean_session_ends_with_its_link():
    server = VirtualServer()
    client = server.client("a").subscribe("x/#", qos=1)
    client.lose()
    assert server.broker.sessions == {}
    assert not server.broker.router._tree._root.children
    assert server.client("a", clean_start=False).connack.session_present is False  # [MQTT-3.2.2-3]


@pytest.mark.parametrize(
    ("version", "fields"),
    [
        (V311, {"clean_start": False}),
        (V5, {"clean_start": False, "properties": Properties(session_expiry_interval=100)}),
    ],
)
def test_a_session_keeps_subscriptions_and_messages(version, fields):  # [MQTT-3.1.2-5]
    server = VirtualServer()
    client = server.client("a", version, **fields)
    assert not client.connack.session_present
    client.subscribe("x/#", qos=1)
    client.lose()
    other = server.client("b")
    other.publish("x/1", b"1", qos=1, packet_id=1).publish("x/2", b"2", qos=2, packet_id=2).publish("x/3", b"3")
    client = server.client("a", version, **fields)
    assert client.connack.session_present  # [MQTT-3.2.2-2]
    assert [(packet.topic, packet.packet_id, packet.dup) for packet in client.resumed] == [
        ("x/1", 1, False),  # QoS 0 was for who was there
        ("x/2", 2, False),
    ]


def test_what_was_not_acknowledged_comes_again_in_order_with_dup():  # [MQTT-4.4.0-1]
    server = VirtualServer()
    client = server.client("a", clean_start=False).subscribe("x", qos=2)
    client.packets()
    other = server.client("b")
    for number in (1, 2, 3, 4):
        other.publish("x", b"%d" % number, qos=min(number, 2), packet_id=number)
    sent = client.packets()
    assert [packet.packet_id for packet in sent] == [1, 2, 3, 4]
    client.send(bytes.fromhex("5002 0003"))  # PUBREC of the third
    client.packets()
    client.send(PubAck(1))
    client.lose()
    client = server.client("a", clean_start=False)
    again = client.resumed
    assert [(type(packet).__name__, packet.packet_id) for packet in again] == [
        ("Publish", 2),
        ("PubRel", 3),
        ("Publish", 4),
    ]
    assert again[0].dup
    assert again[2].dup


def test_a_clean_start_throws_the_old_session_away():  # [MQTT-3.1.2-6]
    server = VirtualServer()
    client = server.client("a", clean_start=False).subscribe("x", qos=1)
    client.lose()
    client = server.client("a", clean_start=True)
    assert not client.connack.session_present
    server.client("b").publish("x", qos=1)
    assert client.packets() == []


def test_a_client_that_comes_back_gets_the_rest_of_the_retained():  # [MQTT-3.3.1-6] of 3.1.1
    server = VirtualServer(max_inflight=10)
    other = server.client("b")
    for number in range(100):
        other.publish(f"x/{number}", b"1", qos=1, retain=True)
    client = server.client("a", clean_start=False).subscribe("x/#", qos=1)
    seen = {packet.topic for packet in client.packets()[1:]}
    assert len(seen) == 10
    client.lose()
    client = server.client("a", clean_start=False)
    packets = client.resumed
    while packets:
        for packet in packets:
            seen.add(packet.topic)
            client.send(PubAck(packet.packet_id))
        packets = client.packets()
    assert len(seen) == 100


def test_fewer_in_flight_for_a_client_that_comes_back_with_a_smaller_window():  # [MQTT-3.3.4-9]
    server = VirtualServer()
    keep = {"clean_start": False, "properties": Properties(session_expiry_interval=100)}
    server.client("a", V5, **keep).subscribe("x", qos=1).lose()
    other = server.client("b")
    for number in range(1, 8):
        other.publish("x", b"%d" % number, qos=1)
    client = server.client("a", V5, **keep)
    assert len(client.resumed) == 7
    client.lose()
    small = Properties(session_expiry_interval=100, receive_maximum=2)
    client = server.client("a", V5, clean_start=False, properties=small)
    other.publish("x", b"8", qos=1)
    seen, packets = [], client.resumed
    while packets:
        assert len(packets) <= 2
        seen += [packet.payload for packet in packets]
        for packet in packets:
            client.send(PubAck(packet.packet_id))
        packets = client.packets()
    assert seen == [b"%d" % number for number in range(1, 9)]


def test_an_absent_session_expires():
    server = VirtualServer(session_expiry_s=60)
    server.client("a", clean_start=False).subscribe("x", qos=1).lose()
    server.advance(59)
    assert "a" in server.broker.sessions
    server.client("b").publish("x", qos=1)
    server.advance(2)
    assert set(server.broker.sessions) == {"b"}
    assert server.broker.stats.sessions_ended == {"expired": 1}
    assert server.broker.stats.dropped == {"session expired": 1}
    assert not server.broker.router._tree._root.children


def test_a_session_that_came_back_does_not_expire():
    server = VirtualServer(session_expiry_s=60)
    server.client("a", clean_start=False).lose()
    server.advance(59)
    client = server.client("a", clean_start=False)
    server.advance(100)
    assert "a" in server.broker.sessions
    client.lose()
    server.advance(59)
    assert "a" in server.broker.sessions


def test_a_session_expiry_over_ours_is_capped_and_told():  # [MQTT-3.2.2-10] names no way but to tell
    server = VirtualServer(session_expiry_s=60)
    client = server.client("a", V5, properties=Properties(session_expiry_interval=0xFFFF_FFFF))
    assert client.connack.properties.session_expiry_interval == 60


def test_a_session_expiry_may_change_at_disconnect():
    server = VirtualServer()
    client = server.client("a", V5, properties=Properties(session_expiry_interval=100))
    client.send(Disconnect(properties=Properties(session_expiry_interval=0)))
    assert server.broker.sessions == {}
    client = server.client("b", V5)
    client.send(Disconnect(properties=Properties(session_expiry_interval=5)))  # §3.14.2.2.2
    assert client.expect(Disconnect).reason_code == ReasonCode.PROTOCOL_ERROR


@pytest.mark.parametrize(("wished_s", "kept_s"), [(5, 5), (100, 60), (0xFFFF_FFFF, 60)])
def test_a_session_kept_longer_at_disconnect_is_capped_too(wished_s, kept_s):
    server = VirtualServer(session_expiry_s=60)
    client = server.client("a", V5, properties=Properties(session_expiry_interval=30))
    client.send(Disconnect(properties=Properties(session_expiry_interval=wished_s)))
    server.advance(kept_s - 1)
    assert "a" in server.broker.sessions
    server.advance(2)
    assert server.broker.sessions == {}


def test_where_no_sessions_are_kept_asking_for_one_at_disconnect_is_no_error():
    server = VirtualServer(session_expiry_s=0)
    client = server.client("a", V5, properties=Properties(session_expiry_interval=30))
    assert client.connack.properties.session_expiry_interval == 0
    client.send(Disconnect(properties=Properties(session_expiry_interval=5)))
    assert client.packets() == []
    assert server.broker.sessions == {}


# --- take-over ---


@pytest.mark.parametrize("version", [V311, V5])
def test_a_new_link_takes_the_session_over(version):  # [MQTT-3.1.4-2]
    server = VirtualServer()
    old = server.client("a", version, clean_start=False, **session_for(version)).subscribe("x", qos=1)
    old.packets()
    new = server.client("a", version, clean_start=False, **session_for(version))
    assert old.closed
    assert new.connack.session_present
    if version is V5:
        assert old.expect(Disconnect).reason_code == ReasonCode.SESSION_TAKEN_OVER
    server.client("b").publish("x", b"1", qos=1)
    assert new.messages() == [("x", b"1", 1)]
    assert old.packets() == []
    old.send(PingReq())  # what still arrives over the old link is nobody's
    old.lose()
    assert server.broker.sessions["a"].connection is new.connection


def session_for(version):
    return {"properties": Properties(session_expiry_interval=100)} if version is V5 else {}


def test_a_thousand_take_overs_lose_and_repeat_nothing():
    server = VirtualServer()
    client = server.client("a", clean_start=False).subscribe("x", qos=1)
    client.packets()
    publisher = server.client("p")
    seen = []
    for number in range(1000):
        publisher.publish("x", b"%d" % number, qos=1, packet_id=1)
        client = server.client("a", clean_start=False)
        for packet in client.resumed:
            seen.append(int(packet.payload))
            client.send(PubAck(packet.packet_id))
    assert seen == list(range(1000))
    assert len(server.broker.sessions) == 2
    assert server.broker.stats.clients_now == 2


def test_without_accounts_a_name_proves_nothing_and_takes_nothing():
    server = VirtualServer()
    old = server.client("a", username="ann", clean_start=False)
    for username in (None, "bob", "ann"):
        new = server.client(
            "a", V5, username=username, clean_start=False, properties=Properties(session_expiry_interval=9)
        )
        assert new.connack.session_present
        assert old.closed
        old = new


def test_another_user_cannot_take_a_client_id_over():
    server = VirtualServer(authorize=accounts)
    server.client("a", username="ann", clean_start=False)
    thief = server.link(V5)
    thief.send(Connect(client_id="a", username="bob"))
    assert thief.expect(ConnAck).reason_code == ReasonCode.CLIENT_IDENTIFIER_NOT_VALID
    assert server.broker.sessions["a"].connection is not None


# --- wills ---

WILL = Will("a/availability", b"offline", QoS.AT_LEAST_ONCE, retain=True)


def watched(server):
    watcher = server.client("watcher").subscribe("a/#", qos=1)
    watcher.packets()
    return watcher


@pytest.mark.parametrize("how", ["lost", "silence", "protocol error", "taken over"])
def test_a_will_is_told(how):  # [MQTT-3.1.2-8]
    server = VirtualServer()
    watcher = watched(server)
    client = server.client("a", will=WILL, keep_alive_s=10)
    if how == "lost":
        client.lose()
    elif how == "silence":
        server.advance(16)
    elif how == "protocol error":
        client.send(b"\xf0\x00")
    else:
        server.client("a")
    assert watcher.messages() == [("a/availability", b"offline", 1)]
    assert server.broker.router.retained.get("a/availability", server.now).payload == b"offline"  # [MQTT-3.1.2-17]
    client.lose()
    assert watcher.messages() == []


def test_a_goodbye_drops_the_will():  # [MQTT-3.14.4-3]
    server = VirtualServer()
    watcher = watched(server)
    server.goodbye(server.client("a", will=WILL))
    assert watcher.messages() == []


@pytest.mark.parametrize(
    "reason", [ReasonCode.DISCONNECT_WITH_WILL, ReasonCode.UNSPECIFIED_ERROR, ReasonCode.MESSAGE_RATE_TOO_HIGH]
)
def test_a_goodbye_with_any_reason_but_success_leaves_the_will(reason):  # [MQTT-3.1.2-8], §3.1.2.5
    server = VirtualServer()
    watcher = watched(server)
    server.client("a", V5, will=WILL).send(Disconnect(reason_code=reason))
    assert watcher.messages() == [("a/availability", b"offline", 1)]


def delayed_will(delay_s):
    return Will("a/availability", b"offline", QoS(1), properties=Properties(will_delay_interval=delay_s))


def test_a_delayed_will_waits():
    server = VirtualServer()
    watcher = watched(server)
    server.client(
        "a", V5, will=delayed_will(10), clean_start=False, properties=Properties(session_expiry_interval=60)
    ).lose()
    server.advance(9)
    assert watcher.messages() == []
    server.advance(2)
    assert watcher.messages() == [("a/availability", b"offline", 1)]


def test_a_delayed_will_of_a_client_that_comes_back_is_not_told():  # [MQTT-3.1.3-9]
    server = VirtualServer()
    watcher = watched(server)
    fields = {"clean_start": False, "properties": Properties(session_expiry_interval=60)}
    server.client("a", V5, will=delayed_will(10), **fields).lose()
    server.advance(9)
    server.client("a", V5, **fields)
    server.advance(60)
    assert watcher.messages() == []


def test_a_will_carries_its_properties_to_the_readers():  # [MQTT-3.1.3-10]
    server = VirtualServer()
    watcher = server.client("watcher", V5).subscribe("a/#", qos=1)
    watcher.packets()
    said = {
        "payload_format_indicator": 1,
        "content_type": "text/plain",
        "response_topic": "a/reply",
        "correlation_data": b"7",
        "user_property": (("k", "1"), ("k", "2")),
    }
    will = Will("a/availability", b"offline", QoS(1), properties=Properties(**said, message_expiry_interval=30))
    server.client("a", V5, will=will).lose()
    assert watcher.expect(Publish).properties == Properties(**said, message_expiry_interval=30)


def test_a_will_does_not_come_back_to_a_session_that_asked_for_nothing_of_its_own():  # [MQTT-3.8.3-3]
    server = VirtualServer()
    keep = {"clean_start": False, "properties": Properties(session_expiry_interval=60)}
    client = server.client("a", V5, will=WILL, **keep)
    client.subscribe("a/#", qos=1, no_local=True, retain_handling=2)
    client.lose()
    assert server.client("a", V5, **keep).resumed == []


def test_a_will_never_outlives_its_session():  # §3.1.3.2.2
    server = VirtualServer()
    watcher = watched(server)
    server.client("a", V5, will=delayed_will(100), properties=Properties(session_expiry_interval=5)).lose()
    server.advance(6)
    assert watcher.messages() == [("a/availability", b"offline", 1)]
    server.advance(100)
    assert watcher.messages() == []


@pytest.mark.parametrize("delay_s", [0, 10])
def test_a_will_is_its_clients_own_message_to_no_local(delay_s):  # [MQTT-3.8.3-3]
    server = VirtualServer()
    watcher = watched(server)
    fields = {"clean_start": False, "properties": Properties(session_expiry_interval=60)}
    client = server.client("a", V5, will=delayed_will(delay_s), **fields).subscribe("a/#", qos=1, no_local=True)
    client.lose()
    server.advance(20)
    assert watcher.messages() == [("a/availability", b"offline", 1)]
    assert server.client("a", V5, **fields).resumed == []


@pytest.mark.parametrize("how", ["lost", "taken over"])
def test_a_will_is_not_lined_up_for_the_session_that_ends_with_it(how):
    server = VirtualServer(max_queued_messages=1, max_inflight=1)
    kept = {"clean_start": False, "properties": Properties(session_expiry_interval=60)}
    fields = kept if how == "taken over" else {}
    client = server.client("a", V5, will=delayed_will(0), **fields).subscribe("x", qos=1)
    for number in range(2):  # its window and its queue are full
        client.publish("x", b"%d" % number, qos=1)
    client.subscribe("$share/g/a/#", qos=1)  # and it would be next
    server.client("b", V5, **kept).subscribe("$share/g/a/#", qos=1).lose()
    if how == "lost":
        client.lose()
    else:
        server.client("a", V5)
    assert [packet.payload for packet in server.client("b", V5, **kept).resumed] == [b"offline"]


def test_a_will_to_the_servers_own_topics_is_refused():
    client = VirtualServer().link()
    client.send(Connect(client_id="a", version=V311, will=Will("$SYS/broker/version", b"x")))
    assert client.received == b"\x20\x02\x00\x05"


# --- the other packets ---


@pytest.mark.parametrize(("version", "answers"), [(V311, []), (V5, [ReasonCode.TOPIC_NAME_INVALID])])
def test_a_will_to_a_topic_of_too_many_levels_is_refused(version, answers):  # [MQTT-3.2.2-6] of 3.1.1: no code fits
    server = VirtualServer(max_topic_levels=4)
    client = server.link(version)
    client.send(Connect(client_id="a", version=version, will=Will("a/b/c/d/e", b"x")))
    assert [packet.reason_code for packet in client.packets()] == answers
    assert client.closed


def test_unsubscribing_what_was_not_there_is_answered_too():  # [MQTT-3.10.4-5]
    client = VirtualServer().client("a", V5).subscribe("x")
    client.packets()
    client.send(Unsubscribe(7, ("x", "y")))
    assert client.expect(UnsubAck).reason_codes == (ReasonCode.SUCCESS, ReasonCode.NO_SUBSCRIPTION_EXISTED)


def test_an_unsubscribed_topic_is_silent():
    server = VirtualServer()
    client = server.client("a").subscribe("x")
    client.send(Unsubscribe(7, ("x",)))
    client.packets()
    client.publish("x")
    assert client.packets() == []


def test_more_subscriptions_than_allowed_are_refused_one_by_one():
    server = VirtualServer(max_subscriptions=2)
    client = server.client("a", V5)
    codes = []
    for topic_filter in ("a", "b", "c", "b"):
        client.subscribe(topic_filter, qos=1)
        codes += client.expect(SubAck).reason_codes
    assert codes == [1, 1, ReasonCode.QUOTA_EXCEEDED, 1]
    assert server.broker.stats.subscriptions_refused == {"too many subscriptions": 1}


def test_filters_are_bounded_in_letters_and_levels():
    server = VirtualServer(max_subscription_bytes=1_024 + 2 * LEVEL_BYTES)
    client = server.client("a", V5)
    codes = []
    for topic_filter in ("a" * 1_000, "b" * 24, "c", "a" * 1_000):
        client.subscribe(topic_filter, qos=1)
        codes += client.expect(SubAck).reason_codes
    assert codes == [1, 1, ReasonCode.QUOTA_EXCEEDED, 1]
    client.send(Unsubscribe(2, ("b" * 24,)))
    client.packets()
    client.subscribe("c" * 25).subscribe("c/d").subscribe("c" * 24)
    refused = (ReasonCode.QUOTA_EXCEEDED,)
    assert [packet.reason_codes for packet in client.packets()] == [refused, refused, (0,)]


def test_a_thousand_usual_filters_fit():
    client = VirtualServer().client("a", V5)
    filters = [f"home/living-room/sensor-{number:04}/temperature" for number in range(1_000)]
    client.send(Subscribe(1, tuple(Subscription(name, QoS(1)) for name in filters)))
    assert client.expect(SubAck).reason_codes == (1,) * 1_000


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({}, True),
        ({"request_problem_information": 1}, True),
        ({"request_problem_information": 0}, False),  # [MQTT-3.1.2-29]
        ({"maximum_packet_size": 30}, False),  # [MQTT-3.9.2-1], [MQTT-3.4.2-2], [MQTT-3.5.2-2]
    ],
)
def test_reasons_in_words_for_who_wants_them(properties, words):
    server = VirtualServer(max_subscriptions=1)
    client = server.client("a", V5, properties=Properties(**properties)).subscribe("a")
    assert client.expect(SubAck).properties == Properties()  # no reason for a success
    client.send(Subscribe(2, (Subscription("a"), Subscription("b"))))
    refusals = [client.expect(SubAck)]
    for qos, kind in ((1, PubAck), (2, PubRec)):
        client.publish("$SYS/x", qos=qos)
        refusals.append(client.expect(kind))
    assert refusals[0].reason_codes == (0, ReasonCode.QUOTA_EXCEEDED)
    assert {refusal.reason_code for refusal in refusals[1:]} == {ReasonCode.NOT_AUTHORIZED}
    assert [bool(refusal.properties.reason_string) for refusal in refusals] == [words] * 3
    server.broker.reauthorize(lambda _username: True, server.now)
    server.settle()
    told = client.expect(Disconnect).properties.reason_string
    assert bool(told) == ("maximum_packet_size" not in properties)  # else it may always be said there


@pytest.mark.parametrize("kind", [Subscribe, Unsubscribe])
def test_what_could_not_be_answered_is_not_done(kind):  # [MQTT-3.1.2-24]
    server = VirtualServer()
    client = server.client("a", V5, properties=Properties(maximum_packet_size=50))
    filters = [f"x/{number}" for number in range(46)]
    client.send(kind(1, tuple(map(Subscription, filters[:45])) if kind is Subscribe else tuple(filters[:45])))
    assert len(client.packets()[0].reason_codes) == 45
    before = dict(server.broker.sessions["a"].subscriptions)
    client.send(kind(1, tuple(map(Subscription, filters)) if kind is Subscribe else tuple(filters)))
    assert client.expect(Disconnect).reason_code == ReasonCode.PACKET_TOO_LARGE
    assert client.closed
    assert len(before) == (45 if kind is Subscribe else 0)


@pytest.mark.parametrize(("version", "code"), [(V311, 0x80), (V5, ReasonCode.TOPIC_FILTER_INVALID)])
def test_a_filter_of_too_many_levels_is_refused(version, code):
    client = VirtualServer(max_topic_levels=3).client("a", version)
    client.subscribe("a/b/c/d")
    assert client.server.broker.stats.subscriptions_refused == {"too many levels": 1}
    assert client.expect(SubAck).reason_codes == (code,)
    client.subscribe("a/b/c")
    assert client.expect(SubAck).reason_codes == (0,)


def test_an_authentication_method_is_refused():  # [MQTT-4.12.0-1]
    client = VirtualServer().link(V5)
    client.send(Connect(client_id="a", properties=Properties(authentication_method="SCRAM")))
    assert client.expect(ConnAck).reason_code == ReasonCode.BAD_AUTHENTICATION_METHOD


def test_auth_out_of_the_blue_closes():
    client = VirtualServer().client("a", V5)
    client.send(Auth(ReasonCode.RE_AUTHENTICATE, Properties(authentication_method="x")))
    assert client.expect(Disconnect).reason_code == ReasonCode.PROTOCOL_ERROR
    assert client.closed


@pytest.mark.parametrize("packet", [ConnAck(), SubAck(1, (0,)), UnsubAck(1, (0,)), PingResp()])
def test_packets_of_a_server_close(packet):
    client = VirtualServer().client("a", V5)
    client.send(packet)
    assert client.expect(Disconnect).reason_code == ReasonCode.PROTOCOL_ERROR
    assert client.closed


def test_stopping_tells_mqtt_5_clients_why():
    server = VirtualServer()
    old = server.client("a", will=WILL, clean_start=False)
    new = server.client("b", V5, properties=Properties(session_expiry_interval=60))
    watcher = watched(server)  # the last to be told
    server.broker.stop(server.now)
    server.settle()
    assert old.closed
    assert new.closed
    assert old.packets() == []
    farewell = new.expect(Disconnect)
    assert farewell.reason_code == ReasonCode.SERVER_SHUTTING_DOWN
    assert farewell.properties.reason_string == "the server is shutting down"
    assert watcher.messages() == [("a/availability", b"offline", 1)]
    assert set(server.broker.sessions) == {"a", "b"}
    assert server.broker.stats.connections_closed == {"server shutting down": 3}


def test_packets_of_every_kind_are_counted():
    server = VirtualServer()
    keep = {"clean_start": False, "properties": Properties(session_expiry_interval=60)}
    client = server.client("a", V5, **keep).subscribe("x", qos=2)
    client.publish("x", qos=2)
    packets = client.packets()
    (message,) = (packet for packet in packets if isinstance(packet, Publish))
    client.send(PubRec(message.packet_id))
    client.send(PubRec(77))  # of nothing
    sent = len(packets) + len(client.packets()) + 1  # and the CONNACK
    client = server.client("a", V5, **keep)  # taken over: a DISCONNECT to the old link, CONNACK and PUBREL to the new
    client.send(Unsubscribe(1, ("x",)))
    server.broker.stop(server.now)
    refused = server.link(V5)
    refused.send(Connect("b", properties=Properties(authentication_method="x")))
    stats = server.broker.stats
    assert (stats.publish_received, stats.publish_sent) == (1, 1)
    assert stats.others_received == 7  # three CONNECT, SUBSCRIBE, two PUBREC, UNSUBSCRIBE
    assert stats.others_sent == sent - 1 + 3 + 2 + 1  # then UNSUBACK and DISCONNECT, and the refusing CONNACK


def test_counters():
    server = VirtualServer()
    client = server.client("a", clean_start=False).subscribe("x/#")
    client.publish("x/1", retain=True)
    client.publish("x/2", qos=1)
    stats = server.broker.stats
    assert (stats.clients_now, stats.sessions_now, stats.connections_total) == (1, 1, 1)
    assert (stats.publish_received, stats.publish_sent, stats.retained_now) == (2, 2, 1)
    assert stats.bytes_received > 0
    client.lose()
    assert (stats.clients_now, stats.sessions_now) == (0, 1)
