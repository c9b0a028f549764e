"""What MQTT demands of messages, answers, order and flow and no other test shows; the tables name the rest."""

import pytest
from virtual import V5, V311, VirtualServer

from appliance.mqtt import codec
from appliance.mqtt.packets import (
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
)
from appliance.mqtt.properties import EMPTY, Properties
from appliance.mqtt.types import QoS, ReasonCode

BOTH = pytest.mark.parametrize("version", [V311, V5])


def kept(server, client_id, version, topic_filter="a", qos=2, **properties):
    """A client with a session to come back to and one subscription."""
    client = back(server, client_id, version, **properties)
    if topic_filter:
        client.subscribe(topic_filter, qos=qos)
        client.packets()
    return client


def back(server, client_id, version, **properties):
    said = Properties(session_expiry_interval=1_000, **properties) if version is V5 else EMPTY
    return server.client(client_id, version, clean_start=False, properties=said)


# --- DUP, QoS and packet ids on the way to a reader ---


@BOTH
@pytest.mark.parametrize("qos", [1, 2])
def test_dup_is_of_the_link_and_not_of_the_message(version, qos):  # [MQTT-3.3.1-3]
    server = VirtualServer()
    reader = server.client("r", version).subscribe("a", qos=qos)
    reader.packets()
    for publisher in (server.client("old"), server.client("new", V5)):
        publisher.publish("a", b"1", qos=qos, dup=True)
        (message,) = reader.packets()
        assert (message.payload, message.qos, message.dup) == (b"1", qos, False)


@BOTH
def test_qos_0_goes_out_once_without_dup_and_id(version):  # [MQTT-4.3.1-1], [MQTT-3.3.1-2], [MQTT-2.2.1-2] of 5
    server = VirtualServer()
    reader = kept(server, "r", version, qos=2)
    start = len(reader.received)
    for publisher in (server.client("old"), server.client("new", V5)):
        for qos in range(3):
            publisher.publish("a", b"", qos=qos, packet_id=qos + 1 if qos else None)
    heads = [packet for packet in reader.packets() if packet.qos == 0]
    assert [(packet.dup, packet.packet_id) for packet in heads] == [(False, None)] * 2
    assert reader.received[start] == 0x30
    reader.lose()
    assert all(packet.qos for packet in back(server, "r", version).resumed)


@BOTH
@pytest.mark.parametrize("qos", [1, 2])
def test_a_new_message_has_an_id_of_its_own_and_no_dup(version, qos):
    # 3.1.1: [MQTT-2.3.1-2], [-4], [MQTT-4.3.2-1], [MQTT-4.3.3-1]
    # 5: [MQTT-2.2.1-4], [MQTT-4.3.2-1], [MQTT-4.3.2-2], [MQTT-4.3.3-1], [MQTT-4.3.3-2]
    server = VirtualServer()
    reader = server.client("r", version).subscribe("a", qos=qos)
    reader.packets()
    publisher = server.client("p", version)
    for number in range(60):
        publisher.publish("a", b"%d" % number, qos=qos, packet_id=number + 1)
        publisher.send(PubRel(number + 1)) if qos == 2 else None
    first = reader.packets()
    ids = [packet.packet_id for packet in first]
    assert len(set(ids)) == len(ids) > 1
    assert 0 not in ids
    assert {(packet.qos, packet.dup) for packet in first} == {(qos, False)}


@BOTH
@pytest.mark.parametrize("topic", ["a", "nobody/reads/this"])
def test_answers_carry_the_id_of_what_they_answer(version, topic):
    # 3.1.1: [MQTT-2.3.1-6], [-7]; 5: [MQTT-2.2.1-5], [-6]
    server = VirtualServer()
    reader = server.client("r", version).subscribe("a", qos=2)
    reader.packets()
    client = server.client("a", version)
    client.publish(topic, qos=1, packet_id=0x1234)
    assert client.expect(PubAck).packet_id == 0x1234
    client.publish(topic, qos=2, packet_id=0x1235)
    assert client.expect(PubRec).packet_id == 0x1235
    client.send(PubRel(0x1235))
    assert client.expect(PubComp).packet_id == 0x1235
    client.send(Unsubscribe(0xFFFF, ("a",)))
    assert client.expect(UnsubAck).packet_id == 0xFFFF
    client.send(codec.encode(codec.decode(b"\x82\x06\x12\x36\x00\x01a\x02", V311), version))
    assert client.expect(SubAck).packet_id == 0x1236
    reader.packets()
    server.client("p").publish("a", qos=2)
    packet_id = reader.expect(Publish).packet_id
    reader.send(PubRec(packet_id))
    assert reader.expect(PubRel).packet_id == packet_id


