"""What MQTT demands of subscriptions, topics and text and no other test shows; the tables name the rest."""

import pytest
from virtual import V5, V311, VirtualServer

from appliance.broker.message import Message
from appliance.mqtt import codec
from appliance.mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    PubAck,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
)
from appliance.mqtt.properties import EMPTY, Properties
from appliance.mqtt.types import QoS, ReasonCode

BOTH = pytest.mark.parametrize("version", [V311, V5])


def subscribe(*filters, packet_id=1):
    return Subscribe(packet_id, tuple(Subscription(name, QoS(qos)) for name, qos in filters))


# --- SUBSCRIBE and SUBACK ---


@BOTH
def test_many_filters_are_answered_at_once_and_each_by_its_own_code(version):
    # [MQTT-3.8.4-1], [-2], [-5]; 5: [-6], [-7]; 3.1.1: [-4], [-5]; [MQTT-3.9.3-1], [MQTT-3.9.3-2]
    server = VirtualServer(max_topic_levels=3, max_subscriptions=4)
    client = server.client("a", version)
    client.send(
        subscribe(("a", 0), ("b", 2), ("too/many/levels/here", 1), ("c", 1), ("d", 1), ("one too many", 0), ("a", 2))
    )
    answer = client.expect(SubAck)
    failed = (0x8F, 0x97) if version is V5 else (0x80, 0x80)
    assert answer.packet_id == 1
    assert answer.reason_codes == (0, 2, failed[0], 1, 1, failed[1], 2)
    publisher = server.client("p")
    for topic in ("a", "b", "c", "d"):
        publisher.publish(topic, qos=2, packet_id=ord(topic))
    assert [(topic, qos) for topic, _, qos in client.messages()] == [("a", 2), ("b", 2), ("c", 1), ("d", 1)]


@BOTH
def test_subscribing_again_replaces_the_subscription_and_loses_nothing(version):  # [MQTT-3.8.4-3], 5: [MQTT-3.8.4-4]
    server = VirtualServer(max_inflight=1)
    publisher = server.client("p")
    publisher.publish("a", b"kept", retain=True)
    client = server.client("c", version).subscribe("a", qos=1)
    client.packets()
    for number in range(5):
        publisher.publish("a", b"%d" % number, qos=1)  # one is on its way, four wait
    (first,) = client.packets()
    client.subscribe("a", qos=0)
    publisher.publish("a", b"5", qos=1)
    seen = [packet for packet in client.packets() if isinstance(packet, Publish)]
    client.send(PubAck(first.packet_id))
    while packets := client.packets():
        for packet in packets:
            seen.append(packet)
            if packet.qos:
                client.send(PubAck(packet.packet_id))
    assert sorted(packet.payload for packet in seen) == [b"1", b"2", b"3", b"4", b"5", b"kept"]
    assert {packet.payload: packet.qos for packet in seen}[b"5"] == 0
    assert {packet.payload: packet.retain for packet in seen}[b"kept"]


@BOTH
def test_a_filter_that_takes_wildcards_is_taken(version):  # [MQTT-3.8.3-2] of 3.1.1: refused if not supported
    server = VirtualServer()
    client = server.client("a", version)
    client.send(subscribe(("a/+/c", 1), ("b/#", 1)))
    assert client.expect(SubAck).reason_codes == (1, 1)
    server.client("p").publish("a/b/c").publish("b")
    assert [topic for topic, _, _ in client.messages()] == ["a/b/c", "b"]


@BOTH
def test_a_message_comes_under_a_name_that_its_filter_matches(version):  # [MQTT-3.3.2-3]
    server = VirtualServer()
    publisher = server.client("p", V5)
    for topic_filter, topic in [("a/+", "a/b"), ("a/#", "a"), ("+/+", "/b"), ("é/+", "é/e\u0301")]:
        client = server.client("r", version).subscribe(topic_filter)
        client.packets()
        publisher.publish(topic, properties=Properties(topic_alias=1))
        publisher.publish("", properties=Properties(topic_alias=1))
        publisher.publish("elsewhere/x/y")
        assert [name for name, _, _ in client.messages()] == [topic, topic]


