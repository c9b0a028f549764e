"""What the core has written down, and when."""

from typing import get_args

import pytest
from journal import RecordingJournal
from virtual import V5, V311, VirtualServer

from appliance.broker.message import Message
from appliance.broker.records import (
    AnyRecord,
    Back,
    Done,
    Dropped,
    Ended,
    Forgot,
    Left,
    Opened,
    Queued,
    Received,
    Released,
    Replayed,
    Sent,
    Subscribed,
    Unsubscribed,
    WillGone,
    WillKept,
    WillWaits,
)
from appliance.mqtt.packets import Connect, Disconnect, PubAck, PubComp, PubRec, PubRel, Unsubscribe, Will
from appliance.mqtt.properties import Properties, encode_property_block
from appliance.mqtt.types import QoS, ReasonCode

YEAR_S = 604_800.0


class Told:
    """A server, and what it has had written down since one last looked."""

    def __init__(self, **options):
        self.server = VirtualServer(journal=RecordingJournal(), **options)
        self.seen = 0

    def __call__(self):
        records = self.server.journal.records
        new, self.seen = records[self.seen :], len(records)
        return new

    def lasting(self, client_id, version=V5, expiry_s=100):
        properties = Properties(session_expiry_interval=expiry_s) if version is V5 else Properties()
        return self.server.client(client_id, version, clean_start=False, properties=properties)


def test_every_record_begins_with_its_key():
    assert all(kind._fields[0] == "key" for kind in get_args(AnyRecord))


def test_a_session_that_ends_with_its_link_is_nobodys_business():
    told = Told(max_inflight=1)
    for version in (V311, V5):
        client = told.server.client("a", version).subscribe("#", 2)
        for qos in (0, 1, 2):
            client.publish("x", qos=qos, packet_id=qos)
        client.send(PubAck(1))
        client.send(PubRel(2))
        client.send(PubRec(2))
        client.send(Unsubscribe(2, ("#",)))
        client.lose()
    assert told() == []
    assert told.server.journal.messages == []


def test_the_life_of_a_session():
    told = Told()
    told.lasting("a", V311).lose()
    assert told() == [Opened(1, "a", None, YEAR_S), Left(1)]
    client = told.lasting("a", V311)
    assert told() == [Back(1)]
    told.lasting("a")  # takes over
    assert told() == [Left(1), Back(1), Opened(1, "a", None, 100.0)]
    assert client.closed
    client = told.lasting("a")
    client.send(Disconnect(properties=Properties(session_expiry_interval=50)))
    assert told() == [Left(1), Back(1), Opened(1, "a", None, 50.0), Left(1)]
    told.server.advance(50)
    assert told() == [Ended(1)]
    told.server.commit()
    told.lasting("a").send(Disconnect(properties=Properties(session_expiry_interval=0)))
    assert told() == [Opened(2, "a", None, 100.0), Ended(2)]


def test_a_clean_start_ends_what_was():
    told = Told()
    told.lasting("a").lose()
    told()
    told.server.link().send(Connect("a", version=V311))
    assert told() == [Ended(1)]


def test_subscriptions():
    told = Told()
    client = told.lasting("a")
    told()
    client.subscribe("x/#", 2, identifier=5, no_local=True, retain_as_published=True)
    client.subscribe("x/#", 1, retain_handling=2).subscribe("$share/g/x", 1)
    assert told() == [
        Subscribed(1, "x/#", 2, True, True, 5, True),
        Replayed(1, "x/#"),
        Subscribed(1, "x/#", 1, False, False, 0, False),
        Subscribed(1, "$share/g/x", 1, False, False, 0, False),
    ]
    client.send(Unsubscribe(2, ("x/#", "y")))
    # Of one that is unknown too: there may be one that found no room at the start.
    assert told() == [Unsubscribed(1, "x/#"), Unsubscribed(1, "y")]
    assert all(type(record.qos) is int for record in told.server.journal.records if isinstance(record, Subscribed))


def test_messages_to_a_client():
    told = Told(max_inflight=2)
    reader = told.lasting("a").subscribe("x", 2, identifier=5)
    writer = told.server.client("writer", V5)
    told()
    for qos in (0, 1, 2, 1):
        writer.publish("x", b"%d" % qos, qos=qos, packet_id=qos)
    assert told() == [
        Queued(1, 1, 1, False, (5,), None, 1),
        Queued(1, 2, 2, False, (5,), None, 2),
        Queued(1, 3, 1, False, (5,), None, 0),
    ]
    assert [(one.number, one.payload) for one in told.server.journal.messages] == [(1, b"1"), (2, b"2"), (3, b"1")]
    assert told.server.journal.flags == [0, 0, 0]
    reader.send(PubAck(1))
    assert told() == [Done(1, 1), Sent(1, 3, 3)]
    reader.send(PubRec(2))
    reader.send(PubRec(2))
    assert told() == [Released(1, 2)]
    reader.send(PubComp(2))
    assert told() == [Done(1, 2)]
    reader.send(PubAck(3, ReasonCode.UNSPECIFIED_ERROR))
    assert told() == [Done(1, 3)]


def test_messages_from_a_client():
    told = Told()
    client = told.lasting("a")
    told()
    client.publish("x", qos=2, packet_id=7).publish("x", qos=2, packet_id=7, dup=True).publish("x", qos=1)
    assert told() == [Received(1, 7)]
    client.send(PubRel(7))
    client.send(PubRel(7))
    assert told() == [Forgot(1, 7)]


