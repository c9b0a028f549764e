import pytest
from virtual import VirtualServer

from appliance.broker.last_messages import LastMessages
from appliance.broker.message import Message
from appliance.broker.session import Session
from appliance.broker.stats import Stats
from appliance.broker.topictree import Grant
from appliance.mqtt.packets import Subscribe, Subscription
from appliance.mqtt.types import QoS
from appliance.settings import Limits

ROOM = Limits(max_retained_messages=2)


def kept(limits=ROOM, *, read=False):
    return LastMessages(limits, Stats(), lambda: read)


def names(last, topic_filter):
    return sorted(delivery[0].topic for delivery in last.replay(topic_filter, Grant(1), Session("reader")))


def test_the_servers_own_stand_beside_and_are_no_clients():
    last = kept()
    assert last.keep(Message("a", b"1", 1, True), 0)
    assert not last.keep(Message("$SYS/uptime", b"1", 1, True), 0)
    assert last._stats.retained_now == len(last.clients) == len(last.own) == 1
    for topic_filter, expected in {
        "#": ["a"],
        "+": ["a"],
        "$SYS/#": ["$SYS/uptime"],
        "$SYS/+": ["$SYS/uptime"],
    }.items():
        assert names(last, topic_filter) == expected


def test_the_servers_own_take_no_clients_place():
    last = kept()
    for number in range(10):
        last.keep(Message(f"$SYS/{number}", b"1", 1, True), 0)
    for topic in "abc":
        last.keep(Message(topic, b"1", 1, True), 0)
    assert names(last, "#") == ["a", "b"]
    assert last._stats.dropped == {"no room to retain": 1}
    last.keep(Message("a", b"", 1, True), 0)
    assert names(last, "#") == ["b"]
    assert last._stats.retained_now == 1


@pytest.mark.parametrize(("read", "topic_filter", "asked"), [
    (False, "$SYS/#", 1),
    (True, "$SYS/#", 0),  # they are kept up already
    (False, "#", 0),
    (False, "$x/#", 0),  # nothing is ever said there
    (False, "$SYSTEM/#", 0),
])  # fmt: skip
def test_the_servers_own_are_made_for_who_begins_to_read(read, topic_filter, asked):
    last = kept(read=read)
    calls = []

    def refresh():
        calls.append(1)
        last.keep(Message("$SYS/a", b"%d" % len(calls), 1, True), 0)

    last.refresh_own = refresh
    replay = last.replay(topic_filter, Grant(1, identifier=7), Session("reader"))
    assert len(calls) == asked
    assert [(delivery[0].payload, *delivery[1:]) for delivery in replay] == [(b"1", 1, True, (7,), None)] * asked


@pytest.mark.parametrize(("topic_filter", "asked"), [("$x", 0), ("$SYS/#", 1)])
def test_many_subscriptions_have_the_servers_own_made_once(topic_filter, asked):
    server = VirtualServer()
    calls = []
    server.broker.router.last.refresh_own = lambda: calls.append(1)
    client = server.client("a")
    client.send(Subscribe(1, (Subscription(topic_filter, QoS(0)),) * 1_000))
    assert len(calls) == asked


def test_without_anybody_who_makes_them_there_are_none():
    assert names(kept(), "$SYS/#") == []


def test_those_whose_time_is_over_are_counted_no_more():
    last = kept()
    last.keep(Message("a", b"1", 1, True, expires_at=10), 0)
    last.keep(Message("b", b"1", 1, True), 0)
    last.expire(9.9)
    assert last._stats.retained_now == 2
    last.expire(10)
    assert last._stats.retained_now == 1
    assert names(last, "#") == ["b"]
