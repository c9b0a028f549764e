"""What goes and what stays: by age, for want of room, whatever the clocks do; and late readings of what is gone."""

import pytest
from kept import BEFORE, BEGIN, TABLES, Kept, every

from appliance.store.gaps import DROPPED, HUB, GapNote, Gaps
from appliance.store.reading_rows import TICKS_PER_MS
from appliance.store.retaining import Retaining
from appliance.store.retention import LOOK_S, ROWS_A_STEP, Epoch, Terms, earliest_ms, epoch_of, floor_of_age
from appliance.store.rollup import DAY_MS, HOUR_MS, MINUTE_MS
from appliance.store.spelling import FLOAT, PLAIN

TEN_YEARS_MS = 3_650 * DAY_MS
DAYS = Terms(raw_days=2, minute_days=4, hour_days=6, day_days=8)


@pytest.fixture
def kept(tmp_path):
    kept = Kept(tmp_path / "appliance.db", DAYS)
    yield kept
    kept.close()


def live(kept, days, *, from_day=0, step_ms=10 * MINUTE_MS, series=("a", "b")):
    """Days as they pass: readings, then the chores."""
    for day in range(from_day, days):
        for topic in series:
            kept.put(kept.series(topic), *every(step_ms, day * DAY_MS, (day + 1) * DAY_MS))
        kept.after((day + 1) * DAY_MS)
        kept.roll()
        kept.throw_away(now=day * 86_400.0)


def span(kept, table, width_ms):
    first, last = kept.ask(f"SELECT min(start), max(start) FROM {table}").fetchone()
    return (first * width_ms - BEGIN) / DAY_MS, ((last + 1) * width_ms - BEGIN) / DAY_MS


def first_day(kept):
    return (kept.ask("SELECT min(tick) FROM readings").fetchone()[0] / TICKS_PER_MS - BEGIN) / DAY_MS


def test_each_tier_is_kept_for_its_days(kept):
    live(kept, 12)
    assert first_day(kept) == 10
    assert kept.count("readings") == 2 * 2 * 144
    assert span(kept, "minutes", MINUTE_MS)[0] == 8
    assert span(kept, "hours", HOUR_MS)[0] == 6
    assert span(kept, "days", DAY_MS) == (4, 12)


def test_nothing_goes_that_is_kept_for_ever(tmp_path):
    kept = Kept(tmp_path / "appliance.db", Terms(raw_days=0, minute_days=0, hour_days=0, day_days=0))
    live(kept, 5)
    kept.after(TEN_YEARS_MS)
    assert kept.throw_away(1e9) == 0
    assert kept.count("readings") == 5 * 2 * 144
    kept.close()


def test_a_step_is_small_and_a_transaction_of_its_own(kept):
    kept.put(kept.series("a"), *every(MINUTE_MS, until_ms=4 * DAY_MS))
    kept.put(kept.series("b"), *every(MINUTE_MS, until_ms=4 * DAY_MS))
    kept.after(4 * DAY_MS)
    kept.roll()
    before, steps = kept.count("readings"), 0
    while kept.retention.step(0.0):
        left = sum(kept.count(table) for table in ("readings", *TABLES))
        assert before - kept.count("readings") <= ROWS_A_STEP
        before = kept.count("readings")
        steps += 1
    assert kept.count("readings") == 2 * 2 * 1440
    assert steps >= 2 * 2 * 1440 / ROWS_A_STEP
    assert left


def test_a_crash_between_any_two_steps_changes_nothing(tmp_path):
    whole, cut = Kept(tmp_path / "one.db", DAYS), Kept(tmp_path / "two.db", DAYS)
    for kept in (whole, cut):
        for topic in ("a", "b"):
            kept.put(kept.series(topic), *every(MINUTE_MS, until_ms=7 * DAY_MS))
        kept.after(7 * DAY_MS)
        kept.roll()
    whole.throw_away()
    while cut.retention.step(0.0):
        cut.restart()
    cut.throw_away()
    assert cut.tables() == whole.tables()
    readings = "SELECT * FROM readings ORDER BY series_id, tick"
    assert cut.ask(readings).fetchall() == whole.ask(readings).fetchall()
    whole.close()
    cut.close()