def test_a_message_that_does_not_arrive():
    told = Told(max_inflight=1, max_queued_messages=1)
    reader = told.lasting("a").subscribe("x", 1)
    writer = told.server.client("writer", V5)
    brief = Properties(message_expiry_interval=1)
    told()
    writer.publish("x", qos=1).publish("x", qos=1, properties=brief).publish("x", qos=1)
    assert told() == [Queued(1, 1, 1, False, (), None, 1), Queued(1, 2, 1, False, (), None, 0)]
    told.server.advance(3)
    writer.publish("x", qos=1, properties=brief)  # finds the place of the one whose time is over
    assert told() == [Dropped(1, 2), Queued(1, 3, 1, False, (), None, 0)]
    told.server.advance(3)
    reader.send(PubAck(1))
    assert told() == [Done(1, 1), Dropped(1, 3)]


def test_a_message_that_grew_too_large_for_its_client_is_over():
    told = Told()
    told.lasting("a").subscribe("x", 1).lose()
    told.server.client("writer").publish("x", bytes(100), qos=1)
    properties = Properties(session_expiry_interval=100, maximum_packet_size=100)
    told.server.client("a", V5, clean_start=False)
    told.server.commit()
    told()
    other = Told()
    other.lasting("a").subscribe("x", 1)
    other.server.client("writer").publish("x", bytes(100), qos=1)
    other()
    other.server.client("a", V5, clean_start=False, properties=properties)
    assert other() == [Left(1), Back(1), Done(1, 1)]


def test_what_a_message_is_for_is_said_once():
    told = Told(classify=lambda _: 2)
    for name in "ab":
        told.lasting(name).subscribe("x", 1).lose()
    told.server.client("writer").publish("x", b"1", qos=1, retain=True)
    (message,) = told.server.journal.messages
    assert (message.number, told.server.journal.flags) == (1, [3])
    assert [one[1] for one in told() if isinstance(one, Queued)] == [1, 1]


@pytest.mark.parametrize("qos", [1, 2])
def test_a_retained_message_is_sent_on_as_one_of_its_own(qos):
    told = Told()
    told.server.client("writer").publish("x", b"1", qos=2, packet_id=1, retain=True)
    told.lasting("a").subscribe("x", qos)
    kept, sent = told.server.journal.messages
    assert (kept.number, sent.number, sent.payload, told.server.journal.flags) == (0, 1, b"1", [1, 0])
    assert [one for one in told() if isinstance(one, Queued)] == [Queued(1, 1, qos, True, (), None, 1)]


def test_a_message_for_one_client_in_several_names_is_several():
    told = Told()
    told.lasting("a").subscribe("x", 1).subscribe("$share/g/x", 1).subscribe("$share/h/x", 1).lose()
    told.server.client("writer").publish("x", b"1", qos=1)
    assert [(one.number, one.shared) for one in told() if isinstance(one, Queued)] == [
        (1, None),
        (2, "$share/g/x"),
        (3, "$share/h/x"),
    ]
    assert len(told.server.journal.messages) == 3


def test_what_is_handed_on_is_over_for_who_had_it():
    told = Told(max_inflight=1)
    first, second = told.lasting("a"), told.lasting("b")
    first.subscribe("$share/g/x", 1)
    writer = told.server.client("writer")
    writer.publish("x", b"1", qos=1).publish("x", b"2", qos=1)
    second.subscribe("$share/g/x", 1)
    told()
    first.lose()
    assert told() == [Left(1), Queued(2, 3, 1, False, (), "$share/g/x", 1), Dropped(1, 2)]
    told.server.link().send(Connect("a", version=V311))
    assert told() == [Queued(2, 4, 1, False, (), "$share/g/x", 0), Ended(1)]


def test_no_room_for_a_retained_message_forgets_the_one_before():
    told = Told(max_retained_bytes=1_024)
    writer = told.server.client("writer")
    writer.publish("x", b"1", retain=True).publish("x", bytes(1_000), retain=True)
    assert [one.payload for one in told.server.journal.messages] == [b"1", b""]
    assert told.server.journal.flags == [1, 1]


def test_a_message_of_our_own_that_is_published_again_has_a_number_of_its_own():
    told = Told()
    told.lasting("a").subscribe("x", 1).lose()
    told()
    message = Message("x", b"1", 1)
    for _ in range(2):
        told.server.broker.publish(message, told.server.now)
    assert [one.number for one in told()] == [1, 2]


PROPERTIES = Properties(will_delay_interval=5, message_expiry_interval=9, content_type="x")


def test_a_will_is_kept_from_connect_to_goodbye():
    told = Told()
    client = told.server.client("a", V5, username="ann", will=Will("w", b"gone", QoS(1), True, PROPERTIES))
    block = encode_property_block(Properties(content_type="x"))
    assert told() == [WillKept(1, "a", "ann", "w", b"gone", 1, True, block, 5, 9)]
    told.server.goodbye(client)
    assert told() == [WillGone(1)]


@pytest.mark.parametrize("is_back", [True, False])
def test_a_will_of_a_session_waits_and_is_told_or_revoked(is_back):
    told = Told()
    properties = Properties(session_expiry_interval=100)
    told.server.client("a", V5, will=Will("w", properties=PROPERTIES), properties=properties).lose()
    assert told()[1:] == [
        WillKept(1, "a", None, "w", b"", 0, False, encode_property_block(Properties(content_type="x")), 5, 9),
        Left(1),
        WillWaits(1, 5.0),
    ]
    if is_back:
        told.lasting("a")
        assert told() == [WillGone(1), Back(1)]
    else:
        told.server.advance(5)
        assert told() == [WillGone(1)]
