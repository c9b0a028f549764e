"""Readings rolled up: sums that are exact, time that is weighed, counters that begin again; in whatever pieces."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.store.rollup import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    NEVER_MS,
    Presence,
    Reading,
    add_late,
    exact,
    hold_ms,
    is_counter,
    known_share,
    merge,
    roll,
)

BEGIN = 1_790_000_000_000 // DAY_MS * DAY_MS
NUMBERS = st.one_of(
    st.integers(-(10**9), 10**9), st.floats(-1e12, 1e12, allow_nan=False).map(lambda number: number * 1.0)
)
HOLDS = st.sampled_from([None, 1_000, MINUTE_MS, HOUR_MS])


@st.composite
def readings(draw, values=NUMBERS, span_ms=2 * DAY_MS):
    times = sorted(draw(st.lists(st.integers(0, span_ms), min_size=1, max_size=30)))
    return [Reading(BEGIN + at_ms, draw(values)) for at_ms in times]


def one(found):
    (rollup,) = found
    return rollup


def minute(*pairs, before=None, hold_ms=None, counter=False):
    """Roll up (second, value) pairs that all lie in one minute."""
    told = [Reading(BEGIN + round(second * 1000), value) for second, value in pairs]
    return one(roll(told, MINUTE_MS, before=before, hold_ms=hold_ms, counter=counter))


def test_a_minute_is_told_by_its_extremes_its_mean_and_its_last():
    found = minute((1, 21_400), (20, 21_900), (40, 21_100))
    assert (found.start_ms, found.end_ms) == (BEGIN, BEGIN + MINUTE_MS)
    assert (found.count, found.low, found.high, found.total) == (3, 21_100, 21_900, 64_400)
    assert (found.last, found.last_ms, found.increase) == (21_100, BEGIN + 40_000, None)


def test_a_value_counts_for_as_long_as_it_stands():
    found = minute((30, 10_000), (31, 20_000))
    assert found.held_ms == 30_000  # nothing is known of the first half
    assert found.area == 10_000 * 1_000 + 20_000 * 29_000


def test_the_value_before_the_bucket_counts_at_its_begin():
    found = minute((30, 10_000), before=Reading(BEGIN - 5_000, 4_000))
    assert found.held_ms == MINUTE_MS
    assert found.area == 4_000 * 30_000 + 10_000 * 30_000
    assert (found.low, found.count) == (10_000, 1)  # it was not read here


def test_a_value_stands_no_longer_than_it_holds():
    found = minute((30, 10_000), before=Reading(BEGIN - 5_000, 4_000), hold_ms=20_000)
    assert (found.held_ms, found.area) == (15_000 + 20_000, 4_000 * 15_000 + 10_000 * 20_000)
    gone = minute((30, 10_000), before=Reading(BEGIN - 5_000, 4_000), hold_ms=5_000)
    assert (gone.held_ms, gone.area) == (5_000, 50_000_000)


def present(*silences, now=None):
    """Give a presence; times are seconds from BEGIN."""
    return Presence(
        NEVER_MS if now is None else BEGIN + now * 1000,
        tuple((BEGIN + since * 1000, NEVER_MS if until is None else BEGIN + until * 1000) for since, until in silences),
    )


@pytest.mark.parametrize(
    ("presence", "held_s", "area"),
    [
        (present(), 50, 10 * 20 + 30 * 30),
        (present(now=32), 22, 10 * 20 + 30 * 2),  # it runs
        (present((40, None)), 30, 10 * 20 + 30 * 10),
        (present((40, 50)), 40, 10 * 20 + 30 * 20),
        (present((15, 25)), 40, 10 * 10 + 30 * 30),
        (present((15, 25), (40, None)), 20, 10 * 10 + 30 * 10),
        (present((15, 35)), 50, 10 * 20 + 30 * 30),  # 30 was read in it: an agent kept what it read meanwhile
        (present((5, 12)), 50, 10 * 20 + 30 * 30),  # and 10 was here
        (present((70, 80)), 50, 10 * 20 + 30 * 30),
        (present((0, 2), (40, 50), now=45), 30, 10 * 20 + 30 * 10),
    ],
)
def test_neither_what_is_to_come_nor_a_gap_counts(presence, held_s, area):
    told = [Reading(BEGIN + 10_000, 10), Reading(BEGIN + 30_000, 30)]
    found = one(roll(told, MINUTE_MS, before=None, hold_ms=None, counter=False, presence=presence))
    assert (found.held_ms, found.area) == (held_s * 1000, area * 1000)


def test_a_gap_between_the_parts_does_not_count():
    told = [Reading(BEGIN + 30_000, 10), Reading(BEGIN + 190_000, 30)]
    for presence, held_s, area in (
        (present(), 3_570, 10 * 160 + 30 * 3_410),
        (present((60, 150), now=200), 80, 10 * 70 + 30 * 10),
        (present((40, 70), (70, 100)), 3_510, 10 * 100 + 30 * 3_410),
    ):
        minutes = roll(told, MINUTE_MS, before=None, hold_ms=None, counter=False, presence=presence)
        merged = one(merge(minutes, HOUR_MS, before=None, hold_ms=None, presence=presence))
        whole = one(roll(told, HOUR_MS, before=None, hold_ms=None, counter=False, presence=presence))
        assert (merged.held_ms, merged.area) == (whole.held_ms, whole.area) == (held_s * 1000, area * 1000)


def test_the_share_of_the_time_that_is_known():
    assert known_share(15, 0, 60, 30) == 0.5
    assert known_share(15, 0, 60, NEVER_MS) == 0.25
    assert known_share(0, 60, 120, 30) == 0.0


def test_on_and_off_give_the_share_of_the_time():
    found = minute((15, 1_000), (30, 0), before=Reading(BEGIN - DAY_MS * 9, 0), hold_ms=hold_ms("binary"))
    assert found.area / found.held_ms / 1000 == 0.25


@pytest.mark.parametrize(
    ("before", "values", "risen"),
    [
        (None, [5_000], 0),  # where it stood when we began says nothing
        (None, [5_000, 5_000, 7_500], 2_500),
        (4_000, [5_000, 7_000], 3_000),
        (4_000, [1_000, 3_000], 3_000),  # began again, and had counted 1 when it was read
        (4_000, [0, 3_000, 2_000], 5_000),  # twice
        (48_211_400, [48_211_350, 48_211_500], 150),  # a power cut took its last pulses: no second 48,211 kWh
        (10_000, [9_000, 9_100], 100),  # a tenth
        (10_000, [8_999, 9_100], 9_100),  # more than that
        (4_000, [-1_000, 2_000], 3_000),  # a counter below zero has not counted, but rises from there
        ("press", [5_000, 6_000], 1_000),
    ],
)
def test_a_counter_is_added_up_across_its_new_beginnings(before, values, risen):
    told = None if before is None else Reading(BEGIN - HOUR_MS, before)
    found = minute(*enumerate(values), before=told, hold_ms=1, counter=True)
    assert found.increase == risen


def test_texts_are_counted_and_the_last_one_stands():
    found = minute((1, "press"), (2, "hold"), before=Reading(BEGIN - 1, "double"))
    assert (found.count, found.last, found.held_ms, found.area) == (2, "hold", 0, 0)


def test_buckets_without_a_reading_are_left_out():
    told = [Reading(BEGIN + at_ms, 1) for at_ms in (0, 59_999, 60_000, 7 * HOUR_MS)]
    found = list(roll(told, MINUTE_MS, before=None, hold_ms=None, counter=False))
    assert [(rollup.start_ms - BEGIN, rollup.count) for rollup in found] == [(0, 2), (60_000, 1), (7 * HOUR_MS, 1)]
    assert list(roll([], MINUTE_MS, before=None, hold_ms=None, counter=False)) == []
    assert list(merge([], HOUR_MS, before=None, hold_ms=None)) == []


@given(readings(), HOLDS, st.booleans(), st.booleans(), st.sampled_from([(60, 60), (1, 60), (3_600, 24), (1, 86_400)]))
def test_rolled_up_in_pieces_is_rolled_up_at_once(told, holds, counter, has_before, widths):
    """Seconds to minutes, minutes to hours, hours to days: the same numbers as straight from the readings."""
    seconds, times = widths
    before = Reading(BEGIN - 20_000, 7) if has_before else None
    fine = roll(told, seconds * 1000, before=before, hold_ms=holds, counter=counter)
    merged = list(merge(fine, seconds * times * 1000, before=before, hold_ms=holds))
    assert merged == list(roll(told, seconds * times * 1000, before=before, hold_ms=holds, counter=counter))


@given(readings(), HOLDS, st.booleans(), st.data())
def test_hours_may_be_rolled_up_one_by_one(told, holds, counter, data):
    """Cut between any two hours, each piece goes on from the last reading of the one before."""
    hours = sorted({reading.at_ms // HOUR_MS for reading in told})
    cuts = {*data.draw(st.lists(st.sampled_from(hours))), hours[0]}
    pieces, before = [], None
    for first, end in pairwise([*sorted(cuts), hours[-1] + 1]):
        piece = [reading for reading in told if first <= reading.at_ms // HOUR_MS < end]
        pieces += roll(piece, HOUR_MS, before=before, hold_ms=holds, counter=counter)
        before = piece[-1]
    assert pieces == list(roll(told, HOUR_MS, before=None, hold_ms=holds, counter=counter))


@given(readings(), HOLDS)
def test_a_bucket_is_within_what_was_read_and_never_covers_more_than_itself(told, holds):
    for rollup in roll(told, HOUR_MS, before=None, hold_ms=holds, counter=True):
        assert rollup.low <= rollup.last <= rollup.high
        assert exact(rollup.low) * rollup.count <= rollup.total <= exact(rollup.high) * rollup.count
        assert 0 <= rollup.held_ms <= HOUR_MS
        assert rollup.start_ms <= rollup.last_ms < rollup.end_ms
        assert rollup.increase >= 0


@given(st.lists(st.floats(-1e15, 1e15, allow_nan=False), min_size=1, max_size=20))
def test_sums_are_exact_whatever_the_numbers(values):
    found = minute(*enumerate(values))
    assert found.total == sum(map(Fraction, values))


@pytest.mark.parametrize(
    ("kind", "quantity", "unit", "counts"),
    [
        ("number", "energy", "kWh", True),
        ("number", "energy", None, True),
        ("number", "Water", "L", True),
        ("number", "water", "L/min", False),  # a flow
        ("number", "rain", "mm", True),
        ("number", "rain", "mm/h", False),
        ("number", "pulses", None, True),
        ("number", None, "kWh", True),
        ("number", None, "m³", True),
        ("number", None, "L", False),  # a tank, perhaps
        ("number", "volume", "m³", False),
        ("number", "power", "W", False),
        ("number", "temperature", "°C", False),
        ("number", None, None, False),
        ("binary", "energy", None, False),
        ("text", "energy", "kWh", False),
    ],
)
def test_which_series_is_a_counter(kind, quantity, unit, counts):
    assert is_counter(kind, quantity, unit) is counts


@pytest.mark.parametrize(
    ("topic", "counts"),
    [
        ("home/b/energy", True),
        ("zigbee2mqtt/plug/energy", True),
        ("tele/plug/SENSOR/ENERGY/Total", True),
        ("tele/plug/SENSOR/ENERGY/Power", False),
        ("tele/plug/SENSOR/ENERGY/Yesterday", False),
        ("shellies/em/emeter/0/total", True),
        ("shellies/em/emeter/0/power", False),
        ("shellies/plug/relay/0/energy", True),
        ("plus/status/switch:0/aenergy/total", True),
        ("plus/status/em:0/total_act_power", False),
        ("home/cellar/water", True),
        ("home/cellar/water_level", False),
        ("home/roof/rain", True),
        ("home/meter/pulses/0", True),
        ("pi/memory/total", False),  # false friends
        ("home/power/total", False),
        ("total", False),
        ("energy", True),
        ("0", False),
        ("", False),
    ],
)
def test_what_nobody_described_is_a_counter_by_its_topic(topic, counts):
    assert is_counter("number", None, None, topic) is counts
    assert not is_counter("binary", None, None, topic)
    assert not is_counter("number", None, "ppm", topic)
    assert not is_counter("number", "gas concentration", None, topic)


def test_numbers_are_forgotten_and_states_are_not():
    assert hold_ms("number") == HOUR_MS
    assert hold_ms("binary") is hold_ms("text") is None


def test_the_rise_of_a_day_is_known_only_where_that_of_every_hour_is():
    """As after a new version counts what an older one did not."""
    readings = [
        Reading(hour * HOUR_MS + tenth * 600_000, 1000 * (hour * 6 + tenth)) for hour in range(4) for tenth in range(6)
    ]
    hours, before = [], None
    for hour in range(4):
        part = readings[hour * 6 : hour * 6 + 6]
        hours += roll(part, HOUR_MS, before=before, hold_ms=HOUR_MS, counter=hour >= 2)
        before = part[-1]
    (day,) = merge(hours, DAY_MS, before=None, hold_ms=HOUR_MS)
    assert day.increase is None
    (late,) = merge(hours[2:], DAY_MS, before=readings[11], hold_ms=HOUR_MS)
    assert late.increase == 12_000
    assert add_late(hours[0], hours[3]).increase is None
