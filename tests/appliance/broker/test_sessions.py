import pytest

from appliance.broker.message import Message
from appliance.broker.ports import NoJournal, RouteFlag
from appliance.broker.router import Router
from appliance.broker.sessions import Sessions
from appliance.broker.stats import Stats
from appliance.broker.topictree import Grant
from appliance.broker.wills import Wills
from appliance.mqtt.packets import Will
from appliance.mqtt.properties import Properties
from appliance.settings import Limits


@pytest.fixture
def told():
    return []


@pytest.fixture
def sessions(told):
    limits, stats = Limits(), Stats()
    router = Router(limits, stats, NoJournal(), lambda _: RouteFlag.NONE)
    return Sessions(2, router, Wills(lambda message, *_: told.append(message.topic), router.notes), stats)


def leave(sessions, client_id, now, expiry_s=100.0):
    session = sessions.take_up(client_id, None, expiry_s=expiry_s)
    sessions._router.subscribe(session, "x", Grant(1), 2)
    sessions.leave(session, "10.0.0.1", now)
    return session


def test_a_session_ends_with_its_link_or_waits(sessions):
    session = leave(sessions, "a", 0)
    assert sessions.by_id == {"a": session}
    assert sessions.next_deadline() == 100
    assert sessions.take_up("a", None) is session
    assert sessions.next_deadline() is None
    assert session.expiry_s == 0
    sessions.leave(session, "10.0.0.1", 5)
    assert (sessions.by_id, sessions._stats.sessions_now) == ({}, 0)
    assert not sessions._stats.sessions_ended  # as its client wanted
    assert not sessions._stats.dropped


def test_an_expired_session_is_counted_with_what_it_lost(sessions):
    leave(sessions, "a", 0)
    sessions._router.publish(sessions._router.route(b"x"), Message("x", b"1", 1), None, 1)
    sessions.tick(99.9)
    assert "a" in sessions.by_id
    sessions.tick(100)
    assert sessions.by_id == {}
    assert sessions._stats.sessions_ended == {"expired": 1}
    assert sessions._stats.dropped == {"session expired": 1}
    assert sessions._router.route(b"x").audience.empty


def test_the_longest_absent_makes_room(sessions):
    first = leave(sessions, "a", 0)
    assert sessions.has_room(1)
    second = leave(sessions, "b", 1)
    assert sessions.has_room(2)
    assert set(sessions.by_id) == {"b"}
    assert sessions._stats.sessions_ended == {"to make room": 1}
    sessions.end(first, 2)  # again, and no harm
    assert sessions.take_up("b", None) is second
    sessions.take_up("c", "ann")
    assert not sessions.has_room(3)  # both are here
    assert sessions.by_id["c"].username == "ann"


def test_a_will_waits_with_the_session(sessions, told):
    will = Will("gone", properties=Properties(will_delay_interval=50))
    session = sessions.take_up("a", None, expiry_s=100)
    kept = sessions._wills.keep(session, will)
    sessions._wills.leave(session, kept, 0)
    sessions.take_up("a", None, expiry_s=100)  # back in time
    sessions._wills.tick(60)
    assert told == []
    sessions._wills.leave(session, kept, 60)
    sessions.end(session, 70)
    assert told == ["gone"]
