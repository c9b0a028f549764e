"""Coming in: what a client whose session has ended waits for. All else of CONNECT is in test_core."""

import pytest
from journal import RecordingJournal
from virtual import V5, V311, VirtualServer

from appliance.mqtt import codec
from appliance.mqtt.packets import ConnAck, Connect, Disconnect, PingReq, PingResp, SubAck, Subscribe, Subscription
from appliance.mqtt.properties import Properties
from appliance.mqtt.types import QoS, ReasonCode


@pytest.fixture
def server():
    """One where client `a` has left a session behind."""
    server = VirtualServer(journal=RecordingJournal())
    server.client("a", clean_start=False).subscribe("x", 1).lose()
    server.commit()
    return server


def coming(server, version=V311, **fields):
    link = server.link(version)
    link.send(Connect("a", version=version, **fields))
    return link


@pytest.mark.parametrize("version", [V311, V5])
def test_a_connack_that_discards_a_session_waits(server, version):
    link = coming(server, version)
    assert link.packets() == []
    assert server.broker.waiting() == 1
    server.commit()
    assert not link.expect(ConnAck).session_present
    assert server.broker.waiting() == 0


def test_a_new_session_and_one_that_is_taken_up_do_not_wait(server):
    assert coming(server, clean_start=False).expect(ConnAck).session_present
    assert not server.client("new", clean_start=False).connack.session_present


def test_nothing_is_said_before_the_connack(server):
    link = coming(server)
    link.send(codec.encode(Subscribe(1, (Subscription("x", QoS(0)),)), V311) + codec.encode(PingReq(), V311))
    server.client("writer").publish("x")
    assert link.packets() == []
    server.commit()
    assert [type(packet) for packet in link.packets()] == [ConnAck, SubAck, PingResp]


def test_the_end_of_a_session_is_waited_for_on_another_link_too(server):
    coming(server).lose()
    link = coming(server, clean_start=False)
    assert link.packets() == []
    server.commit()
    assert not link.expect(ConnAck).session_present


def test_the_end_that_the_client_asked_for_at_its_goodbye_is_waited_for(server):
    five = server.client("a", V5, clean_start=False, properties=Properties(session_expiry_interval=9))
    five.send(Disconnect(properties=Properties(session_expiry_interval=0)))
    link = coming(server, clean_start=False)
    assert link.packets() == []
    server.commit()
    assert not link.expect(ConnAck).session_present


def test_of_two_that_wait_the_later_one_stays(server):
    one, other = coming(server), coming(server)
    server.commit()
    assert one.closed
    assert not other.closed
    assert type(other.packets()[0]) is ConnAck


def test_who_waits_for_a_later_group_goes_on_waiting(server):
    server.client("b", clean_start=False).lose()
    server.commit()
    first = coming(server)
    server.journal.close()
    second = server.link()
    second.send(Connect("b", version=V311))
    server.journal.close()
    server.commit(1)
    assert (len(first.packets()), len(second.packets())) == (1, 0)
    server.commit()
    assert len(second.packets()) == 1


def test_who_leaves_while_it_waits_is_forgotten(server):
    link = coming(server)
    link.lose()
    server.commit()
    assert link.packets() == []
    assert set(server.broker.sessions) == set()


def test_who_waits_when_a_commit_fails_is_turned_away(server):
    link, five = coming(server), coming(server, V5)
    gone = coming(server)
    gone.lose()
    server.broker.cannot_store(server.now)
    server.settle()
    assert link.expect(ConnAck).reason_code == 3
    assert five.expect(ConnAck).reason_code == ReasonCode.QUOTA_EXCEEDED
    assert link.closed
    assert five.closed
    assert server.broker.stats.connections_turned_away == {"cannot be stored at present": 2}
    assert server.broker.waiting() == 0


@pytest.mark.parametrize(
    ("version", "fields", "reason"),
    [
        (V311, {}, 3),  # it would end a session
        (V5, {}, 0x97),
        (V5, {"clean_start": False}, 0),
        (V311, {"clean_start": False}, 0),
        (V5, {"client_id": "new", "properties": Properties(session_expiry_interval=9)}, 0x97),
        (V311, {"client_id": "new", "clean_start": False}, 3),
        (V311, {"client_id": "new"}, 0),
    ],
)
def test_who_may_come_in_while_nothing_can_be_stored(server, version, fields, reason):
    server.journal.refuses = True
    link = server.link(version)
    link.send(Connect(**{"client_id": "a", "version": version, **fields}))
    answer = link.expect(ConnAck)
    assert answer.reason_code == reason
    assert link.closed is bool(reason)
    if reason and version is V5:
        assert answer.properties.reason_string == "its session cannot be stored at present"
    assert "a" in server.broker.sessions


def test_nobody_loses_a_session_for_one_that_cannot_be_stored():
    server = VirtualServer(journal=RecordingJournal(), max_sessions=1)
    server.client("a", clean_start=False).lose()
    server.commit()
    server.journal.refuses = True
    link = server.link()
    link.send(Connect("b", clean_start=False, version=V311))
    assert link.expect(ConnAck).reason_code == 3
    assert set(server.broker.sessions) == {"a"}


def test_the_session_that_made_room_is_not_there_after_a_cut_if_its_client_was_told():
    server = VirtualServer(journal=RecordingJournal(), max_sessions=1)
    server.client("a", clean_start=False).lose()
    server.commit()
    server.client("b").lose()
    link = coming(server, clean_start=False)
    assert link.packets() == []
    server.commit()
    assert not link.expect(ConnAck).session_present
    server.crash_and_restart()
    assert not any(session.subscriptions for session in server.broker.sessions.values())


def test_room_is_made_for_who_comes_in_and_not_for_who_waits():
    server = VirtualServer(journal=RecordingJournal(), max_sessions=2)
    for client_id in ("a", "b"):
        server.client(client_id, clean_start=False).lose()
    server.commit()
    other = server.client("c")  # in the place of a
    link = coming(server, clean_start=False)
    other.lose()
    server.commit()
    assert not link.expect(ConnAck).session_present
    assert set(server.broker.sessions) == {"a", "b"}


def test_who_waited_and_finds_no_room_is_turned_away():
    server = VirtualServer(journal=RecordingJournal(), max_sessions=1)
    server.client("a", clean_start=False).lose()
    server.commit()
    other = server.client("c")
    link = coming(server, V5)
    assert link.packets() == []
    server.commit()
    assert link.expect(ConnAck).reason_code == ReasonCode.QUOTA_EXCEEDED
    assert link.closed
    assert not other.closed
