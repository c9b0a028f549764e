import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors.switching import Limits, Switching


def play(switching, events, until):
    """Feed events (time, what) and look at each deadline; give the changes of the output and when they came."""
    changes = []
    now = 0.0

    def look(now):
        want = switching.wanted(now)
        if want is not switching.on:
            switching.changed(now, want)
            changes.append((round(now, 6), want))

    for at, what in [*events, (until, None)]:
        look(now)
        while (due := switching.deadline(now)) < at:
            now = due
            look(now)
        now = at
        match what:
            case "up" | "down":
                switching.link(now, up=what == "up")
            case bool():
                switching.command(what)
        look(now)
    return changes


ON, OFF = True, False
STORIES = [  # limits, start, events, changes
    ({}, OFF, [(1, ON), (2, OFF)], [(1, ON), (2, OFF)]),
    ({}, OFF, [(1, ON), (1, OFF), (1, ON)], [(1, ON), (1, OFF), (1, ON)]),
    ({}, ON, [], []),
    # shortest times: what comes too early waits
    ({"min_on_s": 5}, OFF, [(1, ON), (2, OFF)], [(1, ON), (6, OFF)]),
    ({"min_on_s": 5}, OFF, [(1, ON), (2, OFF), (3, ON)], [(1, ON)]),  # the later command takes it back
    ({"min_on_s": 5}, OFF, [(1, ON), (7, OFF)], [(1, ON), (7, OFF)]),
    ({"min_off_s": 5}, OFF, [(1, ON)], [(5, ON)]),  # nobody knows for how long it was off before the start
    ({"min_off_s": 5}, ON, [], [(5, ON)]),
    ({"min_off_s": 5}, OFF, [(6, ON), (7, OFF), (8, ON)], [(6, ON), (7, OFF), (12, ON)]),
    ({"min_off_s": 5}, OFF, [(1, ON), (2, OFF)], []),
    # the longest time, and pulses
    ({"longest_s": 3}, OFF, [(1, ON)], [(1, ON), (4, OFF)]),
    ({"longest_s": 3}, OFF, [(1, ON), (3, ON)], [(1, ON), (4, OFF)]),  # asking again does not prolong it
    ({"longest_s": 3}, OFF, [(1, ON), (2, OFF), (2.5, ON)], [(1, ON), (2, OFF), (2.5, ON), (5.5, OFF)]),
    ({"longest_s": 3}, ON, [], [(3, OFF)]),
    ({"longest_s": 3, "min_on_s": 3}, OFF, [(1, ON), (2, OFF)], [(1, ON), (4, OFF)]),
    ({"longest_s": 0.5, "min_off_s": 2}, OFF, [(3, ON), (3.6, ON)], [(3, ON), (3.5, OFF), (5.5, ON), (6, OFF)]),
    # without the broker
    ({"safe_after_s": 10}, ON, [(1, "up"), (5, "down")], [(15, OFF)]),
    ({"safe_after_s": 10}, ON, [(1, "up"), (5, "down"), (14, "up"), (16, "down")], [(26, OFF)]),
    ({"safe_after_s": 10}, ON, [(1, "up"), (5, "down"), (8, "down")], [(15, OFF)]),  # each attempt that fails tells so
    ({"safe_after_s": 10}, ON, [], [(10, OFF)]),  # it never came
    ({"safe_after_s": 10}, ON, [(1, "up"), (5, "down"), (20, "up")], [(15, OFF)]),  # it coming back switches nothing
    ({"safe_after_s": 10}, ON, [(1, "up"), (5, "down"), (20, "up"), (21, ON)], [(15, OFF), (21, ON)]),
    (
        {"safe_after_s": 10},
        ON,
        [(1, "up"), (5, "down"), (20, "up"), (21, ON), (22, "down")],
        [(15, OFF), (21, ON), (32, OFF)],  # each time it goes
    ),
    ({"safe_after_s": 10, "safe": True}, OFF, [(1, "up"), (5, "down"), (20, "up"), (30, OFF)], [(15, ON), (30, OFF)]),
    ({"safe_after_s": 10, "min_on_s": 30}, ON, [(1, "up"), (5, "down")], [(30, OFF)]),
    ({"safe_after_s": 4, "min_off_s": 20}, OFF, [(0, "up"), (1, ON), (2, "down")], []),  # what waited is forgotten
    ({}, ON, [(1, "up"), (5, "down")], []),
]


@pytest.mark.parametrize(("limits", "start", "events", "changes"), STORIES)
def test_stories(limits, start, events, changes):
    assert play(Switching(Limits(**limits), start=start, now=0.0), events, 100.0) == changes


def test_what_failed_is_not_done_later():
    switching = Switching(Limits(), start=False, now=0.0)
    switching.command(on=True)
    switching.failed()
    assert switching.wanted(1.0) is False
    switching = Switching(Limits(safe=True), start=True, now=0.0)
    switching.command(on=False)
    switching.failed()
    assert switching.wanted(1.0) is True


def test_how_long_it_waits():
    switching = Switching(Limits(min_off_s=5), start=False, now=10.0)
    assert switching.waits_s(11.0) == 0
    switching.command(on=True)
    assert switching.waits_s(11.0) == 4
    assert switching.deadline(11.0) == 15
    assert switching.deadline(15.0) == math.inf  # nothing new: it is up to the pin now


def test_a_start_that_waits_is_off_and_to_be_on():
    switching = Switching(Limits(), start=True, now=0.0, waits=True)
    assert switching.on is False
    assert switching.wanted(0.0) is True


events = st.lists(st.tuples(st.integers(0, 40), st.one_of(st.booleans(), st.sampled_from(["up", "down"]))), max_size=40)
seconds = st.sampled_from([0, 3, 10])


@given(events, seconds, seconds, st.sampled_from([math.inf, 10, 30]), st.sampled_from([math.inf, 20]), st.booleans())
def test_no_stretch_is_too_short_or_too_long(steps, min_on_s, min_off_s, longest_s, safe_after_s, start):
    limits = Limits(min_on_s=min_on_s, min_off_s=min_off_s, longest_s=longest_s, safe_after_s=safe_after_s)
    now, story = 0, []
    for wait, what in steps:
        now += wait
        story.append((now, what))
    switching = Switching(limits, start=start, now=0.0)
    was, since = switching.on, 0.0
    for at, on in play(switching, story, now + 1000.0):
        assert on is not was
        assert at - since >= (min_on_s if was else min_off_s)
        assert not was or at - since <= longest_s
        was, since = on, at
    if longest_s < math.inf:
        assert was is False
    elif safe_after_s == math.inf:
        said = [what for _, what in story if isinstance(what, bool)]
        assert was is (said[-1] if said else start)
