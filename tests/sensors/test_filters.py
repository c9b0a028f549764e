import math
from itertools import pairwise
from statistics import fmean, median

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sensors.filters import Filter, longest_silence_s
from sensors.treatment import Treatment


def sent(keep, numbers, every_s=1.0, start_s=0.0):
    """What a filter makes of these numbers: the one sent, None for held back."""
    return [keep.offer(number, start_s + i * every_s) for i, number in enumerate(numbers)]


@pytest.mark.parametrize(
    ("decimals", "number", "expected"),
    [
        (None, 21.4567, 21.4567),
        (1, 21.44, 21.4),
        (1, 21.45, 21.5),  # as people round, not to the even digit
        (1, 21.35, 21.4),
        (0, 46.5, 47.0),
        (0, 45.5, 46.0),
        (0, -0.4, 0.0),
        (2, 1.005, 1.01),
        (6, 1e-7, 0.0),
        (6, 1e15, 1e15),
        (None, 1e-7, 1e-7),
        (1, -0.04, 0.0),
        (None, -0.0, 0.0),
        (2, 5, 5.0),
    ],
)
def test_digits_that_the_sensor_cannot_tell_are_not_sent(decimals, number, expected):
    (told,) = sent(Filter(Treatment(), decimals), [number])
    assert told == expected
    assert math.copysign(1, told) > 0


def test_a_half_goes_away_from_zero_on_both_sides():
    assert sent(Filter(Treatment(), 0), [-46.5, -0.5, 0.5, 46.5]) == [-47.0, -1.0, 1.0, 47.0]


STORIES = [  # keys, seconds between numbers, numbers, what is sent
    ({}, 1, [20.0, 20.0, 20.1], [20.0, 20.0, 20.1]),  # all
    ({"delta": 0.2}, 1, [20.0, 20.1, 20.2, 20.3, 20.1], [20.0, None, 20.2, None, None]),
    ({"delta": 0.1}, 1, [0.2, 0.3, 0.2], [0.2, 0.3, 0.2]),  # 0.3 - 0.2 < 0.1 in binary
    ({"delta": 0.5}, 1, [20.0, 20.3, 20.6], [20.0, None, 20.6]),  # slow drift counts from what was sent
    ({"delta": 0}, 1, [20.0, 20.0, 20.1, 20.1, 20.0], [20.0, None, 20.1, None, 20.0]),
    ({"delta": "0%"}, 1, [20.0, 20.0, 20.1], [20.0, None, 20.1]),
    ({"delta": 0, "heartbeat_s": 2}, 1, [20.0, 20.0, 20.0], [20.0, None, 20.0]),
    ({"delta": "5%"}, 1, [100.0, 104.9, 105.0, 110.2, 110.25], [100.0, None, 105.0, None, 110.25]),
    ({"delta": "5%"}, 1, [0.0, 0.0, 0.1, -0.1], [0.0, None, 0.1, -0.1]),  # of nothing any change is much
    ({"delta": "5%"}, 1, [-100.0, -96.0, -95.0], [-100.0, None, -95.0]),
    ({"delta": 1, "heartbeat_s": 3}, 1, [20.0] * 7, [20.0, None, None, 20.0, None, None, 20.0]),
    ({"delta": 1, "heartbeat_s": 3}, 4, [20.0] * 3, [20.0] * 3),
    ({"throttle_s": 3}, 1, [1.0, 2.0, 3.0, 4.0, 5.0], [1.0, None, None, 4.0, None]),
    ({"throttle_s": 3, "delta": 5}, 1, [1.0, 1.0, 1.0, 1.0, 9.0, 1.0], [1.0, None, None, None, 9.0, None]),
    ({"median": 3}, 1, [20.0, 99.0, 21.0, 22.0, 0.0], [20.0, 59.5, 21.0, 22.0, 21.0]),
    ({"moving_average": 2}, 1, [20.0, 22.0, 24.0], [20.0, 21.0, 23.0]),
    ({"moving_average": 3, "send_every": 3}, 1, [1, 2, 3, 4, 5, 6, 7], [1.0, None, None, 3.0, None, None, 6.0]),
    ({"median": 3, "moving_average": 2}, 1, [10.0, 10.0, 90.0, 10.0], [10.0, 10.0, 10.0, 10.0]),
]


@pytest.mark.parametrize(("keys", "every_s", "numbers", "expected"), STORIES)
def test_what_is_sent(keys, every_s, numbers, expected):
    assert sent(Filter(Treatment(**keys)), numbers, every_s) == expected


EAGER = {"median": 9, "moving_average": 9, "send_every": 9, "throttle_s": 900.0, "delta": 5.0}


