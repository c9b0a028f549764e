"""A broker that starts again with what its journal holds."""

import pytest
from durable import WHO, House, random_actions
from journal import RecordingJournal, plain
from virtual import V5, V311, VirtualServer, accounts

from appliance.broker.image import Image
from appliance.broker.message import Message
from appliance.broker.records import (
    Done,
    Dropped,
    Ended,
    Left,
    Opened,
    Queued,
    Subscribed,
    WillGone,
    WillKept,
    WillWaits,
)
from appliance.broker.restoring import RESTART_GRACE_S
from appliance.broker.rights import AllRights
from appliance.mqtt.packets import Connect, Disconnect, PubAck, Publish, PubRec, PubRel, SubAck, Unsubscribe, Will
from appliance.mqtt.properties import Properties
from appliance.mqtt.types import QoS


def house(**options):
    return VirtualServer(journal=RecordingJournal(automatic=True), **options)


def lasting(server, client_id, version=V311, expiry_s=1_000, **fields):
    """A client whose session outlives its link."""
    properties = Properties(session_expiry_interval=expiry_s) if version is V5 else Properties()
    return server.client(client_id, version, clean_start=False, properties=properties, **fields)


@pytest.mark.parametrize("version", [V311, V5])
def test_a_session_resumes_with_its_messages_in_order_and_under_their_ids(version):  # [MQTT-4.4.0-1], [MQTT-4.6.0-1]
    server = house(max_inflight=3)
    reader = lasting(server, "reader", version).subscribe("a", qos=2)
    writer = server.client("writer")
    for number, qos in enumerate((2, 1, 2, 1, 2), start=1):
        writer.publish("a", b"%d" % number, qos=qos, packet_id=number)
    reader.packets()
    reader.send(PubRec(1))
    assert reader.packets() == [PubRel(1)]
    server.crash_and_restart()
    back = lasting(server, "reader", version)
    assert back.connack.session_present
    told = [
        (type(one), one.packet_id, getattr(one, "dup", None), getattr(one, "payload", None)) for one in back.resumed
    ]
    assert told == [(PubRel, 1, None, None), (Publish, 2, True, b"2"), (Publish, 3, True, b"3")]
    back.send(PubAck(2))
    back.send(PubRec(3))
    assert [getattr(one, "payload", None) for one in back.packets()] == [b"4", None]


def test_subscriptions_are_what_they_were():
    server = house()
    five = lasting(server, "five", V5).subscribe("a/#", 1, identifier=7, retain_as_published=True)
    five.subscribe("b", 2, no_local=True).subscribe("$share/g/c", 1)
    server.crash_and_restart()
    back = lasting(server, "five", V5)
    for topic in ("a/x", "b", "c"):
        back.publish(topic, topic.encode(), qos=1, packet_id=9, retain=True)
    told = [
        (one.topic, one.retain, one.properties.subscription_identifier)
        for one in back.packets()
        if isinstance(one, Publish)
    ]
    assert told == [("a/x", True, (7,)), ("c", False, ())]


def test_retained_messages_are_there_with_what_is_left_of_their_time():
    server = house()
    writer = server.client("writer", V5)
    writer.publish("short", b"1", retain=True, properties=Properties(message_expiry_interval=10))
    writer.publish("long", b"2", retain=True, properties=Properties(message_expiry_interval=100, content_type="x"))
    writer.publish("gone", b"3", qos=1, retain=True).publish("gone", b"", qos=1, retain=True)
    server.advance(30)
    server.crash_and_restart()
    reader = server.client("reader", V5).subscribe("#", 1)
    packets = [one for one in reader.packets() if isinstance(one, Publish)]
    assert [(one.topic, one.properties) for one in packets] == [
        ("long", Properties(message_expiry_interval=70, content_type="x"))
    ]
    assert plain(server.journal.image())["retained"].keys() == {"long"}  # what is over is so on disk too


