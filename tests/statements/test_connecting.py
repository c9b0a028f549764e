"""What MQTT demands around CONNECT, CONNACK, DISCONNECT and AUTH and no other test shows; the tables name the rest."""

import pytest
from virtual import V5, V311, VirtualServer, accounts

from appliance.broker.message import Message
from appliance.mqtt import codec
from appliance.mqtt.packets import ConnAck, Connect, Disconnect, PingReq, Publish, SubAck, Will
from appliance.mqtt.properties import Properties
from appliance.mqtt.types import QoS, ReasonCode, Version

BOTH = pytest.mark.parametrize("version", [V311, V5])


def keeping(version):
    """Ask for a session that outlives its link."""
    properties = Properties(session_expiry_interval=100) if version is V5 else Properties()
    return {"clean_start": False, "properties": properties}


# --- the first packets ---


@BOTH
def test_a_second_connect_is_answered_by_no_connack(version):  # [MQTT-3.1.0-2], [MQTT-3.2.0-2] of 5
    client = VirtualServer().client("a", version)
    client.send(Connect(client_id="a", version=version))
    assert [(type(packet), packet.reason_code) for packet in client.packets()] == (
        [(Disconnect, ReasonCode.PROTOCOL_ERROR)] if version is V5 else []
    )
    assert client.closed


@BOTH
def test_connack_comes_before_anything_else(version):  # [MQTT-3.2.0-1]
    server = VirtualServer()
    server.client("a", version, **keeping(version)).subscribe("a", qos=1).lose()
    server.client("b").publish("a", qos=1)
    link = server.link(version)
    subscribe = b"\x82\x06\x00\x02\x00\x01b\x00" if version is V311 else b"\x82\x07\x00\x02\x00\x00\x01b\x00"
    link.send(codec.encode(Connect(client_id="a", version=version, **keeping(version)), version) + subscribe)
    assert [type(packet) for packet in link.packets()] == [ConnAck, Publish, SubAck]


def test_no_disconnect_before_connack():  # [MQTT-3.14.0-1] of 5
    server = VirtualServer(answer=None)
    silent, asked = server.link(V5), server.link(V5)
    asked.send(Connect(client_id="a"))
    server.broker.stop(server.now)
    server.settle()
    assert silent.closed
    assert asked.closed
    assert silent.received == asked.received == b""


REFUSED = {
    "no id and a session to keep": ({"client_id": "", "clean_start": False}, {V311: 2}),
    "an id that is too long": ({"client_id": "x" * 300}, {V311: 2, V5: ReasonCode.CLIENT_IDENTIFIER_NOT_VALID}),
    "another user's id": (
        {"client_id": "taken", "clean_start": False, "username": "mallory"},
        {V311: 2, V5: ReasonCode.CLIENT_IDENTIFIER_NOT_VALID},
    ),
    "a will to $SYS": (
        {"client_id": "a", "will": Will("$SYS/x", b"")},
        {V311: 5, V5: ReasonCode.NOT_AUTHORIZED},
    ),
    "an authentication method": (
        {"client_id": "a", "properties": Properties(authentication_method="SCRAM-SHA-1", authentication_data=b"n,,")},
        {V5: ReasonCode.BAD_AUTHENTICATION_METHOD},
    ),
}


@pytest.mark.parametrize(
    ("fields", "version", "code"),
    [(fields, version, code) for fields, codes in REFUSED.values() for version, code in codes.items()],
    ids=[f"{name} {version.name}" for name, (_, codes) in REFUSED.items() for version in codes],
)
def test_a_refusal_is_one_connack_without_session_and_the_end(fields, version, code):
    # 3.1.1: [MQTT-3.1.3-8], [MQTT-3.1.3-9], [MQTT-3.2.2-4], [MQTT-3.2.2-5]
    # 5: [MQTT-3.1.3-8], [MQTT-3.1.4-2], [MQTT-3.2.2-6], [MQTT-3.2.2-7], [MQTT-4.12.0-1], [-4], [MQTT-4.13.2-1]
    server = VirtualServer(authorize=accounts)
    server.client("taken", version, username="alice", **keeping(version)).lose()
    link = server.link(version)
    link.send(codec.encode(Connect(version=version, **fields), version) + codec.encode(PingReq(), version))
    answer = link.expect(ConnAck)
    assert (answer.session_present, answer.reason_code) == (False, code)
    assert link.received[2] == 0
    assert link.closed
    assert set(server.broker.sessions) == {"taken"}