@BOTH
@pytest.mark.parametrize("topic", ["a", "nobody/reads/this"])
def test_each_qos_has_its_answer(version, topic):  # [MQTT-3.3.4-1]
    server = VirtualServer()
    server.client("r").subscribe("a", qos=2)
    client = server.client("a", version)
    for qos, answers in [(0, []), (1, [PubAck]), (2, [PubRec])]:
        client.publish(topic, qos=qos, packet_id=5 if qos else None)
        assert [type(packet) for packet in client.packets()] == answers


@BOTH
def test_a_qos_1_id_that_was_answered_is_a_new_message(version):  # 5: [MQTT-4.3.2-5]; 3.1.1: [MQTT-4.3.2-2]
    server = VirtualServer()
    reader = server.client("r").subscribe("a")
    reader.packets()
    client = server.client("a", version)
    for dup in (False, True):
        client.publish("a", b"1", qos=1, packet_id=7, dup=dup)
        assert client.expect(PubAck).packet_id == 7
    assert len(reader.messages()) == 2


def test_a_refused_qos_2_id_is_free_for_a_new_message():  # [MQTT-4.3.3-9] of 5
    server = VirtualServer()
    reader = server.client("r").subscribe("a", qos=2)
    reader.packets()
    client = server.client("a", V5)
    text = Properties(payload_format_indicator=1)
    client.publish("a", b"\xff", qos=2, packet_id=7, properties=text)
    assert client.expect(PubRec).reason_code == ReasonCode.PAYLOAD_FORMAT_INVALID
    client.publish("a", b"fine", qos=2, packet_id=7, properties=text)
    assert client.expect(PubRec).reason_code == ReasonCode.SUCCESS
    assert reader.messages() == [("a", b"fine", 2)]


# --- again, and never again ---


@BOTH
def test_a_message_is_open_until_it_is_answered(version):  # 5: [MQTT-4.3.2-3], [MQTT-4.3.3-3], [MQTT-4.3.3-5], [-6]
    server = VirtualServer()
    reader = kept(server, "r", version)
    publisher = server.client("p")
    publisher.publish("a", b"1", qos=1).publish("a", b"2", qos=2, packet_id=2)
    seen = reader.packets()
    for _ in range(2):
        reader.lose()
        reader = back(server, "r", version)
        again = [(p.packet_id, p.payload, p.dup) for p in reader.resumed]
        assert again == [(p.packet_id, p.payload, True) for p in seen]
    reader.send(PubAck(1))
    reader.send(PubRec(2))
    reader.expect(PubRel)
    for _ in range(2):
        reader.lose()
        reader = back(server, "r", version)
        assert reader.resumed == [PubRel(2)]
    reader.send(PubComp(2))
    reader.lose()
    assert back(server, "r", version).resumed == []


@BOTH
def test_nothing_is_sent_again_on_the_same_link(version):  # [MQTT-4.4.0-1] of 5
    server = VirtualServer(max_keep_alive_s=0)
    reader = server.client("r", version, keep_alive_s=0).subscribe("a", qos=2)
    reader.packets()
    server.client("p").publish("a", qos=1).publish("a", qos=2, packet_id=2)
    assert len(reader.packets()) == 2
    reader.send(PubRec(2))
    reader.expect(PubRel)
    server.advance(10_000)
    reader.send(PingReq())
    reader.expect(PingResp)


@pytest.mark.parametrize("answer", [PubAck(1, ReasonCode.NOT_AUTHORIZED), PubRec(1, ReasonCode.QUOTA_EXCEEDED)])
def test_what_was_refused_is_not_sent_again(answer):  # [MQTT-4.4.0-2] of 5
    server = VirtualServer()
    reader = kept(server, "r", V5)
    server.client("p").publish("a", qos=1 if isinstance(answer, PubAck) else 2)
    reader.expect(Publish)
    reader.send(answer)
    assert reader.packets() == []
    reader.lose()
    assert back(server, "r", V5).resumed == []


@BOTH
@pytest.mark.parametrize("qos", [1, 2])
def test_what_was_sent_once_does_not_expire(version, qos):  # [MQTT-4.3.3-7] of 5
    server = VirtualServer()
    reader = kept(server, "r", version)
    server.client("p", V5).publish("a", b"1", qos=qos, properties=Properties(message_expiry_interval=5))
    reader.expect(Publish)
    reader.lose()
    server.advance(60)
    (again,) = back(server, "r", version).resumed
    assert (again.packet_id, again.payload, again.dup) == (1, b"1", True)
    assert again.properties.message_expiry_interval == (0 if version is V5 else None)


