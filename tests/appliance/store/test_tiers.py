"""Minutes, hours and days of real files: from readings, from late ones, from found times, and after any crash."""

import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kept import BEGIN, Kept, every

from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag
from appliance.store.group import Group
from appliance.store.opening import open_ledger
from appliance.store.retention import Terms
from appliance.store.rollup import DAY_MS, HOUR_MS, MINUTE_MS
from appliance.store.tier_reader import TierReader
from appliance.store.tiers import HOURS_A_STEP, TOGETHER, Tiers


@pytest.fixture
def kept(tmp_path):
    kept = Kept(tmp_path / "appliance.db")
    yield kept
    kept.close()


def test_an_hour_becomes_its_minutes_itself_and_its_day(kept):
    series = kept.series("home/kitchen/temperature", unit="°C")
    kept.put(series, (0, 20), (30_000, 21), (90_000, 22.5), (HOUR_MS, 5))
    kept.after(HOUR_MS)
    kept.roll()
    first, second = kept.rollups("minutes")
    assert first == {
        "topic": "home/kitchen/temperature",
        "time": "2026-09-21T00:00Z",
        "min": 20,
        "mean": 20.5,
        "max": 21,
        "weighted_mean": 20.5,
        "last": 21,
        "sum": None,
        "count": 2,
        "unit": "°C",
        "kind": "number",
        "name": None,
    }
    assert (second["time"], second["count"], second["min"], second["weighted_mean"]) == (
        "2026-09-21T00:01Z",
        1,
        22.5,
        21.75,
    )
    (hour,) = kept.rollups("hours")
    assert (hour["min"], hour["max"], hour["count"], hour["last"]) == (20, 22.5, 3, 22.5)
    assert hour["weighted_mean"] == pytest.approx((20 * 30 + 21 * 60 + 22.5 * 3510) / 3600)
    assert kept.rollups("days") == []  # not over
    kept.after(DAY_MS)
    kept.roll()
    (day,) = kept.rollups("days")
    assert (day["time"], day["min"], day["max"], day["count"], day["last"]) == ("2026-09-21T00:00Z", 5, 22.5, 4, 5)
    assert kept.count("due") == 0


def test_the_hour_that_runs_waits_for_its_end_and_a_grace(kept):
    series = kept.series("a")
    kept.put(series, (0, 1))
    kept.after(HOUR_MS - 1)
    assert kept.roll() == 0
    kept.after(HOUR_MS)
    assert kept.roll() == 1


