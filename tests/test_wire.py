"""The broker reads what the codec reads.

The codec makes packets; the broker walks over the same bytes on offsets. Here every wire vector, cut, with bits flipped
and in pieces, goes through both: what the codec refuses, the broker refuses with the same reason, and what the codec
accepts, the broker does. Nothing but the one link is ever harmed.
"""

from collections import Counter
from itertools import count, pairwise

import pytest
import wire_vectors
from hypothesis import given
from hypothesis import strategies as st
from strategies import packets, versions
from virtual import VirtualServer

from appliance.broker.entry import FIRST_PACKET_BYTES
from appliance.mqtt.codec import decode, encode
from appliance.mqtt.errors import MalformedPacket, MqttError, PacketTooLarge, ProtocolError, TopicAliasInvalid
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
)
from appliance.mqtt.properties import Properties
from appliance.mqtt.stream import PacketStream
from appliance.mqtt.types import PacketType, QoS, ReasonCode, Version

GOOD = list(wire_vectors.good())
BAD = list(wire_vectors.bad())
KINDS = sorted({vector.name.partition(":")[0] for vector in GOOD + BAD})
PLACES = [place["name"] for place in wire_vectors._properties()["place"]]
NOT_NOW = (Connect, Auth, ConnAck, SubAck, UnsubAck, PingResp)  # for a server to send, or not any more

FAULTS = {
    ReasonCode.MALFORMED_PACKET,
    ReasonCode.PROTOCOL_ERROR,
    ReasonCode.TOPIC_NAME_INVALID,
    ReasonCode.TOPIC_ALIAS_INVALID,
}


def of_kind(vectors, kind):
    return [vector for vector in vectors if vector.name.startswith(f"{kind}:")]


def in_place(vectors, place):
    return [vector for vector in vectors if f" in {place}" in vector.name]