def test_a_retained_message_that_finds_no_room_any_more_stays_written_down():
    server = house(max_retained_messages=2)
    writer = server.client("writer")
    writer.publish("a", b"1", retain=True).publish("b", b"1", retain=True)
    server._limits = type(server._limits)(max_retained_messages=1)
    server.crash_and_restart()
    server.advance(0)
    assert [one.topic for one in server.broker.router.retained.messages()] == ["a"]
    server.broker.amend(server.journal, server.journal.image(), server.now)
    server.advance(0)
    assert set(plain(server.journal.image())["retained"]) == {"a", "b"}


def test_subscriptions_that_find_no_room_any_more_stay_written_down():
    server = house()
    client = lasting(server, "a").subscribe("x", 1)
    for topic_filter in ("y", "z", "$share/g/s", "w"):
        client.subscribe(topic_filter, 2)
    before = server.journal.image().sessions[1].subscriptions
    server._limits = type(server._limits)(max_subscriptions=1)
    server.crash_and_restart()
    assert list(server.broker.sessions["a"].subscriptions) == ["x"]
    client = lasting(server, "a")
    client.send(Unsubscribe(1, ("x", "z")))
    client.subscribe("w", 0)  # finds room now, and counts as asked for last
    server.broker.amend(server.journal, server.journal.image(), server.now)
    server.advance(0)
    after = server.journal.image().sessions[1].subscriptions
    kept = {"y": before["y"], "$share/g/s": before["$share/g/s"]}
    assert after == kept | {"w": before["w"]._replace(qos=0)}
    server._limits = type(server._limits)()
    server.crash_and_restart()
    assert server.broker.sessions["a"].subscriptions == after


def test_a_session_that_ends_takes_along_what_found_no_room():
    server = house()
    lasting(server, "a", V5).subscribe("x").subscribe("y")
    server._limits = type(server._limits)(max_subscriptions=1)
    server.crash_and_restart()
    lasting(server, "a", V5).send(Disconnect(properties=Properties(session_expiry_interval=0)))
    lasting(server, "a", V5)
    server.broker.amend(server.journal, server.journal.image(), server.now)
    server.advance(0)
    assert [one.subscriptions for one in server.journal.image().sessions.values()] == [{}]


def test_ids_of_messages_from_clients_are_known_still():  # [MQTT-4.3.3-2]
    server = house()
    reader = server.client("reader").subscribe("a", 2)
    writer = lasting(server, "writer")
    writer.publish("a", qos=2, packet_id=5)
    reader.packets()
    server.crash_and_restart()
    reader = server.client("reader").subscribe("a", 2)
    reader.packets()
    writer = lasting(server, "writer").publish("a", qos=2, packet_id=5, dup=True)
    assert writer.packets() == [PubRec(5)]
    assert reader.packets() == []


def test_time_away_goes_on_and_begins_anew_for_who_was_here():
    server = house()
    lasting(server, "away", V5, expiry_s=100).lose()
    lasting(server, "here", V5, expiry_s=100)
    server.advance(60)
    server.crash_and_restart()
    server.crash_and_restart()
    server.advance(39)
    assert set(server.broker.sessions) == {"away", "here"}
    server.advance(1)
    assert set(server.broker.sessions) == {"here"}
    server.crash_and_restart()
    server.advance(59)
    assert set(server.broker.sessions) == {"here"}
    server.advance(1)
    assert not server.broker.sessions
    assert server.broker.stats.sessions_ended == {"expired": 1}
    assert plain(server.journal.image())["sessions"] == {}


def test_a_session_that_ended_stays_ended():
    server = house()
    client = lasting(server, "a", V5)
    client.subscribe("x").send(Disconnect(properties=Properties(session_expiry_interval=0)))
    server.client("b").subscribe("x")  # ends with its link
    server.crash_and_restart()
    assert not server.broker.sessions
    lasting(server, "c").subscribe("x")
    server.client("c").lose()  # and nothing of it stays
    server.crash_and_restart()
    assert not lasting(server, "c").connack.session_present


def test_a_session_that_is_taken_up_for_no_longer_than_its_link_is_gone():
    server = house()
    lasting(server, "a", V5).subscribe("x").lose()
    again = server.client("a", V5, clean_start=False)
    assert again.connack.session_present
    server.crash_and_restart()
    assert not lasting(server, "a", V5).connack.session_present


