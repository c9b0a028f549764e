from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors.drivers.simulated import BUSY
from sensors.house.chance import DAY_S, Comings, Daily, Remembered, chance, drift, noise

seeds = st.integers(min_value=0, max_value=2**32)
comings = st.builds(
    lambda seed, name, model: Comings(seed, name, *BUSY[model]),
    seeds,
    st.sampled_from(["kitchen", "hall"]),
    st.sampled_from(["motion", "door", "window", "lamp"]),
)


def test_chance_is_the_same_in_every_process():
    assert chance(1, "kitchen", "x") == pytest.approx(0.52407518, abs=1e-8)


@given(seeds, st.floats(min_value=0, max_value=4e9))
def test_drift_has_no_jump_where_it_turns(seed, at):
    here, there = drift(seed, "hall", "people", at, 90), drift(seed, "hall", "people", at + 0.001, 90)
    assert abs(here) <= 1
    assert abs(there - here) < 1e-3


def test_noise_is_another_one_each_time():
    assert len({noise(1, "hall", "x", at / 10) for at in range(100)}) == 100
    assert noise(1, "hall", "x", 5.0) == noise(1, "hall", "x", 5.0)


@given(comings, st.floats(min_value=1e9, max_value=4e9))
def test_something_happens_within_a_minute(visits, at):
    changes = []
    while not changes or changes[-1] < at + 120:
        changes.append(visits.next_change(changes[-1] if changes else at))
    assert all(later > earlier for earlier, later in pairwise([at, *changes]))
    assert changes[0] - at < 90
    for earlier, later in pairwise(changes):
        middle = (earlier + later) / 2
        assert visits.is_on(middle) is visits.is_on(earlier)
        assert visits.is_on(middle) is not visits.is_on(later)
        assert 0.9 < later - earlier < 90


def test_a_day_has_its_spans_and_those_that_reach_into_it():
    daily = Daily(lambda day: ((day * DAY_S - 50, day * DAY_S + 50), (day * DAY_S + 80_000, day * DAY_S + 90_000)))
    assert daily.is_on(5 * DAY_S + 49)
    assert daily.is_on(5 * DAY_S + 3_000)  # the end of yesterday's
    assert not daily.is_on(5 * DAY_S + 4_000)
    assert daily.next_change(5 * DAY_S + 4_000) == 5 * DAY_S + 80_000
    assert daily.next_change(5 * DAY_S + 86_000) == 6 * DAY_S - 50


def test_a_day_without_anything_is_looked_at_again():
    assert Daily(lambda _day: ()).next_change(12.0) == 12.0 + DAY_S


@given(comings, st.lists(st.floats(min_value=1e9, max_value=1e9 + 300), min_size=1, max_size=30))
def test_what_is_remembered_is_what_is(visits, times):
    remembered = Remembered(visits)
    for at in times:  # the time goes back, too
        assert remembered.is_on(at) is visits.is_on(at)
        assert remembered.next_change(at) == visits.next_change(at)