BROKEN = {  # hex of what follows the protocol level
    "reserved flag": "03 003c {p} 0001 61",
    "will QoS 3": "1e 003c {p} 0001 61 {p} 0001 77 0001 78",
    "will QoS without a will": "0a 003c {p} 0001 61",
    "will retain without a will": "22 003c {p} 0001 61",
    "a will topic that is not there": "06 003c {p} 0001 61",
    "a user name that is not there": "82 003c {p} 0001 61",
    "a user name without its flag": "02 003c {p} 0001 61 0001 75",
    "a password that is not there": "c2 003c {p} 0001 61 0001 75",
    "a password without its flag": "82 003c {p} 0001 61 0001 75 0001 70",
    "no client id": "02 003c {p}",
}


@BOTH
@pytest.mark.parametrize("rest", BROKEN.values(), ids=BROKEN)
def test_a_connect_of_another_shape_closes(version, rest):  # [MQTT-3.1.4-1], [MQTT-3.1.2-3] ...
    body = (
        bytes.fromhex("0004 4d515454") + bytes([version]) + bytes.fromhex(rest.format(p="00" if version is V5 else ""))
    )
    server = VirtualServer()
    link = server.link(version)
    link.send(b"\x10" + bytes([len(body)]) + body)
    assert link.closed
    assert not is_let_in_or_told(link)
    assert server.broker.sessions == {}


def is_let_in_or_told(link):
    """An older client is told nothing; one of MQTT 5 may be told why, in one CONNACK. §3.1.4"""
    packets = link.packets() if link.version is V5 else link.received
    return packets and not (
        len(packets) == 1 and isinstance(packets[0], ConnAck) and packets[0].reason_code >= 0x80 > link.received[2]
    )


@pytest.mark.parametrize(
    ("level", "answers"), [(0, [b"\x01"]), (2, [b"\x01"]), (6, [b"\x01", b"\x84"]), (255, [b"\x01", b"\x84"])]
)
def test_a_version_that_is_not_served_is_told_so_and_closed(level, answers):  # [MQTT-3.1.2-2]
    server = VirtualServer()
    link = server.link(V5)
    link.send(bytes.fromhex("10 0e 0004 4d515454") + bytes([level]) + bytes.fromhex("02 000a 00 0001 61"))
    assert link.closed
    assert (link.received[0], link.received[2]) == (0x20, 0)
    assert link.received[3:4] in answers
    assert server.broker.sessions == {}


@BOTH
@pytest.mark.parametrize("name", ["mqtt", "MQTTX", "MQIsdp", ""])
def test_another_protocol_name_is_not_served(version, name):  # [MQTT-3.1.2-1]
    link = VirtualServer().link(version)
    body = len(name).to_bytes(2, "big") + name.encode() + bytes([version]) + bytes.fromhex("02 003c 00 0001 61")
    link.send(b"\x10" + bytes([len(body)]) + body)
    assert link.closed
    assert link.received in {b"", b"\x20\x02\x00\x01"}  # MQIsdp is a name we know, and 4 or 5 no level of it


