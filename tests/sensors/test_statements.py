"""What an agent says of itself reaches the broker, however often that refuses it."""

import pytest

from sensors.statements import AGAIN_AFTER_S, REFUSED_WAIT_S, Statements

TOPIC, OTHER = "home/devices/pi/availability", "home/devices/pi/about"
OK, QUOTA, NOT_ALLOWED = 0x00, 0x97, 0x87


class FakeLink:
    """Takes messages while `up` and while there is `room`."""

    def __init__(self):
        self.up = self.room = True
        self.largest = 100
        self.sent = []
        self.tokens = []

    def fits(self, topic, payload):  # noqa: ARG002 as the link has it
        return len(payload) <= self.largest

    def publish(self, topic, payload, *, retain, tokens):
        assert retain
        if self.up and self.room:
            self.sent.append((topic, payload))
            self.tokens.append(tokens)
        return self.up and self.room


@pytest.fixture
def link():
    return FakeLink()


@pytest.fixture
def statements(link):
    return Statements(link)


def test_a_statement_that_is_taken_is_said_once(link, statements):
    statements.say(TOPIC, b"online", 0.0)
    assert not statements.is_taken(TOPIC)
    statements.acknowledged(link.tokens[0], OK, 0.1)
    assert statements.is_taken(TOPIC)
    assert statements.next_deadline() is None
    statements.tick(1000.0)
    assert link.sent == [(TOPIC, b"online")]
    assert link.tokens[0][0] < 0  # no reading has such a number


def test_it_is_said_again_until_the_broker_has_room(link, statements, caplog):
    statements.say(TOPIC, b"online", 0.0)
    for turn in range(3):
        statements.acknowledged(link.tokens[-1], QUOTA, 10.0 * turn)
        assert statements.next_deadline() == 10.0 * turn + AGAIN_AFTER_S
        statements.tick(10.0 * turn + AGAIN_AFTER_S - 0.1)
        assert len(link.sent) == turn + 1
        statements.tick(10.0 * turn + AGAIN_AFTER_S)
        assert len(link.sent) == turn + 2
    statements.acknowledged(link.tokens[-1], OK, 40.0)
    statements.tick(1000.0)
    assert link.sent == [(TOPIC, b"online")] * 4
    assert caplog.text.count("does not take it now") == 1


def test_what_is_not_allowed_is_tried_rarely(link, statements):
    statements.say(OTHER, b"{}", 0.0)
    statements.acknowledged(link.tokens[-1], NOT_ALLOWED, 1.0)
    assert statements.next_deadline() == 1.0 + REFUSED_WAIT_S


def test_the_last_word_counts(link, statements):
    statements.say(TOPIC, b"online", 0.0)
    statements.say(TOPIC, b"offline", 0.1)
    statements.acknowledged(link.tokens[0], QUOTA, 0.2)  # of the first; the second is on its way
    assert statements.next_deadline() is None
    statements.acknowledged(link.tokens[1], QUOTA, 0.3)
    statements.tick(0.3 + AGAIN_AFTER_S)
    assert link.sent[-1] == (TOPIC, b"offline")
    statements.acknowledged(link.tokens[2], OK, 9.0)
    assert statements.next_deadline() is None


def test_what_finds_no_place_is_said_later(link, statements):
    link.room = False
    statements.say(TOPIC, b"online", 0.0)
    link.room = True
    statements.tick(AGAIN_AFTER_S)
    assert link.sent == [(TOPIC, b"online")]


def test_the_next_connection_begins_anew(link, statements):
    statements.say(TOPIC, b"online", 0.0)
    statements.acknowledged(link.tokens[0], QUOTA, 0.1)
    statements.forget()
    assert statements.next_deadline() is None
    statements.tick(100.0)
    assert len(link.sent) == 1


def test_without_a_connection_nothing_is_due(link, statements):
    link.up = False
    statements.say(TOPIC, b"offline", 0.0)
    statements.tick(100.0)
    assert statements.next_deadline() is None  # a time that is past would keep the agent turning
    statements.forget()
    link.up = True
    statements.say(TOPIC, b"online", 200.0)
    assert link.sent == [(TOPIC, b"online")]


def test_what_is_too_large_is_given_up(link, statements):
    statements.say(OTHER, b"x" * 101, 0.0)
    assert link.sent == []
    assert statements.next_deadline() is None


def test_after_every_turn_the_next_is_ahead(link, statements):
    now = 0.0
    for step in range(200):
        now += 0.7
        link.up, link.room = step % 7 != 3, step % 5 != 2
        statements.say(TOPIC, b"%d" % step, now)
        if step % 3 == 0 and link.tokens:
            statements.acknowledged(link.tokens[-1], QUOTA if step % 2 else OK, now)
        statements.tick(now)
        due = statements.next_deadline()
        assert due is None or due > now


def test_what_is_taken_back_is_answered_once_and_a_refusal_for_good_ends_it(link, statements):
    answers = []
    statements.say(TOPIC, b"offline", 0.0)
    statements.take_back(TOPIC, 0.1, lambda *answer: answers.append(answer))
    statements.acknowledged(link.tokens[0], OK, 0.2)  # of what was said before
    assert answers == []
    statements.acknowledged(link.tokens[1], QUOTA, 0.3)
    statements.tick(0.3 + AGAIN_AFTER_S)
    assert link.sent == [(TOPIC, b"offline"), (TOPIC, b""), (TOPIC, b"")]
    statements.acknowledged(link.tokens[2], NOT_ALLOWED, 6.0)
    assert answers == [(TOPIC, NOT_ALLOWED)]
    assert statements.is_taken(TOPIC)  # there is nothing to say again
    statements.tick(1000.0)
    assert len(link.sent) == 3


def test_who_speaks_again_takes_nothing_back(link, statements):
    statements.take_back(TOPIC, 0.0, lambda *_: pytest.fail("it was said again"))
    statements.say(TOPIC, b"online", 0.1)
    for tokens in link.tokens:
        statements.acknowledged(tokens, OK, 0.2)