# --- UNSUBSCRIBE and UNSUBACK ---


@BOTH
def test_unsubscribing_compares_letter_by_letter(version):
    # [MQTT-3.10.4-1], [-2], [-4], [-5], [-6]; 5: [MQTT-3.11.3-1], [MQTT-3.11.3-2]
    server = VirtualServer()
    client = server.client("a", version)
    client.send(subscribe(("a/b", 0), ("a/+", 0), ("c/#", 0)))
    client.packets()
    client.send(Unsubscribe(0x0708, ("A/b", "a/#", "c/+", "a/+", "c", "c/#", "c/#")))
    answer = client.expect(UnsubAck)
    assert answer.packet_id == 0x0708
    if version is V5:
        none = ReasonCode.NO_SUBSCRIPTION_EXISTED
        assert answer.reason_codes == (none, none, none, 0, none, 0, none)
    server.client("p").publish("a/b").publish("a/c").publish("c/d").publish("c")
    assert [topic for topic, _, _ in client.messages()] == ["a/b"]


@BOTH
@pytest.mark.parametrize("qos", [1, 2])
def test_what_was_begun_is_finished_after_unsubscribing(version, qos):  # [MQTT-3.10.4-3]
    server = VirtualServer()
    properties = Properties(session_expiry_interval=100) if version is V5 else EMPTY
    client = server.client("a", version, clean_start=False, properties=properties).subscribe("a", qos=qos)
    client.packets()
    server.client("p").publish("a", b"1", qos=qos)
    message = client.expect(Publish)
    client.send(Unsubscribe(2, ("a",)))
    client.expect(UnsubAck)
    client.lose()
    client = server.client("a", version, clean_start=False, properties=properties)
    assert [(p.packet_id, p.payload, p.dup) for p in client.resumed] == [(message.packet_id, b"1", True)]
    if qos == 2:
        client.send(PubRec(message.packet_id))
        client.expect(PubRel)


# --- topics ---


@BOTH
@pytest.mark.parametrize("topic_filter", ["#", "+/x", "+/#", "$SYS/#"])
def test_a_wildcard_in_front_does_not_see_the_servers_own_topics(version, topic_filter):  # [MQTT-4.7.2-1]
    server = VirtualServer()
    expected = ["$SYS/x"] if topic_filter == "$SYS/#" else []
    client = server.client("a", version).subscribe(topic_filter)
    client.packets()
    server.broker.publish(Message("$SYS/x", b"1", 0, retain=True), server.now)
    server.settle()
    assert [topic for topic, _, _ in client.messages()] == expected
    client.subscribe(topic_filter)
    assert [packet.topic for packet in client.packets()[1:]] == expected


LOOKALIKES = ["a", "A", "a/", "/a", "a ", "\u00e9", "e\u0301", "\ufeffa", "a\u200b", "\u212b", "\u00c5"]


@BOTH
def test_names_that_look_alike_are_not_the_same(version):  # [MQTT-4.7.3-4], 3.1.1: [MQTT-1.5.3-3]; 5: [MQTT-1.5.4-3]
    server = VirtualServer()
    publisher = server.client("p", version)
    for topic in LOOKALIKES:
        publisher.publish(topic, topic.encode(), retain=True)
    for topic in LOOKALIKES:
        client = server.client("r", version).subscribe(topic)
        (message,) = client.packets()[1:]
        assert (message.topic, message.payload) == (topic, topic.encode())
        publisher.publish(topic, b"live")
        assert client.messages() == [(topic, b"live", 0)]


# --- text, in every field that has any ---