def test_each_kind_of_series_is_rolled_up_as_it_is_meant(kept):
    binary = kept.series("door", "binary")
    event = kept.series("bell", "text")
    meter = kept.series("meter", "number", "energy", "kWh")
    kept.put(binary, (0, 0), (HOUR_MS + HOUR_MS // 4, 1), (HOUR_MS + HOUR_MS // 2, 0))
    kept.put(event, (5, "press"), (9, "hold"))
    kept.put(meter, (0, 100), (10, 101.5), (20, 0.25), (HOUR_MS, 1))
    kept.after(DAY_MS)
    kept.roll()
    assert [hour["weighted_mean"] for hour in kept.rollups("hours", binary)] == [0, 0.25]
    assert [day["weighted_mean"] for day in kept.rollups("days", binary)] == [pytest.approx(0.25 / 24)]
    (bell,) = kept.rollups("days", event)
    assert (bell["count"], bell["last"], bell["mean"], bell["min"]) == (2, "hold", None, None)
    assert [hour["sum"] for hour in kept.rollups("hours", meter)] == [1.75, 0.75]
    assert [day["sum"] for day in kept.rollups("days", meter)] == [2.5]


def test_words_among_numbers_are_passed_over(kept):
    series = kept.series("a", "number")
    kept.put(series, (0, 1), (1, "press"), (2, 3))
    kept.after(HOUR_MS)
    kept.roll()
    (hour,) = kept.rollups("hours")
    assert (hour["count"], hour["min"], hour["max"], hour["last"]) == (2, 1, 3, 3)


def test_a_late_reading_makes_its_hour_and_what_goes_on_from_it_anew(tmp_path):
    """In whatever order they come, the tables are those of the readings in their order."""
    at_once, late = Kept(tmp_path / "one.db"), Kept(tmp_path / "two.db")
    readings = every(20 * MINUTE_MS, until_ms=3 * DAY_MS, value=lambda n: n * n % 17)
    for kept in (at_once, late):
        kept.series("meter", "number", "energy", "kWh")
        kept.after(4 * DAY_MS)
    at_once.put(1, *readings)
    at_once.roll()
    late.put(1, *readings[1::3])
    late.roll()
    assert late.tables() != at_once.tables()
    late.put(1, *readings[2::3])
    late.roll()
    late.put(1, *readings[0::3])
    late.roll()
    assert late.tables() == at_once.tables()
    at_once.close()
    late.close()


def test_the_next_bucket_goes_on_from_a_late_reading_across_empty_ones(kept):
    door = kept.series("door", "binary")
    kept.put(door, (0, 0), (2 * DAY_MS + HOUR_MS // 2, 0))
    kept.after(3 * DAY_MS)
    kept.roll()
    assert [hour["weighted_mean"] for hour in kept.rollups("hours")] == [0, 0]
    kept.put(door, (HOUR_MS, 1))
    kept.roll()
    assert [hour["weighted_mean"] for hour in kept.rollups("hours")] == [0, 1, 0.5]
    assert [day["weighted_mean"] for day in kept.rollups("days")] == [
        pytest.approx(23 / 24),
        pytest.approx(0.5 / 24),
    ]


def test_readings_have_hours_by_a_provisional_time_until_the_true_one_is_found(kept):
    series = kept.series("a")
    epoch = kept.epoch(BEGIN + DAY_MS, last_ms=BEGIN + 2 * DAY_MS, clock="unsynced")
    kept.put(series, *every(MINUTE_MS, DAY_MS, DAY_MS + 3 * HOUR_MS))
    kept.after(3 * DAY_MS)
    kept.roll()
    assert [hour["time"] for hour in kept.rollups("hours")] == [f"2026-09-22T0{hour}:00Z" for hour in range(3)]
    with kept.database.transaction():
        kept.ask("UPDATE epochs SET clock = 'redated', offset_ms = ? WHERE id = ?", (7 * HOUR_MS + 1, epoch))
    kept.roll()
    first, *_, last = kept.rollups("hours")
    assert (first["time"], last["time"]) == ("2026-09-22T07:00Z", "2026-09-22T09:00Z")
    assert sum(hour["count"] for hour in kept.rollups("hours")) == 180
    assert kept.count("redated") == 0
    kept.ask("UPDATE epochs SET last_tick = last_tick + 1, clock = 'synced' WHERE id = ?", (epoch,))
    assert kept.count("due") == 0


def test_hours_that_a_wrong_time_put_ahead_of_now_are_taken_back(kept):
    """Nothing is seen of tomorrow, and today's hour is whole when it is over."""
    series = kept.series("a")
    epoch = kept.epoch(BEGIN + 40 * DAY_MS, last_ms=BEGIN + 43 * DAY_MS, clock="unsynced")
    kept.put(series, *every(10 * MINUTE_MS, 40 * DAY_MS, 42 * DAY_MS + 30 * MINUTE_MS))
    kept.after(42 * DAY_MS + HOUR_MS)
    kept.roll()
    assert kept.count("days") == 2
    kept.ask("UPDATE epochs SET clock = 'redated', offset_ms = ? WHERE id = ?", (-HOUR_MS, epoch))
    kept.after(42 * DAY_MS - 30 * MINUTE_MS)
    kept.roll()
    assert [day["count"] for day in kept.rollups("days")] == [6, 144]
    assert kept.rollups("hours")[-1]["time"] == "2026-11-01T22:00Z"
    kept.after(43 * DAY_MS)
    kept.roll()
    assert sum(hour["count"] for hour in kept.rollups("hours")) == 2 * 144 + 3
    assert kept.count("due") == 0


EPOCH_TICKS = 30 * HOUR_MS  # of each of the property's epochs, in ms


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "date", "roll", "restart"]),
            st.integers(0, 2),  # which epoch
            st.integers(-50 * 60, 50 * 60).map(lambda minutes: minutes * MINUTE_MS + 7),  # its offset
            st.integers(0, EPOCH_TICKS // MINUTE_MS - 1),
            st.integers(-5, 5),
        ),
        max_size=25,
    ),
    st.sampled_from(["energy", None]),
)
def test_whatever_becomes_of_clocks_the_tables_are_those_of_the_last_times(tmp_path_factory, deeds, quantity):
    directory = tmp_path_factory.mktemp("clocks")
    lived, afresh = Kept(directory / "one.db"), Kept(directory / "two.db")
    offsets, told = {}, {}
    try:
        for kept in (lived, afresh):
            kept.series("a", "number", quantity)
        stretches = []
        for n in range(3):
            first_ms = BEGIN + (4 + 2 * n) * DAY_MS
            lived.epoch(first_ms, last_ms=first_ms + EPOCH_TICKS, clock="unsynced", age_ms=n * EPOCH_TICKS)
            stretches.append(lived.stretch)
        for deed, n, offset_ms, minute, value in deeds:
            at_ms = (4 + 2 * n) * DAY_MS + minute * MINUTE_MS
            if deed == "put" and at_ms not in told:
                lived.put(1, (at_ms, value), stretch=stretches[n])
                told[at_ms] = (n, value)
            elif deed == "date":
                said = "redated" if value > 0 else "unsynced"
                with lived.database.transaction():
                    lived.ask("UPDATE epochs SET offset_ms = ?, clock = ? WHERE id = ?", (offset_ms, said, n + 3))
                offsets[n] = offset_ms
            elif deed == "roll":
                lived.after(minute * 8 * MINUTE_MS)
                lived.roll()
            elif deed == "restart":
                lived.tiers.step(0.0)
                lived.restart()
        for n in range(3):
            first_ms = BEGIN + (4 + 2 * n) * DAY_MS
            afresh.epoch(first_ms, last_ms=first_ms + EPOCH_TICKS, offset_ms=offsets.get(n, 0))
            afresh.put(1, *((at_ms, value) for at_ms, (of, value) in sorted(told.items()) if of == n))
        for kept in (lived, afresh):
            kept.after(30 * DAY_MS)
            kept.roll()
            assert kept.count("due") == 0
        assert lived.tables() == afresh.tables()
    finally:
        lived.close()
        afresh.close()