def test_nothing_goes_before_it_is_rolled_up(kept):
    kept.put(kept.series("a"), *every(HOUR_MS, until_ms=5 * DAY_MS))
    kept.after(5 * DAY_MS)
    assert kept.throw_away() > 0  # looks at the tiers, where nothing is yet
    assert kept.count("readings") == 5 * 24
    kept.roll()
    kept.throw_away(2 * LOOK_S)
    assert kept.count("readings") == 2 * 24
    assert kept.ask("SELECT sum(count) FROM hours").fetchone() == (5 * 24,)


def test_a_home_without_a_time_server_keeps_as_many_days(kept):
    kept.is_trusted = False
    kept.ask("UPDATE epochs SET clock = 'unsynced' WHERE id > ?", (BEFORE,))
    live(kept, 12)
    assert first_day(kept) == 10
    assert span(kept, "minutes", MINUTE_MS)[0] == 8
    assert span(kept, "hours", HOUR_MS)[0] == 6
    assert span(kept, "days", DAY_MS) == (4, 12)


@pytest.mark.parametrize("years_ms", [TEN_YEARS_MS, -TEN_YEARS_MS])
def test_a_jump_of_an_unset_clock_makes_nothing_older(kept, years_ms):
    """Whatever it shows, each tier is kept for its days of running, before the jump and after it."""
    kept.is_trusted = False
    live(kept, 2)
    rows = {table: kept.count(table) for table in ("readings", *TABLES)}
    tick_ms = BEGIN + 2 * DAY_MS + max(years_ms, 0)
    kept.ask("UPDATE epochs SET last_tick = ? WHERE id > ?", ((BEGIN + 2 * DAY_MS) * TICKS_PER_MS, BEFORE))
    offset_ms = min(years_ms, 0)
    kept.epoch(tick_ms, last_ms=tick_ms + 30 * DAY_MS, offset_ms=offset_ms, clock="unsynced", age_ms=2 * DAY_MS)
    kept.put(kept.series("a"), *every(MINUTE_MS, tick_ms - BEGIN, tick_ms - BEGIN + 2 * DAY_MS))
    strangers = another_clock(kept)  # what others measured has its own time, and may have come just now
    kept.put(kept.series("b"), (-DAY_MS, 7), stretch=strangers)
    for hours in (1, 30):
        kept.at_ms = tick_ms + offset_ms + hours * HOUR_MS
        kept.age_ms = 2 * DAY_MS + hours * HOUR_MS
        kept.roll()
        kept.throw_away(1e6 + hours * 3600)
        # So many hours of two series have been kept for two days of running now; nothing else has.
        assert kept.count("readings") == rows["readings"] - 2 * 6 * hours + 2 * 1440 + 1
    assert kept.count("hours") >= rows["hours"]
    assert kept.count("minutes") >= rows["minutes"]


def test_what_a_found_time_brings_before_the_floor_is_not_hidden(kept):
    """An unset clock was ahead by a month; then the true time is found."""
    kept.is_trusted = False
    live(kept, 4, series=("a",))
    assert first_day(kept) == 2
    known = kept.count("hours")
    kept.ask("UPDATE epochs SET clock = 'redated', offset_ms = ? WHERE id > ?", (-30 * DAY_MS, BEFORE))
    kept.roll()
    hours = kept.rollups("hours")
    assert len(hours) == known
    assert [hour["time"][:10] for hour in hours[::24]] == ["2026-08-24", "2026-08-25", "2026-09-21", "2026-09-22"]
    assert {hour["count"] for hour in hours} == {6}
    kept.at_ms -= 30 * DAY_MS
    kept.throw_away(1e6)
    assert kept.count("readings") == 2 * 144