def test_the_fields_of_connect_are_read_in_their_order():  # [MQTT-3.1.3-1]
    server = VirtualServer(answer=None)
    link = server.link(V311)
    link.send(
        bytes.fromhex("10 1e 0004 4d515454 04 c6 003c")  # user name, password, will, clean session
        + b"\x00\x01i"
        + b"\x00\x01t\x00\x02ww"
        + b"\x00\x03ann\x00\x03pwd"
    )
    (asked,) = server.asked
    assert (asked.client_id, asked.username, asked.password) == ("i", "ann", b"pwd")
    server.broker.authenticated(link.connection, ReasonCode.SUCCESS, server.now)
    server.settle()
    server.answer = ReasonCode.SUCCESS
    reader = server.client("r").subscribe("t")
    reader.packets()
    link.lose()
    assert reader.messages() == [("t", b"ww", 0)]


# --- what CONNACK says ---


@BOTH
def test_session_present_is_the_only_flag_of_connack(version):  # [MQTT-3.2.2-1] to [MQTT-3.2.2-3]
    server = VirtualServer()
    for clean, there in [(False, 0), (False, 1), (True, 0), (False, 0)]:
        link = server.link(version)
        link.send(Connect(client_id="a", version=version, **keeping(version) | {"clean_start": clean}))
        assert link.received[2:4] == bytes([there, 0])
        server.goodbye(link)
        if clean and version is V5:
            server.advance(101)


def test_an_id_that_the_server_gives_is_nobody_elses():  # [MQTT-3.1.3-6], [MQTT-3.2.2-16] of 5
    server = VirtualServer()
    known = server.client("auto-1", V5, **keeping(V5))
    new = server.client("", V5)
    assert new.connack.properties.assigned_client_identifier == "auto-2"
    assert set(server.broker.sessions) == {"auto-1", "auto-2"}
    assert not known.closed


def test_an_id_that_the_server_gave_is_as_good_as_any():  # [MQTT-3.1.3-7] of 5
    server = VirtualServer()
    client = server.client("", V5, properties=Properties(session_expiry_interval=100)).subscribe("a", qos=1)
    name = client.connack.properties.assigned_client_identifier
    client.lose()
    server.client("b").publish("a", qos=1)
    back = server.client(name, V5, **keeping(V5))
    assert back.connack.session_present
    assert [packet.topic for packet in back.resumed] == ["a"]


@pytest.mark.parametrize("asked", [None, 0])
def test_connack_says_only_what_was_asked_for(asked):  # [MQTT-3.1.2-28], [MQTT-4.12.0-6] of 5
    client = VirtualServer().client("a", V5, properties=Properties(request_response_information=asked))
    said = client.connack.properties
    assert said.response_information is None
    assert said.authentication_method is None
    assert said.authentication_data is None


def test_nothing_is_declared_unavailable_and_all_of_it_works():  # [MQTT-3.2.2-9], [-10], [-12], [-13] of 5
    server = VirtualServer()
    reader = server.client("r", V5)
    said = reader.connack.properties
    assert said.maximum_qos is None
    assert said.retain_available is None
    assert said.wildcard_subscription_available is None
    assert said.subscription_identifier_available is None
    assert said.shared_subscription_available is None
    for qos in range(3):
        reader.subscribe(f"will/{qos}", qos=qos)
        assert reader.expect(SubAck).reason_codes == (qos,)
        server.client("w", V5, will=Will(f"will/{qos}", b"x", QoS(qos), retain=True)).lose()
        assert reader.messages() == [(f"will/{qos}", b"x", qos)]
    assert len(server.broker.router.retained) == 3


@pytest.mark.parametrize(("keep_alive_s", "told"), [(10, None), (0, 20), (30, 20)])
def test_the_keep_alive_that_was_told_is_the_one_that_counts(keep_alive_s, told):  # [MQTT-3.2.2-22], [MQTT-3.1.2-22]
    server = VirtualServer(max_keep_alive_s=20)
    client = server.client("a", V5, keep_alive_s=keep_alive_s)
    assert client.connack.properties.server_keep_alive == told
    in_force_s = told or keep_alive_s
    server.advance(1.5 * in_force_s - 0.1)
    assert not client.closed
    server.advance(0.2)
    assert client.closed


