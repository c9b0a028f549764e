"""Rights that change under a client that is here, away, or was never asked: from that moment on nothing passes."""

import pytest
from journal import RecordingJournal
from virtual import V5, V311, VirtualServer

from appliance.auth.acl import Granted
from appliance.broker import revoking
from appliance.broker.message import Message
from appliance.broker.purging import NOT_READABLE
from appliance.broker.records import Dropped, Ended, Unsubscribed
from appliance.broker.revoking import ACCOUNT_CHANGED, UNSENT
from appliance.mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    Subscribe,
    Subscription,
    Will,
)
from appliance.mqtt.properties import Properties
from appliance.mqtt.types import QoS, ReasonCode

LASTING = {"clean_start": False, "properties": Properties(session_expiry_interval=600)}
VERSIONS = pytest.mark.parametrize("version", [V311, V5], ids=["3.1.1", "5"])
KEPT = pytest.mark.parametrize("durable", [False, True], ids=["in memory", "durable"])


class House:
    """A server whose accounts a test changes: user -> what it may publish and read."""

    def __init__(self, journal=None, **limits):
        self.granted = {}
        self.gone = set()
        self.allow("ann", ["#"], ["#"])
        self.allow("esp", ["a/#", "b/#"], ["a/#", "b/#"])
        self.server = VirtualServer(journal=journal, authorize=self.rights, **limits)

    def allow(self, user, publish, read):
        self.granted[user] = Granted(publish, read)

    def rights(self, user, _client_id):
        return self.granted.get(user, Granted([], []))

    def reload(self, *gone, restored=False):
        for user in gone:
            self.granted.pop(user, None)
        self.server.broker.reauthorize(
            lambda user: user in gone or user not in self.granted, self.server.now, restored=restored
        )
        self.server.settle()

    def shrink(self):
        """What esp may do is less from now on: a/# alone."""
        self.allow("esp", ["a/#"], ["a/#"])
        self.reload()

    def crash_and_restart(self):
        self.server.crash_and_restart()
        self.reload(restored=True)

    def lasting(self, client_id, user, version=V5, **fields):
        more = LASTING if version is V5 else {"clean_start": False}
        return self.server.client(client_id, version, username=user, **{**more, **fields})

    @property
    def broker(self):
        return self.server.broker

    @property
    def dropped(self):
        return self.broker.stats.dropped[NOT_READABLE]


def house(*, durable=False, **limits):
    return House(RecordingJournal(automatic=True) if durable else None, **limits)


def topics(client):
    return [packet.topic for packet in client.packets() if isinstance(packet, Publish)]


# --- at once ---


@VERSIONS
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_nothing_more_is_read_through_a_live_subscription(version, qos):
    at = house()
    esp = at.server.client("esp", version, username="esp").subscribe("#", qos=qos)
    ann = at.server.client("ann", username="ann")
    for number, topic in enumerate(("a/1", "b/1")):
        ann.publish(topic, qos=qos, packet_id=number + 1 if qos else None)
    assert topics(esp) == ["a/1", "b/1"]
    at.shrink()
    for number, topic in enumerate(("a/1", "b/1", "b/2", "a/2")):
        ann.publish(topic, qos=qos, packet_id=number + 10 if qos else None)
    assert topics(esp) == ["a/1", "a/2"]
    assert not esp.closed


@VERSIONS
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_nothing_more_is_published_through_a_route_that_is_known(version, qos):
    at = house()
    ann = at.server.client("ann", username="ann").subscribe("#")
    ann.packets()
    esp = at.server.client("esp", version, username="esp")
    for change in (lambda: None, at.shrink):
        change()
        for number, topic in enumerate(("a/1", "b/1", "a/1")):
            esp.publish(topic, qos=qos, packet_id=number + 1 if qos else None)
            if qos == 2:
                esp.send(PubRel(number + 1))
    assert topics(ann) == ["a/1", "b/1", "a/1", "a/1", "a/1"]
    at.allow("esp", ["b/#"], ["#"])
    at.reload()
    esp.publish("a/1").publish("b/1")
    assert topics(ann) == ["b/1"]
    assert esp.connection.routes is not at.broker.router.routes


