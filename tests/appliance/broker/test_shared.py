from collections import Counter

import pytest
from journal import RecordingJournal
from virtual import V5, V311, VirtualServer

from appliance.broker.session import Session
from appliance.broker.shared import SharedGroup
from appliance.broker.topictree import Grant
from appliance.mqtt.packets import PubAck, Publish, PubRec, SubAck, Unsubscribe
from appliance.mqtt.properties import Properties
from appliance.mqtt.types import ReasonCode


def member(server, client_id, topic_filter="$share/g/work/#", qos=1, version=V5, expiry_s=0, **options):
    properties = Properties(session_expiry_interval=expiry_s) if expiry_s else Properties()
    client = server.client(client_id, version, clean_start=not expiry_s, properties=properties)
    client.subscribe(topic_filter, qos=qos, **options)
    assert client.expect(SubAck).reason_codes == (qos,)
    return client


def answer(client):
    """Acknowledge what came; gives the payloads."""
    payloads = []
    for packet in client.packets():
        assert isinstance(packet, Publish)
        payloads.append(packet.payload)
        if packet.qos == 1:
            client.send(PubAck(packet.packet_id))
    return payloads


def test_an_empty_group_has_no_member():
    assert SharedGroup().next_member(0) is None


def test_absent_members_take_turns_too():
    group = SharedGroup()
    sessions = [Session("a"), Session("b")]
    for session in sessions:
        group.members[session] = Grant(1)
    assert [group.next_member(0)[0] for _ in range(3)] == [sessions[0], sessions[1], sessions[0]]


@pytest.mark.parametrize("qos", [0, 1])
def test_members_share_fairly(qos):
    server = VirtualServer()
    members = [member(server, f"m{number}", qos=qos) for number in range(3)]
    publisher = server.client("p")
    for number in range(300):
        publisher.publish(f"work/{number % 7}", b"%d" % number, qos=1)
        if number % 30 == 0:
            seen = [answer(client) for client in members]
    seen = [answer(client) for client in members]
    assert max(map(len, seen)) - min(map(len, seen)) <= 1
    assert max(Counter(payload for of_member in seen for payload in of_member).values()) == 1


def test_each_group_and_each_plain_subscription_has_its_copy():
    server = VirtualServer()
    clients = [
        member(server, "a", "$share/one/work/x"),
        member(server, "b", "$share/two/work/+"),
        member(server, "c", "$share/One/work/#"),  # another group: names are told apart by case
        member(server, "d", "work/x"),
    ]
    server.client("p").publish("work/x", b"1", qos=1)
    assert [answer(client) for client in clients] == [[b"1"]] * 4


def test_one_client_in_a_group_and_by_itself_gets_both():
    server = VirtualServer()
    client = member(server, "a")
    client.subscribe("work/x", qos=1)
    client.packets()
    server.client("p").publish("work/x", b"1", qos=1)
    assert answer(client) == [b"1", b"1"]


@pytest.mark.parametrize(("granted", "published", "expected"), [(0, 2, 0), (1, 2, 1), (2, 1, 1), (2, 2, 2)])
def test_the_qos_is_the_members(granted, published, expected):  # [MQTT-4.8.2-3]
    server = VirtualServer()
    client = member(server, "a", qos=granted)
    server.client("p").publish("work/x", b"1", qos=published)
    assert [packet.qos for packet in client.packets()] == [expected]


def test_no_retained_messages_at_subscribing():
    server = VirtualServer()
    server.client("p").publish("work/x", b"1", retain=True)
    client = member(server, "a")
    assert client.packets() == []


def test_options_and_identifier():
    server = VirtualServer()
    client = member(server, "a", identifier=7, retain_as_published=True)
    server.client("p").publish("work/x", b"1", qos=1, retain=True)
    (message,) = client.packets()
    assert message.retain
    assert message.properties.subscription_identifier == (7,)


def test_3_1_1_clients_may_share_too():
    server = VirtualServer()
    members = [member(server, "old", version=V311), member(server, "new")]
    publisher = server.client("p")
    for number in range(4):
        publisher.publish("work/x", b"%d" % number, qos=1)
    assert sorted(len(answer(client)) for client in members) == [2, 2]


def test_an_absent_member_is_passed_over():
    server = VirtualServer()
    away, here = member(server, "away", expiry_s=60), member(server, "here")
    away.lose()
    publisher = server.client("p")
    for number in range(10):
        publisher.publish("work/x", b"%d" % number, qos=1)
    assert len(answer(here)) == 10
    here.lose()
    publisher.publish("work/x", b"for who comes back", qos=1)
    properties = Properties(session_expiry_interval=60)
    back = server.client("away", V5, clean_start=False, properties=properties)
    assert [packet.payload for packet in back.resumed] == [b"for who comes back"]


def test_a_member_that_takes_no_more_is_passed_over():
    server = VirtualServer(max_inflight=2)
    members = [member(server, "busy"), member(server, "quick")]
    publisher = server.client("p")
    got = []
    for number in range(20):
        publisher.publish("work/x", b"%d" % number, qos=1)
        got += answer(members[1])
    assert len(got) == 18
    assert len(members[0].packets()) == 2


