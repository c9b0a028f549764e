"""One session, gone through with rights that are less by now; `test_revoking` has the ways that lead here."""

from collections import Counter

from virtual import V5, VirtualServer

from appliance.broker.purging import Purger
from appliance.broker.session import NOTHING_QUEUED
from appliance.mqtt.properties import Properties


class Counted:
    """Rights to nothing but a/#, that count how often they are asked."""

    def __init__(self):
        self.asked = Counter()

    def may_read(self, topic):
        self.asked[topic] += 1
        return topic.startswith("a/")

    def may_subscribe(self, topic_filter):
        return topic_filter[0] in "a#"


def away(*topics, qos=1, topic_filter="#"):
    """A client that is away, and for whom messages on these topics wait."""
    server = VirtualServer()
    client = server.client("c", V5, clean_start=False, properties=Properties(session_expiry_interval=600))
    client.subscribe(topic_filter, qos=2).lose()
    writer = server.client("w")
    for number, topic in enumerate(topics):
        writer.publish(topic, qos=qos, packet_id=number + 1)
    session = server.broker.sessions["c"]
    session.rights = Counted()
    return server, session


def test_each_topic_is_asked_about_once_however_many_messages_wait():
    server, session = away(*["a/1", "b/1"] * 50)
    purger = Purger(session, server.broker.router)
    purger.withdraw_queued()
    assert purger.finish(server.now) == 50
    assert session.rights.asked == {"a/1": 1, "b/1": 1}
    assert {delivery[0].topic for delivery in session.queue} == {"a/1"}
    assert session.waiting


def test_a_line_of_which_nothing_goes_stays_as_it_is():
    server, session = away("a/1", "a/2")
    line = session.queue
    purger = Purger(session, server.broker.router)
    purger.end_subscriptions()
    purger.withdraw_sent()
    purger.withdraw_queued()
    assert purger.finish(server.now) == 0
    assert session.queue is line
    assert list(session.subscriptions) == ["#"]


def test_a_line_of_which_everything_goes_takes_no_memory():
    server, session = away("b/1")
    purger = Purger(session, server.broker.router)
    purger.withdraw_queued()
    assert session.queue is NOTHING_QUEUED
    assert (session.queued_bytes, session.waiting) == (0, False)


def test_what_a_group_inherits_is_not_lost():
    server, session = away("b/1", "b/2", topic_filter="$share/g/#")
    other = server.client("other", V5).subscribe("$share/g/#")
    other.packets()
    purger = Purger(session, server.broker.router)
    purger.end_subscriptions()
    purger.withdraw_queued()
    assert purger.finish(server.now) == 0
    server.settle()
    assert [topic for topic, _, _ in other.messages()] == ["b/1", "b/2"]