def test_an_epoch_that_is_put_down_with_its_time_found_is_due_too(kept):
    kept.series("a")
    kept.epoch(BEGIN, clock="redated")
    assert kept.ask("SELECT tier, series_id FROM due").fetchall() == [(0, 1)]


def test_what_is_still_staged_is_waited_for(kept):
    series = kept.series("a")
    kept.put(series, (0, 1))
    kept.ask(
        "INSERT INTO journal (kind, series_id, tick, value, late_ms, stretch_id) VALUES (0, ?, ?, 1000, 0, ?)",
        (series, (BEGIN + HOUR_MS - 1) * 16, kept.stretch),
    )
    kept.after(DAY_MS)
    assert kept.roll() == 0
    kept.ask("DELETE FROM journal")
    assert kept.roll() > 0


def test_a_damaged_reading_and_a_damaged_row_do_not_count(kept):
    series = kept.series("a")
    kept.put(series, (0, 1), (1, 2), (HOUR_MS, 3))
    kept.ask("UPDATE readings SET value = 9000 WHERE value = 1000")
    kept.after(2 * HOUR_MS)
    kept.roll()
    assert [hour["min"] for hour in kept.rollups("hours")] == [2, 3]
    kept.ask("UPDATE hours SET low = 7 WHERE low = 2000")
    kept.after(DAY_MS)
    kept.roll()
    assert [(day["min"], day["count"]) for day in kept.rollups("days")] == [(3, 1)]


