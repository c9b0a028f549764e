"""Who receives what, in which form."""

import pytest
from virtual import V5, V311, VirtualServer

from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag
from appliance.mqtt import codec
from appliance.mqtt.packets import PubAck, Publish, Unsubscribe
from appliance.mqtt.properties import Properties
from appliance.mqtt.types import QoS

BOTH = [(publisher, reader) for publisher in (V311, V5) for reader in (V311, V5)]


def pair(publisher=V311, reader=V311, qos=0, topic_filter="#", **limits):
    server = VirtualServer(**limits)
    one, other = server.client("publisher", publisher), server.client("reader", reader)
    other.subscribe(topic_filter, qos=qos)
    other.packets()
    return server, one, other


@pytest.mark.parametrize(("publisher", "reader"), BOTH)
@pytest.mark.parametrize("published", [0, 1, 2])
@pytest.mark.parametrize("granted", [0, 1, 2])
def test_a_message_arrives_at_the_lower_qos(publisher, reader, published, granted):  # [MQTT-3.8.4-6]
    _, one, other = pair(publisher, reader, granted)
    one.publish("home/kitchen/temperature", "21,4 °C".encode(), qos=published)
    one.publish("home/kitchen/temperature", b"", qos=published, packet_id=2 if published else None)
    assert other.messages() == [
        ("home/kitchen/temperature", "21,4 °C".encode(), min(published, granted)),
        ("home/kitchen/temperature", b"", min(published, granted)),
    ]


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


@pytest.mark.parametrize(("publisher", "reader"), BOTH)
def test_retain_is_for_new_subscriptions_only(publisher, reader):  # [MQTT-3.3.1-8], [MQTT-3.3.1-9] of 3.1.1
    server, one, other = pair(publisher, reader, qos=1)
    one.publish("a/b", b"1", qos=1, retain=True)
    assert [packet.retain for packet in other.packets()] == [False]
    late = server.client("late", reader).subscribe("a/+", qos=1)
    suback, message = late.packets()
    assert suback.reason_codes == (1,)
    assert message.retain
    assert message.payload == b"1"


def test_subscribing_again_brings_the_retained_again():  # [MQTT-3.8.4-3]
    _, one, _ = pair()
    one.publish("a", b"1", retain=True)
    for _ in range(2):
        one.subscribe("a")
        assert [packet.payload for packet in one.packets()[1:]] == [b"1"]


def test_an_empty_retained_payload_forgets():  # [MQTT-3.3.1-10]
    server, one, other = pair()
    one.publish("a", b"1", retain=True).publish("a", b"", retain=True)
    assert [payload for _, payload, _ in other.messages()] == [b"1", b""]
    assert len(server.broker.router.retained) == 0


def test_a_retained_message_that_has_no_room_is_not_an_old_one_either():
    server, one, _ = pair(max_retained_bytes=1_024)
    one.publish("a", b"1", retain=True).publish("a", bytes(2_000), retain=True)
    assert len(server.broker.router.retained) == 0
    assert server.broker.stats.dropped["no room to retain"] == 1


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


def test_unsubscribing_ends_the_replay():  # [MQTT-3.10.4-2]
    server, one, _ = pair(topic_filter="nothing", max_inflight=1)
    for number in range(10):
        one.publish(f"a/{number}", b"1", retain=True, qos=1)
    one.publish("b", b"1", retain=True, qos=1)
    late = server.client("late").subscribe("a/#", qos=1).subscribe("b", qos=1)
    _, first, _ = late.packets()
    late.send(Unsubscribe(2, ("a/#",)))
    late.send(PubAck(first.packet_id))
    assert [packet.topic for packet in late.packets()[1:]] == ["b"]


def test_subscribing_over_and_over_costs_no_memory():
    server, one, _ = pair(topic_filter="nothing", max_inflight=1)
    for number in range(10):
        one.publish(f"a/{number}", b"1", retain=True, qos=1)
    late = server.client("late")
    for _ in range(100):
        late.subscribe("a/#", qos=1)
    assert len(server.broker.sessions["late"].replays) == 1