CONNACK_BYTES = 16  # with our limits, and nothing of the client's to correct


@pytest.mark.parametrize(
    ("most", "answer"), [(1, None), (4, None), (5, 0x95), (CONNACK_BYTES - 1, 0x95), (CONNACK_BYTES, 0)]
)
def test_a_client_that_takes_no_connack_is_not_let_in(most, answer):  # [MQTT-3.1.2-24] of 5
    server = VirtualServer(max_keep_alive_s=0)
    link = server.link(V5)
    link.send(Connect(client_id="a", properties=Properties(maximum_packet_size=most)))
    packets = link.packets()
    assert [packet.reason_code for packet in packets] == ([] if answer is None else [answer])
    assert len(link.received) <= most
    assert link.closed is (answer != 0)


# --- sessions ---


@BOTH
def test_a_session_is_found_by_its_client_id(version):  # [MQTT-3.1.3-2]
    server = VirtualServer()
    for name in ("a", "b"):
        server.client(name, version, **keeping(version)).subscribe(name, qos=1).lose()
    publisher = server.client("p")
    publisher.publish("a", b"for a", qos=1).publish("b", b"for b", qos=1)
    for name in ("b", "a"):
        back = server.client(name, version, **keeping(version))
        assert back.connack.session_present
        assert [packet.payload for packet in back.resumed] == [f"for {name}".encode()]


@BOTH
def test_a_session_stays_as_long_as_its_link(version):  # [MQTT-4.1.0-1] of 5, [MQTT-4.1.0-2] of 3.1.1
    server = VirtualServer(session_expiry_s=5, max_sessions=1, max_keep_alive_s=0)
    client = server.client("a", version, keep_alive_s=0, **keeping(version)).subscribe("a", qos=1)
    client.packets()
    server.advance(1e6)
    other = server.link(version)
    other.send(Connect(client_id="b", version=version))
    assert other.expect(ConnAck).reason_code != 0  # the only session there may be is in use
    server.broker.publish(Message("a", b"1", 1), server.now)
    server.settle()
    assert client.messages() == [("a", b"1", 1)]


@pytest.mark.parametrize("version", [V311, V5])
def test_retained_messages_outlive_the_session_of_their_publisher(version):  # [MQTT-3.1.2.7] of 3.1.1
    server = VirtualServer()
    server.client("a", version).publish("a", b"stays", retain=True).lose()
    assert server.broker.sessions == {}
    late = server.client("late", version).subscribe("a")
    assert [packet.payload for packet in late.packets()[1:]] == [b"stays"]


# --- wills ---


@BOTH
@pytest.mark.parametrize("retain", [False, True])
def test_a_will_is_retained_if_it_says_so(version, retain):  # 3.1.1: [MQTT-3.1.2-16], [-17]; 5: [MQTT-3.1.2-14], [-15]
    server = VirtualServer()
    server.client("p").publish("w", b"before", retain=True)
    server.client("a", version, will=Will("w", b"gone", QoS(1), retain=retain)).lose()
    late = server.client("late").subscribe("w", qos=1)
    assert [packet.payload for packet in late.packets()[1:]] == [b"gone" if retain else b"before"]


@BOTH
def test_no_will_is_told_of_a_client_that_left_none(version):  # [MQTT-3.1.2-12] of 3.1.1
    server = VirtualServer()
    reader = server.client("r").subscribe("#")
    reader.packets()
    server.client("a", version, will=Will("w", b"of the link before")).lose()
    assert len(reader.packets()) == 1
    server.client("a", version).lose()
    assert reader.packets() == []


