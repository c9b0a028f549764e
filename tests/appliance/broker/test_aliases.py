import pytest
from virtual import V5, V311, VirtualServer

from appliance.broker.aliases import IncomingAliases, OutgoingAliases
from appliance.mqtt import codec
from appliance.mqtt.errors import ProtocolError, TopicAliasInvalid
from appliance.mqtt.packets import Disconnect, PubAck, Publish
from appliance.mqtt.properties import Properties
from appliance.mqtt.types import QoS, ReasonCode


def test_an_alias_stands_for_the_last_topic_it_was_set_to():
    aliases = IncomingAliases(2)
    assert aliases.topic(1, b"a") == b"a"
    assert aliases.topic(1, b"") == b"a"
    assert aliases.topic(1, b"b") == b"b"
    assert aliases.topic(1, b"") == b"b"
    with pytest.raises(ProtocolError, match="stands for nothing"):
        aliases.topic(2, b"")
    with pytest.raises(TopicAliasInvalid, match="at most 2"):
        aliases.topic(3, b"a")


def test_the_first_topics_get_a_number():
    aliases = OutgoingAliases(2)
    assert [aliases.shorten(topic) for topic in ("a", "b", "c", "a", "b", "c")] == [
        (b"a", 1),
        (b"b", 2),
        (b"c", 0),
        (b"", 1),
        (b"", 2),
        (b"c", 0),
    ]


def test_a_number_nobody_heard_of_is_given_again():
    aliases = OutgoingAliases(2)
    topic, alias = aliases.shorten("a")
    aliases.take_back("a", alias)
    assert aliases.shorten("b") == (b"b", 1)
    aliases.take_back("c", 0)
    assert aliases.shorten("b") == (b"", 1)
    assert topic == b"a"


def aliased(topic, alias, payload=b"1", qos=0, **more):
    return Publish(
        topic, payload, QoS(qos), packet_id=1 if qos else None, properties=Properties(topic_alias=alias, **more)
    )


def test_a_client_may_abbreviate():
    server = VirtualServer()
    readers = [server.client(f"r{version}", version).subscribe("#", qos=1) for version in (V311, V5)]
    client = server.client("a", V5)
    assert client.connack.properties.topic_alias_maximum == 10
    for reader in readers:
        reader.packets()
    client.send(aliased("home/kitchen/temperature", 1, b"20"))
    client.send(aliased("", 1, b"21", message_expiry_interval=60, content_type="x"))
    client.send(aliased("", 1, b"22", qos=1))
    for reader in readers:
        packets = reader.packets()
        assert [(p.topic, p.payload, p.qos) for p in packets] == [
            ("home/kitchen/temperature", b"20", 0),
            ("home/kitchen/temperature", b"21", 0),
            ("home/kitchen/temperature", b"22", 1),
        ]
        assert all(p.properties.topic_alias is None for p in packets)
        if reader.version is V5:
            assert packets[1].properties == Properties(message_expiry_interval=60, content_type="x")


def test_aliases_end_with_their_link():  # [MQTT-3.3.2-7]
    server = VirtualServer()
    client = server.client("a", V5)
    client.send(aliased("x", 1))
    client = server.client("a", V5)
    client.send(aliased("", 1))
    assert client.expect(Disconnect).reason_code == ReasonCode.PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (aliased("x", 11), ReasonCode.TOPIC_ALIAS_INVALID),
        (b"\x30\x07\x00\x01a\x03\x23\x00\x00", ReasonCode.TOPIC_ALIAS_INVALID),  # [MQTT-3.3.2-8]
        (aliased("", 2), ReasonCode.PROTOCOL_ERROR),
        (b"\x30\x03\x00\x00\x00", ReasonCode.PROTOCOL_ERROR),  # neither topic nor alias
    ],
)
def test_a_wrong_alias_closes(packet, reason):
    client = VirtualServer().client("a", V5)
    client.send(packet)
    assert client.expect(Disconnect).reason_code == reason
    assert client.closed


def test_no_aliases_where_none_are_kept():
    client = VirtualServer(topic_alias_maximum=0).client("a", V5)
    assert client.connack.properties.topic_alias_maximum is None
    client.send(aliased("x", 1))
    assert client.expect(Disconnect).reason_code == ReasonCode.TOPIC_ALIAS_INVALID


def test_the_server_abbreviates_where_the_client_allows_it():  # [MQTT-3.1.2-26], [MQTT-3.1.2-27]
    server = VirtualServer()
    reader = server.client("r", V5, properties=Properties(topic_alias_maximum=1)).subscribe("#", qos=1)
    other = server.client("o", V5).subscribe("#", qos=1)
    publisher = server.client("p")
    reader.packets()
    for topic in ("a", "b", "a"):
        publisher.publish(topic, topic.encode(), qos=1)
    assert [(p.topic, p.properties.topic_alias) for p in reader.packets()] == [("a", 1), ("b", None), ("", 1)]
    assert [p.topic for p in other.packets()[1:]] == ["a", "b", "a"]