def test_what_a_member_left_unfinished_goes_to_another():
    server = VirtualServer(max_inflight=2)
    dying, other = member(server, "dying"), member(server, "other")
    other.lose()
    publisher = server.client("p")
    for number in range(5):  # two in flight, three behind them
        publisher.publish("work/x", b"%d" % number, qos=1)
    assert len(dying.packets()) == 2
    other = member(server, "other")
    dying.lose()
    got = []
    while packets := answer(other):
        got += packets
    assert got == [b"0", b"1", b"2", b"3", b"4"]


def test_what_waits_for_an_absent_member_goes_to_one_that_is_here():
    server = VirtualServer(max_inflight=2)
    leaver = member(server, "leaver", expiry_s=60)
    leaver.subscribe("own", qos=1)
    publisher = server.client("p")
    for number in range(5):
        publisher.publish("work/x", b"%d" % number, qos=1)
    publisher.publish("own", b"mine", qos=1)
    other = member(server, "other")
    leaver.lose()
    assert answer(other) == [b"2", b"3"]
    assert answer(other) == [b"4"]
    session = server.broker.sessions["leaver"]
    assert [delivery[0].payload for delivery in session.queue] == [b"mine"]
    assert session.queued_bytes == len("own") + len(b"mine")
    back = server.client("leaver", V5, clean_start=False, properties=Properties(session_expiry_interval=60))
    assert [packet.payload for packet in back.resumed] == [b"0", b"1"]  # it may have seen them


def test_what_waits_stays_where_no_member_is_here():
    server = VirtualServer(max_inflight=1)
    members = [member(server, client_id, expiry_s=60) for client_id in ("a", "b")]
    publisher = server.client("p")
    for number in range(4):
        publisher.publish("work/x", b"%d" % number, qos=1)
    for client in members:
        client.lose()
    waiting = [delivery[0].payload for client_id in "ab" for delivery in server.broker.sessions[client_id].queue]
    assert sorted(waiting) == [b"2", b"3"]


@pytest.mark.parametrize("restarts", [False, True])
def test_what_waits_goes_to_who_has_joined_since_all_had_left(restarts):
    server = VirtualServer(journal=RecordingJournal(automatic=True))
    one = member(server, "one", expiry_s=5)
    one.lose()
    server.client("p").publish("work/1", b"1", qos=1)
    member(server, "one", expiry_s=5, topic_filter="other").send(Unsubscribe(3, ("$share/g/work/#",)))
    assert not server.broker.router.groups
    member(server, "two", expiry_s=50)
    if restarts:
        server.crash_and_restart()
    for client in server.clients:
        client.lose()
    server.advance(5)
    assert [delivery[0].payload for delivery in server.broker.sessions["two"].queue] == [b"1"]


def test_what_is_over_is_not_handed_on():  # [MQTT-3.3.2-5]
    """A message that nobody may get any more takes no member's turn, nor room in its queue."""
    server = VirtualServer(max_queued_messages=2)
    member(server, "first", expiry_s=40).lose()
    publisher = server.client("p", V5)
    publisher.publish("work/1", b"over", qos=1, properties=Properties(message_expiry_interval=30))
    publisher.publish("work/1", b"whole", qos=1)
    member(server, "second", expiry_s=100).lose()
    server.advance(41)
    assert set(server.broker.sessions) == {"p", "second"}
    assert [delivery[0].payload for delivery in server.broker.sessions["second"].queue] == [b"whole"]
    assert server.broker.stats.dropped == {"expired": 1}


def test_a_session_that_ends_at_the_same_moment_gets_nothing_more():
    server = VirtualServer()
    for client_id, expiry_s in (("one", 5), ("other", 5), ("third", 30)):
        member(server, client_id, expiry_s=expiry_s)
    publisher = server.client("p")
    for payload in (b"1", b"2", b"3"):  # one to each, so that it is the first one's turn again
        publisher.publish("work/1", payload, qos=1)
    for client in server.clients[:3]:
        client.lose()
    server.advance(5)
    assert set(server.broker.sessions) == {"p", "third"}
    assert [delivery[0].payload for delivery in server.broker.sessions["third"].queue] == [b"1", b"2"]
    assert not server.broker.stats.dropped


def test_qos_2_that_was_sent_goes_to_nobody_else():  # [MQTT-4.8.2-5]
    server = VirtualServer()
    dying = member(server, "dying", qos=2)
    publisher = server.client("p")
    publisher.publish("work/x", b"1", qos=2)
    publisher.publish("work/x", b"2", qos=2, packet_id=2)
    first, _ = dying.packets()
    dying.send(PubRec(first.packet_id))
    other = member(server, "other", qos=2)
    dying.lose()
    assert other.packets() == []


def test_what_a_member_refuses_goes_to_nobody_else():  # [MQTT-4.8.2-6]
    server = VirtualServer()
    picky, other = member(server, "picky"), member(server, "other")
    server.client("p").publish("work/x", b"1", qos=1)
    (message,) = picky.packets()
    picky.send(PubAck(message.packet_id, ReasonCode.QUOTA_EXCEEDED))
    picky.lose()
    assert other.packets() == []


def test_leaving_the_group():
    server = VirtualServer()
    leaver, stayer = member(server, "leaver"), member(server, "stayer")
    leaver.send(Unsubscribe(2, ("$share/g/work/#",)))
    leaver.packets()
    publisher = server.client("p")
    for number in range(4):
        publisher.publish("work/x", b"%d" % number, qos=1)
    assert len(answer(stayer)) == 4
    stayer.lose()
    assert not server.broker.router.groups
    assert not server.broker.router._tree._root.children
    publisher.publish("work/x", b"4", qos=1)