class Heard(list):
    """What comes on `w` after a restart."""

    def __init__(self, server):
        reader = server.client("reader").subscribe("w", 1)
        reader.packets()
        self.until = lambda seconds: (server.advance(seconds), reader.messages())[1]


@pytest.mark.parametrize(
    ("delay_s", "expiry_s", "told_after"),
    [(None, 0, RESTART_GRACE_S), (None, 100, RESTART_GRACE_S), (30, 100, 30), (30, 20, 20), (3, 100, 10), (30, 5, 5)],
)
def test_the_will_of_a_client_that_was_connected_is_told_once(delay_s, expiry_s, told_after):
    server = house()
    will = Will("w", b"gone", QoS(1), properties=Properties(will_delay_interval=delay_s))
    server.client("a", V5, will=will, properties=Properties(session_expiry_interval=expiry_s))
    server.crash_and_restart()
    heard = Heard(server)
    assert heard.until(told_after - 0.01) == []
    assert heard.until(0.01) == [("w", b"gone", 1)]
    assert heard.until(1_000) == []
    server.crash_and_restart()
    assert Heard(server).until(1_000) == []


@pytest.mark.parametrize("expiry_s", [0, 100])
def test_who_is_back_in_time_is_not_lost(expiry_s):  # [MQTT-3.1.3-9]
    server = house()
    will = Will("w", b"gone", QoS(1))
    options = {"properties": Properties(session_expiry_interval=expiry_s), "clean_start": False}
    server.client("a", V5, will=will, **options)
    server.crash_and_restart()
    server.advance(9)
    client = server.client("a", V5, will=will, **options)
    heard = Heard(server)
    assert heard.until(5) == []
    server.goodbye(client)
    assert heard.until(1_000) == []
    server.crash_and_restart()
    assert Heard(server).until(1_000) == []


def test_a_second_cut_does_not_make_a_will_wait_longer():
    server = house()
    server.client("a", will=Will("w", b"gone", QoS(1)))
    server.crash_and_restart()
    server.advance(6)
    server.crash_and_restart()
    heard = Heard(server)
    assert heard.until(3.99) == []
    assert heard.until(0.01) == [("w", b"gone", 1)]


def test_a_will_that_waited_goes_on_waiting():
    server = house()
    will = Will("w", b"gone", QoS(1), properties=Properties(will_delay_interval=30))
    server.client("a", V5, will=will, properties=Properties(session_expiry_interval=100)).lose()
    server.advance(25)
    server.crash_and_restart()
    heard = Heard(server)
    assert heard.until(4.99) == []
    assert heard.until(0.01) == [("w", b"gone", 1)]


@pytest.mark.parametrize("is_durable", [False, True])
@pytest.mark.parametrize("returns", [False, True])
def test_a_will_that_was_revoked_just_before_a_cut_waits_again_unless_its_client_is_back(is_durable, returns):
    server = house()
    will = Will("w", b"gone", QoS(1), properties=Properties(will_delay_interval=30))
    lasting(server, "a", V5, will=will).lose()
    server.advance(10)
    server.journal.automatic = is_durable
    lasting(server, "a", V5)  # without a will; its CONNACK has not waited
    assert WillGone(1) in server.journal.records
    server.crash_and_restart()
    server.journal.automatic = True
    if returns:
        lasting(server, "a", V5)
    heard = Heard(server)
    assert heard.until(19.99) == []
    assert heard.until(50) == ([] if is_durable or returns else [("w", b"gone", 1)])


@pytest.mark.parametrize("is_durable", [False, True])
def test_a_will_that_a_clean_start_tells_is_told_once_whenever_the_power_fails(is_durable):
    server = house()
    will = Will("w", b"gone", QoS(1), retain=True, properties=Properties(will_delay_interval=30))
    lasting(server, "reader", V5).subscribe("w", 1)
    lasting(server, "a", V5, will=will).lose()
    server.journal.automatic = is_durable
    client = server.link(V5)
    client.send(Connect(client_id="a", version=V5))
    assert len(client.packets()) == is_durable  # the session's end, the will and that it was told are one group
    server.crash_and_restart()
    server.journal.automatic = True
    assert len(server.journal.image().wills) == (not is_durable)
    reader = lasting(server, "reader", V5)
    server.advance(31)
    told = [*reader.resumed, *reader.packets()]
    assert [(one.topic, one.payload) for one in told if isinstance(one, Publish)] == [("w", b"gone")]