def test_qos_2_is_finished_although_the_message_has_expired():  # [MQTT-4.3.3-13] of 5
    server = VirtualServer()
    reader = kept(server, "r", V5)
    publisher = server.client("p", V5)
    publisher.publish("a", b"1", qos=2, properties=Properties(message_expiry_interval=5))
    publisher.expect(PubRec)
    message = reader.expect(Publish)
    server.advance(60)
    publisher.send(PubRel(1))
    assert publisher.expect(PubComp).reason_code == 0
    reader.send(PubRec(message.packet_id))
    reader.expect(PubRel)
    reader.send(PubComp(message.packet_id))
    assert not server.broker.sessions["r"].in_flight


# --- order ---


@BOTH
@pytest.mark.parametrize("published", [0, 1, 2])
@pytest.mark.parametrize("granted", [0, 1, 2])
def test_messages_of_one_topic_and_qos_keep_their_order(version, published, granted):
    # [MQTT-4.6.0-5], [MQTT-4.6.0-6]: whether they go out at once or had to wait
    server = VirtualServer(max_inflight=3)
    reader = server.client("r", version).subscribe("a/#", qos=granted)
    reader.packets()
    publishers = [server.client("p"), server.client("q", V5)]
    seen = []
    for number in range(60):
        publisher = publishers[number % 2]
        publisher.publish("a/x", b"%d" % number, qos=published, packet_id=number + 1 if published else None)
        if published == 2:
            publisher.send(PubRel(number + 1))
        if number % 20 == 19:
            seen += drained(reader)
    assert seen == [b"%d" % number for number in range(60)]


def drained(reader):
    """Take everything, and answer it as it comes."""
    seen = []
    while packets := reader.packets():
        for packet in packets:
            match packet:
                case Publish():
                    seen.append(packet.payload)
                    if packet.qos:
                        reader.send((PubAck if packet.qos == 1 else PubRec)(packet.packet_id))
                case PubRel():
                    reader.send(PubComp(packet.packet_id))
    return seen


@BOTH
@pytest.mark.parametrize("qos", [1, 2])
def test_nothing_overtakes_what_waits_for_a_full_socket(version, qos):  # [MQTT-4.6.0-5], [MQTT-4.6.0-6]
    server = VirtualServer(max_inflight=2)
    reader = server.client("r", version).subscribe("a", qos=qos)
    reader.packets()
    reader.reads = False
    publisher = server.client("p", version)
    for number in range(3):  # two fill the window and the socket, the third waits
        publisher.publish("a", b"%d" % number + bytes(50_000), qos=qos, packet_id=number + 1)
    for answer in (PubAck(1),) if qos == 1 else (PubRec(1), PubComp(1)):
        reader.send(answer)  # there is room in the window again, and none in the socket
    publisher.publish("a", b"3" + bytes(50_000), qos=qos, packet_id=4)
    reader.reads = True
    server.settle()
    seen = [payload[:1] for payload in drained(reader)]
    assert seen == [b"0", b"1", b"2", b"3"]


@BOTH
def test_releases_come_in_the_order_of_the_receipts(version):  # [MQTT-4.6.0-4] of 3.1.1
    server = VirtualServer()
    reader = server.client("r", version).subscribe("a", qos=2)
    reader.packets()
    publisher = server.client("p")
    for number in range(1, 6):
        publisher.publish("a", qos=2, packet_id=number)
    reader.packets()
    order = [3, 1, 5, 2, 4]
    reader.send(b"".join(codec.encode(PubRec(packet_id), version) for packet_id in order))
    assert reader.packets() == [PubRel(packet_id) for packet_id in order]


# --- retained ---


@BOTH
@pytest.mark.parametrize("published", [0, 1, 2])
@pytest.mark.parametrize("granted", [0, 1, 2])
def test_the_last_retained_message_is_kept_with_its_qos(version, published, granted):
    # 3.1.1: [MQTT-3.3.1-5], [-6], [-7], [-8]; 5: [MQTT-3.3.1-5]
    server = VirtualServer()
    publisher = server.client("p", version)
    publisher.publish("a", b"old", qos=1, retain=True)
    publisher.publish("a", b"new", qos=published, packet_id=2 if published else None, retain=True)
    late = server.client("late", version).subscribe("+", qos=granted)
    _, message = late.packets()
    assert (message.payload, message.qos, message.retain) == (b"new", min(published, granted), True)