@VERSIONS
def test_a_qos_2_message_that_its_publisher_begins_again_is_not_routed(version):
    at = house()
    ann = at.server.client("ann", username="ann").subscribe("#")
    ann.packets()
    esp = at.lasting("esp", "esp", version)
    esp.publish("b/1", b"before", qos=2, packet_id=1)
    at.shrink()
    esp.publish("b/1", b"before", qos=2, packet_id=1, dup=True)  # it has been routed; now it is answered
    esp.publish("b/1", b"after", qos=2, packet_id=2)
    esp.send(PubRel(1))
    answers = [(type(one), one.packet_id) for one in esp.packets()]
    assert answers == [(PubRec, 1), (PubRec, 1), (PubRec, 2), (PubComp, 1)]
    assert [packet.payload for packet in ann.packets()] == [b"before"]


def test_who_has_the_same_rights_as_before_notices_nothing():
    at = house()
    esp = at.server.client("esp", username="esp").subscribe("b/#")
    before = at.broker.sessions["esp"].rights
    routes = esp.connection.routes
    at.allow("esp", ["b/#", "a/#"], ["b/#", "a/#"])
    at.reload()
    assert at.broker.sessions["esp"].rights is before
    assert esp.connection.routes is routes
    assert list(at.broker.sessions["esp"].subscriptions) == ["b/#"]


def test_more_rights_act_at_once_too():
    at = house()
    esp = at.server.client("esp", username="esp").subscribe("#")
    ann = at.server.client("ann", username="ann").subscribe("#").publish("c/1")
    assert topics(esp) == []
    at.allow("esp", ["#"], ["#"])
    at.reload()
    ann.publish("c/1")
    esp.publish("c/2")
    assert topics(esp) == ["c/1", "c/2"]
    assert topics(ann) == ["c/1", "c/1", "c/2"]


def test_a_member_of_a_shared_group_has_no_turn_any_more():
    at = house()
    esp, ann = (at.server.client(name, V5, username=name).subscribe("$share/g/#", qos=1) for name in ("esp", "ann"))
    at.shrink()
    writer = at.server.client("w", username="ann")
    for number in range(6):
        writer.publish("b/1", qos=1, packet_id=number + 1)
    assert topics(esp) == []
    assert topics(ann) == ["b/1"] * 6


# --- subscriptions, retained replays ---


@KEPT
def test_a_subscription_that_can_bring_nothing_ends_and_one_that_can_stays(durable):
    at = house(durable=durable)
    esp = at.lasting("esp", "esp").subscribe("b/#").subscribe("#").subscribe("$share/g/b/+")
    at.shrink()
    assert list(at.broker.sessions["esp"].subscriptions) == ["#"]
    assert not at.broker.router.groups
    if durable:
        gone = [record.topic_filter for record in at.server.journal.records if isinstance(record, Unsubscribed)]
        assert gone == ["b/#", "$share/g/b/+"]
        at.allow("esp", ["#"], ["#"])
        at.crash_and_restart()
        assert list(at.broker.sessions["esp"].subscriptions) == ["#"]
    else:
        esp.subscribe("b/#")
        assert list(at.broker.sessions["esp"].subscriptions) == ["#"]


@KEPT
def test_a_replay_that_has_begun_brings_nothing_more(durable):
    at = house(durable=durable, max_inflight=1)
    ann = at.server.client("ann", username="ann")
    for topic in ("a/1", "b/1", "b/2", "a/2"):
        ann.publish(topic, qos=1, retain=True)
    esp = at.lasting("esp", "esp").subscribe("#", qos=1)
    (first,) = [packet for packet in esp.packets() if isinstance(packet, Publish)]
    assert first.topic == "a/1"
    at.shrink()
    esp.send(PubAck(first.packet_id))
    assert topics(esp) == ["a/2"]


# --- what waits ---


@VERSIONS
@KEPT
def test_what_waits_for_who_is_away_is_dropped(version, durable):
    at = house(durable=durable)
    esp = at.lasting("esp", "esp", version).subscribe("#", qos=2)
    esp.lose()
    ann = at.server.client("ann", username="ann")
    for number, topic in enumerate(("a/1", "b/1", "b/2", "a/2")):
        ann.publish(topic, b"x" * 10, qos=1 + number % 2, packet_id=number + 1)
    at.shrink()
    session = at.broker.sessions["esp"]
    assert [delivery[0].topic for delivery in session.queue] == ["a/1", "a/2"]
    assert session.queued_bytes == 26
    assert at.dropped == 2
    if durable:
        assert sum(isinstance(record, Dropped) for record in at.server.journal.records) == 2
        at.allow("esp", ["#"], ["#"])  # nothing of it comes back with the rights
        at.crash_and_restart()
    back = at.lasting("esp", "esp", version)
    assert back.connack.session_present
    assert [packet.topic for packet in back.resumed] == ["a/1", "a/2"]


