"""Negative controls: a server that breaks one rule is caught, and by what it broke.

The fault is planted around the real server rather than in it: what it is told, what it is seen to send, or what it
remembers is changed, so that to its clients it is a server with that bug.
"""

from dataclasses import replace
from itertools import count
from typing import get_args

import pytest
from journal import RecordingJournal
from model.state import Divergence
from model.walk import fault, shortest, walk
from model.world import LIMITS, Durable, Flaw

from appliance.broker.records import AnyRecord, Back, Dropped, Unsubscribed
from appliance.mqtt.packets import ConnAck, Connect, Disconnect, PubAck, Publish, PubRec, Subscribe
from appliance.mqtt.properties import EMPTY
from appliance.mqtt.types import ReasonCode, Version

WITHIN = 4_000  # steps


def told(packet, **changes):
    """The packet with other properties."""
    return replace(packet, properties=replace(packet.properties, **changes))


class Shown(Flaw):
    """Changes each packet that the server sends."""

    def outgoing(self, packets):
        return [(self.changed(packet), size) for packet, size in packets]


class Heard(Flaw):
    """Changes each whole packet that the server receives."""

    def incoming(self, packet):
        return packet if isinstance(packet, bytes) else self.changed(packet)


class PacketIdInUse(Shown):
    def changed(self, packet):
        return replace(packet, packet_id=1) if isinstance(packet, Publish) and packet.qos else packet


class NoDup(Shown):
    def changed(self, packet):
        return replace(packet, dup=False) if isinstance(packet, Publish) else packet


class QoS2Twice(Heard):
    """It takes a message of QoS 2 that comes again for a new one."""

    def between(self, world):
        self.sessions = world.broker.sessions.values()

    def changed(self, packet):
        if isinstance(packet, Publish) and packet.dup:
            for session in self.sessions:
                session.incoming.discard(packet.packet_id)
        return packet


class WillAfterGoodbye(Heard):
    def changed(self, packet):
        code = ReasonCode.DISCONNECT_WITH_WILL
        return replace(packet, reason_code=code) if isinstance(packet, Disconnect) else packet


class NoWill(Heard):
    def changed(self, packet):
        return replace(packet, will=None) if isinstance(packet, Connect) else packet


class WillWithoutDelay(Heard):
    def changed(self, packet):
        if isinstance(packet, Connect) and packet.will is not None:
            return replace(packet, will=told(packet.will, will_delay_interval=None))
        return packet


class ExpiredStays(Flaw):
    """What is kept for later lives five seconds too long."""

    def __init__(self):
        self.seen = []

    def between(self, world):
        kept = [delivery[0] for session in world.broker.sessions.values() for delivery in session.queue]
        for message in [*kept, *map(world.broker.router.retained.peek, world.model.retained)]:
            if message is not None and message.expires_at is not None and message not in self.seen:
                self.seen.append(message)
                message.expires_at += 5


class RetainedStays(Heard):
    """The first retained message of a topic is never replaced."""

    def __init__(self):
        self.topics = set()

    def changed(self, packet):
        if isinstance(packet, Publish) and packet.retain and packet.topic in self.topics:
            return replace(packet, retain=False)
        if isinstance(packet, Publish) and packet.retain:
            self.topics.add(packet.topic)
        return packet


class EveryMemberGetsIt(Heard):
    """A shared subscription is one like any other."""

    def changed(self, packet):
        if not isinstance(packet, Subscribe):
            return packet
        plain = [
            replace(one, topic_filter=one.topic_filter.split("/", 2)[2]) if "$share/" in one.topic_filter else one
            for one in packet.subscriptions
        ]
        return replace(packet, subscriptions=tuple(plain))


class NoMemberGetsIt(Heard):
    """A shared subscription is answered and forgotten."""

    def changed(self, packet):
        if not isinstance(packet, Subscribe):
            return packet
        asked = tuple(
            replace(one, topic_filter=one.topic_filter + "/nothing") if one.topic_filter == "$share/h/a/b" else one
            for one in packet.subscriptions
        )
        return replace(packet, subscriptions=asked)


class SessionNeverPresent(Shown):
    def changed(self, packet):
        return replace(packet, session_present=False) if isinstance(packet, ConnAck) else packet


class WindowIgnored(Heard):
    def changed(self, packet):
        return told(packet, receive_maximum=None) if isinstance(packet, Connect) else packet