def test_a_replay_tells_the_value_of_its_moment():
    server, one, _ = pair(topic_filter="nothing")
    for number in range(2_000):  # more than is put on a link at once
        one.publish(f"a/{number}", b"old" * 50, retain=True)
    late = server.client("late")
    late.reads = False
    late.subscribe("a/#")
    one.publish("a/1999", b"new", retain=True)
    late.reads = True
    server.settle()
    assert [packet.payload for packet in late.packets()[1:] if packet.topic == "a/1999"] == [b"new", b"new"]


@pytest.mark.parametrize(("handling", "first", "again"), [(0, 1, 1), (1, 1, 0), (2, 0, 0)])
def test_retain_handling(handling, first, again):  # [MQTT-3.3.1-9] to [MQTT-3.3.1-11]
    _, one, _ = pair()
    one.publish("a", b"1", retain=True)
    other = VirtualServer.client(one.server, "five", V5)
    for expected in (first, again):
        other.subscribe("a", retain_handling=handling)
        assert len(other.packets()) - 1 == expected


def test_retain_as_published():  # [MQTT-3.3.1-13]
    server, one, _ = pair()
    other = server.client("five", V5).subscribe("a", retain_as_published=True)
    other.packets()
    one.publish("a", b"1", retain=True).publish("a", b"2")
    assert [packet.retain for packet in other.packets()] == [True, False]


def test_no_local():  # [MQTT-3.8.3-3]
    server = VirtualServer()
    client = server.client("five", V5).subscribe("a", no_local=True)
    client.packets()
    client.publish("a")
    assert client.packets() == []
    server.client("other").publish("a", b"1")
    assert client.messages() == [("a", b"1", 0)]


def test_no_local_of_one_filter_leaves_the_other():
    client = VirtualServer().client("five", V5).subscribe("a", qos=2, no_local=True, identifier=1)
    client.subscribe("+", qos=1, identifier=2)
    client.packets()
    client.publish("a", qos=2)
    message = next(packet for packet in client.packets() if isinstance(packet, Publish))
    assert message.qos == 1
    assert message.properties.subscription_identifier == (2,)


def test_overlapping_filters_bring_one_copy_at_the_highest_qos_with_all_identifiers():  # [MQTT-3.3.5-1]
    server = VirtualServer()
    client = server.client("five", V5)
    for number, (topic_filter, qos) in enumerate([("a/b", 0), ("a/+", 2), ("#", 1)], start=1):
        client.subscribe(topic_filter, qos=qos, identifier=number)
    client.packets()
    server.client("other").publish("a/b", qos=2)
    (message,) = client.packets()
    assert message.qos == 2
    assert sorted(message.properties.subscription_identifier) == [1, 2, 3]


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
    assert client.packets()[1].properties == Properties(message_expiry_interval=19, content_type="x")
    server.advance(20)
    client = server.client("later", V5).subscribe("a")
    assert len(client.packets()) == 1
    client = server.client("older", V311).subscribe("a")
    assert len(client.packets()) == 1


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


# --- flow ---


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


# --- routes ---


def test_a_changed_subscription_is_felt_at_once():
    server, one, other = pair(topic_filter="a/b")
    one.publish("a/b", b"1")
    late = server.client("late").subscribe("a/+")
    late.packets()
    one.publish("a/b", b"2")
    assert len(other.messages()) == 2
    assert late.messages() == [("a/b", b"2", 0)]
    late.lose()
    one.publish("a/b", b"3")
    assert other.messages() == [("a/b", b"3", 0)]


def test_an_exact_subscription_leaves_the_other_routes_alone():
    server, one, _ = pair()
    one.publish("a").publish("b")
    kept = server.broker.router.routes[b"b"]
    server.client("late").subscribe("a")
    assert b"a" not in server.broker.router.routes
    assert server.broker.router.routes[b"b"] is kept


def test_topics_with_the_same_readers_share_an_audience():
    server, one, _ = pair()
    one.publish("a").publish("b")
    routes = server.broker.router.routes
    assert routes[b"a"].audience is routes[b"b"].audience


