"""A message's life is counted down wherever it waits, and by whichever way it goes on. [MQTT-3.3.2-6]"""

import pytest
from virtual import V5, V311, VirtualServer

from appliance.broker.message import Message
from appliance.mqtt import codec
from appliance.mqtt.packets import ConnAck, Connect, Disconnect, PubAck, PubComp, Publish, PubRec, PubRel, Will
from appliance.mqtt.properties import Properties
from appliance.mqtt.types import QoS, ReasonCode

LIFE_S, WAITED_S = 100, 30


def published(topic, payload=b"x", qos=1, packet_id=1, **fields):
    properties = Properties(message_expiry_interval=LIFE_S)
    return Publish(topic, payload, QoS(qos), packet_id=packet_id if qos else None, properties=properties, **fields)


def left(client):
    """What is left of the messages that arrived, by payload."""
    return {
        packet.payload: packet.properties.message_expiry_interval
        for packet in client.packets()
        if isinstance(packet, Publish)
    }


def reader_with_one_in_flight(server, qos=1, version=V5):
    """Its window is full, and another message waits behind."""
    reader = server.client("reader", version, properties=Properties(receive_maximum=1, session_expiry_interval=900))
    reader.subscribe("t", qos=qos)
    writer = server.client("writer", V5)
    writer.send(published("t", b"first", qos=qos))
    writer.send(published("t", b"behind", qos=qos, packet_id=2))
    assert left(reader) == {b"first": LIFE_S}
    server.advance(WAITED_S)
    return reader


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_message_that_does_not_wait_has_all_of_its_life(qos):
    server = VirtualServer()
    reader = server.client("reader", V5).subscribe("t", qos=2)
    server.client("writer", V5).send(published("t", qos=qos))
    assert left(reader) == {b"x": LIFE_S}


ANSWERS = [
    (1, [PubAck(1)], "acknowledged"),
    (1, [bytes.fromhex("4003000100")], "acknowledged at length"),
    (1, [bytes.fromhex("400400010000")], "acknowledged at greater length"),
    (1, [PubAck(1, ReasonCode.QUOTA_EXCEEDED)], "refused"),
    (2, [PubRec(1), PubComp(1)], "received and completed"),
    (2, [bytes.fromhex("5003000100"), bytes.fromhex("7003000100")], "the same at length"),
    (2, [PubRec(1, ReasonCode.UNSPECIFIED_ERROR)], "refused, [MQTT-4.9.0-2]"),
]


@pytest.mark.parametrize(("qos", "answers", "_how"), ANSWERS, ids=[how for _, _, how in ANSWERS])
def test_what_waits_for_the_window_is_counted_down(qos, answers, _how):
    server = VirtualServer()
    reader = reader_with_one_in_flight(server, qos)
    for answer in answers:
        reader.send(answer)
    assert left(reader) == {b"behind": LIFE_S - WAITED_S}


def test_what_waits_for_the_client_is_counted_down():
    server = VirtualServer()
    reader = reader_with_one_in_flight(server)
    reader.lose()
    server.advance(WAITED_S)
    back = server.client("reader", V5, clean_start=False, properties=Properties(session_expiry_interval=900))
    again = {packet.payload: packet for packet in back.resumed}
    assert again[b"first"].dup
    assert [packet.properties.message_expiry_interval for packet in again.values()] == [LIFE_S - 2 * WAITED_S] * 2


def test_what_waits_for_the_socket_is_counted_down():
    server = VirtualServer(max_output_bytes=1_000, max_inflight=500)
    reader = server.client("reader", V5).subscribe("t", qos=1)
    reader.packets()
    reader.reads = False
    writer = server.client("writer", V5)
    for packet_id in range(1, 41):
        writer.send(published("t", b"%d" % packet_id + bytes(60), packet_id=packet_id))
    server.advance(WAITED_S)
    reader.reads = True
    server.settle()
    lives = list(left(reader).values())
    assert len(lives) == 40
    assert set(lives) == {LIFE_S, LIFE_S - WAITED_S}
    assert lives == sorted(lives, reverse=True)


def test_what_is_retained_is_counted_down():
    server = VirtualServer()
    writer = server.client("writer", V5)
    for qos in range(3):
        writer.send(published(f"t/{qos}", b"%d" % qos, qos, packet_id=qos, retain=True))
    server.advance(WAITED_S)
    reader = server.client("reader", V5).subscribe("t/#", qos=2)
    assert left(reader) == {b"0": 70, b"1": 70, b"2": 70}
    server.advance(LIFE_S)
    assert left(server.client("late", V5).subscribe("t/#", qos=2)) == {}