def test_a_queue_that_empties_costs_nothing_any_more():
    at = house()
    at.lasting("esp", "esp").subscribe("#", qos=1).lose()
    at.server.client("ann", username="ann").publish("b/1", qos=1)
    at.shrink()
    session = at.broker.sessions["esp"]
    assert (len(session.queue), session.queued_bytes, session.waiting) == (0, 0, False)


@KEPT
def test_what_waits_behind_a_full_window_is_dropped(durable):
    at = house(durable=durable, max_inflight=1)
    esp = at.lasting("esp", "esp").subscribe("#", qos=1)
    esp.packets()
    ann = at.server.client("ann", username="ann")
    for number, topic in enumerate(("b/1", "b/2", "a/1")):
        ann.publish(topic, qos=1, packet_id=number + 1)
    (first,) = esp.packets()
    assert first.topic == "b/1"
    at.shrink()
    esp.send(PubAck(first.packet_id))  # what was sent is finished
    assert topics(esp) == ["a/1"]
    assert at.dropped == 1


@KEPT
@pytest.mark.parametrize("qos", [1, 2])
def test_what_was_sent_is_not_sent_again(qos, durable):
    at = house(durable=durable)
    esp = at.lasting("esp", "esp").subscribe("#", qos=2)
    esp.packets()
    ann = at.server.client("ann", username="ann")
    for number, topic in enumerate(("b/1", "a/1")):
        ann.publish(topic, qos=qos, packet_id=number + 1)
    assert topics(esp) == ["b/1", "a/1"]
    at.shrink()
    esp.lose()
    back = at.lasting("esp", "esp")
    expected = [(Publish, 2)] if qos == 1 else [(PubRel, 1), (Publish, 2)]  # the id is let go of
    assert [(type(packet), packet.packet_id) for packet in back.resumed] == expected
    if qos == 2:
        back.send(PubComp(1))
    assert list(at.broker.sessions["esp"].in_flight) == [2]


@pytest.mark.parametrize("qos", [1, 2])
def test_nor_after_a_power_cut(qos):
    at = house(durable=True)
    esp = at.lasting("esp", "esp").subscribe("#", qos=2)
    esp.packets()
    at.server.client("ann", username="ann").publish("b/1", qos=qos)
    assert topics(esp) == ["b/1"]
    at.allow("esp", ["a/#"], ["a/#"])  # said while nobody was there to hear it
    at.crash_and_restart()
    back = at.lasting("esp", "esp")
    assert [type(packet) for packet in back.resumed] == [PubRel] * (qos - 1)


@pytest.mark.parametrize("qos", [1, 2])
def test_what_was_sent_to_who_is_away_is_not_sent_again(qos):
    at = house(durable=True)
    esp = at.lasting("esp", "esp").subscribe("#", qos=2)
    at.server.client("ann", username="ann").publish("b/1", qos=qos)
    esp.lose()
    at.shrink()
    at.allow("esp", ["#"], ["#"])
    at.crash_and_restart()
    assert [type(packet) for packet in at.lasting("esp", "esp").resumed] == [PubRel] * (qos - 1)


def test_what_a_commit_holds_back_is_not_sent():
    at = House(RecordingJournal())
    esp = at.lasting("esp", "esp").subscribe("#", qos=2)
    at.server.commit()
    esp.packets()
    ann = at.server.client("ann", username="ann")
    ann.publish("b/1", qos=2, packet_id=1).publish("b/2", qos=1, packet_id=2).publish("a/1", qos=2, packet_id=3)
    assert esp.packets() == []  # not before it is on disk that the packet ids are taken
    at.shrink()
    at.server.commit()
    assert topics(esp) == ["a/1"]
    assert list(at.broker.sessions["esp"].in_flight) == [3]
    assert (esp.connection.held_messages, esp.connection.held_bytes) == (0, 0)
    at.server.commit()
    at.allow("esp", ["#"], ["#"])
    at.crash_and_restart()
    assert [packet.packet_id for packet in at.lasting("esp", "esp").resumed] == [3]


