"""Group A: packets that are none, and packets in pieces. "Close" means that connection, and nobody else's."""

import random

import pytest
from raw import (
    ACCEPTED,
    DISCONNECT,
    PINGREQ,
    PINGRESP,
    ack,
    connect,
    frame,
    puback,
    pubcomp,
    publish,
    pubrec,
    pubrel,
    subscribe,
    text,
    two,
    unsubscribe,
)

MIB = 1_048_576

FIRST = {
    "type 0": b"\x00\x00",
    "CONNACK": ACCEPTED,
    "PUBLISH": publish("a", b"x"),
    "PUBACK": puback(1),
    "PUBREC": pubrec(1),
    "PUBREL": pubrel(1),
    "PUBCOMP": pubcomp(1),
    "SUBSCRIBE": subscribe("a"),
    "SUBACK": b"\x90\x03\x00\x01\x00",
    "UNSUBSCRIBE": unsubscribe("a"),
    "UNSUBACK": ack(0xB0, 1),
    "PINGREQ": PINGREQ,
    "PINGRESP": PINGRESP,
    "DISCONNECT": DISCONNECT,
    "type 15": b"\xf0\x00",
}


@pytest.mark.parametrize("packet", FIRST.values(), ids=FIRST)
def test_a1_the_first_packet_must_be_a_connect(service, packet):  # [MQTT-3.1.0-1]
    link = service.link()
    link.send(packet, connect("late"))
    assert link.until_closed() == b""


def test_a1_a_stranger_may_not_fill_the_memory(service):
    link = service.link()
    head = connect("a", more=b"x" * 100_000)[:20]
    link.send(head)
    assert link.until_closed() == b""


def test_a2_a_second_connect_closes(service):  # [MQTT-3.1.0-2]
    client = service.client("twice")
    client.send(connect("twice"))
    assert client.until_closed() == b""


@pytest.mark.parametrize("length", [b"\xff\xff\xff\xff", b"\xff\xff\xff\xff\x7f", b"\x80\x80\x80\x80\x00"])
@pytest.mark.parametrize("connected", [True, False])
def test_a3_a_length_of_five_bytes_closes_without_waiting_for_more(service, connected, length):
    link = service.client() if connected else service.link()
    link.send((b"\x30" if connected else b"\x10") + length)
    assert link.until_closed() == b""


@pytest.mark.parametrize("length", [b"\x85\x00", b"\x85\x80\x00", b"\x85\x80\x80\x00"])
def test_a3_a_length_in_more_bytes_than_it_needs_closes(service, length):
    client = service.client()
    client.send(b"\x30" + length + text("a") + b"21")
    assert client.until_closed() == b""


@pytest.mark.parametrize("connected", [True, False])
def test_a4_a_huge_length_is_refused_at_its_header(service, connected):
    links = [service.client() if connected else service.link() for _ in range(100)]
    before = service.rss_bytes()
    for link in links:
        link.send((b"\x30" if connected else b"\x10") + b"\xff\xff\xff\x7f")
    for link in links:
        assert link.until_closed() == b""
    assert service.rss_bytes() - before < MIB


def test_a4_nothing_is_reserved_for_a_length_within_the_limit(service):
    clients = [service.client() for _ in range(100)]
    before = service.rss_bytes()
    for client in clients:
        client.send(frame(0x30, bytes(262_000))[:8])
    service.client().silent()
    assert service.rss_bytes() - before < MIB


CUT = {
    "CONNECT": connect("a", will=("w", "gone", 1, True), username="u", password="p"),
    "SUBSCRIBE": subscribe("a/b", "c"),
    "UNSUBSCRIBE": unsubscribe("a/b", "c"),
    "PUBACK": puback(1),
    "PUBREC": pubrec(1),
    "PUBREL": pubrel(1),
    "PUBCOMP": pubcomp(1),
}


@pytest.mark.parametrize("packet", CUT.values(), ids=CUT)
def test_a5_a_body_cut_anywhere_closes(service, packet):  # [MQTT-4.8.0-1]
    whole = {2 + len(subscribe("a/b")) - 2, 2 + len(unsubscribe("a/b")) - 2}  # a cut between two filters is none
    for size in range(len(packet) - 2):
        if packet[0] in {0x82, 0xA2} and size + 2 in whole:
            continue
        link = service.link() if packet[0] == 0x10 else service.client()
        link.send(frame(packet[0], packet[2 : 2 + size]))
        assert link.until_closed() == b"", f"cut to {size} bytes"


@pytest.mark.parametrize("size", range(5))
def test_a5_a_publish_shorter_than_its_topic_closes(service, size):
    client = service.client()
    client.send(frame(0x30, text("abc")[:size]))
    assert client.until_closed() == b""


