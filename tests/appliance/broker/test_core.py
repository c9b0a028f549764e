"""Connecting, sessions, take-over, wills, time."""

import pytest
from virtual import V5, V311, VirtualServer

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
    SubAck,
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


@pytest.mark.parametrize("level", [0, 2, 6, 255])
def test_an_unknown_version_is_told_so(level):  # [MQTT-3.1.2-2]
    client = VirtualServer().link()
    client.send(bytes.fromhex("10 0d 00 04 4d515454") + bytes([level]) + bytes.fromhex("02 000a 0001 61"))
    assert client.received == b"\x20\x02\x00\x01"
    assert client.closed


def test_mqtt_3_1_is_let_in():
    client = VirtualServer().client("old", Version.MQTT_3_1)
    assert client.connack == ConnAck()


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


def test_a_stranger_may_send_64_kib_and_no_more():
    server = VirtualServer(answer=None)
    client = server.link()
    client.send(Connect(client_id="a", version=V311))
    for _ in range(65):
        client.send(bytes(1024))
    assert client.closed


def test_a_connect_that_claims_to_be_huge_is_cut_at_its_header():
    client = VirtualServer().link()
    client.send(b"\x10\xff\xff\xff\x7f")
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
    assert server.broker.stats.dropped["session ended to make room"] == 1


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
    assert len(server.broker._deadlines) == 1  # that of the session that is still there


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
    server.advance(2)
    assert server.broker.sessions == {}
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


def test_another_user_cannot_take_a_client_id_over():
    server = VirtualServer()
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


def test_a_goodbye_may_ask_for_the_will():
    server = VirtualServer()
    watcher = watched(server)
    server.client("a", V5, will=WILL).send(Disconnect(reason_code=ReasonCode.DISCONNECT_WITH_WILL))
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


def test_a_will_never_outlives_its_session():  # §3.1.3.2.2
    server = VirtualServer()
    watcher = watched(server)
    server.client("a", V5, will=delayed_will(100), properties=Properties(session_expiry_interval=5)).lose()
    server.advance(6)
    assert watcher.messages() == [("a/availability", b"offline", 1)]
    server.advance(100)
    assert watcher.messages() == []


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


@pytest.mark.parametrize(("version", "code"), [(V311, 0x80), (V5, ReasonCode.TOPIC_FILTER_INVALID)])
def test_a_filter_of_too_many_levels_is_refused(version, code):
    client = VirtualServer(max_topic_levels=3).client("a", version)
    client.subscribe("a/b/c/d")
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
    old, new = server.client("a"), server.client("b", V5)
    server.broker.stop(server.now)
    server.settle()
    assert old.closed
    assert new.closed
    assert old.packets() == []
    assert new.expect(Disconnect).reason_code == ReasonCode.SERVER_SHUTTING_DOWN


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