@pytest.mark.parametrize(("version", "delay_s"), [(V311, None), (V5, None), (V5, 10), (V5, 1_000)])
def test_a_will_is_told_once_and_forgotten(version, delay_s):  # [MQTT-3.1.2-10]
    server = VirtualServer()
    reader = server.client("r").subscribe("#")
    reader.packets()
    will = Will("w", b"1", properties=Properties(will_delay_interval=delay_s))
    for _ in range(2):
        client = server.client("a", version, will=will, **keeping(version))
        client.lose()
        server.advance(1_000)
        assert len(reader.packets()) == 1
    back = server.client("a", version, **keeping(version))
    server.goodbye(back)
    server.advance(1_000)
    assert reader.packets() == []


GOODBYES = [
    (ReasonCode.SUCCESS, False),
    (ReasonCode.DISCONNECT_WITH_WILL, True),
    (ReasonCode.UNSPECIFIED_ERROR, True),
    (ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR, True),
    (ReasonCode.QUOTA_EXCEEDED, True),
]


@pytest.mark.parametrize(("reason", "told"), GOODBYES, ids=[reason.name for reason, _ in GOODBYES])
def test_only_a_plain_goodbye_takes_the_will_back(reason, told):  # [MQTT-3.1.2-8], [MQTT-3.14.4-3] of 5
    server = VirtualServer()
    reader = server.client("r").subscribe("#")
    reader.packets()
    client = server.client("a", V5, will=Will("w", b"1"))
    client.send(Disconnect(reason_code=reason))
    assert client.closed
    assert reader.messages() == ([("w", b"1", 0)] if told else [])


def test_the_properties_of_a_will_reach_its_readers_in_their_order():  # [MQTT-3.1.3-10], [MQTT-3.1.2-9] of 5
    server = VirtualServer()
    reader = server.client("r", V5).subscribe("w", qos=1)
    reader.packets()
    properties = Properties(
        user_property=(("b", "2"), ("a", "1"), ("b", "1")), content_type="text/plain", payload_format_indicator=1
    )
    server.client("a", V5, will=Will("w", b"1", QoS(1), properties=properties)).lose()
    (message,) = reader.packets()
    assert message.properties == properties


# --- leaving ---


@BOTH
def test_nothing_is_done_of_what_follows_a_goodbye(version):  # [MQTT-3.14.4-1], [MQTT-3.14.4-2]
    server = VirtualServer()
    reader = server.client("r").subscribe("#")
    reader.packets()
    client = server.client("a", version)
    start = len(client.received)
    client.send(codec.encode(Disconnect(), version) + codec.encode(Publish("late"), version) + b"\xc0\x00")
    client.send(PingReq())
    assert client.closed
    assert client.received[start:] == b""
    assert reader.packets() == []


def test_the_servers_disconnect_is_its_last_packet_and_has_no_expiry():  # [MQTT-3.14.2-2], [-4.1], [-4.2] of 5
    server = VirtualServer(session_expiry_s=50)
    client = server.client("a", V5, properties=Properties(session_expiry_interval=100)).subscribe("#", qos=1)
    client.packets()
    client.send(b"\xf0\x00" + codec.encode(PingReq(), V5))
    server.client("b").publish("a", qos=1)
    client.send(PingReq())
    goodbye = client.expect(Disconnect)
    assert goodbye.properties.session_expiry_interval is None
    assert client.closed


@pytest.mark.parametrize("flags", range(1, 16))
def test_reserved_bits_of_disconnect_are_told_as_malformed(flags):  # [MQTT-3.14.1-1] of 5
    client = VirtualServer().client("a", V5)
    client.send(bytes([0xE0 | flags, 0]))
    assert client.expect(Disconnect).reason_code == ReasonCode.MALFORMED_PACKET
    assert client.closed


def test_version_3_1_is_served_by_its_own_rules():  # [MQTT-3.1.2-1] of 3.1.1: by another specification, if at all
    server = VirtualServer()
    link = server.link(Version.MQTT_3_1)
    link.send(bytes.fromhex("10 0f 0006 4d5149736470 03 02 003c 0001 61"))
    assert link.received == b"\x20\x02\x00\x00"