@pytest.mark.parametrize(
    ("delay_s", "expiry_s", "told_after"), [(0, 100, 0), (50, 0, 0), (50, 100, 50), (200, 100, 100)]
)
def test_a_planned_stop_tells_wills_as_a_lost_link_does(delay_s, expiry_s, told_after):
    """Nobody said goodbye; what is to be told later is told after the start, neither sooner nor twice."""
    server = house()
    keeper = lasting(server, "keeper").subscribe("w", 1)
    will = Will("w", b"lost", QoS(1), properties=Properties(will_delay_interval=delay_s))
    lasting(server, "c", V5, expiry_s, will=will)
    server.advance(7)
    server.broker.stop(server.now)
    server.settle()
    assert keeper.closed
    server.advance(0)
    server.crash_and_restart()
    told = server.broker.sessions["keeper"].queue
    if told_after:
        server.advance(told_after - 1)
        assert not told
        server.advance(1)
        told = server.broker.sessions["keeper"].queue
    assert [delivery[0].payload for delivery in told] == [b"lost"]
    server.advance(300)
    server.crash_and_restart()
    assert [delivery[0].payload for delivery in server.broker.sessions["keeper"].queue] == [b"lost"]
    assert plain(server.journal.image(server.now))["wills"] == {}


@pytest.mark.parametrize("qos", [1, 2])
def test_a_will_that_a_stop_tells_reaches_who_is_parted_after_it(qos):
    """It stands in the line of a link that is closed in the same turn."""
    server = VirtualServer(journal=RecordingJournal())
    will = Will("w", b"lost", QoS(qos))
    lasting(server, "c", V5, will=will)
    keeper = lasting(server, "keeper").subscribe("w", qos)
    server.commit()
    keeper.packets()
    server.broker.stop(server.now)
    server.commit()
    seen = keeper.messages()
    server.crash_and_restart()
    back = lasting(server, "keeper")
    assert [one.payload for one in back.resumed] == [b"lost"]
    assert back.resumed[0].dup
    assert seen == ([] if qos == 2 else [("w", b"lost", 1)])


def test_another_users_client_of_the_same_id_does_not_revoke_a_will():
    server = house(authorize=accounts)
    server.client("a", username="ann", will=Will("w", b"ann", QoS(1)))
    server.crash_and_restart()
    other = server.client("a", username="bob", will=Will("w", b"bob", QoS(1)))
    heard = Heard(server)
    other.lose()
    assert heard.until(0) == [("w", b"bob", 1)]
    assert heard.until(10) == [("w", b"ann", 1)]
    assert heard.until(1_000) == []


class NoWills(AllRights):
    def may_publish(self, topic):
        return topic != "w"


def test_a_will_is_told_with_the_rights_of_now():
    image = Image()
    image.apply(WillKept(1, "a", "ann", "w", b"gone", 1, True, b"", 0, None))
    server = house(authorize=lambda *_: NoWills())
    server.broker.restore(image, server.now)
    server.advance(10)
    assert len(server.broker.router.retained) == 0
    assert server.broker.stats.dropped == {"not allowed to publish": 1}
    assert server.journal.records == [WillWaits(1, 10.0), WillGone(1)]


def test_what_is_damaged_or_too_much_is_left_out_and_said_so():
    image = Image()
    message = Message("t", b"x", 2)
    message.number = 3
    image.append(message, 0)
    for record in (
        Opened(1, "a", None, 60.0),
        Subscribed(1, "x", 0, False, False, 0, False),
        Subscribed(1, "y", 0, False, False, 0, False),
        Queued(1, 1, 1, False, (), None, 4),
        Queued(1, 2, 1, False, (), None, 0),
        Queued(1, 3, 2, False, (), "$share/g/t", 0),
        Opened(2, "b", None, 60.0),
        Opened(5, "b", None, 60.0),
        Left(1),
    ):
        image.apply(record)
    server = house(max_subscriptions=1)
    assert server.broker.restore(image, server.now) == (0, 1)
    session = server.broker.sessions["a"]
    assert list(session.subscriptions) == ["x"]
    assert ([*session.in_flight], [one[0].number for one in session.queue]) == ([], [3])
    assert server.broker.sessions["b"].key == 5
    assert set(server.journal.records) == {
        Left(5), Ended(2), Done(1, 4), Dropped(1, 2)
    }  # fmt: skip