class Both:
    """A broker with a witness who reads everything, and the codec's reading of the same bytes."""

    def __init__(self):
        self.server = VirtualServer(max_packet_bytes=1_000)
        self.aliases = self.server.broker._limits.topic_alias_maximum
        self.levels = self.server.broker._limits.max_topic_levels
        self.witness = self.server.client("witness", Version.MQTT_5, clean_start=True, keep_alive_s=600)
        self.witness.subscribe("#", qos=2, retain_as_published=True)
        self.witness.packets()
        self.names = count()
        self.tried = 0

    def meaning(self, data, version):
        """What the codec says of a connected client's bytes: messages that are told, and the end of the link."""
        stream = PacketStream(version, max_packet_bytes=1_000)
        stream.feed(data)
        told, topics, held = [], {}, set()
        try:
            while (packet := stream.next_packet()) is not None:
                if isinstance(packet, Publish):
                    told += self._told(packet, topics, held)
                elif isinstance(packet, Disconnect):
                    expiry_s = packet.properties.session_expiry_interval
                    if expiry_s:  # the clients here have a session expiry of 0, §3.14.2.2.2
                        return told, ReasonCode.PROTOCOL_ERROR
                    return told, "goodbye"
                elif isinstance(packet, NOT_NOW):
                    return told, ReasonCode.PROTOCOL_ERROR
        except MqttError as error:
            return told, error.reason
        return told, None

    def _told(self, packet, topics, held):
        properties = packet.properties
        if properties.subscription_identifier:
            raise ProtocolError("[MQTT-3.3.4-6]")
        topic = packet.topic
        alias = properties.topic_alias
        if alias:
            if alias > self.aliases:
                raise TopicAliasInvalid("[MQTT-3.3.2-9]")
            if not topic and alias not in topics:
                raise ProtocolError("§3.3.2.3.4")
            topic = topics[alias] = topic or topics[alias]
        if packet.qos == 2 and packet.packet_id in held:
            return
        is_text = properties.payload_format_indicator == 1
        if topic.startswith("$") or (is_text and not _is_text(packet.payload)):
            return
        if packet.qos == 2:
            held.add(packet.packet_id)
        if topic.count("/") < self.levels:
            yield topic, packet.payload, packet.qos, packet.retain, _forwarded(properties)

    def broker_says(self, pieces, version):
        """What the broker does with the same bytes of a new client."""
        server = self.server
        client = server.client(f"c{next(self.names)}", version, clean_start=True)
        server.closed.clear()
        for piece in pieces:
            if not client.closed:
                client.send(piece)
        end = None
        if client.closed:
            end = "goodbye" if server.closed == ["goodbye"] else self._last_words(client)
        else:
            client.lose()
        return [*self._witnessed()], end

    @staticmethod
    def _last_words(client):
        """The reason that was told; older clients are told none."""
        said = [packet for packet in client.packets() if isinstance(packet, Disconnect)]
        return said[-1].reason_code if said else "silently"

    def _witnessed(self):
        arrived = self.witness.packets()
        for packet in arrived:
            if packet == PingResp():
                continue
            assert isinstance(packet, Publish), packet
            if packet.qos:
                self.witness.send(PubAck(packet.packet_id) if packet.qos == 1 else _received(packet))
            yield packet.topic, packet.payload, packet.qos, packet.retain, _forwarded(packet.properties)
        for released in self.witness.packets():
            assert released.packet_type is PacketType.PUBREL
            self.witness.send(encode(released, Version.MQTT_5).replace(b"\x62", b"\x70", 1))
        assert self.witness.packets() == []
        assert not self.witness.closed

    def agree(self, data, version, *, pieces=None, exact=True):
        """Hold the broker to the codec; not exactly where there are two faults, as each may find another first."""
        self.tried += 1
        told, end = self.meaning(data, version)
        saw, did = self.broker_says([data] if pieces is None else pieces, version)
        assert saw == told, (data.hex(" "), version)
        if version is not Version.MQTT_5 and isinstance(end, ReasonCode):
            end = "silently"
        if not exact and {did, end} <= FAULTS:
            return end
        assert did == end, (data.hex(" "), version)
        return end

    def agree_on_connect(self, data):
        """Let in or turned away as the codec reads it, or silently where it cannot be read."""
        self.tried += 1
        stream = PacketStream(max_packet_bytes=FIRST_PACKET_BYTES)
        stream.feed(data)
        server = self.server
        try:
            first = stream.next_packet()
        except MqttError as error:
            first = error
        client = server.link(first.version if isinstance(first, Connect) else Version.MQTT_5)
        client.send(data)
        if isinstance(first, Connect):
            answer = client.packets()[0]
            assert isinstance(answer, ConnAck), data.hex(" ")
            assert client.closed or answer.reason_code == 0
        elif isinstance(first, MqttError):
            assert client.closed, data.hex(" ")
        else:
            assert not client.closed
            assert client.received == b""
        if not client.closed:
            client.lose()
        self.witness.send(PingReq())
        server.advance(60)  # wills that wait, sessions that end
        self.witness.send(PingReq())
        list(self._witnessed())


def _received(publish):
    return bytes((0x50, 2)) + publish.packet_id.to_bytes(2, "big")


def _is_text(payload):
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def _forwarded(properties):
    """What a message takes with it; message expiry and user properties too."""
    return (
        properties.payload_format_indicator,
        properties.message_expiry_interval,
        properties.content_type,
        properties.response_topic,
        properties.correlation_data,
        properties.user_property,
    )


def flips(data):
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        yield bytes(flipped)


def test_the_vectors_cover_every_packet_in_every_version():
    """3.1 and 3.1.1 have no AUTH."""
    good = Counter((vector.packet.packet_type, vector.version) for vector in GOOD)
    for packet_type in PacketType:
        for version in Version:
            expected = packet_type is not PacketType.AUTH or version is Version.MQTT_5
            assert bool(good[packet_type, version]) is expected, (packet_type, version)
    bad = {vector.name.partition(":")[0] for vector in BAD}
    assert bad >= set(KINDS)