def test_what_a_commit_holds_back_and_was_sent_before_is_let_go_of():
    at = House(RecordingJournal())
    esp = at.lasting("esp", "esp").subscribe("#", qos=2)
    at.server.commit()
    at.server.client("ann", username="ann").publish("b/1", qos=2, packet_id=1)
    at.server.commit()
    assert topics(esp) == ["b/1"]
    esp.publish("a/1", qos=2)  # a change that is not yet durable, and all that comes waits behind it
    esp.lose()
    back = at.lasting("esp", "esp")
    assert back.resumed == []
    assert back.connection.held_messages == 2
    at.shrink()
    at.server.commit()
    assert [(type(packet), packet.packet_id) for packet in back.packets()] == [(Publish, 2), (PubRel, 1)]


def test_who_has_not_read_what_was_sent_before_is_closed_and_gets_none_of_it():
    at = house(max_output_bytes=100)
    esp = at.lasting("esp", "esp").subscribe("#", qos=1)
    esp.packets()
    esp.reads = False
    ann = at.server.client("ann", username="ann")
    ann.publish("b/1", b"x" * 50, qos=1, packet_id=1).publish("a/1", qos=1, packet_id=2)
    at.shrink()
    assert at.server.closed[-1] == UNSENT
    assert [type(packet) for packet in esp.packets()] == [Disconnect]
    back = at.lasting("esp", "esp")
    assert back.connack.session_present
    assert [packet.topic for packet in back.resumed] == ["a/1"]


def test_what_was_for_a_group_goes_to_its_other_members():
    at = house()
    esp = at.lasting("esp", "esp").subscribe("$share/g/#", qos=1)
    esp.lose()
    writer = at.server.client("w", username="ann")
    for number, topic in enumerate(("b/1", "a/1")):
        writer.publish(topic, qos=1, packet_id=number + 1)
    ann = at.lasting("ann", "ann").subscribe("$share/g/#", qos=1)
    at.shrink()
    assert topics(ann) == ["b/1"]
    assert at.dropped == 0


def test_many_are_gone_through_in_steps_and_before_anything_is_sent(monkeypatch):
    monkeypatch.setattr(revoking, "STEP", 10)
    at = house()
    names = [f"c{number}" for number in range(5)]
    for name in names:
        at.lasting(name, "esp").subscribe("#", qos=1).lose()
    ann = at.server.client("ann", username="ann")
    for number in range(12):
        ann.publish("ab"[number % 2] + "/1", qos=1, packet_id=number + 1)

    def lines():
        return [len(at.broker.sessions[name].queue) for name in names]

    at.shrink()
    assert lines() == [6, 12, 12, 12, 12]
    assert at.broker.next_deadline() == at.server.now
    back = at.lasting("c3", "esp")  # before its turn
    assert [packet.topic for packet in back.resumed] == ["a/1"] * 6
    assert lines()[:3] == [6, 12, 12]
    at.server.goodbye(at.lasting("c4", "esp", clean_start=True))
    at.server.advance(0)
    assert [len(at.broker.sessions[name].queue) for name in names[:3]] == [6, 6, 6]
    assert at.broker.router.outbound.review is None
    assert at.broker.next_deadline() != at.server.now


# --- wills ---


@VERSIONS
def test_the_will_of_who_is_connected(version):
    at = house()
    ann = at.server.client("ann", username="ann").subscribe("#")
    ann.packets()
    esp = at.server.client("esp", version, username="esp", will=Will("b/1", b"gone"))
    at.shrink()
    esp.lose()
    assert topics(ann) == []


@KEPT
@pytest.mark.parametrize("ended", [False, True], ids=["waiting for its client", "of an ended session"])
def test_a_will_that_waits(durable, ended):
    at = house(durable=durable)
    ann = at.lasting("ann", "ann").subscribe("#")
    esp = at.lasting("esp", "esp", will=Will("b/1", b"gone", properties=Properties(will_delay_interval=60)))
    esp.lose()
    at.shrink()
    at.server.advance(601 if ended else 61)
    assert topics(ann) == []
    assert at.broker.stats.dropped["not allowed to publish"] == 1


# --- retained messages ---


