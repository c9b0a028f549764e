"""What waits for the disk, and what does not: acknowledged means on disk, answer by answer."""

import pytest
from journal import RecordingJournal
from virtual import V5, V311, VirtualServer

from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag
from appliance.broker.session import Session
from appliance.broker.topictree import Grant
from appliance.mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    UnsubAck,
    Unsubscribe,
    Will,
)
from appliance.mqtt.properties import Properties
from appliance.mqtt.types import QoS, ReasonCode


def recorded(topic):
    return RouteFlag.RECORD if topic == "r" else RouteFlag.NONE


class House:
    def __init__(self, **options):
        self.server = VirtualServer(journal=RecordingJournal(), classify=recorded, **options)
        self.commit = self.server.commit

    def lasting(self, client_id, version=V5, topic_filter=None, qos=2):
        properties = Properties(session_expiry_interval=100) if version is V5 else Properties()
        client = self.server.client(client_id, version, clean_start=False, properties=properties)
        if topic_filter:
            client.subscribe(topic_filter, qos)
        self.commit()
        client.packets()
        return client


def waits(house, client, *kinds):
    """Whether exactly this comes with the next commit, and not before."""
    before = client.packets()
    house.commit()
    return before == [] and [type(packet) for packet in client.packets()] == list(kinds)


@pytest.mark.parametrize("version", [V311, V5])
def test_answers_with_a_durable_effect_wait(version):
    house = House()
    client = house.lasting("a", version)
    client.subscribe("x", 1)
    assert waits(house, client, SubAck)
    client.publish("x", qos=2, packet_id=9)
    kinds = {type(packet) for packet in client.packets()}
    assert kinds == {Publish}  # of QoS 1, live
    assert waits(house, client, PubRec)
    client.send(PubRel(9))
    assert waits(house, client, PubComp)
    client.send(Unsubscribe(3, ("x",)))
    assert waits(house, client, UnsubAck)
    client.publish("r", qos=1)
    assert waits(house, client, PubAck)
    client.publish("kept", qos=1, retain=True)
    assert waits(house, client, PubAck)


def test_answers_without_one_do_not_wait():
    house = House()
    house.server.journal.note("something of another client")
    client = house.server.client("a", V5)
    client.subscribe("x", 1)
    assert type(client.packets()[0]) is SubAck
    client.publish("y", qos=1, packet_id=2).publish("x", qos=2, packet_id=3)
    assert [type(packet) for packet in client.packets()] == [PubAck, Publish, PubRec]
    client.send(PubRel(3))
    client.send(Unsubscribe(3, ("x",)))
    assert [type(packet) for packet in client.packets()] == [PubComp, UnsubAck]
    lasting = house.lasting("b")
    lasting.publish("y", qos=1)
    assert [type(packet) for packet in lasting.packets()] == [PubAck]


def test_they_wait_behind_earlier_ones_of_their_link():
    house = House()
    client, other = house.server.client("a"), house.server.client("b")
    client.publish("r", qos=1, packet_id=1).publish("y", qos=1, packet_id=2)
    client.send(PingReq())
    other.publish("y", qos=1)
    assert [type(packet) for packet in client.packets()] == [PingResp]
    assert [type(packet) for packet in other.packets()] == [PubAck]
    house.commit()
    assert [packet.packet_id for packet in client.packets()] == [1, 2]


@pytest.mark.parametrize("reader_qos", [1, 2])
def test_a_message_to_a_durable_session_waits_only_where_it_is_of_qos_2(reader_qos):
    house = House()
    reader = house.lasting("reader", V5, "x", reader_qos)
    writer = house.server.client("writer")
    writer.publish("x", qos=2, packet_id=1)
    if reader_qos == 2:
        sent, others = house.server.broker.stats.publish_sent, house.server.broker.stats.others_sent
        assert waits(house, reader, Publish)
        assert (house.server.broker.stats.publish_sent, house.server.broker.stats.others_sent) == (sent, others)
    else:
        assert [type(packet) for packet in reader.packets()] == [Publish]
        assert waits(house, writer, PubRec)


def test_messages_keep_their_order_where_one_of_them_waits():  # [MQTT-4.6.0-6]
    house = House()
    reader = house.lasting("reader", V5, "x", 2)
    writer = house.server.client("writer")
    for number, qos in enumerate((1, 2, 1, 0), start=1):
        writer.publish("x", b"%d" % number, qos=qos, packet_id=number if qos else None)
    assert [packet.payload for packet in reader.packets()] == [b"1", b"4"]  # QoS 0 has no order to keep with others
    house.commit()
    assert [packet.payload for packet in reader.packets()] == [b"2", b"3"]


def test_a_message_of_qos_1_does_not_wait_behind_acknowledgements():
    house = House()
    reader = house.lasting("reader", V5, "x", 1)
    reader.publish("r", qos=1, packet_id=5)
    house.server.client("writer").publish("x", b"1", qos=1)
    assert [type(packet) for packet in reader.packets()] == [Publish]
    assert waits(house, reader, PubAck)


