"""How far a clock is believed when it decides what is old."""

import pytest

from appliance.store.belief import DAY_MS, Belief, believe, believed_off_ms

AT = 1_790_000_000_000


@pytest.mark.parametrize(
    ("before", "unix_ms", "age_ms", "after"),
    [
        (Belief(), AT, 5, Belief(AT)),
        (Belief(AT), AT + DAY_MS, 5, Belief(AT + DAY_MS)),
        (Belief(AT), AT + DAY_MS + 1, 5, Belief(AT, 5)),  # a day is a step
        (Belief(AT), AT - 3_650 * DAY_MS, 5, Belief(AT - 3_650 * DAY_MS)),  # makes nothing older
        (Belief(AT, 5), AT + 9 * DAY_MS, 5 + DAY_MS - 1, Belief(AT, 5)),
        (Belief(AT, 5), AT + 9 * DAY_MS, 5 + DAY_MS, Belief(AT + 9 * DAY_MS)),
        (Belief(AT, 5), AT + 1_000, 9, Belief(AT + 1_000)),  # it was a mistake, and is over
    ],
)
def test_a_step_ahead_is_believed_after_a_day_of_running(before, unix_ms, age_ms, after):
    assert believe(before, unix_ms, age_ms) == after


@pytest.mark.parametrize(
    ("off_ms", "counted_ms"),
    [(0, 0), (7_200_000, 7_200_000), (DAY_MS, DAY_MS), (DAY_MS + 1, 0), (3_650 * DAY_MS, 0), (-1, 0)],
)
def test_of_the_time_without_power_up_to_a_day_counts_and_nothing_of_more(off_ms, counted_ms):
    assert believed_off_ms(AT, AT + off_ms) == counted_ms


def test_only_a_known_and_undoubted_clock_is_sure():
    assert not Belief().is_sure
    assert not Belief(AT, 0).is_sure
    assert Belief(AT).is_sure