class SizeIgnored(Heard):
    def changed(self, packet):
        return told(packet, maximum_packet_size=None) if isinstance(packet, Connect) else packet


class NoLocalIgnored(Heard):
    def changed(self, packet):
        if isinstance(packet, Subscribe):
            return replace(packet, subscriptions=tuple(replace(one, no_local=False) for one in packet.subscriptions))
        return packet


class HandlingIgnored(Heard):
    def changed(self, packet):
        if isinstance(packet, Subscribe):
            asked = tuple(replace(one, retain_handling=0) for one in packet.subscriptions)
            return replace(packet, subscriptions=asked)
        return packet


class NoIdentifier(Shown):
    def changed(self, packet):
        return told(packet, subscription_identifier=()) if isinstance(packet, Publish) else packet


class OneIdentifier(Shown):
    def changed(self, packet):
        if isinstance(packet, Publish):
            return told(packet, subscription_identifier=packet.properties.subscription_identifier[:1])
        return packet


class RetainAlways(Shown):
    def changed(self, packet):
        return replace(packet, retain=True) if isinstance(packet, Publish) else packet


class QoSRaised(Shown):
    def changed(self, packet):
        return replace(packet, qos=2) if isinstance(packet, Publish) and packet.qos == 1 else packet


class EveryHundredthLost(Flaw):
    def __init__(self):
        self.numbers = count(1)

    def outgoing(self, packets):
        return [one for one in packets if not isinstance(one[0], Publish) or next(self.numbers) % 100]


class SentTwice(Flaw):
    def outgoing(self, packets):
        return [one for one in packets for _ in range(2 if isinstance(one[0], Publish) and not one[0].qos else 1)]


class OrderReversed(Flaw):
    def outgoing(self, packets):
        messages = [one for one in packets if isinstance(one[0], Publish) and not one[0].qos]
        others = [one for one in packets if one not in messages]
        return others + messages[::-1]


class AnswersSwapped(Flaw):
    def outgoing(self, packets):
        answers = [one for one in packets if isinstance(one[0], PubAck)]
        return [answers.pop() if isinstance(one[0], PubAck) else one for one in packets]


class AnsweredWithoutReason(Shown):
    def changed(self, packet):
        return replace(packet, reason_code=0, properties=EMPTY) if isinstance(packet, PubAck | PubRec) else packet


class KeepAliveIgnored(Heard):
    def changed(self, packet):
        return replace(packet, keep_alive_s=0) if isinstance(packet, Connect) else packet


class ExpiryAtGoodbyeIgnored(Heard):
    def changed(self, packet):
        return told(packet, session_expiry_interval=None) if isinstance(packet, Disconnect) else packet


class Old3(Heard):
    """A client of 3.1 is taken for one of 3.1.1."""

    def changed(self, packet):
        old = isinstance(packet, Connect) and packet.version is Version.MQTT_3_1
        return replace(packet, version=Version.MQTT_3_1_1) if old else packet


class Limit(Flaw):
    """The server goes by another limit than it says."""

    def __init__(self, name, value):
        self.limits = LIMITS | {name: value}


LIMIT_FLAWS = [
    ("max_queued_messages", 5),
    ("max_queued_bytes", 2_000),
    ("max_subscriptions", 5),
    ("max_retained_messages", 5),
    ("max_sessions", 6),
    ("max_inflight", 5),
    ("receive_maximum", 4),
    ("session_expiry_s", 41),
    ("max_output_bytes", 1_000_000),
]
FLAWS = [
    PacketIdInUse, NoDup, QoS2Twice, WillAfterGoodbye, NoWill, WillWithoutDelay, ExpiredStays, RetainedStays,
    EveryMemberGetsIt, NoMemberGetsIt, SessionNeverPresent, WindowIgnored, SizeIgnored, NoLocalIgnored,
    HandlingIgnored, NoIdentifier, OneIdentifier, RetainAlways, QoSRaised, EveryHundredthLost, SentTwice,
    OrderReversed, AnswersSwapped, AnsweredWithoutReason, KeepAliveIgnored, ExpiryAtGoodbyeIgnored, Old3,
]  # fmt: skip


class Restarted(Durable):
    """Finds something else after a crash than what was written."""


class OrderLost(Restarted):
    def restored(self, image):
        for session in image.sessions.values():
            session.deliveries.reverse()


class IdsLost(Restarted):
    def restored(self, image):
        for session in image.sessions.values():
            session.incoming.clear()