@BOTH
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_what_is_not_retained_leaves_the_retained_alone(version, qos):  # 3.1.1: [MQTT-3.3.1-12]; 5: [MQTT-3.3.1-8]
    server = VirtualServer()
    publisher = server.client("p", version)
    publisher.publish("a", b"kept", retain=True)
    publisher.publish("a", b"live", qos=qos).publish("a", b"", qos=qos, packet_id=2 if qos else None)
    publisher.publish("b", b"live", qos=qos, packet_id=3 if qos else None)
    late = server.client("late", version).subscribe("#")
    assert [(p.topic, p.payload) for p in late.packets()[1:]] == [("a", b"kept")]


@BOTH
def test_an_empty_retained_message_is_passed_on_and_not_kept(version):
    # 3.1.1: [MQTT-3.3.1-10], [-11]; 5: [MQTT-3.3.1-6], [-7]
    server = VirtualServer()
    reader = server.client("r", version).subscribe("#", qos=1)
    reader.packets()
    publisher = server.client("p", version)
    publisher.publish("a", b"1", retain=True).publish("a", b"", qos=1, retain=True).publish("b", b"", retain=True)
    assert [(topic, payload) for topic, payload, _ in reader.messages()] == [("a", b"1"), ("a", b""), ("b", b"")]
    late = server.client("late", version).subscribe("#")
    assert late.packets()[1:] == []


# --- properties ---


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_what_belongs_to_the_message_arrives_as_it_was(qos):
    # [MQTT-3.3.2-4], [-15], [-16], [-17], [-18], [-20] of 5
    server = VirtualServer()
    readers = [server.client(name, V5).subscribe("#", qos=2) for name in ("r", "s")]
    for reader in readers:
        reader.packets()
    for indicator in (0, 1):
        properties = Properties(
            payload_format_indicator=indicator,
            content_type="text/\ufeffplain",
            response_topic="/answers//é",
            correlation_data=bytes(range(256)),
            user_property=(("z", "1"), ("a", ""), ("z", "0"), ("", "a"), ("z", "1")),
        )
        server.client("p", V5).publish("a", b"1", qos=qos, retain=True, properties=properties)
        assert [packet.properties for reader in readers for packet in reader.packets()] == [properties] * 2
        late = server.client("late", V5).subscribe("a", qos=2)
        assert late.packets()[1].properties == properties


def test_the_server_takes_every_alias_up_to_its_maximum():  # [MQTT-3.3.2-12] of 5
    server = VirtualServer(topic_alias_maximum=20)
    reader = server.client("r").subscribe("#")
    reader.packets()
    client = server.client("a", V5)
    assert client.connack.properties.topic_alias_maximum == 20
    for topic in ("{}", ""):
        for alias in range(1, 21):
            client.publish(topic.format(alias), properties=Properties(topic_alias=alias))
    assert [topic for topic, _, _ in reader.messages()] == [str(alias) for alias in range(1, 21)] * 2
    assert not client.closed


@pytest.mark.parametrize("maximum", [None, 0, 1, 3])
def test_no_alias_above_the_clients_maximum(maximum):  # [MQTT-3.1.2-26], [-27], [MQTT-3.3.2-8], [MQTT-3.3.2-11] of 5
    server = VirtualServer()
    reader = server.client("r", V5, properties=Properties(topic_alias_maximum=maximum)).subscribe("#")
    reader.packets()
    publisher = server.client("p")
    for topic in "abcdeabcde":
        publisher.publish(topic)
    aliases = {packet.properties.topic_alias for packet in reader.packets()} - {None}
    assert aliases == set(range(1, (maximum or 0) + 1))


# --- what the server adds, and how large a packet may get ---


def refused_publish(qos):
    return Publish("$SYS/x", b"", QoS(qos), packet_id=1)


ANSWERS = {
    "PUBACK": refused_publish(1),
    "PUBREC": refused_publish(2),
    "PUBREL": PubRec(99),
    "PUBCOMP": PubRel(99),
    "SUBACK": b"\x82\x0d\x00\x01\x00\x00\x07a/b/c/d\x01",
    "UNSUBACK": Unsubscribe(1, ("never",)),
}