def test_the_cache_of_routes_is_bounded():
    server, one, other = pair(max_cached_topics=100)
    for number in range(1_000):
        one.publish(f"a/{number}")
    assert len(server.broker.router.routes) <= 100
    assert len(other.packets()) == 1_000


def test_very_long_topics_are_not_cached():
    server, one, other = pair(V5)
    for number in range(20):
        one.publish(f"{number}" * 2_000, qos=1)
    assert server.broker.router.routes == {}
    assert len(server.broker.router._audiences) == 0
    assert len(other.packets()) == 20


def test_a_topic_of_too_many_levels_closes():
    _, one, _ = pair(max_topic_levels=3)
    one.publish("a/b/c")
    assert not one.closed
    one.publish("a/b/c/d")
    assert one.closed


# --- journal and local readers ---


class Book:
    def __init__(self):
        self.messages = []
        self.flags = []
        self.group = 0

    def append(self, message, flags):
        self.messages.append(message)
        self.flags.append(flags)
        return self.group


def recorded(topic):
    return RouteFlag.RECORD if topic.startswith("r/") else RouteFlag.NONE


@pytest.mark.parametrize("version", [V311, V5])
def test_the_journal_gets_every_live_message_of_its_topics_and_no_replay(version):
    book = Book()
    server = VirtualServer(journal=book, classify=recorded)
    client = server.client("a", version)
    for _ in range(2):
        client.send(b"".join(codec.encode(Publish(topic, b"1"), version) for topic in ("r/x", "n/x", "r/y")))
    client.publish("r/x", b"2", qos=1, retain=True)
    client.subscribe("r/#")
    assert [(m.topic, m.payload, m.client_id) for m in book.messages] == [
        ("r/x", b"1", "a"),
        ("r/y", b"1", "a"),
        ("r/x", b"1", "a"),
        ("r/y", b"1", "a"),
        ("r/x", b"2", "a"),
    ]


def test_the_journal_is_told_what_a_message_is_for():
    book = Book()
    flags = {"r": RouteFlag.RECORD, "b": RouteFlag.BRIDGE | RouteFlag.RECORD}
    server = VirtualServer(journal=book, classify=lambda topic: flags.get(topic, RouteFlag.NONE))
    client = server.client("a")
    for topic, retain in [("r", False), ("r", True), ("b", False), ("n", True), ("n", False)]:
        client.publish(topic, b"1", retain=retain)
    assert [(message.topic, flag) for message, flag in zip(book.messages, book.flags, strict=True)] == [
        ("r", RouteFlag.RECORD),
        ("r", RouteFlag.RECORD | RouteFlag.RETAINED),
        ("b", RouteFlag.RECORD | RouteFlag.BRIDGE),
        ("n", RouteFlag.RETAINED),
    ]


def test_acknowledgements_wait_for_the_commit_and_live_delivery_does_not():
    book = Book()
    server = VirtualServer(journal=book, classify=recorded)
    reader = server.client("reader").subscribe("#", qos=1)
    reader.packets()
    client = server.client("a")
    book.group = 1
    client.publish("r/x", b"1", qos=1, packet_id=1)
    client.publish("n/x", b"2", qos=1, packet_id=2)
    assert [payload for _, payload, _ in reader.messages()] == [b"1", b"2"]
    assert client.packets() == []
    server.broker.gate.committed(1)
    server.settle()
    assert [packet.packet_id for packet in client.packets()] == [1, 2]


def test_a_reader_inside_the_process_takes_messages_as_they_are():
    server, one, _ = pair()
    got = []
    session = server.broker.open_local("inside", got.append)
    from appliance.broker.topictree import Grant

    server.broker.router.subscribe(session, "a/#", Grant(2), 2)
    one.publish("a/b", b"1", qos=1).publish("a/c", b"2")
    one.publish("a/c", b"3")
    assert [(m.topic, m.payload) for m in got] == [("a/b", b"1"), ("a/c", b"2"), ("a/c", b"3")]


def test_a_message_of_our_own_reaches_readers():
    server, _, other = pair(qos=1)
    server.broker.publish(Message("a", b"1", 1, retain=True), server.now)
    server.settle()
    assert other.messages() == [("a", b"1", QoS(1))]