def test_a_crash_between_any_two_steps_changes_nothing(tmp_path):
    whole, cut = Kept(tmp_path / "one.db"), Kept(tmp_path / "two.db")
    for kept in (whole, cut):
        for topic, kind in (("a", "number"), ("b", "number"), ("c", "binary")):
            kept.put(kept.series(topic, kind), *every(7 * MINUTE_MS, until_ms=2 * DAY_MS, value=lambda n: n % 2))
        kept.after(3 * DAY_MS)
    steps = whole.roll()
    done = 0
    while cut.tiers.step(0.0):
        done += 1
        cut.restart()
    assert done == steps
    assert cut.tables() == whole.tables()
    whole.close()
    cut.close()


def test_a_step_that_fails_did_nothing(kept):
    kept.put(kept.series("a"), *every(MINUTE_MS))
    kept.after(HOUR_MS)
    due = kept.ask("SELECT * FROM due").fetchall()
    kept.ask("CREATE TEMP TRIGGER broken BEFORE INSERT ON hours BEGIN SELECT RAISE(ABORT, 'disk'); END")
    with pytest.raises(Exception, match="disk"):
        kept.tiers.step(0.0)
    assert kept.count("minutes") == 0
    assert kept.ask("SELECT * FROM due").fetchall() == due
    kept.ask("DROP TRIGGER broken")
    kept.roll()
    assert kept.count("minutes") == 60


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 3 * DAY_MS // 1000), st.integers(-5, 5)), min_size=1, max_size=8),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from(["energy", None]),
)
def test_whatever_order_readings_come_in_the_tables_are_the_same(tmp_path_factory, batches, quantity):
    directory = tmp_path_factory.mktemp("order")
    at_once, bit_by_bit = Kept(directory / "one.db"), Kept(directory / "two.db")
    try:
        told = {at_s * 1000: value for batch in batches for at_s, value in batch}
        for kept in (at_once, bit_by_bit):
            kept.series("a", "number", quantity)
            kept.after(4 * DAY_MS)
        at_once.put(1, *sorted(told.items()))
        at_once.roll()
        for batch in batches:
            new = [(at_s * 1000, told.pop(at_s * 1000)) for at_s, _ in batch if at_s * 1000 in told]
            bit_by_bit.put(1, *new)
            bit_by_bit.roll()
        assert bit_by_bit.tables() == at_once.tables()
    finally:
        at_once.close()
        bit_by_bit.close()


def test_a_ledger_rolls_up_and_throws_away_what_it_wrote(tmp_path):
    """All of it together: groups, the hourly move, tiers and retention, in a time that only the test moves."""
    time = {"now": 1_000.0, "at": BEGIN / 1000}
    ledger = open_ledger(
        tmp_path / "appliance.db",
        site="home",
        max_series=10,
        terms=Terms(raw_days=1, minute_days=2),
        boot="boot",
        quality=lambda: "synced",
        clock=lambda: time["now"],
        wall_clock=lambda: time["at"],
    )
    ledger.load(time["now"])
    reader = TierReader(tmp_path / "appliance.db")
    for quarter in range(4 * 24 * 4):
        group = Group(quarter + 1, run=7, now=time["now"], at=time["at"])
        message = Message("home/kitchen/temperature", str(20 + quarter % 10).encode())
        group.entries.append((message, int(RouteFlag.RECORD), time["now"], None))
        ledger.write(group)
        while ledger.step():
            pass
        time["now"] += 900
        time["at"] += 900
    ledger.finish()
    ledger.close()
    at = BEGIN / 1000
    until = at + 4 * 86_400
    assert [day.count for day in reader.summaries("home/kitchen/temperature", "1d", at, until)] == [96] * 4
    assert sum(hour.count for hour in reader.summaries("home/kitchen/temperature", "1h", at, until)) == 4 * 96
    assert at + 86_400 < reader.readings_since() <= until - 86_400
    assert reader.rows("home/kitchen/temperature", at, until)[0].at >= reader.readings_since()
    minutes = reader.summaries("home/kitchen/temperature", "1m", at, until)
    assert minutes[0].at >= at + 86_400
    drawn = reader.chart("home/kitchen/temperature", at, until - 0.001, 4)
    assert [bucket.count for bucket in drawn.buckets] == [96] * 4