@pytest.mark.parametrize("question", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("problem", [None, 0, 1])
def test_no_answer_is_made_longer_by_words(question, problem):
    # [MQTT-3.1.2-29]; [MQTT-3.4.2-1] to [-3], [MQTT-3.5.2-1] to [-3], [MQTT-3.6.2-1] to [-3], [MQTT-3.7.2-1] to [-3],
    # [MQTT-3.9.2-1], [-2], [MQTT-3.11.2-1], [-2] of 5: what fits the smallest client that is let in fits all
    server = VirtualServer(max_topic_levels=3, max_keep_alive_s=0)
    said = Properties(maximum_packet_size=16, request_problem_information=problem)
    client = server.client("a", V5, properties=said)
    start = len(client.received)
    client.send(question)
    (answer,) = client.packets()  # the codec takes no reason of another packet
    assert answer.properties == EMPTY
    code = answer.reason_codes[0] if isinstance(answer, SubAck | UnsubAck) else answer.reason_code
    assert code != 0
    assert len(client.received) - start <= 6
    assert not client.closed


@pytest.mark.parametrize("kind", ["subscribe", "unsubscribe"])
def test_an_answer_that_the_client_does_not_take_ends_the_link(kind):  # [MQTT-3.1.2-24] of 5
    server = VirtualServer()
    client = server.client("a", V5, properties=Properties(maximum_packet_size=24))
    filters = [b"\x00\x01" + bytes([65 + number]) for number in range(20)]
    first, between = (0x82, b"\x00") if kind == "subscribe" else (0xA2, b"")
    body = b"\x00\x01\x00" + b"".join(each + between for each in filters)
    client.send(bytes([first, len(body)]) + body)
    assert client.expect(Disconnect).reason_code == ReasonCode.PACKET_TOO_LARGE
    assert client.closed


# --- flow ---


@pytest.mark.parametrize("maximum", [1, 2, 5])
@pytest.mark.parametrize("qos", [1, 2])
def test_the_clients_receive_maximum_is_the_quota(maximum, qos):  # [MQTT-4.9.0-1], [MQTT-4.9.0-2], [MQTT-3.3.4-9] of 5
    server = VirtualServer()
    reader = server.client("r", V5, properties=Properties(receive_maximum=maximum)).subscribe("a", qos=2)
    reader.packets()
    publisher = server.client("p")
    for number in range(12):
        publisher.publish("a", b"%d" % number, qos=qos, packet_id=number + 1)
    open_now = [packet.packet_id for packet in reader.packets()]
    assert len(open_now) == maximum
    if qos == 2:
        reader.send(PubRec(open_now[0]))
        assert reader.packets() == [PubRel(open_now[0])]  # not until PUBCOMP
        reader.send(PubComp(open_now[0]))
    else:
        reader.send(PubAck(open_now[0]))
    assert len(reader.packets()) == 1


def test_all_other_packets_pass_when_the_quota_is_used_up():  # [MQTT-4.9.0-3], [MQTT-3.3.4-10] of 5
    server = VirtualServer()
    reader = server.client("r", V5, properties=Properties(receive_maximum=1)).subscribe("a", qos=2)
    publisher = server.client("p")
    publisher.publish("a", b"1", qos=2).publish("a", b"2", qos=2, packet_id=2)
    reader.packets()
    reader.send(PingReq())
    reader.expect(PingResp)
    reader.subscribe("b")
    reader.expect(SubAck)
    reader.publish("c", qos=1, packet_id=9)
    reader.expect(PubAck)
    reader.publish("c", qos=2, packet_id=10)
    reader.expect(PubRec)
    reader.send(PubRel(10))
    reader.expect(PubComp)
    reader.send(PubRec(1))
    reader.expect(PubRel)
    reader.send(Unsubscribe(3, ("b",)))
    reader.expect(UnsubAck)


def test_a_release_does_not_wait_for_the_quota_of_a_new_link():  # [MQTT-3.3.4-10] of 5
    server = VirtualServer()
    reader = kept(server, "r", V5)
    publisher = server.client("p")
    for number in range(1, 6):
        publisher.publish("a", b"%d" % number, qos=2, packet_id=number)
    reader.packets()
    for packet_id in (2, 4):
        reader.send(PubRec(packet_id))
    reader.lose()
    reader = back(server, "r", V5, receive_maximum=1)
    assert [(type(packet), packet.packet_id) for packet in reader.resumed] == [(Publish, 1), (PubRel, 2), (PubRel, 4)]
    for packet_id in (2, 4):
        reader.send(PubComp(packet_id))
    assert reader.packets() == []
    reader.send(PubRec(1))
    reader.expect(PubRel)
    reader.send(PubComp(1))
    assert reader.expect(Publish).packet_id == 3
