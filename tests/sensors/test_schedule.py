from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors.schedule import APART_S, FIRST_WITHIN_S, LONGEST_BACK_OFF_S, Schedule


def schedule_of(*intervals, now=1000.0, min_interval_s=0.0):
    schedule = Schedule(now)
    for number, interval_s in enumerate(intervals):
        schedule.add(f"s{number}", now, interval_s, min_interval_s)
    return schedule


def played(schedule, until, took_s=0.0, fails=lambda _name: False):
    """Let time pass to `until`; gives (time, sensor) of every read."""
    reads = []
    while (due := schedule.next_due()) is not None and due < until:
        for name in schedule.take_due(due):
            reads.append((due, name))
            (schedule.failed if fails(name) else schedule.succeeded)(name, due + took_s)
    return reads


def test_nothing_is_due_without_sensors():
    schedule = Schedule(0.0)
    assert schedule.next_due() is None
    assert schedule.take_due(1e9) == []


def test_every_sensor_is_read_soon_but_not_all_at_once():
    reads = played(schedule_of(*[60.0] * 20), until=1000.0 + FIRST_WITHIN_S)
    assert len(reads) == 20
    assert len({at for at, _ in reads}) == 20


def test_reads_spread_over_the_interval():
    reads = [at % 60.0 for at, _ in played(schedule_of(*[60.0] * 10, now=0.0), until=600.0) if at > 60.0]
    places = sorted({round(place, 6) for place in reads})
    assert len(places) == 10
    assert max(b - a for a, b in pairwise(places)) < 12.0  # 6 s would be perfect


def test_twenty_sensors_of_one_interval_never_meet():
    reads = sorted(at for at, _ in played(schedule_of(*[10.0] * 20, now=0.0), until=300.0) if at >= 20.0)
    assert len(reads) == 20 * 28
    assert min(b - a for a, b in pairwise(reads)) > 0.2  # of 0.5 s if the interval were cut into equal parts


@given(st.floats(0.5, 4000.0), st.integers(1, 12), st.floats(0.0, 1.0))
def test_a_rhythm_is_kept_whatever_a_read_takes(interval_s, sensors, took):
    schedule = schedule_of(*[interval_s] * sensors)
    times = {}
    for at, name in played(schedule, until=1000.0 + 6 * interval_s, took_s=took * interval_s * 0.4):
        times.setdefault(name, []).append(at)
    for reads in times.values():
        assert all(b - a == pytest.approx(interval_s, rel=1e-6) for a, b in pairwise(reads[1:]))
        assert reads[1] - reads[0] >= interval_s / 2 - 1e-6


def test_a_slow_read_skips_places_instead_of_running_after_them():
    schedule = schedule_of(10.0, now=0.0)
    assert schedule.take_due(0.0) == ["s0"]
    assert schedule.next_due() is None  # it is being read
    schedule.succeeded("s0", 34.0)
    assert schedule.next_due() == 40.0


def test_hardware_that_needs_rest_is_never_asked_faster():
    reads = played(schedule_of(0.5, min_interval_s=2.0), until=1020.0)
    assert all(b - a >= 2.0 for (a, _), (b, _) in pairwise(reads))


def test_failures_wait_longer_and_longer_and_success_ends_it():
    schedule = schedule_of(10.0, now=0.0)
    now, waits = 0.0, []
    for _ in range(8):
        schedule.take_due(now)
        schedule.failed("s0", now)
        waits.append(schedule.next_due() - now)
        now = schedule.next_due()
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]
    schedule.take_due(now)
    schedule.succeeded("s0", now)
    assert schedule.next_due() - now <= 15.0


def test_a_slow_sensor_is_tried_again_soon_and_backs_off_no_further_than_its_own_interval():
    """Or one damaged answer would cost an hour, and three hours would pass before a dead sensor is called offline."""
    schedule = schedule_of(3600.0, now=0.0)
    waits = []
    for _ in range(8):
        schedule.failed("s0", 0.0)
        waits.append(schedule.next_due())
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert waits[-1] > LONGEST_BACK_OFF_S


def test_soon_brings_reads_forward_but_respects_the_hardware():
    schedule = schedule_of(600.0, 600.0, now=0.0, min_interval_s=2.0)
    played(schedule, until=FIRST_WITHIN_S)
    schedule.soon("s0", 3.0, within_s=5.0)
    schedule.soon("s1", 3.0, within_s=0.0)
    assert schedule.next_due() <= 8.0
    reads = played(schedule, until=10.0)
    assert {name for _, name in reads} == {"s0", "s1"}
    assert min(at for at, name in reads if name == "s1") >= 2.0 + 0.618


def test_soon_while_reading_reads_again_afterwards():
    schedule = schedule_of(600.0, now=0.0)
    schedule.take_due(0.0)
    schedule.soon("s0", 1.0, within_s=5.0)
    assert schedule.next_due() is None
    schedule.succeeded("s0", 1.5)
    assert schedule.next_due() == 1.5


def test_soon_leaves_failing_and_resting_sensors_alone():
    schedule = schedule_of(600.0, 600.0, now=0.0)
    schedule.take_due(1.9)
    schedule.failed("s0", 2.0)
    schedule.rest("s1")
    schedule.soon("s0", 3.0, within_s=1.0)
    schedule.soon("s1", 3.0, within_s=1.0)
    assert schedule.next_due() == 62.0


def test_a_resting_sensor_can_be_woken():
    schedule = schedule_of(5.0, now=0.0)
    schedule.take_due(0.0)
    schedule.rest("s0")
    assert schedule.next_due() is None
    schedule.again("s0", 7.0)
    assert schedule.take_due(7.0) == ["s0"]


def test_sensors_that_wake_together_are_not_read_together():
    schedule = schedule_of(*[60.0] * 20, now=0.0)
    for number in range(20):
        schedule.rest(f"s{number}")
    for number in range(20):  # the library that all were waiting for is imported
        schedule.again(f"s{number}", 30.0)
    reads = [at for at, _ in played(schedule, until=33.0)]
    assert reads == pytest.approx([30.0 + APART_S * number for number in range(20)])
    schedule.again("s0", 33.0)
    assert schedule.take_due(33.0) == ["s0"]  # later nobody waits


@pytest.mark.parametrize("failed", [False, True])
def test_a_read_is_repeated_soon_but_not_before_the_hardware_bears_it(failed):
    for interval_s, min_interval_s, due in ((600.0, 2.0, 11.0), (600.0, 30.0, 30.0), (5.0, 1.0, 6.0)):
        schedule = schedule_of(interval_s, min_interval_s=min_interval_s, now=0.0)
        schedule.take_due(0.0)
        (schedule.failed if failed else schedule.succeeded)("s0", 1.0)
        schedule.repeat("s0", 1.0)
        assert schedule.next_due() == pytest.approx(min(due, 5.0) if interval_s == 5.0 and not failed else due)


def test_who_speaks_up_by_itself_is_not_asked_to_repeat():
    schedule = schedule_of(5.0, now=0.0)
    schedule.rest("s0")
    schedule.repeat("s0", 1.0)
    assert schedule.next_due() is None


def test_an_interval_may_change_with_the_driver():
    schedule = schedule_of(60.0, now=0.0)
    schedule.take_due(0.0)
    schedule.retime("s0", 5.0, 2.0)
    schedule.succeeded("s0", 0.5)
    assert schedule.next_due() == 5.0
