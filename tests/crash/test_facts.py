"""The judge judged: one ledger for each fault that it must see, and for what looks like one and is none."""

from itertools import pairwise
from types import SimpleNamespace

import pytest

from tests.crash.facts import Facts, Faults, Ledger, facts_of, number_in, payload_of
from tests.crash.judge import check_history, check_retained, check_setting

TOPIC = "home/room/temperature"


def published(number, packet_id=1, qos=1, topic=TOPIC, seq=None):
    return "published", "writer", packet_id, number, (topic, qos, True, seq, 0.0)


def received(number, packet_id=1, qos=1, topic=TOPIC, dup=False, payload=None):
    return "received", "reader", packet_id, topic, payload_of(number, topic) if payload is None else payload, qos, dup


def judged(*entries):
    """Facts of a reader of QoS 2 and of what a writer did; gives them with what was wrong."""
    facts = Facts(Faults())
    ledger = Ledger(facts, keep=True)
    for kind, *details in [("reads", "reader", ("home/",), 2), *entries]:
        ledger.note(kind, *details)
    again = facts_of(ledger.entries)
    assert again.faults.counts == facts.faults.counts
    assert again.messages == facts.messages
    return facts


def one(facts):
    """The only kind of fault."""
    assert len(facts.faults.counts) <= 1
    return next(iter(facts.faults.counts), None)


PUBACK = ("puback", "writer", 1)
PUBREC = ("pubrec", "writer", 1)
DUPLICATE, UNKNOWN = "QoS 2 duplicates", "payloads that nobody sent"
UNMARKED = "repeated without DUP or the original id"
SEEN = [
    ([published(1), PUBACK, received(1)], None),
    ([published(1), received(1), received(1, dup=True)], None),  # QoS 1 may come twice
    ([received(1)], UNKNOWN),
    ([published(1), received(1, payload=b"1.002")], UNKNOWN),
    ([published(1), received(1, topic="home/attic/temperature")], UNKNOWN),
    ([PUBACK], "answers to what was not sent"),
    ([published(1), ("pubcomp", "writer", 1)], "answers to what was not sent"),
    ([published(1), published(2, 2), received(2, 1), received(1, 2)], "out of order"),
    ([published(1), published(2, 2), received(1, 1), received(2, 2), received(1, 3)], None),  # its publisher's repeat
    ([published(1, qos=2), received(1, qos=2), received(1, qos=2, dup=True)], None),
    ([published(1, qos=2), received(1, qos=2), received(1, qos=2)], UNMARKED),
    ([published(1, qos=2), received(1, qos=2), ("released", "reader", 1), received(1, qos=2, dup=True)], DUPLICATE),
    ([published(1, qos=2), received(1, qos=2), received(1, 2, qos=2, dup=True)], DUPLICATE),
    ([published(1, qos=2), published(2, 2, 2), received(1, qos=2), received(2, 1, 2)], UNMARKED),
]


@pytest.mark.parametrize(("entries", "fault"), SEEN)
def test_what_a_client_sees(entries, fault):
    assert one(judged(*entries)) == fault


def test_what_was_acknowledged_and_did_not_come_is_wanted():
    facts = judged(published(1), published(2, 2), PUBACK)
    assert [number for number in facts.peers["reader"].wanted if facts.messages[number].acknowledged] == [1]
    assert not judged(published(1), PUBACK, received(1)).peers["reader"].wanted


RETAINED = [
    ([], {}, None),
    ([published(1)], {}, None),
    ([published(1)], {TOPIC: 1}, None),  # taken, though not acknowledged yet
    ([published(1), PUBACK], {TOPIC: 1}, None),
    ([published(1), PUBACK], {}, "retained value wrong"),
    ([published(1), PUBACK, published(2)], {TOPIC: 1}, None),
    ([published(1), PUBACK, published(2)], {TOPIC: 2}, None),
    ([published(1), PUBACK, published(2), PUBACK], {TOPIC: 1}, "retained value wrong"),
    ([published(1, qos=2), PUBREC], {}, "retained value wrong"),
    ([], {"home/attic/temperature": 1}, UNKNOWN),
]