@KEPT
@pytest.mark.parametrize("here", [False, True], ids=["gone", "here"])
def test_what_its_publisher_might_not_say_any_more_is_cleared(here, durable):
    at = house(durable=durable)
    ann = at.server.client("ann", username="ann").subscribe("#")
    esp = at.server.client("esp", username="esp")
    for topic in ("a/1", "b/1"):
        esp.publish(topic, b"1", retain=True)
    ann.publish("b/2", b"1", retain=True)
    if not here:
        at.server.goodbye(esp)
    ann.packets()
    at.shrink()
    assert ann.messages() == [("b/1", b"", 0)]  # whoever shows it need not
    assert sorted(message.topic for message in at.broker.router.retained.messages()) == ["a/1", "b/2"]
    if durable:
        at.crash_and_restart()
        assert sorted(message.topic for message in at.broker.router.retained.messages()) == ["a/1", "b/2"]


def test_after_a_restart_it_is_known_of_who_has_a_session():
    at = house(durable=True)
    at.lasting("esp", "esp").publish("b/1", b"1", qos=1, retain=True)
    at.server.client("old", V5, username="esp").publish("b/2", b"1", qos=1, retain=True)
    at.crash_and_restart()
    at.shrink()
    assert [message.topic for message in at.broker.router.retained.messages()] == ["b/2"]  # whose was it?


def test_after_a_restart_it_is_cleared_what_its_publisher_may_not_say_by_now():
    at = house(durable=True)
    at.allow("pi", ["#"], [])
    at.allow(None, ["#"], [])
    at.broker.publish(Message("b/4", b"1", 1, True), at.server.now)
    for number, user in enumerate(("esp", "pi", None)):
        at.lasting(f"of {user}", user).publish(f"b/{number}", b"1", qos=1, retain=True)
    at.allow("esp", ["a/#"], ["a/#"])
    for gone in ("pi", None):  # as files that were edited before the restart
        del at.granted[gone]
    at.crash_and_restart()
    kept = sorted(message.topic for message in at.broker.router.retained.messages())
    assert kept == ["b/2", "b/4"]  # of nobody in particular, as before there were accounts
    at.shrink()
    assert len(at.broker.router.retained) == 2


@pytest.mark.parametrize("is_anothers", [True, False])
def test_who_takes_a_client_id_has_nothing_cleared_that_may_be_anothers(is_anothers):
    at = house(durable=True)
    at.allow("evil", ["a/#"], [])
    meter = at.server.client("meter", V5, username="esp")
    meter.publish("b/1", b"1", qos=1, retain=True)
    at.server.goodbye(meter)
    at.lasting("meter", "evil").publish("a/1", b"1", qos=1, retain=True)
    at.server.crash_and_restart()
    at.broker.reauthorize(
        lambda _user: False,
        at.server.now,
        restored=True,
        is_anothers=lambda message: is_anothers and message.topic > "b",
    )
    kept = sorted(message.topic for message in at.broker.router.retained.messages())
    assert kept == (["a/1", "b/1"] if is_anothers else ["a/1"])
    at.reload("evil")
    assert sorted(message.topic for message in at.broker.router.retained.messages()) == kept[1:]


def test_what_is_of_nobody_known_is_cleared_as_the_accounts_say():
    at = house(durable=True)
    asked = []
    at.server.client("old", V5, username="esp").publish("b/1", b"1", qos=1, retain=True)
    at.lasting("esp", "esp").publish("b/2", b"1", qos=1, retain=True)
    at.server.client("old", V5, username="esp").publish("b/3", b"1", qos=1, retain=True)
    at.crash_and_restart()
    ann = at.server.client("ann", username="ann").subscribe("#")
    ann.packets()

    def is_orphan(message):
        asked.append((message.topic, message.client_id))
        return message.topic == "b/1"

    at.broker.reauthorize(lambda _user: False, at.server.now, is_orphan=is_orphan)
    at.server.settle()
    assert sorted(asked) == [("b/1", "old"), ("b/3", "old")]  # of b/2 it is known
    assert ann.messages() == [("b/1", b"", 0)]


def test_what_the_server_says_of_itself_stays():
    at = house()
    at.broker.publish(Message("b/1", b"1", 1, True), at.server.now)
    at.shrink()
    assert len(at.broker.router.retained) == 1


# --- accounts that are gone ---