def test_what_is_sent_again_waits_until_its_id_is_on_disk():
    house = House()
    reader = house.lasting("reader", V5, "x", 2)
    house.server.client("writer").publish("x", b"1", qos=2, packet_id=1)
    reader.lose()
    again = house.server.client("reader", V5, clean_start=False, properties=Properties(session_expiry_interval=100))
    assert again.resumed == []
    house.commit()
    assert [(packet.payload, packet.dup) for packet in again.packets()] == [(b"1", True)]
    again.send(PubRec(1))
    again.lose()
    third = house.server.client("reader", V5, clean_start=False, properties=Properties(session_expiry_interval=100))
    assert third.resumed == []
    house.commit()
    assert third.packets() == [PubRel(1)]
    third.lose()
    assert house.lasting("reader").packets() == []
    last = house.server.client("reader", V5, clean_start=False, properties=Properties(session_expiry_interval=100))
    assert last.resumed == [PubRel(1)]  # on disk already


def test_what_is_asked_again_is_answered_when_the_first_answer_could_be():
    house = House()
    client = house.lasting("a").publish("x", qos=2, packet_id=7)
    client.lose()
    client = house.server.client("a", V5, clean_start=False, properties=Properties(session_expiry_interval=100))
    client.publish("x", qos=2, packet_id=7, dup=True)
    assert waits(house, client, PubRec)
    client.publish("x", qos=2, packet_id=7, dup=True)
    assert [type(packet) for packet in client.packets()] == [PubRec]
    client.send(PubRel(7))
    client.lose()
    client = house.server.client("a", V5, clean_start=False, properties=Properties(session_expiry_interval=100))
    client.send(PubRel(7))
    assert client.packets() == []
    house.commit()
    assert client.expect(PubComp).reason_code == ReasonCode.PACKET_IDENTIFIER_NOT_FOUND
    client.send(PubRel(7))
    assert client.expect(PubComp).reason_code == ReasonCode.PACKET_IDENTIFIER_NOT_FOUND


def test_groups_let_go_of_what_is_theirs():
    house = House()
    client = house.server.client("a")
    for number in (1, 2, 3):
        client.publish("r", qos=1, packet_id=number)
        house.server.journal.close()
    assert house.server.broker.waiting() == 1
    house.commit(1)
    assert client.expect(PubAck).packet_id == 1
    house.commit()
    assert [packet.packet_id for packet in client.packets()] == [2, 3]
    assert (house.server.broker.waiting(), house.server.broker.gate.released) == (0, 1)


@pytest.mark.parametrize("size", [10, 20_000])
def test_what_waits_is_bounded_and_goes_on_by_itself(size):
    house = House(max_inflight=65_535, max_output_bytes=50_000)
    reader = house.lasting("reader", V5, "x", 2)
    writer = house.server.client("writer")
    for number in range(1, 21):
        writer.publish("x", b"%02d" % number + bytes(size), qos=2, packet_id=number)
    assert reader.connection.held_bytes <= 50_000 + 2 * size + 100
    assert (len(reader.connection.session.queue) > 0) is (size > 1_000)
    got = []
    for _ in range(20):
        house.commit()
        got += [packet.payload[:2] for packet in reader.packets()]
    assert got == [b"%02d" % number for number in range(1, 21)]
    assert (reader.connection.held_bytes, reader.connection.held_messages) == (0, 0)


def test_one_call_takes_a_message_that_no_session_holds():
    class Counting(RecordingJournal):
        calls = 0

        def append(self, *arguments):
            self.calls += 1
            super().append(*arguments)

        def take_number(self):
            raise AssertionError

        note = take_key = take_number

    journal = Counting()
    server = VirtualServer(journal=journal, classify=recorded)
    reader = server.client("reader").subscribe("#", 2)
    writer = server.client("writer")
    for topic, qos, calls in (("x", 1, 0), ("x", 2, 0), ("r", 0, 1), ("r", 1, 2), ("r", 2, 3)):
        writer.publish(topic, qos=qos, packet_id=qos + 10 * calls if qos else None)
        assert journal.calls == calls
    assert len(reader.packets()) == 6


def test_what_waits_sets_no_alias_for_what_does_not():
    house = House()
    properties = Properties(session_expiry_interval=100, topic_alias_maximum=5)
    reader = house.server.client("reader", V5, clean_start=False, properties=properties).subscribe("x", 2)
    house.commit()
    reader.packets()
    house.server.client("writer").publish("x", b"1", qos=2, packet_id=1).publish("x", b"2")
    assert [(packet.topic, packet.payload) for packet in reader.packets()] == [("x", b"2")]
    house.commit()
    assert [(packet.topic, packet.payload) for packet in reader.packets()] == [("x", b"1")]