@pytest.mark.parametrize("key", EAGER)
def test_the_first_number_waits_for_nothing(key):
    assert sent(Filter(Treatment(**{key: EAGER[key]})), [20.0]) == [20.0]


@pytest.mark.parametrize("keys", [{"delta": 1}, {"throttle_s": 900}, {"median": 3, "send_every": 9}])
def test_what_was_sent_can_be_forgotten(keys):
    keep = Filter(Treatment(**keys))
    assert sent(keep, [20.0, 20.0]) == [20.0, None]
    keep.forget_sent()
    assert sent(keep, [20.0, 20.0], start_s=2.0) == [20.0, None]


def test_numbers_from_before_a_failure_can_be_forgotten():
    keep = Filter(Treatment(median=3, moving_average=3, delta=50))
    assert sent(keep, [20.0, 20.0, 20.0]) == [20.0, None, None]
    keep.forget_past()
    assert sent(keep, [5.0, 5.0]) == [5.0, None]


def test_a_read_that_comes_a_little_early_still_ends_a_pause():
    for keys in ({"throttle_s": 60.0}, {"delta": 1.0, "heartbeat_s": 60.0}):
        keep = Filter(Treatment(**keys), interval_s=30.0)
        assert [keep.offer(20.0, at) for at in (0.0, 30.2, 59.9)] == [20.0, None, 20.0]


SILENCES = [
    ({}, 30.0, 30.0),
    ({"delta": 0.5}, 30.0, 60.0),  # the usual heartbeat
    ({"delta": 0.5, "heartbeat_s": 120}, 30.0, 120.0),
    ({"delta": 0.5, "heartbeat_s": 100}, 30.0, 120.0),  # the read after it
    ({"delta": 0.5, "heartbeat_s": 10}, 30.0, 30.0),
    ({"heartbeat_s": 600}, 30.0, 30.0),  # nothing is held back without delta
    ({"throttle_s": 300}, 30.0, 300.0),
    ({"throttle_s": 300, "delta": 1, "heartbeat_s": 60}, 30.0, 300.0),
    ({"median": 5, "send_every": 5}, 10.0, 50.0),
    ({"median": 5, "send_every": 5, "throttle_s": 60}, 10.0, 100.0),
]


@pytest.mark.parametrize(("keys", "interval_s", "silence_s"), SILENCES)
def test_the_longest_silence(keys, interval_s, silence_s):
    assert longest_silence_s(Treatment(**keys), interval_s) == silence_s


optional = st.none() | st.integers(1, 40)


@given(
    st.integers(1, 10), st.integers(1, 6), optional, st.none() | st.just(1e9), st.integers(1, 40), st.floats(-100, 100)
)
def test_a_number_that_never_changes_is_silent_for_the_longest_silence(
    interval_s, send_every, throttle_s, delta, heartbeat_s, number
):
    treatment = Treatment(
        median=3, send_every=send_every, throttle_s=throttle_s, delta=delta, heartbeat_s=float(heartbeat_s)
    )
    keep = Filter(treatment, interval_s=float(interval_s))
    times = [i * interval_s for i in range(400) if keep.offer(number, i * interval_s) is not None]
    assert times[0] == 0
    assert {b - a for a, b in pairwise(times)} == {longest_silence_s(treatment, interval_s)}


finite = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40)


@given(finite, st.integers(2, 9))
def test_windows_hold_the_last_numbers(numbers, window):
    middles = sent(Filter(Treatment(median=window)), numbers)
    means = sent(Filter(Treatment(moving_average=window)), numbers)
    for i in range(len(numbers)):
        last = numbers[max(0, i - window + 1) : i + 1]
        assert middles[i] == pytest.approx(median(last), abs=1e-6)
        assert means[i] == pytest.approx(fmean(last), abs=1e-6)
        assert min(last) - 1e-6 <= means[i] <= max(last) + 1e-6


@given(finite, st.floats(0.1, 100), st.integers(0, 3))
@example([2.5], 0.5, 0)
def test_what_was_sent_last_is_never_further_away_than_delta(numbers, delta, decimals):
    keep = Filter(Treatment(delta=delta, heartbeat_s=1e9), decimals)
    known = None
    for at, number in enumerate(numbers):
        news = keep.offer(number, float(at))
        known = known if news is None else news
        (rounded,) = sent(Filter(Treatment(), decimals), [number])
        assert abs(rounded - known) <= delta
        assert abs(rounded - number) <= 0.5 * 10**-decimals + 1e-6


@given(finite, st.integers(1, 20))
def test_two_numbers_are_never_closer_than_the_throttle(numbers, throttle_s):
    keep = Filter(Treatment(throttle_s=throttle_s))
    times = [at for at, number in enumerate(numbers) if keep.offer(number, float(at)) is not None]
    assert times == list(range(0, len(numbers), throttle_s))