def test_a_ledger_without_a_time_server_rolls_up_and_moves_all_when_the_clock_is_set(tmp_path):
    time = {"now": 1_000.0, "at": BEGIN / 1000, "quality": "unsynced"}
    ledger = open_ledger(
        tmp_path / "appliance.db",
        site="home",
        max_series=10,
        boot="boot",
        quality=lambda: time["quality"],
        clock=lambda: time["now"],
        wall_clock=lambda: time["at"],
    )
    ledger.load(time["now"])
    reader = TierReader(tmp_path / "appliance.db")
    topic, at = "home/kitchen/temperature", BEGIN / 1000

    def live(first, last):
        for number in range(first, last):
            group = Group(number, run=7, now=time["now"], at=time["at"])
            group.entries.append((Message(topic, b"20"), int(RouteFlag.RECORD), time["now"], None))
            ledger.write(group)
            time["now"] += 900
            time["at"] += 900
            while ledger.step():
                pass

    live(1, 4 * 30)
    provisional = reader.summaries(topic, "1h", 0, at + 10 * 86_400)
    assert [(hour.at, hour.count) for hour in provisional[:3]] == [(at + 3_600 * n, 4) for n in range(3)]
    connection = sqlite3.connect(tmp_path / "appliance.db")
    assert connection.execute("SELECT count(*) FROM hours").fetchone()[0] >= 25
    time["at"] += 7 * 86_400 - 3_600
    time["quality"] = "synced"
    live(4 * 30, 4 * 40)
    hours = connection.execute("SELECT min(start) - ?, max(start) - ?, sum(count) FROM hours", (BEGIN // HOUR_MS,) * 2)
    first, last, count = hours.fetchone()
    assert (first, count) == (7 * 24 - 1, 4 * (last - first + 1) - (last - first + 1 == 40))
    assert connection.execute("SELECT count(*) FROM redated").fetchone() == (0,)
    connection.close()
    ledger.finish()
    ledger.close()


def test_a_step_takes_a_few_hours_of_one_series_or_one_that_is_full(kept):
    for topic in ("a", "b"):
        kept.put(kept.series(topic), *every(60_000, until_ms=5 * HOUR_MS))
    kept.after(5 * HOUR_MS)
    kept.tiers.step(0.0)
    assert kept.ask("SELECT DISTINCT series_id FROM hours").fetchall() == [(1,)]
    assert kept.count("hours") == HOURS_A_STEP
    assert kept.roll() == 3  # as many of the other one, and the fifth hour of each
    assert kept.count("hours") == 10
    for topic in ("f", "g"):
        kept.put(kept.series(topic), *every(5_000, until_ms=2 * HOUR_MS))  # 720 an hour
    kept.tiers.step(0.0)
    assert kept.count("hours") == 11


def test_hours_wait_until_a_few_are_over_and_then_none_is_left(kept):
    tiers = Tiers(kept.database, lambda _: kept.at_ms)
    for topic in ("a", "b"):
        kept.put(kept.series(topic), *every(600_000, until_ms=(TOGETHER + 1) * HOUR_MS))
    kept.after(TOGETHER * HOUR_MS - 1)
    assert not tiers.step(0.0)
    kept.after(TOGETHER * HOUR_MS)
    while tiers.step(0.0):
        pass
    assert kept.count("hours") == kept.count("minutes") // 6 == 2 * TOGETHER
    kept.after((TOGETHER + 1) * HOUR_MS)
    assert not tiers.step(0.0)
    assert kept.count("hours") == 2 * TOGETHER
    assert kept.roll() == 2  # nothing but the wait holds it back
    assert kept.count("due") == 2 * 1  # the days'


def test_a_day_waits_for_the_hours_that_wait(kept):
    tiers = Tiers(kept.database, lambda _: kept.at_ms)
    kept.put(kept.series("a"), *every(600_000, until_ms=DAY_MS))
    kept.after(DAY_MS - HOUR_MS)
    while tiers.step(0.0):
        pass
    kept.after(DAY_MS)  # with one hour that waits for two more
    assert not tiers.step(0.0)
    assert (kept.count("hours"), kept.count("days")) == (23, 0)
    kept.after(DAY_MS + 2 * HOUR_MS)
    while tiers.step(0.0):
        pass
    assert [day["count"] for day in kept.rollups("days")] == [144]
