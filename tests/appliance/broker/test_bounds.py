"""To the byte and one by one: what a client may get, what waits, and what is counted."""

import pytest
from journal import RecordingJournal
from virtual import V5, V311, VirtualServer

from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag
from appliance.mqtt import codec
from appliance.mqtt.errors import TopicNameInvalid
from appliance.mqtt.packets import PingReq, PubAck, Publish, PubRel
from appliance.mqtt.properties import Properties
from appliance.mqtt.topics import check_topic_name
from appliance.mqtt.types import QoS

BOTH = [(publisher, reader) for publisher in (V311, V5) for reader in (V311, V5)]


def recorded(topic):
    return RouteFlag.RECORD if topic.startswith("r/") else RouteFlag.NONE


@pytest.mark.parametrize(("publisher", "reader"), BOTH)
def test_a_run_with_names_and_payloads_of_any_length_arrives_whole(publisher, reader):
    server = VirtualServer()
    one, other = server.client("publisher", publisher), server.client("reader", reader).subscribe("#")
    other.packets()
    packets = [("t" * topic, b"x" * payload) for topic in (1, 127, 255, 256, 300) for payload in (0, 100, 128, 17_000)]
    for _ in range(2):
        one.send(b"".join(codec.encode(Publish(topic, payload), publisher) for topic, payload in packets))
        assert other.messages() == [(topic, payload, 0) for topic, payload in packets]


def size_of(topic, payload, version=V5, qos=0):
    return len(codec.encode(Publish(topic, payload, QoS(qos), packet_id=1 if qos else None), version))


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("length", [90, 119, 120, 121, 122, 123, 124, 125, 126, 127, 128, 300, 17_000])
def test_a_client_gets_what_is_just_as_large_as_it_takes(qos, length):  # [MQTT-3.1.2-24]
    """First message by message, then in a run."""
    limit = size_of("t", bytes(length), qos=qos)
    server = VirtualServer(max_packet_bytes=100_000)
    reader = server.client("reader", V5, properties=Properties(maximum_packet_size=limit)).subscribe("t", qos=qos)
    reader.packets()
    for version in (V311, V5):
        writer = server.client("writer", version)
        for _ in range(2):
            fits = Publish("t", bytes(length), QoS(qos), packet_id=1 if qos else None)
            larger = Publish("t", bytes(length + 1), QoS(qos), packet_id=2 if qos else None)
            before = server.broker.stats.dropped["larger than the client takes"]
            sent = server.broker.stats.publish_sent
            writer.send(b"".join(codec.encode(packet, version) for packet in (fits, larger, fits, larger)))
            assert {len(payload) for _, payload, _ in reader.messages()} == {length}
            copies = 1 if qos == 2 else 2  # the same packet id again
            assert server.broker.stats.dropped["larger than the client takes"] - before == copies
            assert server.broker.stats.publish_sent - sent == copies
            reader.connection.session.in_flight.clear()
            writer.connection.session.incoming.clear()


def test_a_message_is_recorded_as_it_is_on_the_fast_way_too():
    book = RecordingJournal()
    server = VirtualServer(journal=book, classify=recorded)
    for version in (V311, V5):
        client = server.client("writer", version)
        for _ in range(2):
            client.publish("r/x", b"1")
    told = [(m.topic, m.payload, m.qos, m.retain, m.properties, m.expires_at, m.client_id) for m in book.messages]
    assert told == [("r/x", b"1", 0, False, b"", None, "writer")] * 4
    assert all(type(message.retain) is bool for message in book.messages)
    assert book.flags == [RouteFlag.RECORD] * 4


def test_what_is_dropped_is_counted_one_by_one():
    server = VirtualServer(max_queued_messages=1, max_retained_messages=1)
    writer = server.client("writer", V5)
    for number in range(4):
        writer.publish(f"r/{number}", b"x", retain=True)
    assert server.broker.stats.dropped["no room to retain"] == 3
    server.client("away", V5, properties=Properties(session_expiry_interval=60)).subscribe("q", qos=1).lose()
    for packet_id in range(1, 5):
        writer.publish("q", qos=1, packet_id=packet_id)
    assert server.broker.stats.dropped["queue full"] == 3