@pytest.mark.parametrize("packet", CUT.values(), ids=CUT)
def test_a5_bytes_behind_the_last_field_close(service, packet):
    link = service.link() if packet[0] == 0x10 else service.client()
    link.send(frame(packet[0], packet[2:] + b"\x00"))
    assert link.until_closed() == b""


@pytest.mark.parametrize("packet", [PINGREQ, DISCONNECT])
def test_a5_a_body_where_none_belongs_closes(service, packet):
    client = service.client(will=("gone/of-a-body", "gone", 0, False))
    watcher = service.reader("gone/of-a-body")
    client.send(frame(packet[0], b"\x00"))
    assert client.until_closed() == b""
    watcher.expect(publish("gone/of-a-body", b"gone"))  # it was not a goodbye


@pytest.mark.parametrize("first", range(16))
@pytest.mark.parametrize("kind", [0, 15])
def test_a6_types_0_and_15_close(service, kind, first):  # [MQTT-2.2.2-2]
    client = service.client()
    client.send(bytes([kind << 4 | first, 0]))
    assert client.until_closed() == b""


FLAGS = {
    "CONNECT": (connect("a"), 0),
    "PUBACK": (puback(1), 0),
    "PUBREC": (pubrec(1), 0),
    "PUBREL": (pubrel(1), 2),
    "PUBCOMP": (pubcomp(1), 0),
    "SUBSCRIBE": (subscribe("a"), 2),
    "UNSUBSCRIBE": (unsubscribe("a"), 2),
    "PINGREQ": (PINGREQ, 0),
    "DISCONNECT": (DISCONNECT, 0),
}


@pytest.mark.parametrize(("packet", "right"), FLAGS.values(), ids=FLAGS)
def test_a7_reserved_flags_close(service, packet, right):  # [MQTT-2.2.2-2], [MQTT-3.6.1-1], [MQTT-3.8.1-1] ...
    for flags in set(range(16)) - {right}:
        link = service.link() if packet[0] == 0x10 else service.client()
        link.send(bytes([packet[0] & 0xF0 | flags]) + packet[1:])
        assert link.until_closed() == b"", f"flags {flags:#x}"


@pytest.mark.parametrize("packet", [ACCEPTED, b"\x90\x03\x00\x01\x00", ack(0xB0, 1), PINGRESP])
def test_a8_packets_of_a_server_close(service, packet):
    client = service.client()
    client.send(packet)
    assert client.until_closed() == b""


CONVERSATION = (
    connect("in-pieces"),
    subscribe("pieces/#", qos=1),
    publish("pieces/a", b"one", 1, 7),
    publish("pieces/b", b"two"),
    publish("pieces/c", b"x" * 200, 2, 8),
    pubrel(8),
    PINGREQ,
)
ANSWERS = sorted(
    (
        ACCEPTED,
        b"\x90\x03\x00\x01\x01",
        publish("pieces/a", b"one", 1, 1),
        puback(7),
        publish("pieces/b", b"two"),
        publish("pieces/c", b"x" * 200, 1, 2),
        pubrec(8),
        pubcomp(8),
        PINGRESP,
    )
)


def test_a9_byte_by_byte(service):
    link = service.link()
    for byte in b"".join(CONVERSATION):
        link.send(bytes([byte]))
    assert sorted(link.packets(len(ANSWERS))) == ANSWERS


@pytest.mark.parametrize("first", [1, 2, 3, 7, 17, 18, 19, 20, 33, 50, 60, 64, 90, 200, 280])
def test_a9_any_two_pieces(service, first):
    whole = b"".join(CONVERSATION)
    link = service.link()
    link.send(whole[:first])
    service.client().silent()  # the first piece has been read by now
    link.send(whole[first:])
    assert sorted(link.packets(len(ANSWERS))) == ANSWERS


def test_a9_ten_thousand_packets_in_one_piece(service):
    reader = service.reader("many/#")
    client = service.client()
    client.send(*(publish(f"many/{number % 7}", b"%d" % number) for number in range(10_000)))
    for number in range(10_000):
        assert reader.packet() == publish(f"many/{number % 7}", b"%d" % number)


OTHERS = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n",
    "TLS": bytes.fromhex("16030100f8010000f403031a2b3c4d") + bytes(240),
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "Redis": b"*1\r\n$4\r\nPING\r\n",
}


@pytest.mark.parametrize("greeting", OTHERS.values(), ids=OTHERS)
def test_a10_other_protocols_are_closed(service, greeting):
    link = service.link()
    link.send(greeting)
    assert link.until_closed() == b""


@pytest.mark.parametrize("seed", range(20))
def test_a10_random_bytes_are_closed(service, seed):
    noise = random.Random(seed).randbytes(2_000)
    before, after = service.link(), service.client()
    before.send(noise)
    after.send(noise)
    assert before.until_closed()[:1] in {b"", b"\x20"}
    after.send(two(0) * 100_000)  # in case the noise began a packet that is still wanted
    after.until_closed()
