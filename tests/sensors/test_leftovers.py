"""What an agent takes back of sensors that it no longer has; the real process does it in tests/test_ghosts.py."""

from types import SimpleNamespace

import pytest

from sensors.keepsakes import Keepsakes
from sensors.leftovers import LOOK_S, MOST_AT_ONCE, OURS, PIECE, RETAINED, Leftovers
from sensors.topics import AgentTopics

HALL, BATH = "home/hall/temperature", "home/bath/temperature"
GONE = "home/devices/pi/hall/availability"
OK, NOT_ALLOWED = 0x00, 0x87


class Broker:
    """Link and statements in one: what was asked of them."""

    def __init__(self):
        self.subscribed, self.unsubscribed, self.cleared = [], [], {}

    def subscribe(self, topics):
        self.subscribed.append(list(topics))

    def unsubscribe(self, topics):
        self.unsubscribed += topics

    def take_back(self, topic, _now, answer):
        self.cleared[topic] = answer

    def answer(self, topic, reason_code=OK):
        self.cleared.pop(topic)(topic, reason_code)


def sensor(name, *topics, place=None):
    return SimpleNamespace(
        availability_topic=f"home/devices/pi/{name}/availability",
        measurements=[SimpleNamespace(topic=topic) for topic in topics],
        place=place or f"home/{name}",
    )


@pytest.fixture
def broker():
    return Broker()


@pytest.fixture
def start(tmp_path, broker):
    """Begin as a process does: with what the last one wrote."""

    def start():
        start.keepsakes = Keepsakes(tmp_path / "kept")
        return Leftovers(AgentTopics("home", "pi"), start.keepsakes, broker, broker)

    return start


def known(start):
    """What the next process would know."""
    start.keepsakes.write(0.0)
    return set(str(Keepsakes(start.keepsakes._path).get(OURS, RETAINED)).split())


@pytest.fixture
def before(start):
    """An agent that had a sensor in the hall and one in the bath, and was killed."""
    leftovers = start()
    leftovers.remember([GONE, "home/devices/pi/bath/availability", HALL, BATH])
    assert start.keepsakes.next_deadline() == 0.0  # on disk with this turn
    start.keepsakes.tick(0.0)
    return start


def test_what_is_gone_is_cleared_after_a_restart_and_then_forgotten(before, broker):
    leftovers = before()
    leftovers.review([sensor("bath", BATH)], 1.0)
    assert list(broker.cleared) == [GONE]  # nobody else publishes there
    assert broker.subscribed == [[HALL]]  # somebody else may
    assert leftovers.heard(HALL, "pi", 1.1)
    assert broker.unsubscribed == [HALL]
    broker.answer(GONE)
    broker.answer(HALL)
    assert known(before) == {BATH, "home/devices/pi/bath/availability"}
    leftovers.review([sensor("bath", BATH)], 3.0)
    assert (broker.cleared, broker.subscribed) == ({}, [[HALL]])


def test_until_the_broker_has_cleared_it_a_kill_forgets_nothing(before, broker):
    leftovers = before()
    leftovers.review([], 1.0)
    leftovers.heard(HALL, "pi", 1.1)
    assert {GONE, HALL} <= known(before)
    leftovers.disconnected()
    leftovers.review([], 5.0)
    assert len(broker.subscribed) == 2  # the next connection begins anew
    assert GONE in broker.cleared


@pytest.mark.parametrize("by", ["other", ""])
def test_what_somebody_else_publishes_by_now_stays(before, broker, by):
    leftovers = before()
    leftovers.review([sensor("bath", BATH)], 1.0)
    assert leftovers.heard(HALL, by, 1.1)
    assert HALL not in broker.cleared
    assert HALL not in known(before)
    assert not leftovers.heard(HALL, "pi", 1.2)  # it is looked at no longer


def test_a_topic_that_another_sensor_of_ours_has_now_stays(before, broker):
    before().review([sensor("bath", BATH), sensor("corridor", HALL)], 1.0)
    assert broker.subscribed == []
    assert list(broker.cleared) == [GONE]