class OtherPacketIds(Restarted):
    def restored(self, image):
        for session in image.sessions.values():
            for delivery in session.deliveries:
                delivery.packet_id += 1_000 if delivery.packet_id else 0


class RetainedLost(Restarted):
    def restored(self, image):
        image.retained.clear()


class WillsLost(Restarted):
    def restored(self, image):
        image.wills.clear()


class SubscriptionsLost(Restarted):
    def restored(self, image):
        for session in image.sessions.values():
            session.subscriptions.clear()


class TimeLost(Restarted):
    """A session's time begins anew with every start."""

    def restored(self, image):
        for session in image.sessions.values():
            session.away_s = None


class GroupsForgotten(Restarted):
    """What was on its way through a shared subscription is not handed on when its reader's session ends."""

    def restored(self, image):
        for session in image.sessions.values():
            for delivery in session.deliveries:
                delivery.shared = None


class WrongOneMakesRoom(Restarted):
    """Who was away longest stays."""

    def restored(self, image):
        for session in image.sessions.values():
            if session.away_s is not None:
                session.expiry_s -= session.away_s
                session.away_s = 0.0


def forgets(kind):
    """A server that forgets to have such changes written down."""

    class Forgetful(RecordingJournal):
        def note(self, record):
            if not isinstance(record, kind):
                super().note(record)

    return type(f"Forgets{kind.__name__}", (Durable,), {"journal": Forgetful})


CRASH_FLAWS = [
    OrderLost, IdsLost, OtherPacketIds, RetainedLost, WillsLost, SubscriptionsLost, TimeLost,
    WrongOneMakesRoom,
    *(forgets(kind) for kind in get_args(AnyRecord) if kind not in {Back, Dropped, Unsubscribed}),  # see test_records
]  # fmt: skip


def caught(flaw):
    """Give what a walk finds of it."""
    trace = walk(1, WITHIN, flaw=flaw())
    assert trace is not None
    return fault(trace, flaw())


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_server_that_breaks_a_rule_is_caught(flaw):
    assert isinstance(caught(flaw), Divergence)


@pytest.mark.parametrize("flaw", CRASH_FLAWS)
def test_a_server_that_remembers_wrongly_is_caught(flaw):
    assert isinstance(caught(flaw), Divergence)


@pytest.mark.parametrize(("name", "value"), LIMIT_FLAWS)
def test_a_server_with_another_limit_is_caught(name, value):
    assert isinstance(caught(lambda: Limit(name, value)), Divergence)


def joins(who, expiry_s):
    """A client whose session outlives its link for so long becomes the group's next member."""
    session = {
        "version": Version.MQTT_5, "clean": False, "expiry": expiry_s, "window": None, "largest": None, "aliases": None,
        "keep_alive": 0, "will": None, "will_qos": 0, "will_retain": False, "will_delay": None, "will_expiry": None,
        "user": None, "nameless": False,
    }  # fmt: skip
    options = {"qos": 1, "no_local": False, "as_published": False, "handling": 0, "identifier": None}
    return [
        ("connect", {"who": who, **session}),
        ("subscribe", {"who": who, "filters": ("$share/g/#",), **options}),
    ]


@pytest.mark.parametrize("number", range(3))
def test_a_shared_message_that_is_lost_with_two_sessions_at_one_moment_is_caught(number):
    """The member that had it ends with another one, and a third one is left, which ought to get it."""
    expiries_s = [5, 5, 30]
    publish = {"topic": "a", "qos": 1, "retain": False, "size": 10, "expiry": None, "alias": None, "more": None}
    trace = [step for who, expiry_s in enumerate(expiries_s) for step in joins(who, expiry_s)]
    trace += [("publish", {"who": 2, **publish})] * (1 + number)
    trace += [("crash", {}), ("wait", {"seconds": 7}), joins(2, 30)[0], ("ping", {"who": 2})]
    assert fault(trace, Durable()) is None
    assert isinstance(fault(trace, GroupsForgotten()), Divergence)


def test_the_shortest_trace_still_shows_the_fault():
    trace = walk(1, WITHIN, flaw=QoS2Twice())
    short = shortest(trace, QoS2Twice())
    assert fault(short, QoS2Twice()) is not None
    assert fault(short) is None
    names = [name for name, _ in short]
    assert names.count("repeat") == 1
    assert len(short) <= 5
