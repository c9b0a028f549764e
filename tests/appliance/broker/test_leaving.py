"""What a client's end leaves behind where storage fails; how links end otherwise is in test_core."""

import pytest
from journal import RecordingJournal
from virtual import V5, V311, VirtualServer

from appliance.broker.ports import RouteFlag
from appliance.mqtt.packets import (
    Disconnect,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
)
from appliance.mqtt.properties import Properties
from appliance.mqtt.types import QoS, ReasonCode

WORDS = "cannot be stored at present"


@pytest.fixture
def server():
    return VirtualServer(
        journal=RecordingJournal(), classify=lambda topic: RouteFlag(2 if topic == "r" else 0), max_inflight=5
    )


def lasting(server, client_id, version):
    properties = Properties(session_expiry_interval=100) if version is V5 else Properties()
    return server.client(client_id, version, clean_start=False, properties=properties)


@pytest.mark.parametrize("version", [V311, V5])
def test_who_waits_when_a_commit_fails_is_closed_and_told_nothing_of_it(server, version):
    waits, other = server.client("waits", version), server.client("other", version)
    waits.publish("r", qos=1)
    other.publish("x", qos=1).packets()
    server.broker.cannot_store(server.now)
    server.settle()
    assert (waits.closed, other.closed) == (True, False)
    if version is V5:
        goodbye = waits.expect(Disconnect)
        assert goodbye.reason_code == ReasonCode.QUOTA_EXCEEDED
        assert goodbye.properties.reason_string == f"what was sent {WORDS}"
    assert waits.packets() == []
    assert server.broker.stats.connections_closed == {WORDS: 1}
    server.commit()  # it can be written after all
    assert waits.packets() == []
    assert server.broker.waiting() == 0


def test_a_qos_2_message_that_could_not_be_stored_is_never_sent_on_that_link(server):
    reader = lasting(server, "reader", V5).subscribe("x", 2)
    server.commit()
    reader.packets()
    server.client("writer").publish("x", b"1", qos=2, packet_id=1)
    server.broker.cannot_store(server.now)
    server.settle()
    assert reader.closed
    assert [type(packet) for packet in reader.packets()] == [Disconnect]
    reader = lasting(server, "reader", V5)
    assert reader.resumed == []  # what it waits for is not on disk yet
    server.commit()
    assert [(packet.payload, packet.dup) for packet in reader.packets()] == [(b"1", True)]


@pytest.mark.parametrize("version", [V311, V5])
@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize(("topic", "retain"), [("r", False), ("x", True), ("x", False)])
def test_a_message_that_would_have_to_be_stored_is_not_taken(server, version, qos, topic, retain):
    reader = lasting(server, "reader", V5).subscribe("x", 1)
    server.commit()
    reader.packets()
    server.journal.refuses = True
    writer = server.client("writer", version)
    before = len(server.journal.messages)
    writer.publish(topic, b"1", qos=qos, packet_id=4, retain=retain)
    assert server.broker.stats.dropped == {WORDS: 1}
    assert (len(server.journal.messages), len(server.broker.router.retained), reader.packets()) == (before, 0, [])
    if version is V311:
        assert writer.closed
        assert writer.packets() == []
        return
    answer = writer.expect(PubAck if qos == 1 else PubRec)
    assert (answer.packet_id, answer.reason_code) == (4, ReasonCode.QUOTA_EXCEEDED)
    assert answer.properties.reason_string == f"the message {WORDS}"
    server.journal.refuses = False
    writer.publish(topic, b"1", qos=qos, packet_id=4, retain=retain)
    server.commit()
    assert [packet.packet_id for packet in writer.packets()] == [4]


def test_what_needs_no_disk_goes_on(server):
    live = server.client("live").subscribe("#", 2)
    lasting(server, "reader", V5).subscribe("x", 0)
    server.commit()
    live.packets()
    server.journal.refuses = True
    writer = server.client("writer")
    for topic, qos in (("r", 0), ("x", 0), ("x", 1), ("y", 2)):
        writer.publish(topic, qos=qos, packet_id=qos)
    assert [type(packet) for packet in writer.packets()] == [PubAck, PubRec]
    assert [topic for topic, _, _ in live.messages()] == ["r", "x", "x", "y"]
    live.send(Subscribe(3, (Subscription("z", QoS(1)),)))
    live.send(Unsubscribe(4, ("z",)))
    assert [type(packet) for packet in live.packets()] == [SubAck, UnsubAck]


def test_a_qos_2_message_whose_id_would_have_to_be_stored_is_not_taken(server):
    client = lasting(server, "a", V5)
    server.journal.refuses = True
    client.publish("y", qos=2, packet_id=3)
    assert client.expect(PubRec).reason_code == ReasonCode.QUOTA_EXCEEDED
    client.send(PubRel(3))
    assert client.expect(PubComp).reason_code == ReasonCode.PACKET_IDENTIFIER_NOT_FOUND


@pytest.mark.parametrize(("version", "code"), [(V311, 0x80), (V5, 0x97)])
def test_a_durable_session_cannot_change_its_subscriptions_then(server, version, code):
    client = lasting(server, "a", version).subscribe("x", 1)
    server.commit()
    client.packets()
    server.journal.refuses = True
    client.send(Subscribe(3, (Subscription("y", QoS(1)), Subscription("z", QoS(1)))))
    assert client.expect(SubAck).reason_codes == (code, code)
    assert server.broker.stats.subscriptions_refused == {WORDS: 2}
    client.send(Unsubscribe(4, ("x", "q")))
    if version is V5:
        assert client.expect(UnsubAck).reason_codes == (0x83, 0x83)
    assert client.closed is (version is V311)
    assert set(server.broker.sessions["a"].subscriptions) == {"x"}


def test_a_release_goes_on_and_its_answer_waits(server):
    client = lasting(server, "a", V5).publish("y", qos=2, packet_id=3)
    server.commit()
    client.packets()
    server.journal.refuses = True
    client.send(PubRel(3))
    assert client.packets() == []
    server.journal.refuses = False
    server.commit()
    assert client.expect(PubComp).reason_code == 0


def test_a_message_is_delivered_live_while_its_acknowledgement_waits(server):
    reader = lasting(server, "reader", V5).subscribe("r", 1)
    server.commit()
    reader.packets()
    writer = server.client("writer").publish("r", b"1", qos=1)
    assert [type(packet) for packet in reader.packets()] == [Publish]
    assert writer.packets() == []