def test_an_older_client_gets_it_while_it_lives():
    server = VirtualServer()
    writer = server.client("writer", V5)
    writer.send(published("t", retain=True))
    server.advance(LIFE_S - 1)
    assert [packet.payload for packet in server.client("a", V311).subscribe("t").packets()[1:]] == [b"x"]
    server.advance(2)
    assert server.client("b", V311).subscribe("t").packets()[1:] == []


def test_what_a_dead_member_of_a_group_had_is_counted_down():  # [MQTT-4.8.2-5]
    server = VirtualServer()
    one = server.client("one", V5).subscribe("$share/g/t", qos=1)
    server.client("writer", V5).send(published("t"))
    assert left(one) == {b"x": LIFE_S}
    other = server.client("other", V5).subscribe("$share/g/t", qos=1)
    server.advance(WAITED_S)
    one.lose()
    assert left(other) == {b"x": LIFE_S - WAITED_S}


# --- wills, told with all of their life ---


WILL = Will("will", b"gone", QoS.AT_LEAST_ONCE, properties=Properties(message_expiry_interval=LIFE_S))


def lose(_server, client):
    client.lose()


def be_taken_over(server, _client):
    server.client("mortal", V5)


def fall_silent(server, client):
    server.advance(client.server.broker.next_deadline() - server.now)


def break_the_protocol(_server, client):
    client.send(b"\x00\x00")


def leave_with_will(_server, client):
    client.send(Disconnect(ReasonCode.DISCONNECT_WITH_WILL))


def see_the_server_stop(server, _client):
    server.broker.stop(server.now)


@pytest.mark.parametrize("end", [lose, be_taken_over, fall_silent, break_the_protocol, leave_with_will])
def test_a_will_is_told_with_all_of_its_life(end):
    server = VirtualServer()
    witness = server.client("witness", V5, keep_alive_s=0).subscribe("will", qos=1)
    mortal = server.client("mortal", V5, keep_alive_s=10, will=WILL)
    server.advance(5)
    end(server, mortal)
    assert left(witness) == {b"gone": LIFE_S}


def test_a_will_that_is_told_at_the_end_waits_for_whoever_comes_later():
    server = VirtualServer()
    away = server.client("away", V5, properties=Properties(session_expiry_interval=900)).subscribe("will", qos=1)
    server.client("mortal", V5, keep_alive_s=10, will=WILL)
    away.lose()
    see_the_server_stop(server, None)
    server.settle()
    server.advance(WAITED_S)
    back = server.client("away", V5, clean_start=False)
    assert [packet.properties.message_expiry_interval for packet in back.resumed] == [LIFE_S - WAITED_S]


@pytest.mark.parametrize("delay_s", [1, 7])
def test_a_will_that_waits_begins_its_life_when_it_is_told(delay_s):
    server = VirtualServer()
    witness = server.client("witness", V5, keep_alive_s=0).subscribe("will", qos=1)
    properties = Properties(will_delay_interval=delay_s, message_expiry_interval=LIFE_S)
    will = Will("will", b"gone", properties=properties)
    server.client("mortal", V5, will=will, properties=Properties(session_expiry_interval=900)).lose()
    server.advance(delay_s - 0.5)
    assert left(witness) == {}
    server.advance(0.5)
    assert left(witness) == {b"gone": LIFE_S}


def test_a_message_of_our_own_has_a_life_too():
    server = VirtualServer()
    reader = server.client("reader", V5).subscribe("ours")
    message = Message("ours", b"x", retain=True, expires_at=server.now + LIFE_S)
    server.broker.publish(message, server.now)
    server.settle()
    assert left(reader) == {b"x": LIFE_S}
    server.advance(WAITED_S)
    assert left(server.client("late", V5).subscribe("ours")) == {b"x": LIFE_S - WAITED_S}


def test_what_came_with_the_connect_has_its_life():
    """Bytes behind a CONNECT wait until it is clear who sends them."""
    server = VirtualServer(answer=None)
    link = server.link(V5)
    link.send(codec.encode(Connect("c", version=V5), V5) + codec.encode(published("t", retain=True), V5))
    server.advance(1)
    server.broker.authenticated(link.connection, ReasonCode.SUCCESS, server.now)
    server.settle()
    connack, puback = link.packets()
    assert isinstance(connack, ConnAck)
    assert isinstance(puback, PubAck)
    server.answer = ReasonCode.SUCCESS
    server.advance(WAITED_S)
    assert left(server.client("late", V5).subscribe("t")) == {b"x": LIFE_S - WAITED_S}