def test_a_sensor_that_is_not_built_yet_may_have_what_stands_in_its_place(before, broker):
    leftovers = before()
    leftovers.review([sensor("bath", BATH), sensor("corridor", place="home/hall")], 1.0)
    assert broker.subscribed == []
    leftovers.review([sensor("bath", BATH), sensor("corridor", "home/hall/humidity")], 2.0)
    assert broker.subscribed == [[HALL]]


def test_where_nothing_is_retained_nothing_is_cleared(before, broker):
    leftovers = before()
    leftovers.review([sensor("bath", BATH)], 1.0)
    assert leftovers.next_deadline() == 1.0 + LOOK_S
    leftovers.tick(1.0 + LOOK_S)
    assert leftovers.next_deadline() is None
    assert broker.unsubscribed == [HALL]
    assert HALL not in broker.cleared
    assert HALL not in known(before)


def test_who_may_not_look_clears_what_it_may_publish(before, broker):
    leftovers = before()
    leftovers.review([sensor("bath", BATH)], 1.0)
    assert leftovers.refused(HALL, 1.1)
    assert HALL in broker.cleared
    assert not leftovers.refused("home/hall/relay/set", 1.2)


def test_what_the_broker_does_not_let_be_cleared_is_said_once_and_tried_by_the_next_process(before, broker, caplog):
    leftovers = before()
    for now in (1.0, 100.0):
        leftovers.review([sensor("bath", BATH)], now)
        leftovers.disconnected()
    broker.answer(GONE, NOT_ALLOWED)
    assert caplog.text.count("does not let it be cleared (not authorized); grant it") == 1
    assert f"appliance pub -r -n -t {GONE}" in caplog.text
    leftovers.review([sensor("bath", BATH)], 200.0)
    assert GONE not in broker.cleared
    before().review([sensor("bath", BATH)], 300.0)
    assert GONE in broker.cleared


def test_many_are_looked_at_in_pieces(start, broker):
    leftovers = start()
    leftovers.remember(f"home/hall/measurement{n}" for n in range(2 * MOST_AT_ONCE + 1))
    leftovers.review([], 1.0)
    assert list(map(len, broker.subscribed)) == [MOST_AT_ONCE, MOST_AT_ONCE, 1]


def test_at_the_end_everything_is_taken_back(before, broker):
    leftovers = before()
    bath, about = "home/devices/pi/bath/availability", "home/devices/pi/about"
    leftovers.remember(f"home/hall/measurement{n}" for n in range(PIECE))
    pieces = []

    def settle():
        """Answer half of what waits, as a slow broker does."""
        waiting = list(broker.cleared)
        if not pieces or not set(waiting) < set(pieces[-1]):
            pieces.append(waiting)
        for topic in waiting[len(waiting) // 2 :]:
            broker.answer(topic, NOT_ALLOWED if topic == BATH else OK)

    leftovers.leave(1.0, settle)
    assert list(map(len, pieces)) == [PIECE, 7]
    assert pieces[-1][-3:] == ["home/devices/pi/health", about, "home/devices/pi/availability"]
    assert bath in pieces[0]
    assert leftovers.left_behind == 1
    assert known(before) == {BATH}


def test_a_broker_that_says_nothing_at_the_end_is_not_waited_for_again_and_again(before, broker):
    leftovers = before()
    leftovers.remember(f"home/hall/measurement{n}" for n in range(PIECE))
    settled = []
    leftovers.leave(1.0, lambda: settled.append(len(broker.cleared)))
    assert settled == [PIECE]
    assert leftovers.left_behind == PIECE + 7


def test_a_broker_that_is_gone_at_the_end_keeps_it(before):
    leftovers = before()
    leftovers.leave(1.0, leftovers.disconnected)
    assert leftovers.left_behind == 7
    assert len(known(before)) == 4