@pytest.mark.parametrize("version", [V311, V5])
@pytest.mark.parametrize("qos", [1, 2])
def test_who_replaces_a_last_message_by_one_too_large_to_keep_is_answered_when_the_old_one_is_gone(version, qos):
    house = House(max_retained_bytes=2_000)
    writer = house.server.client("writer", version).publish("x", b"old", retain=True)
    house.commit()
    writer.publish("x", bytes(2_000), qos=qos, retain=True)
    assert waits(house, writer, PubAck if qos == 1 else PubRec)
    house.server.crash_and_restart()
    assert house.server.broker.router.retained.peek("x") is None


def test_what_a_reader_inside_the_process_publishes_in_turn_hurries_no_answer():
    house = House()
    house.lasting("reader", V5, "#", qos=1)
    broker, now = house.server.broker, house.server.now
    inside = Session("inside")
    inside.deliver = lambda message: broker.publish(Message("echo", message.payload), now)
    broker.router.subscribe(inside, "x", Grant(0), 2)
    writer = house.server.client("writer").publish("x", qos=1)
    assert waits(house, writer, PubAck)


@pytest.mark.parametrize("reason", [0x83, 0x97])
def test_the_id_of_a_message_that_a_reader_refused_is_free_on_disk_too(reason):  # MQTT 5 §4.3
    house = House(max_inflight=1)
    reader = house.lasting("reader", V5, "x", qos=2)
    writer = house.server.client("writer")
    for number in (1, 2):
        writer.publish("x", b"%d" % number, qos=2, packet_id=number)
    house.commit()
    assert [packet.packet_id for packet in reader.packets()] == [1]
    reader.send(PubRec(1, reason))
    house.commit()
    assert [packet.payload for packet in reader.packets()] == [b"2"]
    house.server.crash_and_restart()
    again = house.server.client("reader", V5, clean_start=False, properties=Properties(session_expiry_interval=100))
    assert [packet.payload for packet in again.resumed] == [b"2"]


@pytest.mark.parametrize("qos", [1, 2])
def test_what_has_become_too_large_for_its_reader_is_over_on_disk_too(qos):  # [MQTT-3.1.2-25]
    house = House()
    house.lasting("reader", V5, "x", qos=qos)
    house.server.client("writer").publish("x", bytes(100), qos=2)
    house.commit()
    house.server.crash_and_restart()
    properties = Properties(session_expiry_interval=100, maximum_packet_size=90)
    assert house.server.client("reader", V5, clean_start=False, properties=properties).resumed == []
    house.commit()
    house.server.crash_and_restart()
    assert not house.server.broker.sessions["reader"].in_flight


def test_a_message_of_qos_2_that_is_refused_leaves_no_id_behind():
    house = House()
    writer = house.lasting("writer")
    packet = {"qos": 2, "packet_id": 7, "properties": Properties(payload_format_indicator=1)}
    writer.publish("x", b"\xff", **packet)
    assert writer.expect(PubRec).reason_code == ReasonCode.PAYLOAD_FORMAT_INVALID
    house.commit()
    house.server.crash_and_restart()
    assert house.server.broker.sessions["writer"].incoming == set()


def test_who_leaves_a_group_is_told_when_that_is_on_disk():
    house = House()
    reader = house.lasting("reader", V5, "$share/g/x", qos=1)
    reader.send(Unsubscribe(3, ("$share/g/x",)))
    assert waits(house, reader, UnsubAck)
    house.server.crash_and_restart()
    assert house.server.broker.router.groups == {}
    house.server.client("writer").publish("x", qos=1)
    assert not house.server.broker.sessions["reader"].queue


def test_a_goodbye_that_ends_the_session_ends_it_with_its_will():
    house = House()
    will = Will("w", b"lost", QoS(1), retain=True, properties=Properties(will_delay_interval=50))
    properties = Properties(session_expiry_interval=100)
    client = house.server.client("a", V5, clean_start=False, properties=properties, will=will)
    house.commit()
    client.send(Disconnect(properties=Properties(session_expiry_interval=0)))
    house.commit()
    house.server.crash_and_restart()
    house.server.advance(200)
    assert not house.server.broker.sessions
    assert not house.server.broker.router.retained.peek("w")


@pytest.mark.parametrize("taken_over", [False, True])
def test_a_clean_start_tells_the_will_that_waited_and_its_connack_waits_for_both(taken_over):
    house = House()
    will = Will("w", b"lost", QoS(1), retain=True, properties=Properties(will_delay_interval=50))
    properties = Properties(session_expiry_interval=100)
    first = house.server.client("a", V5, clean_start=False, properties=properties, will=will)
    house.commit()
    if not taken_over:
        first.lose()
        house.commit()
    link = house.server.link(V5)
    link.send(Connect("a", version=V5))
    assert waits(house, link, ConnAck)
    house.server.crash_and_restart()
    assert house.server.broker.router.retained.peek("w").payload == b"lost"
    house.server.advance(100)
    assert len(house.server.journal.messages) == 1  # told once