@pytest.mark.parametrize("years_ms", [TEN_YEARS_MS, -TEN_YEARS_MS])
def test_a_jump_of_the_clock_throws_nothing_away(kept, years_ms):
    """Neither while it lasts, nor when it is over; readings that were made meanwhile stay as long as others."""
    live(kept, 2)
    rows = {table: kept.count(table) for table in ("readings", "hours", "days")}
    jumped_ms = BEGIN + 2 * DAY_MS + years_ms
    tick_ms = max(jumped_ms, BEGIN + 2 * DAY_MS)
    kept.epoch(tick_ms, last_ms=tick_ms + HOUR_MS, offset_ms=jumped_ms - tick_ms, age_ms=2 * DAY_MS)
    kept.put(kept.series("a"), *((tick_ms - BEGIN + at_ms, 1) for at_ms, _ in every(MINUTE_MS)))
    for hours in range(1, 4):
        kept.at_ms = jumped_ms + hours * HOUR_MS
        kept.age_ms = 2 * DAY_MS + hours * HOUR_MS
        kept.roll()
        kept.throw_away(1e6 + hours * 3600)
    assert kept.count("readings") == rows["readings"] + 60
    # Back again: an hour later, and ticks that go on.
    kept.epoch(
        tick_ms + HOUR_MS,
        last_ms=tick_ms + TEN_YEARS_MS,
        offset_ms=BEGIN + 2 * DAY_MS - tick_ms,
        age_ms=2 * DAY_MS + HOUR_MS,
    )
    kept.at_ms = BEGIN + 2 * DAY_MS + 3 * HOUR_MS
    kept.roll()
    kept.throw_away(2e6)
    assert kept.count("readings") == rows["readings"] + 60
    assert kept.ask("SELECT count(*) FROM days WHERE start < ?", (BEGIN // DAY_MS + 2,)).fetchone()[0] >= rows["days"]


def test_a_jump_that_lasts_is_believed_after_a_day_of_running(kept):
    """A week without power looks the same, and is true."""
    live(kept, 2)
    kept.at_ms += 7 * DAY_MS
    kept.age_ms += 7 * DAY_MS
    kept.throw_away(1e6)
    assert kept.count("readings") == 2 * 2 * 144
    kept.at_ms += DAY_MS
    kept.age_ms += DAY_MS
    kept.throw_away(2e6)
    assert kept.count("readings") == 0


def test_readings_without_a_time_are_thrown_away_for_their_age_too(kept):
    kept.put(kept.series("a"), *every(HOUR_MS))
    kept.epoch(BEGIN + HOUR_MS, last_ms=BEGIN + DAY_MS, clock="unsynced", age_ms=HOUR_MS)
    kept.put(kept.series("a"), *every(HOUR_MS, HOUR_MS, DAY_MS))
    kept.epoch(BEGIN + 2 * DAY_MS, last_ms=BEGIN + 99 * DAY_MS, age_ms=2 * DAY_MS)
    live(kept, 6, from_day=2)
    assert kept.count("readings") == 2 * 2 * 144
    assert kept.rollups("days")[0]["count"] == 24


def test_a_late_reading_of_what_is_gone_is_added_to_what_was_rolled_up(kept):
    live(kept, 3, step_ms=MINUTE_MS, series=("a",))
    assert first_day(kept) == 1
    kept.put(1, (10 * HOUR_MS + 1, 99), (10 * HOUR_MS + 2, -5), stretch=another_clock(kept))
    assert kept.count("late") == 2
    kept.roll()
    assert kept.count("late") == 0
    assert first_day(kept) == 1
    hour = kept.rollups("hours")[10]
    assert (hour["min"], hour["max"], hour["count"]) == (-5, 99, 62)
    day = kept.rollups("days")[0]
    assert (day["min"], day["max"], day["count"]) == (-5, 99, 1442)
    minute = kept.rollups("minutes")[600]
    assert (minute["min"], minute["max"], minute["count"], minute["last"]) == (-5, 99, 3, minute["last"])


def test_a_late_reading_of_an_hour_that_had_none_stands_for_itself(kept):
    kept.put(kept.series("a"), (0, 1), *every(HOUR_MS, 12 * HOUR_MS, 4 * DAY_MS))
    kept.after(4 * DAY_MS)
    kept.roll()
    kept.throw_away()
    kept.put(1, (5 * HOUR_MS, 7), stretch=another_clock(kept))
    kept.roll()
    assert [hour["last"] for hour in kept.rollups("hours")][:2] == [1, 7]
    assert kept.rollups("days")[0]["count"] == 14
    assert kept.count("late") == 0


def test_late_readings_survive_the_sweep_that_runs_when_they_come(kept):
    live(kept, 2, series=("a", "b"))
    kept.put(kept.series("a"), *every(10 * MINUTE_MS, 2 * DAY_MS, 4 * DAY_MS))
    kept.after(4 * DAY_MS)
    kept.roll()
    kept.ask("UPDATE believed SET at_ms = ?", (kept.at_ms,))
    assert kept.retention.step(1e6)  # the floor is set, the rows are still there
    kept.put(2, (HOUR_MS + 1, 99), stretch=another_clock(kept))
    kept.throw_away(1e6)
    kept.roll()
    assert [hour["max"] for hour in kept.rollups("hours", 2)][1] == 99
    assert [hour["count"] for hour in kept.rollups("hours", 2)][1] == 7


def another_clock(kept):
    """Stretch of times that others measured."""
    return kept.ask("INSERT INTO stretches (epoch_id) VALUES (?)", (BEFORE,)).lastrowid


def used_bytes(kept):
    page_bytes, pages, free = (
        kept.ask(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count")
    )
    return page_bytes * (pages - free), page_bytes * pages


def test_the_oldest_readings_go_when_the_file_is_full(tmp_path):
    kept = Kept(tmp_path / "appliance.db", Terms(raw_days=0, minute_days=0, hour_days=0, max_bytes=400_000))
    live(kept, 8, step_ms=2 * MINUTE_MS)
    assert used_bytes(kept)[0] <= 400_000
    assert 0 < first_day(kept) <= 7  # the last day stays
    assert kept.count("hours") == 2 * 8 * 24
    assert kept.count("days") == 2 * 8
    kept.close()


def test_then_minutes_go_and_then_hours_but_no_days_and_no_state(tmp_path):
    kept = Kept(tmp_path / "appliance.db", Terms(raw_days=0, minute_days=0, hour_days=0, max_bytes=250_000))
    live(kept, 12, step_ms=10 * MINUTE_MS)
    kept.retention._terms = Terms(raw_days=0, minute_days=0, hour_days=0, max_bytes=1)
    kept.ask("INSERT INTO journal (kind, number) VALUES (0, 1)")
    kept.throw_away(1e9)
    assert first_day(kept) > 10
    assert span(kept, "minutes", MINUTE_MS)[0] >= 10
    assert span(kept, "hours", HOUR_MS)[0] >= 10
    assert kept.count("days") == 24
    assert kept.count("journal") == 1
    kept.close()


def test_a_disk_that_is_short_of_space_is_not_needed_for_growth(tmp_path):
    kept = Kept(tmp_path / "appliance.db", Terms(raw_days=0, minute_days=0))
    live(kept, 3, step_ms=MINUTE_MS)
    kept.is_short = True
    assert kept.count("readings") == 3 * 2 * 1440
    kept.throw_away(1e6)
    used, size = used_bytes(kept)
    assert size - used >= size * 0.05
    assert 0 < first_day(kept) < 2  # not all of it for another program's sake
    kept.close()


@pytest.mark.parametrize("trusted", [True, False])
def test_gaps_go_with_the_days_and_an_open_one_stays(kept, trusted):
    kept.is_trusted = trusted
    live(kept, 12)
    ticks = [(BEGIN + day * DAY_MS) * TICKS_PER_MS for day in range(12)]
    with kept.database.transaction():
        for tick in ticks:
            Gaps(kept.database.connection).write([GapNote(HUB, "", DROPPED, tick, tick)], lambda tick: tick)
        Gaps(kept.database.connection).write([GapNote(HUB, "", DROPPED, ticks[0], None, "lasts")], lambda tick: tick)
    kept.throw_away(1e6)
    assert kept.ask("SELECT to_tick FROM gaps ORDER BY to_tick").fetchall() == [(None,), *((t,) for t in ticks[5:])]


def test_gaps_are_kept_as_long_as_days_are(tmp_path):
    kept = Kept(tmp_path / "appliance.db", Terms(day_days=0))
    with kept.database.transaction():
        Gaps(kept.database.connection).write([GapNote(HUB, "", DROPPED, 0, 1)], int)
    kept.after(TEN_YEARS_MS)
    kept.throw_away(1e9)
    assert kept.count("gaps") == 1
    kept.close()


def test_how_readings_were_retained_goes_with_them(kept):
    series_id = kept.series("a")
    ticks = iter([(BEGIN + day * DAY_MS) * TICKS_PER_MS for day in range(12)])
    with kept.database.transaction():
        retaining = Retaining(kept.database.connection, lambda: next(ticks))
        for day in range(12):
            retaining.retain(series_id, PLAIN if day % 2 else FLOAT, None, None)
    live(kept, 12)
    (floor,) = kept.ask("SELECT tick FROM floors WHERE tier = 'readings'").fetchone()
    left = [tick for (tick,) in kept.ask("SELECT tick FROM retaining ORDER BY tick")]
    assert 1 < len(left) < 12
    assert left[0] <= floor < left[1]  # what held when the readings that are left begin


def test_room_is_made_without_a_trusted_clock_too(tmp_path):
    """A home without a network records for years."""
    kept = Kept(tmp_path / "appliance.db", Terms(raw_days=0, max_bytes=150_000))
    kept.epoch(BEGIN + 30 * DAY_MS, last_ms=BEGIN + 60 * DAY_MS, clock="unsynced")
    kept.put(kept.series("a"), *every(MINUTE_MS, 30 * DAY_MS, 40 * DAY_MS))
    kept.is_trusted = False
    kept.after(40 * DAY_MS)
    kept.throw_away()
    assert first_day(kept) == 30  # it is rolled up first
    kept.roll()
    kept.retention._terms = Terms(raw_days=0, max_bytes=used_bytes(kept)[0] - 150_000)
    kept.throw_away(1e6)
    assert used_bytes(kept)[0] <= kept.retention._terms.max_bytes
    assert kept.count("hours") == 240
    assert 30 < first_day(kept) <= 39
    kept.close()


def test_the_earliest_time_of_what_came_since():
    assert [earliest_ms(EPOCHS, tick) for tick in (0, 2_800, 10_000, 12_017, 10**9)] == [
        125,
        175,
        225,
        751,
        10**9 // 16,
    ]
    assert earliest_ms([], 5) < 0


def test_the_file_stays_as_large_as_its_days(tmp_path):
    """Pages that became free are used again; nothing else shrinks it."""
    kept = Kept(tmp_path / "appliance.db", Terms(raw_days=2, minute_days=2, hour_days=2, day_days=2))
    sizes = []
    for day in range(4, 40, 4):
        live(kept, day, from_day=day - 4, step_ms=5 * MINUTE_MS)
        sizes.append(used_bytes(kept)[1])
    assert max(sizes[2:]) <= sizes[1] * 1.1
    kept.close()


EPOCHS = [
    Epoch(0, 1_000, 0, 0),
    Epoch(2_000, 3_000, 0, 0),
    Epoch(10_000, 12_000, -400, 100),
    Epoch(12_001, 90_000, 0, 225),
]


@pytest.mark.parametrize(
    ("age_ms", "tick"),
    [(-10, 1_000 - 160), (0, 2_000), (50, 2_800), (99, 3_000), (100, 10_000), (110, 10_160), (226, 12_017)],
)
def test_the_age_of_the_service_gives_a_tick(age_ms, tick):
    assert floor_of_age(EPOCHS, age_ms) == tick


def test_the_epoch_of_a_tick():
    assert [epoch_of(EPOCHS, tick) for tick in (-5, 1_500, 2_000, 11_000, 10**9)] == [
        EPOCHS[0],
        EPOCHS[0],
        EPOCHS[1],
        EPOCHS[2],
        EPOCHS[3],
    ]