@pytest.mark.parametrize("version", [V311, V5])
def test_a_run_of_packets_is_abbreviated_too(version):  # [MQTT-3.1.2-26]
    server = VirtualServer()
    reader = server.client("r", V5, properties=Properties(topic_alias_maximum=2)).subscribe("#")
    other = server.client("o", V5).subscribe("#")
    publisher = server.client("p", version).publish("a/b", b"0")
    publisher.publish("a/b", b"1").publish("c", b"").publish("d", b"3")
    topics = ["a/b", "c", "d", "a/b", "d", "c", "a/b"]
    publisher.send(b"".join(codec.encode(Publish(topic, topic.encode() * 100), version) for topic in topics))
    got = [(p.topic, p.properties.topic_alias, p.payload) for p in reader.packets()[1:]]
    assert got[:4] == [("a/b", 1, b"0"), ("", 1, b"1"), ("c", 2, b""), ("d", None, b"3")]
    expected = {"a/b": ("", 1), "c": ("", 2), "d": ("d", None)}
    assert got[4:] == [(*expected[topic], topic.encode() * 100) for topic in topics]
    assert [p.topic for p in other.packets()[1:]] == ["a/b", "a/b", "c", "d", *topics]


def test_a_packet_of_a_run_goes_without_an_alias_where_that_would_be_too_large():  # [MQTT-3.1.2-24]
    server = VirtualServer()
    properties = Properties(topic_alias_maximum=1, maximum_packet_size=30)
    reader = server.client("r", V5, properties=properties).subscribe("+")
    publisher = server.client("p", V5)
    for topic in "abc":  # so that they have routes
        publisher.publish(topic, bytes(100))
    reader.packets()
    dropped = server.broker.stats.dropped["larger than the client takes"]
    packets = [("a", 25), ("a", 24), ("a", 23), ("b", 1), ("b", 22), ("b", 23), ("b", 24), ("c", 24), ("c", 25)]
    publisher.send(b"".join(codec.encode(Publish(topic, bytes(size)), V5) for topic, size in packets))
    assert [(p.topic, p.properties.topic_alias, len(p.payload)) for p in reader.packets()] == [
        ("a", None, 24),
        ("a", None, 23),
        ("b", 1, 1),
        ("", 1, 22),
        ("b", None, 23),  # of a name this short the alias is longer
        ("b", None, 24),
        ("c", None, 24),
    ]
    assert server.broker.stats.dropped["larger than the client takes"] == dropped + 2


def test_a_message_that_is_too_large_uses_no_alias_up():
    server = VirtualServer()
    properties = Properties(topic_alias_maximum=1, maximum_packet_size=60)
    reader = server.client("r", V5, properties=properties).subscribe("#", qos=1)
    reader.packets()
    publisher = server.client("p")
    publisher.publish("a", bytes(100), qos=1).publish("b", b"1", qos=1).publish("b", b"2", qos=1)
    assert [(p.topic, p.properties.topic_alias) for p in reader.packets()] == [("b", 1), ("", 1)]


def test_what_is_sent_again_after_a_new_link_has_its_topic():
    server = VirtualServer()
    properties = Properties(topic_alias_maximum=5, session_expiry_interval=60)
    reader = server.client("r", V5, clean_start=False, properties=properties).subscribe("#", qos=1)
    publisher = server.client("p")
    publisher.publish("a", b"1", qos=1).publish("a", b"2", qos=1)
    assert [p.topic for p in reader.packets()[1:]] == ["a", ""]
    again = server.client("r", V5, clean_start=False, properties=properties)
    assert [(p.topic, p.payload, p.dup) for p in again.resumed] == [("a", b"1", True), ("", b"2", True)]
    again.send(PubAck(1))


def test_text_that_is_none_is_refused():  # §3.3.2.3.2
    server = VirtualServer()
    reader = server.client("r").subscribe("#", qos=2)
    reader.packets()
    client = server.client("a", V5)
    text = Properties(payload_format_indicator=1)
    client.publish("a", b"\xff\xfe", qos=1, properties=text)
    assert client.expect(PubAck).reason_code == ReasonCode.PAYLOAD_FORMAT_INVALID
    client.publish("a", b"\xff\xfe", properties=text)
    client.publish("a", b"\xff\xfe", qos=2, packet_id=3, properties=text)
    assert client.packets()[0].reason_code == ReasonCode.PAYLOAD_FORMAT_INVALID
    assert not client.connection.session.incoming
    assert reader.packets() == []
    assert server.broker.stats.dropped["text that is not UTF-8"] == 3
    client.publish("a", "21 °C".encode(), qos=1, properties=text)
    assert reader.messages() == [("a", "21 °C".encode(), 1)]