def test_retained_messages_that_were_not_all_sent_come_again():
    server = house(max_inflight=1)
    writer = server.client("writer")
    for topic in ("a", "b", "c"):
        writer.publish(topic, topic.encode(), qos=1, packet_id=1, retain=True)
    reader = lasting(server, "reader").subscribe("+", 1)
    assert [type(one) for one in reader.packets()] == [Publish, SubAck]
    server.crash_and_restart()
    got = []
    back = lasting(server, "reader")
    packets = back.resumed
    while packets:
        got += [(one.payload, one.dup) for one in packets]
        back.send(PubAck(packets[0].packet_id))
        packets = back.packets()
    assert got == [(b"a", True), (b"a", False), (b"b", False), (b"c", False)]
    server.crash_and_restart()
    assert lasting(server, "reader").resumed == []


def test_queued_messages_keep_their_bounds_and_expire():
    server = house(max_queued_messages=2)
    lasting(server, "reader", V5).subscribe("a", 1).lose()
    writer = server.client("writer", V5)
    writer.publish("a", b"1", qos=1, properties=Properties(message_expiry_interval=10)).publish("a", b"2", qos=1)
    server.crash_and_restart()
    writer = server.client("writer", V5)
    writer.publish("a", b"3", qos=1)
    assert server.broker.stats.dropped == {"queue full": 1}
    server.advance(30)
    writer.publish("a", b"4", qos=1)
    assert server.broker.stats.dropped == {"queue full": 1, "expired": 1}
    server.crash_and_restart()
    assert [one.payload for one in lasting(server, "reader", V5).resumed] == [b"2", b"4"]


@pytest.mark.parametrize("seed", range(20))
def test_a_snapshot_says_what_history_says(seed):
    """Whatever happened before, described once more it is the same, and a second broker finds the same."""
    one = House()
    for name, arguments in [("connect", {"who": who}) for who in WHO] + list(random_actions(seed, 150)):
        one.do(name, arguments)
    server = one.server
    will = Will("w", b"gone", QoS(1), properties=Properties(will_delay_interval=30))
    server.client("lost", V5, will=will, properties=Properties(session_expiry_interval=100)).connection.link.lose()
    server.client("here", V5, will=will)
    one.close()
    one.commit(None)
    server.advance(3)
    again = RecordingJournal()
    server.broker.amend(again, Image(), server.now)
    again.close(server.now)
    again.commit()
    assert plain(again.image(server.now)) == plain(one.journal.image(server.now))
    assert len(plain(again.image())["wills"]) == 2


@pytest.mark.parametrize("seed", range(5))
def test_amended_a_journal_says_what_is_whatever_it_said_before(seed):
    """It may know less than it was told, and what is over since; described once more it is what the server holds."""
    one = House()
    actions = [("connect", {"who": who}) for who in WHO] + list(random_actions(seed, 150))
    for name, arguments in actions[:80]:
        one.do(name, arguments)
    stale = one.server.client("stale", V5, properties=Properties(session_expiry_interval=100))
    stale.publish("old/topic", b"1", retain=True)
    one.close()
    one.commit(None)
    journal = RecordingJournal()
    for group in one.journal.written[:-1]:
        for message, flags, now in group.entries:
            journal.append(message, flags, now)
        for record in group.records:
            journal.note(record)
        journal.close(group.now)
    for name, arguments in actions[80:]:
        one.do(name, arguments)
    lasting(one.server, "stale", V5, 100).send(Disconnect(properties=Properties(session_expiry_interval=0)))
    one.server.client("writer").publish("old/topic", b"", retain=True)
    one.close()
    one.commit(None)
    server = one.server
    journal.commit()
    server.broker.amend(journal, journal.image(server.now), server.now)
    journal.close(server.now)
    journal.commit()
    assert plain(journal.image(server.now)) == plain(one.journal.image(server.now))