def test_a_queue_that_was_emptied_takes_as_many_bytes_again():
    """Topic, payload and properties count, when they come and when they go."""
    properties = Properties(content_type="text")
    server = VirtualServer(max_queued_bytes=60, max_inflight=1)
    reader = server.client("reader", V5, properties=Properties(session_expiry_interval=60)).subscribe("t", qos=1)
    reader.packets()
    writer = server.client("writer", V5)
    for _ in range(3):
        for packet_id in range(1, 6):
            writer.publish("t", b"0123456789", qos=1, packet_id=packet_id, properties=properties)
        got = 0
        while packets := [packet for packet in reader.packets() if isinstance(packet, Publish)]:
            got += len(packets)
            for packet in packets:
                reader.send(PubAck(packet.packet_id))
        assert got == 4  # one in flight, and three of 1 + 10 + 7 bytes
        assert reader.connection.session.queued_bytes == 0


def test_a_conversation_is_counted_packet_by_packet():
    """Three times each kind, so that no counter is merely set."""
    server = VirtualServer()
    stats = server.broker.stats
    client = server.client("c", V5, clean_start=True)
    received, sent = stats.others_received, stats.others_sent
    for number in (1, 2, 3):
        client.subscribe(f"t/{number}", qos=2)
    for qos in range(3):
        for packet_id in (1, 2, 3):
            client.publish(f"t/{packet_id}", b"x", qos=qos, packet_id=packet_id if qos else None)
    client.send(b"".join(codec.encode(Publish("t/1", b"run"), V5) for _ in range(3)))
    for _ in range(3):
        client.send(PingReq())
    assert (stats.publish_received, stats.publish_sent) == (12, 12)
    assert stats.others_received == received + 6  # SUBSCRIBE and PINGREQ
    assert stats.others_sent == sent + 12  # their answers, and six receipts
    for packet_id in (1, 2, 3):
        client.send(PubRel(packet_id))
    assert (stats.others_received, stats.others_sent) == (received + 9, sent + 15)
    assert stats.bytes_received > 0
    before = stats.bytes_received
    client.send(PingReq())
    assert stats.bytes_received == before + 2
    for number in range(3):
        server.client(f"brief {number}", V5, properties=Properties(session_expiry_interval=5)).lose()
    assert stats.connections_total == 4
    assert (stats.clients_now, stats.sessions_now) == (1, 4)
    server.advance(6)
    assert (stats.clients_now, stats.sessions_now) == (1, 1)
    received = stats.publish_received
    for _ in range(3):
        server.broker.publish(Message("ours", b"x"), server.now)
    server.broker.publish(Message("$SYS/x", b"x"), server.now)  # our own figures are nobody's message
    assert stats.publish_received == received + 3


@pytest.mark.parametrize(
    ("length", "shown"),
    [(79, "a" * 78 + "#"), (80, "a" * 79 + "#"), (81, "a" * 80 + "\\u2026"), (200, "a" * 80 + "\\u2026")],
)
def test_a_long_name_is_shown_by_its_first_80_letters(length, shown):
    with pytest.raises(TopicNameInvalid) as caught:
        check_topic_name("a" * (length - 1) + "#")
    assert str(caught.value) == f"the topic name '{shown}' contains a wildcard"


@pytest.mark.parametrize("publisher", [V311, V5])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_link_stands_once_on_the_list_of_those_to_flush(publisher, qos):
    """However much is put on it, and by whichever way: delivery, replay, answers."""
    server = VirtualServer()
    writer = server.client("writer", publisher)
    writer.publish("kept", retain=True).publish("t")
    for topic_filter in ("t", "kept"):
        reader = server.client("reader", V5).subscribe(topic_filter, qos=qos)
        reader.reads = False
        for packet_id in (1, 2, 3):
            writer.publish("t", b"x", qos=qos, packet_id=packet_id if qos else None)
            reader.send(PingReq())
            reader.subscribe(topic_filter, qos=qos)
        assert server.broker.dirty.count(reader.connection) == 1
        assert reader.connection.dirty is True
        reader.reads = True
        server.settle()