@VERSIONS
@KEPT
def test_who_has_no_account_any_more_is_closed_and_nothing_of_it_stays(version, durable):
    at = house(durable=durable)
    ann = at.server.client("ann", username="ann").subscribe("#")
    esp = at.lasting("esp", "esp", version, will=Will("b/1", b"gone")).subscribe("#", qos=1)
    away = at.lasting("away", "esp", version).subscribe("#", qos=1)
    away.lose()
    ann.publish("b/1", qos=1)
    for client in (ann, esp):
        client.packets()
    at.reload("esp")
    assert esp.closed
    if version is V5:
        assert esp.expect(Disconnect).reason_code == ReasonCode.NOT_AUTHORIZED
    assert list(at.broker.sessions) == ["ann"]
    assert topics(ann) == []  # its will least of all
    assert at.broker.stats.sessions_ended[ACCOUNT_CHANGED] == 2
    assert at.broker.stats.dropped[ACCOUNT_CHANGED] == 1
    assert not ann.closed
    if durable:
        assert sum(isinstance(record, Ended) for record in at.server.journal.records) == 2
        at.allow("esp", ["#"], ["#"])
        at.crash_and_restart()
        assert not at.broker.sessions


@KEPT
@pytest.mark.parametrize("is_here", [True, False], ids=["here", "away"])
@pytest.mark.parametrize("says", [b"offline", b"OPEN"])
def test_an_account_that_is_another_by_now_begins_anew_and_its_will_is_told_only_as_a_last_word(says, is_here, durable):
    """Whoever had the password before it was changed may have left behind a command, to be given just then."""
    at = house(durable=durable)
    ann = at.server.client("ann", username="ann").subscribe("#")
    ann.packets()
    esp = at.lasting("esp", "esp", will=Will("b/1", says, properties=Properties(will_delay_interval=60)))
    if not is_here:
        esp.lose()
    at.broker.reauthorize(
        lambda user: user == "esp", at.server.now, is_last_word=lambda will: will.payload == b"offline"
    )
    at.server.settle()
    assert esp.closed
    told = [("b/1", b"offline", 0)] if says == b"offline" else []
    assert ann.messages() == told
    assert not at.lasting("esp", "esp").connack.session_present
    assert not at.broker._wills.waiting()
    if durable:
        at.crash_and_restart()
        watcher = at.server.client("watcher", username="ann").subscribe("#")
        watcher.packets()
        at.server.advance(100)
        assert watcher.messages() == []


def test_none_of_those_who_are_ousted_inherits_from_another():
    at = house()
    for name in ("one", "two"):
        at.lasting(name, "esp").subscribe("$share/g/#", qos=1).lose()
    writer = at.server.client("w", username="ann")
    for number in range(4):
        writer.publish("a/1", qos=1, packet_id=number + 1)
    at.broker.reauthorize(lambda user: user == "esp", at.server.now)
    assert at.broker.stats.dropped[ACCOUNT_CHANGED] == 4
    assert not at.broker.router.groups


def test_who_was_authenticated_and_waits_for_the_disk_is_not_let_in():
    at = House(RecordingJournal())
    at.lasting("esp", "esp").lose()
    at.server.commit()
    late = at.server.link(V5)
    late.send(Connect("esp", username="esp", version=V5, clean_start=True))
    assert late.packets() == []  # that its old session is over has to be durable first
    at.reload("esp")
    assert late.expect(ConnAck).reason_code == ReasonCode.NOT_AUTHORIZED
    at.server.commit()
    assert late.closed
    assert not at.broker.sessions


def test_after_a_restart_sessions_of_nobody_are_ended():
    at = house(durable=True)
    ann = at.lasting("ann", "ann").subscribe("#", qos=1)
    esp = at.lasting("esp", "esp", will=Will("b/1", b"gone")).subscribe("#", qos=1)
    for client in (ann, esp):
        client.lose()
    del at.granted["esp"]
    at.crash_and_restart()
    assert list(at.broker.sessions) == ["ann"]
    at.server.advance(20)  # its will waits no longer
    assert not at.broker.router.retained
    at.allow("esp", ["#"], ["#"])
    at.crash_and_restart()
    assert list(at.broker.sessions) == ["ann"]


def test_a_subscription_that_found_no_room_is_given_up_too():
    at = house(durable=True, max_subscriptions=2)
    at.lasting("esp", "esp").send(Subscribe(1, tuple(Subscription(name, QoS(0)) for name in ("a/1", "b/1"))))
    at.server._limits = type(at.server._limits)(max_subscriptions=1)
    at.crash_and_restart()
    assert list(at.broker.sessions["esp"].left_out) == ["b/1"]
    at.shrink()
    assert not at.broker.sessions["esp"].left_out
    at.server._limits = type(at.server._limits)()
    at.allow("esp", ["#"], ["#"])
    at.crash_and_restart()
    assert list(at.broker.sessions["esp"].subscriptions) == ["a/1"]