NO_TEXT = {
    "a surrogate": b"\xed\xa0\x80",
    "U+0000": b"a\0b",
    "an overlong slash": b"\xc0\xaf",
    "half a letter": b"\xc3",
}
MARK = "\ue000\ue001\ue002"  # stands for the text, and is replaced on the wire
PLACES = {
    "client id": (V311, Connect(client_id=MARK, version=V311)),
    "client id of 5": (V5, Connect(client_id=MARK)),
    "will topic": (V311, Connect(client_id="a", version=V311, will=Will(MARK))),
    "will topic of 5": (V5, Connect(client_id="a", will=Will(MARK))),
    "user name": (V311, Connect(client_id="a", version=V311, username=MARK)),
    "user name of 5": (V5, Connect(client_id="a", username=MARK)),
    "content type of a will": (V5, Connect(client_id="a", will=Will("w", properties=Properties(content_type=MARK)))),
    "authentication method": (V5, Connect(client_id="a", properties=Properties(authentication_method=MARK))),
    "topic": (V311, Publish(MARK)),
    "topic of 5": (V5, Publish(MARK)),
    "topic at QoS 1": (V311, Publish(MARK, qos=QoS(1), packet_id=1)),
    "response topic": (V5, Publish("a", properties=Properties(response_topic=MARK))),
    "content type": (V5, Publish("a", properties=Properties(content_type=MARK))),
    "name of a user property": (V5, Publish("a", properties=Properties(user_property=((MARK, "v"),)))),
    "value of a user property": (V5, Publish("a", properties=Properties(user_property=(("k", MARK),)))),
    "reason string": (V5, PubAck(1, 0x80, Properties(reason_string=MARK))),
    "filter": (V311, Subscribe(1, (Subscription(MARK),))),
    "filter of 5": (V5, Subscribe(1, (Subscription(MARK),))),
    "user property of SUBSCRIBE": (
        V5,
        Subscribe(1, (Subscription("a"),), Properties(user_property=(("k", MARK),))),
    ),
    "filter of UNSUBSCRIBE": (V311, Unsubscribe(1, (MARK,))),
    "filter of UNSUBSCRIBE of 5": (V5, Unsubscribe(1, (MARK,))),
    "user property of DISCONNECT": (V5, Disconnect(properties=Properties(user_property=((MARK, "v"),)))),
}


def put_in(packet, version, raw):
    """The packet's bytes with `raw`, as long as the mark is, in the place of the mark."""
    data = codec.encode(packet, version)
    assert data.count(MARK.encode()) == 1
    return data.replace(MARK.encode(), raw.ljust(len(MARK.encode()), b"x"))


@pytest.mark.parametrize("raw", NO_TEXT.values(), ids=NO_TEXT)
@pytest.mark.parametrize(("version", "packet"), PLACES.values(), ids=PLACES)
def test_what_is_no_text_closes_wherever_text_belongs(version, packet, raw):
    # 3.1.1: [MQTT-1.5.3-1], [-2], [MQTT-3.1.3-4], [-10], [-11], [MQTT-3.3.2-1], [MQTT-3.8.3-1], [MQTT-3.10.3-1]
    # 5: [MQTT-1.5.4-1], [-2], [MQTT-1.5.7-1], [MQTT-3.1.3-4], [-11], [-12], [MQTT-3.3.2-1], [-13], [-19] ...
    server = VirtualServer()
    watcher = server.client("watcher").subscribe("#")
    watcher.packets()
    client = server.link(version) if isinstance(packet, Connect) else server.client("a", version)
    client.packets()
    client.send(put_in(packet, version, raw))
    assert client.closed
    if version is V5 and not isinstance(packet, Connect):
        assert client.expect(Disconnect).reason_code == ReasonCode.MALFORMED_PACKET
    elif version is V5:  # it may be told why, §3.1.4
        assert all(isinstance(answer, ConnAck) and answer.reason_code >= 0x80 for answer in client.packets())
    assert watcher.packets() == []


@pytest.mark.parametrize(("version", "packet"), PLACES.values(), ids=PLACES)
def test_text_of_the_same_places_is_taken(version, packet):  # so that it is the text that the others are closed for
    server = VirtualServer()
    client = server.link(version) if isinstance(packet, Connect) else server.client("a", version)
    client.packets()
    client.send(put_in(packet, version, "\ufeff\x7f\U0001f321".encode()))
    refused = packet is PLACES["authentication method"][1]
    assert client.closed is (refused or isinstance(packet, Disconnect))
    assert [code for p in client.packets() if isinstance(p, Disconnect) for code in [p.reason_code]] == []


