"""Who receives what, in which form."""

import pytest
from journal import RecordingJournal
from virtual import V5, V311, VirtualServer, pair

from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag
from appliance.broker.rights import AllRights
from appliance.broker.session import Session
from appliance.mqtt import codec
from appliance.mqtt.packets import PubAck, Publish, Subscribe, Subscription, Unsubscribe
from appliance.mqtt.properties import Properties
from appliance.mqtt.types import QoS

BOTH = [(publisher, reader) for publisher in (V311, V5) for reader in (V311, V5)]


@pytest.mark.parametrize(("publisher", "reader"), BOTH)
@pytest.mark.parametrize("published", [0, 1, 2])
@pytest.mark.parametrize("granted", [0, 1, 2])
def test_a_message_arrives_at_the_lower_qos(publisher, reader, published, granted):  # [MQTT-3.8.4-6]
    _, one, other = pair(publisher, reader, granted)
    _check_the_qos_is_the_lower(one, other, published, granted)


@pytest.mark.parametrize("publisher", [V311, V5])
@pytest.mark.parametrize("options", [{"identifier": 1}, {"no_local": True}])
@pytest.mark.parametrize("published", [0, 1, 2])
@pytest.mark.parametrize("granted", [0, 1, 2])
def test_a_message_arrives_at_the_lower_qos_where_a_subscription_has_options(publisher, options, published, granted):
    server = VirtualServer()
    other = server.client("reader", V5).subscribe("#", qos=granted, **options)
    other.packets()
    _check_the_qos_is_the_lower(server.client("publisher", publisher), other, published, granted)


def _check_the_qos_is_the_lower(one, other, published, granted):
    one.publish("home/kitchen/temperature", "21,4 °C".encode(), qos=published)
    one.publish("home/kitchen/temperature", b"", qos=published, packet_id=2 if published else None)
    assert other.messages() == [
        ("home/kitchen/temperature", "21,4 °C".encode(), min(published, granted)),
        ("home/kitchen/temperature", b"", min(published, granted)),
    ]


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
    server, one, _ = pair(max_retained_bytes=2_048)
    one.publish("a", b"1", retain=True).publish("a", bytes(2_000), retain=True)
    assert len(server.broker.router.retained) == 0
    assert server.broker.stats.dropped["no room to retain"] == 1


def test_the_journal_learns_that_a_message_has_no_room():
    book = RecordingJournal()
    recorded = RouteFlag.RECORD | RouteFlag.BUNDLE
    server = VirtualServer(journal=book, classify=lambda _: recorded, max_retained_bytes=2_048)
    server.client("one").publish("a", b"1", retain=True).publish("a", bytes(2_000), retain=True)
    told = [message.payload for message in book.messages]
    assert told == [b"1", b"", bytes(2_000)]
    assert book.flags == [recorded | RouteFlag.RETAINED, RouteFlag.RECORD | RouteFlag.RETAINED, recorded]


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


def test_a_shared_message_counts_down_on_its_way_to_another_member():
    server = VirtualServer()
    first = server.client("first", V5, properties=Properties(session_expiry_interval=10))
    first.subscribe("$share/g/a", qos=1)
    server.client("p", V5).publish("a", qos=1, properties=Properties(message_expiry_interval=60))
    assert first.packets()[1].properties.message_expiry_interval == 60
    first.lose()
    server.advance(5)
    second = server.client("second", V5).subscribe("$share/g/a", qos=1)
    assert len(second.packets()) == 1
    server.advance(6)  # the first one's session ends without an acknowledgement
    (handed_on,) = second.packets()
    assert (handed_on.properties.message_expiry_interval, handed_on.dup) == (50, False)


# --- flow ---


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
    late = server.client("late").subscribe("a")
    one.publish("a")
    assert [reader.session.client_id for reader in server.broker.router.routes[b"a"].audience.readers][-1] == "late"
    late.lose()
    one.publish("a")
    assert "late" not in {reader.session.client_id for reader in server.broker.router.routes[b"a"].audience.readers}
    assert server.broker.router.routes[b"b"] is kept


def test_many_changed_subscriptions_cost_one_search_for_readers():
    class Counting(AllRights):
        def may_read(self, topic):
            searches.append(topic)
            return True

    searches = []
    everyone = Counting()
    server = VirtualServer(authorize=lambda *_: everyone)
    one = server.client("one").subscribe("a/b")
    one.publish("a/b")
    assert searches == ["a/b"]
    searches.clear()
    late = server.client("late")
    late.send(Subscribe(1, (Subscription("a/b", QoS(0)),) * 1_000))
    packets = [Subscribe(1, (Subscription("a/b", QoS(0)),)), Unsubscribe(2, ("a/b",))] * 100
    late.send(b"".join(codec.encode(packet, V311) for packet in packets))
    assert searches == []
    late.packets()
    one.publish("a/b").publish("a/b")
    assert searches == ["a/b"]
    assert late.packets() == []


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


def recorded(topic):
    return RouteFlag.RECORD if topic.startswith("r/") else RouteFlag.NONE


@pytest.mark.parametrize("version", [V311, V5])
def test_the_journal_gets_every_live_message_of_its_topics_and_no_replay(version):
    book = RecordingJournal()
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
    book = RecordingJournal()
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
    book = RecordingJournal()
    server = VirtualServer(journal=book, classify=recorded)
    reader = server.client("reader").subscribe("#", qos=1)
    reader.packets()
    client = server.client("a")
    client.publish("r/x", b"1", qos=1, packet_id=1)
    client.publish("n/x", b"2", qos=1, packet_id=2)
    assert [payload for _, payload, _ in reader.messages()] == [b"1", b"2"]
    assert client.packets() == []
    server.commit()
    assert [packet.packet_id for packet in client.packets()] == [1, 2]


def test_a_reader_inside_the_process_takes_messages_as_they_are():
    server, one, _ = pair()
    got = []
    session = Session("inside")
    session.deliver = got.append
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


def test_retain_as_published_of_a_filter_that_is_not_for_ones_own_messages():  # [MQTT-3.8.3-3], [MQTT-3.3.1-12]
    client = VirtualServer().client("five", V5).subscribe("a", no_local=True, retain_as_published=True)
    client.subscribe("+")
    client.packets()
    client.publish("a", retain=True)
    assert [packet.retain for packet in client.packets()] == [False]
