"""Wear: what is counted, what is left of the budget, and how long a group may stay open."""

import os

import pytest

from appliance.store.wear import (
    ACCRUES,
    DAY_S,
    MB,
    MOST_S,
    PART_S,
    RAMP_S,
    WINDOW_S,
    Budget,
    Day,
    Wear,
    device_counter,
    process_counter,
)

PER_S = 200 * MB * ACCRUES / DAY_S


class TestBudget:
    def test_a_start_has_an_hour_of_it(self):
        assert Budget(200, 50.0).left_bytes(50.0) == pytest.approx(PER_S * 3600)

    def test_it_accrues_evenly_and_a_day_at_most_is_saved(self):
        budget = Budget(200, 0.0)
        assert budget.left_bytes(10.0) - budget.left_bytes(0.0) == pytest.approx(10 * PER_S)
        assert budget.left_bytes(1e9) == 200 * MB

    def test_no_more_than_a_day_is_owed(self):
        budget = Budget(200, 0.0)
        budget.spend(10**12, 0.0)
        assert budget.left_bytes(0.0) == -200 * MB
        assert budget.left_bytes(DAY_S / ACCRUES) == pytest.approx(0.0)

    def test_while_it_lasts_the_window_is_short(self):
        budget = Budget(200, 0.0)
        budget.spend(int(PER_S * 3600) - 1, 0.0)
        assert budget.window_s(0.0) == WINDOW_S

    def test_the_window_stretches_with_what_is_owed_and_no_further_than_a_second(self):
        budget = Budget(200, 0.0)
        budget.spend(int(PER_S * 3600), 0.0)
        windows = []
        for _ in range(12):
            windows.append(budget.window_s(0.0))
            budget.spend(int(PER_S * RAMP_S / 10), 0.0)
        assert windows == sorted(windows)
        assert windows[0] == pytest.approx(WINDOW_S, rel=0.01)
        assert windows[5] == pytest.approx((WINDOW_S * MOST_S) ** 0.5, rel=0.01)
        assert windows[10:] == [pytest.approx(MOST_S, rel=0.01), MOST_S]

    def test_what_is_paid_back_shortens_it_again(self):
        budget = Budget(200, 0.0)
        budget.spend(int(PER_S * (3600 + RAMP_S)), 0.0)
        assert budget.window_s(0.0) == pytest.approx(MOST_S)
        assert budget.window_s(RAMP_S + 1) == WINDOW_S

    @pytest.mark.parametrize(("mb_per_day", "cost"), [(1000, 5_200), (200, 1_000)])
    def test_steady_writing_settles_at_the_budget(self, mb_per_day, cost):
        """Commits of one cost as often as the window allows: after a while a day costs what accrues."""
        now, written, budget = 0.0, 0, Budget(mb_per_day, 0.0)
        while now < 6 * 3600:
            now += budget.window_s(now)
            budget.spend(cost, now)
            written += cost * (now > 3 * 3600)
        assert written / (3 * 3600) * DAY_S == pytest.approx(mb_per_day * MB * ACCRUES, rel=0.02)

    def test_the_day_of_a_start_stays_within_it(self):
        now, written, budget = 0.0, 0, Budget(200, 0.0)
        while now < DAY_S:
            now += budget.window_s(now)
            budget.spend(1_500, now)
            written += 1_500
        assert 190 * MB < written <= 200 * MB

    def test_the_ceiling_wins(self):
        now, written, budget = 0.0, 0, Budget(10, 0.0)
        while now < 2 * 3600:
            now += budget.window_s(now)
            budget.spend(5_200, now)
            written += 5_200
        assert budget.window_s(now) == pytest.approx(MOST_S)
        assert written > 10 * MB  # an hour and a bit of a commit a second is beyond it, and shown
        assert budget.left_bytes(now) < 0


class TestDay:
    def test_it_forgets_what_is_older(self):
        day = Day(0.0)
        for hour in range(48):
            day.add(1, hour * 3600.0)
        assert day.total(47 * 3600.0 + PART_S) == 24
        assert day.length_s(47 * 3600.0) == DAY_S
        assert day.total(100 * 3600.0) == 0

    def test_it_says_since_when_it_counts(self):
        day = Day(100.0)
        day.add(5, 160.0)
        day.add(6, 161.0)
        assert (day.total(200.0), day.length_s(200.0)) == (11, 100.0)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class TestWear:
    def test_it_counts_from_the_start_on_and_looks_now_and_then(self):
        counts = {"process": 1_000, "device": 50_000}
        asked = []
        clock = Clock()

        def process():
            asked.append(clock.now)
            return counts["process"]

        wear = Wear(200, process, lambda: counts["device"], clock)
        for clock.now in (0.05, 0.1, 0.15, 0.2):
            counts["process"] += 10
            counts["device"] += 100
            wear.look()
        assert asked == [0.0, 0.1, 0.2]
        status = wear.status()
        assert (status["written_bytes"], status["written_day_bytes"]) == (40, 40)
        assert (status["device_written_bytes"], status["device_written_day_bytes"]) == (400, 400)
        assert status["budget_left_bytes"] == round(PER_S * 3600.2) - 40
        assert status["window_ms"] == 5.0

    def test_a_device_that_begins_anew_is_no_negative_count(self):
        counts = [100, 900, 50, 60]
        clock = Clock()
        wear = Wear(200, lambda: 0, lambda: counts[round(clock.now)], clock)
        for clock.now in (1.0, 2.0, 3.0):
            wear.look()
        assert wear.device.total == 810

    def test_where_nobody_counts_nothing_is_claimed(self):
        clock = Clock()
        wear = Wear(200, lambda: None, lambda: None, clock)
        clock.now = 1.0
        wear.look()
        status = wear.status()
        assert status["written_bytes"] is None
        assert status["device_written_bytes"] is None
        assert status["device_written_day_bytes"] is None


def test_the_kernels_count_of_this_process_grows(tmp_path):
    counter = process_counter()
    before = counter()
    with (tmp_path / "file").open("wb") as file:
        file.write(os.urandom(300_000))
        file.flush()
        os.fsync(file.fileno())
    after = counter()
    assert before is not None
    assert after >= before  # on a disk by what was written; a file system in memory counts nothing


def test_a_device_without_a_count(tmp_path):
    assert device_counter(tmp_path / "missing")() is None
    count = device_counter(tmp_path)()
    assert count is None or count >= 0