@BOTH
@pytest.mark.parametrize("text", ["\x01", "a\x1fb", "\x7f", "\x85", "\ufdd0", "\ufffe", "\U0010ffff"], ids=ascii)
def test_control_characters_and_non_characters_are_text(version, text):  # a choice: tests/statements/mqtt-5.0.toml
    server = VirtualServer()
    client = server.client(f"id {text}", version).subscribe(text)
    client.packets()
    client.publish(text, b"1")
    assert client.messages() == [(text, b"1", 0)]


# --- shared subscriptions ---


def member(server, name, qos=2):
    properties = Properties(session_expiry_interval=100)
    client = server.client(name, V5, clean_start=False, properties=properties)
    client.subscribe("$share/g/work/#", qos=qos)
    return client


def test_qos_2_is_finished_with_the_member_it_was_begun_with():  # [MQTT-4.8.2-4] of 5
    server = VirtualServer()
    first, other = member(server, "first"), member(server, "other")
    first.packets()
    other.packets()
    server.client("p").publish("work/x", b"1", qos=2)
    message = first.expect(Publish)
    first.lose()
    assert other.packets() == []
    properties = Properties(session_expiry_interval=100)
    first = server.client("first", V5, clean_start=False, properties=properties)
    assert [(p.packet_id, p.payload, p.dup) for p in first.resumed] == [(message.packet_id, b"1", True)]
    first.send(PubRec(message.packet_id))
    first.expect(PubRel)
    assert other.packets() == []


@pytest.mark.parametrize("qos", [1, 2])
def test_a_refused_message_is_gone_for_the_whole_group(qos):  # [MQTT-4.8.2-6] of 5
    server = VirtualServer()
    first, other = member(server, "first", qos), member(server, "other", qos)
    first.packets()
    other.packets()
    server.client("p").publish("work/x", b"1", qos=qos)
    message = first.expect(Publish)
    first.send((PubAck if qos == 1 else PubRec)(message.packet_id, ReasonCode.NOT_AUTHORIZED))
    first.send(Disconnect(properties=Properties(session_expiry_interval=0)))
    assert "first" not in server.broker.sessions
    assert other.packets() == []


@pytest.mark.parametrize(
    "topic_filter",
    ["$share//a", "$share/g", "$share/g/", "$share/+/a", "$share/#/a", "$share/g+/a", "$share/", "$share/g/a/#/b"],
)
def test_a_shared_filter_of_another_shape_closes(topic_filter):  # [MQTT-4.8.2-1], [MQTT-4.8.2-2] of 5
    server = VirtualServer()
    client = server.client("a", V5)
    raw = topic_filter.encode()
    client.send(bytes([0x82, 6 + len(raw)]) + b"\x00\x01\x00\x00" + bytes([len(raw)]) + raw + b"\x01")
    assert client.expect(Disconnect).reason_code == ReasonCode.TOPIC_FILTER_INVALID
    assert client.closed


def test_a_share_name_may_be_anything_else():  # [MQTT-4.8.2-1] of 5
    server = VirtualServer()
    client = server.client("a", V5)
    for number, name in enumerate(["g", " ", "$", "g.h-1", "é"], start=1):
        client.subscribe(f"$share/{name}/a")
        assert client.expect(SubAck).reason_codes == (0,)
        server.client("p").publish("a", b"1")
        assert client.messages() == [("a", b"1", 0)] * number  # a copy for each group


def test_each_of_several_copies_has_the_identifier_of_its_own_subscription():  # [MQTT-3.3.4-5] of 5
    server = VirtualServer()
    client = server.client("a", V5)
    for number, topic_filter in enumerate(["a", "$share/g/a", "$share/h/+"], start=1):
        client.subscribe(topic_filter, identifier=number)
    client.packets()
    server.client("p").publish("a", b"1")
    identifiers = [packet.properties.subscription_identifier for packet in client.packets()]
    assert sorted(identifiers) == [(1,), (2,), (3,)]
