"""What leaves for a client at once, what waits, and in which form."""

import pytest
from virtual import V5, V311, VirtualServer, pair

from appliance.mqtt import codec
from appliance.mqtt.packets import PubAck, Publish
from appliance.mqtt.properties import Properties

BOTH = [(publisher, reader) for publisher in (V311, V5) for reader in (V311, V5)]


@pytest.mark.parametrize(("publisher", "reader"), BOTH)
def test_a_run_of_packets_arrives_in_order_whole(publisher, reader):
    server, one, other = pair(publisher, reader)
    third = server.client("third", V5 if reader is V311 else V311).subscribe("b/#")
    third.packets()
    packets = [("a", b"1"), ("b/x", b"2" * 200), ("b/y", b"3"), ("a", b""), ("c/d", b"5" * 20_000), ("a", b"6")]
    for _ in range(2):  # the second time every route is known and runs are formed
        one.send(b"".join(codec.encode(Publish(topic, payload), publisher) for topic, payload in packets))
        assert other.messages() == [(topic, payload, 0) for topic, payload in packets]
        assert third.messages() == [("b/x", b"2" * 200, 0), ("b/y", b"3", 0)]


def test_a_run_is_forwarded_as_one_slice():
    server, one, other = pair()
    one.publish("a").publish("b")
    other.packets()
    other.reads = False
    run = b"".join(codec.encode(Publish(topic, b"%d" % n), V311) for n, topic in enumerate("abab"))
    one.send(run)
    assert server.broker.stats.publish_sent == 6
    assert other.connection.output == [run]


def test_ten_thousand_retained_messages_come_as_the_client_takes_them():
    server, one, _ = pair(topic_filter="nothing", max_retained_bytes=100_000_000)
    for number in range(10_000):
        one.publish(f"a/{number}", b"x" * 100, retain=True)
    late = server.client("late")
    late.reads = False
    late.subscribe("a/#")
    assert late.connection.backlog < 200_000
    late.reads = True
    server.settle()
    assert len({packet.topic for packet in late.packets()[1:]}) == 10_000


def test_properties_travel_to_mqtt_5_and_not_to_3_1_1():
    server, one, old = pair(V5, V311, qos=1)
    new = server.client("new", V5).subscribe("#", qos=1)
    new.packets()
    properties = Properties(
        user_property=(("agent", "attic"), ("seq", "1841")),
        content_type="text/plain",
        response_topic="answers/here",
        correlation_data=b"\0\1",
        payload_format_indicator=1,
    )
    one.publish("a", b"1", qos=1, properties=properties)
    assert new.packets()[0].properties == properties
    assert old.packets()[0].properties == Properties()


def test_message_expiry_counts_down():  # [MQTT-3.3.2-5], [MQTT-3.3.2-6]
    server, one, _ = pair(V5, topic_filter="nothing")
    one.publish("a", b"1", retain=True, properties=Properties(message_expiry_interval=30, content_type="x"))
    server.advance(10.5)
    client = server.client("late", V5).subscribe("a")
    assert client.packets()[1].properties == Properties(message_expiry_interval=20, content_type="x")  # 10 s waited
    server.advance(20)
    client = server.client("later", V5).subscribe("a")
    assert len(client.packets()) == 1
    client = server.client("older", V311).subscribe("a")
    assert len(client.packets()) == 1


def test_a_message_of_one_second_is_delivered_while_the_second_lasts():
    server, one, _ = pair(V5, topic_filter="nothing")
    one.publish("a", b"1", retain=True, properties=Properties(message_expiry_interval=1))
    server.advance(0.9)
    for version, expiry_s in ((V5, 1), (V311, None)):
        message = server.client(f"late {version}", version).subscribe("a").packets()[1]
        assert message.properties == Properties(message_expiry_interval=expiry_s)


def test_a_queued_message_expires_too():
    server = VirtualServer()
    for version, client_id in ((V311, "old"), (V5, "new")):
        properties = Properties(session_expiry_interval=1000) if version is V5 else Properties()
        client = server.client(client_id, version, clean_start=False, properties=properties)
        client.subscribe("a", qos=1)
        client.lose()
    publisher = server.client("publisher", V5)
    publisher.publish("a", b"short", qos=1, properties=Properties(message_expiry_interval=5))
    publisher.publish("a", b"long", qos=1)
    server.advance(6)
    assert [p.payload for p in server.client("old", clean_start=False).resumed] == [b"long"]
    assert [p.payload for p in server.client("new", V5, clean_start=False).resumed] == [b"long"]
    assert server.broker.stats.dropped["expired"] == 2


def test_what_was_sent_once_is_sent_again_whatever_its_age():  # [MQTT-4.4.0-1]; its id may not stand for another yet
    server = VirtualServer()
    keep = {"clean_start": False, "properties": Properties(session_expiry_interval=1000)}
    client = server.client("a", V5, **keep).subscribe("a", qos=2)
    publisher = server.client("publisher", V5)
    for qos in (1, 2):
        publisher.publish("a", qos=qos, properties=Properties(message_expiry_interval=30))
    assert [packet.properties.message_expiry_interval for packet in client.packets()[1:]] == [30, 30]
    for waited_s, left_s in ((10, 20), (30, 0)):
        client.lose()
        server.advance(waited_s)
        client = server.client("a", V5, **keep)
        again = [(packet.packet_id, packet.dup, packet.properties.message_expiry_interval) for packet in client.resumed]
        assert again == [(1, True, left_s), (2, True, left_s)]
    assert server.broker.stats.dropped == {}