def test_bad_bytes_behind_a_connect_close_the_link():
    server = VirtualServer(answer=None)
    witness = server.link(V5)
    witness.send(Connect("witness", version=V5))
    server.broker.authenticated(witness.connection, ReasonCode.SUCCESS, server.now)
    witness.subscribe("will", qos=1)
    link = server.link(V5)
    link.send(codec.encode(Connect("c", version=V5, will=WILL), V5) + b"\x00\x00")
    server.broker.authenticated(link.connection, ReasonCode.SUCCESS, server.now)
    server.settle()
    connack, goodbye = link.packets()
    assert connack.reason_code == 0
    assert goodbye.reason_code == ReasonCode.MALFORMED_PACKET
    assert link.closed
    assert left(witness) == {b"gone": LIFE_S}


@pytest.mark.parametrize(("at_connect", "at_goodbye", "kept_s"), [(5, 60, 60), (60, 5, 5), (60, 0, 0), (60, None, 60)])
def test_a_goodbye_may_change_how_long_the_session_lives(at_connect, at_goodbye, kept_s):  # §3.14.2.2.2
    for passed, present in ((kept_s - 1, True), (kept_s + 1, False)):
        server = VirtualServer()
        client = server.client("c", V5, properties=Properties(session_expiry_interval=at_connect))
        client.send(Disconnect(properties=Properties(session_expiry_interval=at_goodbye)))
        if passed > 0:
            server.advance(passed)
            back = server.client("c", V5, clean_start=False)
            assert back.connack.session_present is present


# --- QoS 2 with ids of two bytes and answers at length ---


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("packet_id", [1, 0x0100, 0x1234, 0xFFFF])
def test_a_client_releases_what_it_sent(packet_id, long):  # [MQTT-4.3.3-2]
    server = VirtualServer()
    reader = server.client("reader", V5).subscribe("t", qos=2)
    reader.packets()
    writer = server.client("writer", V5)
    for other in (packet_id, packet_id ^ 0x0200):
        writer.publish("t", b"%d" % other, qos=2, packet_id=other)
        assert writer.expect(PubRec).packet_id == other
        writer.publish("t", b"again", qos=2, packet_id=other, dup=True)
        assert writer.expect(PubRec).packet_id == other
    assert [payload for _, payload, _ in reader.messages()] == [b"%d" % packet_id, b"%d" % (packet_id ^ 0x0200)]
    release = b"\x62\x03" + packet_id.to_bytes(2, "big") + b"\0" if long else PubRel(packet_id)
    writer.send(release)
    assert writer.expect(PubComp) == PubComp(packet_id)
    writer.send(release)
    assert writer.expect(PubComp) == PubComp(packet_id, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)
    writer.publish("t", b"new", qos=2, packet_id=packet_id)
    assert [payload for _, payload, _ in reader.messages()] == [b"new"]


@pytest.mark.parametrize("version", [V311, V5])
@pytest.mark.parametrize("packet_id", [1, 0x0100, 0xFFFF])
def test_a_receipt_for_nothing_is_answered_so_that_the_client_can_let_go(version, packet_id):
    client = VirtualServer().client("c", version)
    client.send(PubRec(packet_id))
    reason = ReasonCode.PACKET_IDENTIFIER_NOT_FOUND if version is V5 else ReasonCode.SUCCESS
    assert client.expect(PubRel) == PubRel(packet_id, reason)
    client.send(PubComp(packet_id))
    client.send(PubAck(packet_id))
    assert client.packets() == []
    assert not client.closed


@pytest.mark.parametrize("long", [False, True])
def test_many_messages_of_qos_2_go_through_each_with_its_own_id(long):
    server = VirtualServer(max_inflight=600, max_packet_bytes=100_000)
    reader = server.client("reader", V5).subscribe("t", qos=2)
    reader.packets()
    writer = server.client("writer", V5)
    tail = b"\0" if long else b""
    for number in range(520):
        writer.publish("t", b"%d" % number, qos=2, packet_id=number + 1)
        writer.send(PubRel(number + 1))
    ids = [packet.packet_id for packet in reader.packets()]
    assert ids == list(range(1, 521))
    for packet_id in ids:
        reader.send(bytes((0x50, 2 + len(tail))) + packet_id.to_bytes(2, "big") + tail)
    assert [packet.packet_id for packet in reader.packets()] == ids
    for packet_id in ids:
        reader.send(bytes((0x70, 2 + len(tail))) + packet_id.to_bytes(2, "big") + tail)
    assert reader.connection.session.in_flight == {}