@pytest.mark.parametrize(("entries", "found", "fault"), RETAINED)
def test_retained(entries, found, fault):
    facts = judged(*entries)
    check_retained(facts, {topic: payload_of(number, topic) for topic, number in found.items()})
    assert one(facts) == fault


def test_a_retained_message_that_was_taken_back():
    topic = "clear/0/set"
    facts = judged(published(2, topic=topic), PUBACK, published(3, topic=topic), PUBACK)
    check_retained(facts, {})
    assert one(facts) is None
    check_retained(facts, {topic: payload_of(2, topic)})
    assert one(facts) == "retained value wrong"


AGAIN = ("published_again", "writer", 1)
LOST, TWICE = "history rows lost", "history rows twice"
HISTORY = [
    ([published(1)], [], None),
    ([published(1), PUBACK], [], LOST),
    ([published(1, seq=1), PUBACK], [(1.001, 1)], None),
    ([published(1, seq=1), PUBACK], [(1.001, 2)], UNKNOWN),
    ([published(1), AGAIN, PUBACK], [(1.001, None)] * 2, None),  # a stranger's repeat
    ([published(1), PUBACK], [(1.001, None)] * 2, TWICE),
    ([published(1, seq=1), AGAIN, PUBACK], [(1.001, 1)] * 2, TWICE),
    ([published(1, qos=2), AGAIN, PUBREC], [(1.001, None)] * 2, TWICE),
    ([published(1), published(2, 2)], [(2.002, None), (1.001, None)], "history out of order"),
    ([published(1)], [(1.002, None)], UNKNOWN),
    ([], [(1.001, None)], UNKNOWN),
]


@pytest.mark.parametrize(("entries", "rows", "fault"), HISTORY)
def test_history(entries, rows, fault):
    facts = judged(*entries)
    check_history(facts, {TOPIC: rows} if rows else {topic: [] for topic in facts.series})
    expected = {fault, LOST} if fault == UNKNOWN and PUBACK in entries else {fault} - {None}
    assert set(facts.faults.counts) == expected


def test_settings_are_the_last_acknowledged_or_later_ones():
    asked = [("asked", "churn", setting) for setting in "abc"]
    facts = judged(*asked, ("granted", "churn", 2))
    possible = facts.peers["churn"].possible()
    assert possible == ["b", "c"]
    check_setting(facts, "churn", "c", possible)
    assert one(facts) is None
    check_setting(facts, "churn", "a", possible)
    assert one(facts) == "subscriptions wrong"


def test_a_new_link_has_to_repeat_what_was_not_acknowledged():
    facts = judged(published(1), received(1, 5))
    assert facts.peers["reader"].unacknowledged == {5: 1}
    facts.apply("back", "reader", ())
    assert not facts.peers["reader"].unacknowledged


@pytest.mark.parametrize("topic", [TOPIC, "big/one/set", "clear/0/set"])
def test_a_payload_tells_its_number(topic):
    numbers = [1, 2, 999, 1_000, 123_457]
    assert [number_in(payload_of(number, topic)) for number in numbers if payload_of(number, topic)] == [
        number for number in numbers if payload_of(number, topic)
    ]
    assert all(a != b for a, b in pairwise(payload_of(number, topic) for number in numbers))
    assert number_in(b"online") is None


def test_the_ledger_remembers_where_it_was():
    where = SimpleNamespace(now=3)
    ledger = Ledger(Facts(Faults()), keep=True, position=lambda: where.now)
    ledger.note(*published(ledger.take_number()))
    where.now = 9
    ledger.note(*PUBACK)
    assert [entry[:2] for entry in ledger.entries] == [(3, "published"), (9, "puback")]
    assert ledger.take_number() == 2