@pytest.mark.parametrize("place", PLACES)
def test_every_property_is_read_where_it_may_stand(place):
    vectors = in_place(wire_vectors.good_properties(), place)
    assert vectors
    for vector in vectors:
        packet = decode(vector.data, vector.version)
        assert (packet.will.properties if place == "will" else packet.properties) == vector.packet, vector.name
        assert encode(packet, vector.version) == vector.data, vector.name


@pytest.mark.parametrize("place", PLACES)
def test_every_property_is_refused_elsewhere_twice_cut_short_and_with_a_bad_value(place):
    vectors = in_place([*wire_vectors.bad_properties(), *wire_vectors.unknown_properties()], place)
    assert len(vectors) > 100
    for vector in vectors:
        with pytest.raises(MqttError) as caught:
            decode(vector.data, vector.version)
        assert caught.type is vector.error, vector.name
        assert vector.says in str(caught.value), vector.name


@pytest.mark.parametrize("place", [place for place in PLACES if place not in {"connect", "will"}])
def test_the_broker_reads_properties_as_the_codec_does(place):
    both = Both()
    for vector in in_place(
        [*wire_vectors.good_properties(), *wire_vectors.bad_properties(), *wire_vectors.unknown_properties()], place
    ):
        end = both.agree(vector.data, vector.version, exact="identifier in publish: " not in vector.name)
        assert end is not None or isinstance(vector, wire_vectors.Good), vector.name


@pytest.mark.parametrize("place", ["connect", "will"])
def test_the_broker_reads_properties_of_connect_as_the_codec_does(place):
    both = Both()
    for vector in in_place([*wire_vectors.good_properties(), *wire_vectors.bad_properties()], place):
        both.agree_on_connect(vector.data)
    assert both.tried > 60


@pytest.mark.parametrize("kind", KINDS)
def test_codec_and_broker_agree_on_every_cut_every_split_and_single_bytes(kind):
    both = Both()
    for vector in of_kind(GOOD + BAD, kind):
        data, version = vector.data, vector.version
        if kind == "connect":
            for size in range(len(data) + 1):
                both.agree_on_connect(data[:size])
            continue
        end = both.agree(data, version)
        assert end is not None or isinstance(vector, wire_vectors.Good), vector.name
        for size in range(len(data)):
            cut = data[:size]
            both.agree(cut, version)
            both.agree(data, version, pieces=[cut, data[size:]])
        both.agree(data, version, pieces=[data[i : i + 1] for i in range(len(data))])
    assert both.tried > 4


def first_heard(pieces):
    """What a new server does with the first bytes of a link: its answer, whether and why it closes, whom it let in."""
    server = VirtualServer(max_packet_bytes=1_000)
    client = server.link()
    for piece in pieces:
        if not client.closed:
            client.send(piece)
    return client.received, client.closed, server.closed, list(server.broker.sessions)


@pytest.mark.parametrize("vectors", [of_kind(GOOD, "connect"), of_kind(BAD, "connect")], ids=["good", "bad"])
def test_a_connect_is_read_alike_in_two_pieces_and_in_single_bytes(vectors):
    let_in = 0
    for vector in vectors:
        data = vector.data
        whole = first_heard([data])
        assert whole[0] or whole[1], vector.name  # answered or closed
        let_in += not whole[1]
        for size in range(len(data) + 1):
            assert first_heard([data[:size], data[size:]]) == whole, (vector.name, size)
        assert first_heard([data[i : i + 1] for i in range(len(data))]) == whole, vector.name
    assert bool(let_in) is isinstance(vectors[0], wire_vectors.Good)


@pytest.mark.parametrize("kind", KINDS)
def test_codec_and_broker_agree_on_every_flipped_bit(kind):
    both = Both()
    for vector in of_kind(GOOD + BAD, kind):
        for data in flips(vector.data):
            if kind == "connect":
                both.agree_on_connect(data)
            else:
                both.agree(data, vector.version, exact=False)
    assert both.tried > 16