@pytest.mark.parametrize("version", [V311, V5])
def test_a_life_of_nothing_is_for_who_is_there(version):
    server = VirtualServer()
    here = server.client("here", version).subscribe("a", qos=1)
    keep = {"clean_start": False}
    server.client("away", **keep).subscribe("a", qos=1).lose()
    here.packets()
    server.client("p", V5).publish("a", qos=1, retain=True, properties=Properties(message_expiry_interval=0))
    assert len(here.packets()) == 1
    server.advance(0.1)
    assert server.client("away", **keep).resumed == []
    late = server.client("late", version).subscribe("a")
    assert len(late.packets()) == 1  # the SUBACK


def test_a_client_gets_nothing_larger_than_it_takes():  # [MQTT-3.1.2-24], [MQTT-3.1.2-25]
    server = VirtualServer()
    client = server.client("small", V5, properties=Properties(maximum_packet_size=50)).subscribe("#", qos=1)
    client.packets()
    publisher = server.client("publisher")
    publisher.publish("a", bytes(100), qos=1).publish("a", b"fits", qos=1)
    for _ in range(2):
        publisher.send(
            b"".join(codec.encode(Publish("a", payload), V311) for payload in (b"1" * 20, bytes(60), b"3" * 20))
        )
    assert [payload for _, payload, _ in client.messages()] == [b"fits"] + [b"1" * 20, b"3" * 20] * 2
    assert server.broker.stats.dropped["larger than the client takes"] == 3


def test_no_more_in_flight_than_the_client_allows():  # [MQTT-3.3.4-9]
    server = VirtualServer()
    client = server.client("five", V5, properties=Properties(receive_maximum=2)).subscribe("a", qos=1)
    client.packets()
    publisher = server.client("publisher")
    for number in range(5):
        publisher.publish("a", b"%d" % number, qos=1, packet_id=1)
    first = client.packets()
    assert [packet.payload for packet in first] == [b"0", b"1"]
    client.send(PubAck(first[0].packet_id))
    assert [packet.payload for packet in client.packets()] == [b"2"]


def test_ids_start_at_one_and_count_up():
    _, one, other = pair(qos=1)
    for _ in range(3):
        one.publish("a", qos=1)
    assert [packet.packet_id for packet in other.packets()] == [1, 2, 3]


def test_ids_wrap_and_pass_over_those_in_flight():
    server, one, other = pair(qos=1)
    one.publish("a", qos=1)
    session = server.broker.sessions["reader"]
    session.next_packet_id = 65_535
    one.publish("a", qos=1).publish("a", qos=1)
    assert [packet.packet_id for packet in other.packets()] == [1, 65_535, 2]


def test_a_queue_is_bounded_in_messages_and_in_bytes():
    server = VirtualServer(max_queued_messages=3, max_queued_bytes=2_000)
    for client_id, topic in (("many", "m"), ("large", "l")):
        server.client(client_id, clean_start=False).subscribe(topic, qos=1).lose()
    publisher = server.client("publisher")
    for number in range(5):
        publisher.publish("m", b"%d" % number, qos=1)
        publisher.publish("l", bytes(900), qos=1)
    assert [p.payload for p in server.client("many", clean_start=False).resumed] == [b"0", b"1", b"2"]
    assert len(server.client("large", clean_start=False).resumed) == 2
    assert server.broker.stats.dropped["queue full"] == 5


def test_messages_whose_time_is_over_keep_no_other_out_of_a_full_queue():  # [MQTT-3.3.2-5]
    server = VirtualServer(max_queued_messages=3)
    server.client("away", clean_start=False).subscribe("a", qos=1).lose()
    publisher = server.client("publisher", V5)
    soon, later = Properties(message_expiry_interval=5), Properties(message_expiry_interval=60)
    for payload, properties in ((b"1", soon), (b"2", later), (b"3", soon), (b"4", later)):
        publisher.publish("a", payload, qos=1, properties=properties)
    server.advance(6)
    for payload in (b"5", b"6", b"7"):
        publisher.publish("a", payload, qos=1)
    assert [p.payload for p in server.client("away", clean_start=False).resumed] == [b"2", b"5", b"6"]
    assert server.broker.stats.dropped == {"queue full": 2, "expired": 2}


def test_a_client_that_never_reads_costs_itself_bounded_memory_and_nobody_anything():
    server, one, stuck = pair(max_output_bytes=10_000, max_queued_bytes=20_000)
    fine = server.client("fine").subscribe("#")
    fine.packets()
    stuck.reads = False
    stuck.subscribe("#", qos=0)
    for _ in range(100):
        one.publish("a", bytes(1_000))
        one.publish("b", bytes(1_000), qos=1)
    assert len(fine.packets()) == 200
    assert stuck.connection.backlog <= 12_000
    assert server.broker.stats.dropped["slow client"] > 150


def test_a_slow_reader_gets_all_of_qos_1_later():
    server, one, slow = pair(qos=1, max_output_bytes=5_000)
    slow.reads = False
    for number in range(50):
        one.publish("a", b"%4d" % number + bytes(996), qos=1)
    slow.reads = True
    server.settle()
    seen = []
    while packets := slow.packets():
        for packet in packets:
            seen.append(int(packet.payload[:4]))
            slow.send(PubAck(packet.packet_id))
    assert seen == list(range(50))