@st.composite
def conversations(draw):
    version = draw(versions)
    sent = draw(st.lists(packets(version), max_size=6))
    data = b"".join(encode(packet, version) for packet in sent)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    places = [0, *cuts, len(data)]
    return version, data, [data[start:stop] for start, stop in pairwise(places)]


@given(conversations())
def test_codec_and_broker_agree_on_any_conversation_in_any_pieces(conversation):
    version, data, pieces = conversation
    both = Both()
    both.agree(data, version)
    both.agree(data, version, pieces=pieces)
    both.agree(data, version, pieces=[data[i : i + 1] for i in range(len(data))])


LENGTHS = [0, 1, 120, 127, 128, 255, 256, 257, 300, 513]


@pytest.mark.parametrize("version", Version)
@pytest.mark.parametrize("qos", QoS)
def test_lengths_and_packet_ids_of_two_bytes_are_read_alike(version, qos):
    both = Both()
    for packet_id, length in enumerate(LENGTHS, 250):
        fields = {"qos": qos, "packet_id": packet_id if qos else None}
        for packet in (Publish("t" * max(1, length), b"x", **fields), Publish("t", b"x" * length, **fields)):
            data = encode(packet, version)
            assert both.agree(data, version) is None
            assert both.agree(data * 3, version) is None  # known by now: the fast way, and sent again


@pytest.mark.parametrize("length", LENGTHS)
def test_properties_of_any_length_are_read_alike(length):
    both = Both()
    text, data = "x" * length, b"x" * length
    for properties in (
        Properties(content_type=text),
        Properties(correlation_data=data),
        Properties(response_topic=text or "r"),
        Properties(user_property=((text, text[:200]),)),
        Properties(content_type=text[:100], message_expiry_interval=0x01020304, user_property=(("k", text),)),
        Properties(topic_alias=1, content_type=text),
    ):
        packet = Publish("t", b"x", properties=properties)
        assert both.agree(encode(packet, Version.MQTT_5) * 2, Version.MQTT_5) is None


def test_a_packet_too_large_ends_the_same_way():
    both = Both()
    for version in Version:
        data = encode(Publish("t", bytes(1_000)), version)
        assert both.agree(data[:3], version) in {PacketTooLarge.reason, "silently"}


def test_no_bytes_before_connect_are_no_fault():
    """As an empty frame of a WebSocket brings them."""
    server = VirtualServer()
    client = server.link(Version.MQTT_5)
    client.send(b"")
    client.send(encode(Connect("c"), Version.MQTT_5))
    assert client.expect(ConnAck).reason_code == 0


def test_nothing_is_no_packet():
    both = Both()
    assert both.agree(b"", Version.MQTT_5) is None
    assert both.agree(encode(PingReq(), Version.MQTT_5) * 3, Version.MQTT_5) is None
    assert both.tried == 2


@pytest.mark.parametrize(
    ("wire", "words"),
    [
        ("30 80 00", "the remaining length is written in more bytes than it needs"),
        ("30 80 80 80 80", "the remaining length runs past four bytes"),
        ("C0 01 00", "1 bytes left over behind PINGREQ"),
        ("00 00", "packet type 0 is reserved"),
        ("30 02 00 00", "the packet ends inside a variable byte integer"),
    ],
)
def test_a_stream_says_what_is_wrong_word_for_word(wire, words):
    stream = PacketStream(Version.MQTT_5)
    stream.feed(bytes.fromhex(wire))
    with pytest.raises(MalformedPacket) as caught:
        stream.next_packet()
    assert str(caught.value) == words


def test_the_first_packet_is_asked_for_word_for_word():
    stream = PacketStream()
    stream.feed(b"\xc0\x00")
    with pytest.raises(ProtocolError) as caught:
        stream.next_packet()
    assert str(caught.value) == "the first packet is not CONNECT"
