"""Charts and summaries out of minutes, hours and days, with what is not rolled up yet at their end."""

from itertools import pairwise

import pytest
from kept import BEGIN, Kept, every

from appliance.store.gaps import AGENT, AGENT_OFFLINE, BROKER_DOWN, HUB, insert
from appliance.store.history_reader import HistoryReader
from appliance.store.retention import Terms
from appliance.store.rollup import DAY_MS, HOUR_MS, MINUTE_MS
from appliance.store.tier_reader import TierReader, tier_of
from appliance.store.tierrows import DAYS, HOURS, MINUTES

AT = BEGIN / 1000
DAY_S = 86_400


@pytest.fixture
def kept(tmp_path):
    kept = Kept(tmp_path / "appliance.db", Terms(raw_days=1, minute_days=2, hour_days=3))
    yield kept
    kept.close()


@pytest.fixture
def reader(kept):
    return TierReader(kept.path)


@pytest.mark.parametrize(
    ("width_ms", "since_ms", "tier"),
    [
        (1_000, 9, None),
        (29_999, 9, None),
        (30_000, 9, MINUTES),
        (29 * MINUTE_MS, 9, MINUTES),
        (30 * MINUTE_MS, 9, HOURS),
        (12 * HOUR_MS, 9, DAYS),
        (99 * DAY_MS, 0, DAYS),
        (1_000, 8, MINUTES),  # the readings of that time were thrown away
        (1_000, 6, HOURS),
        (30_000, 6, HOURS),
        (1_000, 4, DAYS),
        (1_000, 2, DAYS),  # nothing is left, and nothing is coarser
    ],
)
def test_the_tier_fits_the_points_and_is_still_there(width_ms, since_ms, tier):
    assert tier_of(width_ms, since_ms, {"readings": 9, "minutes": 7, "hours": 5, "days": 3}) is tier


def fill(kept, hours):
    series = kept.series("a")
    kept.put(series, *every(20_000, until_ms=hours * HOUR_MS, value=lambda n: n % 100 / 10))
    kept.after(hours * HOUR_MS)
    kept.roll()
    return series


@pytest.mark.parametrize(("since_h", "until_h", "points"), [(0, 5, 10), (1, 4, 5), (0, 5.7, 300), (0, 24, 100)])
def test_a_chart_of_tiers_counts_every_reading_once(kept, reader, since_h, until_h, points):
    """Also those of the hour that runs, and those that are still staged."""
    series = fill(kept, 5)
    kept.put(series, *every(20_000, 5 * HOUR_MS, 5 * HOUR_MS + 30 * MINUTE_MS))
    kept.ask(
        "INSERT INTO journal (kind, series_id, tick, value, late_ms, stretch_id) VALUES (0, ?, ?, 99000, 0, ?)",
        (series, (BEGIN + 5 * HOUR_MS + 31 * MINUTE_MS) * 16, kept.stretch),
    )
    since, until = AT + since_h * 3600, AT + until_h * 3600 - 0.001
    drawn = reader.chart("a", since, until, points)
    rows = reader.rows("a", since, until)
    assert drawn.bucket_s % 60 == 0
    assert 0 < len(drawn.buckets) <= points
    assert sum(bucket.count for bucket in drawn.buckets) == len(rows)
    assert min(bucket.min for bucket in drawn.buckets) == min(row.value for row in rows)
    assert max(bucket.max for bucket in drawn.buckets) == max(row.value for row in rows)
    mean = sum(bucket.mean * bucket.count for bucket in drawn.buckets) / len(rows)
    assert mean == pytest.approx(sum(row.value for row in rows) / len(rows))
    begins = [bucket.at for bucket in drawn.buckets]
    assert begins == sorted(begins)
    assert all(b - a >= 60 for a, b in pairwise(begins))


def test_a_bucket_of_tiers_weighs_its_values_by_their_time(kept, reader):
    series = kept.series("a", "binary")
    kept.put(series, (0, 0), (15 * MINUTE_MS, 1), (16 * MINUTE_MS, 1), (45 * MINUTE_MS, 0))
    kept.after(HOUR_MS)
    kept.roll()
    (bucket,) = reader.chart("a", AT, AT + 3599, 1).buckets
    assert (bucket.weighted_mean, bucket.mean, bucket.count) == (0.5, 0.5, 4)


def test_a_short_stretch_is_drawn_from_the_readings(kept, reader):
    fill(kept, 2)
    drawn = reader.chart("a", AT, AT + 600, 500)
    assert drawn == HistoryReader(kept.path).chart("a", AT, AT + 600, 500)
    assert len(drawn.buckets) == 31


def test_what_is_not_rolled_up_yet_is_drawn_from_the_readings(kept, reader):
    kept.put(kept.series("a"), *every(MINUTE_MS, until_ms=12 * HOUR_MS))
    drawn = reader.chart("a", AT, AT + DAY_S, 24)
    assert sum(bucket.count for bucket in drawn.buckets) == 720
    assert drawn.buckets[0].weighted_mean is None


def test_a_stretch_whose_readings_are_gone_is_drawn_from_what_is_left(kept, reader):
    series = kept.series("a")
    kept.put(series, *every(30_000, until_ms=8 * DAY_MS, value=lambda n: n % 10))
    kept.after(8 * DAY_MS)
    kept.roll()
    kept.throw_away()
    assert reader.readings_since() == AT + 7 * DAY_S
    assert reader.rows("a", AT, AT + 6.9 * DAY_S) == []

    def drawn(day, length_s=600):
        found = reader.chart("a", AT + day * DAY_S, AT + day * DAY_S + length_s - 1, 500)
        return found.bucket_s, sum(bucket.count for bucket in found.buckets)

    assert drawn(7.5) == (1.199, 20)
    assert drawn(6.5) == (60, 20)
    assert drawn(5.5) == (3_600, 120)
    assert drawn(4.5) == (DAY_S, 2_880)


def test_a_year_is_drawn_from_days(kept, reader):
    series = kept.series("a")
    kept.put(series, *every(6 * HOUR_MS, until_ms=365 * DAY_MS + 13 * HOUR_MS))
    kept.after(365 * DAY_MS + 13 * HOUR_MS)
    kept.roll()
    drawn = reader.chart("a", AT, AT + 365.5 * DAY_S, 500)
    assert drawn.bucket_s == DAY_S
    assert len(drawn.buckets) == 366  # the last is of today, and of its hours and its readings
    assert [bucket.count for bucket in drawn.buckets[-2:]] == [4, 3]


def test_nothing_is_drawn_of_an_unknown_topic(kept, reader):
    kept.put(kept.series("a"), (0, 1))
    assert reader.chart("b", AT, AT + 9, 5).buckets == []
    assert reader.summaries("b", "1h", AT, AT + 9) == []


def test_summaries_are_of_full_periods_and_of_the_one_that_runs(kept, reader):
    series = kept.series("meter", "number", "energy", "kWh")
    kept.put(series, *((n * HOUR_MS // 2, n + 0.5) for n in range(2 * 50 + 1)))
    kept.after(50 * HOUR_MS + 1)
    kept.roll()
    days = reader.summaries("meter", "1d", AT, AT + 51 * 3600)
    assert [(day.at - AT, day.count, day.min, day.max, day.last, day.sum) for day in days] == [
        (0, 48, 0.5, 47.5, 47.5, 47),
        (DAY_S, 48, 48.5, 95.5, 95.5, 48),
        (2 * DAY_S, 5, 96.5, 100.5, 100.5, 5),
    ]
    hours = reader.summaries("meter", "1h", AT, AT + 51 * 3600)
    assert [hour.count for hour in hours] == [2] * 50 + [1]
    assert sum(hour.sum for hour in hours) == sum(day.sum for day in days)
    assert [hour.at - AT for hour in reader.summaries("meter", "1h", AT + 5400, AT + 3 * 3600 - 1)] == [3600, 7200]
    assert [hour.at - AT for hour in reader.summaries("meter", "1h", AT, AT + 51 * 3600, 2)] == [49 * 3600, 50 * 3600]
    assert reader.summaries("meter", "1h", AT, AT + 51 * 3600, 0) == []
    minutes = reader.summaries("meter", "1m", AT + 49 * 3600, AT + 51 * 3600)
    assert [(minute.at - AT, minute.count) for minute in minutes] == [
        (49 * 3600, 1),
        (49.5 * 3600, 1),
        (50 * 3600, 1),
    ]


def test_what_is_not_rolled_up_yet_is_summed_up_the_same(kept, reader):
    series = kept.series("a")
    kept.put(series, *every(7 * MINUTE_MS, until_ms=3 * DAY_MS, value=lambda n: n % 13 / 7))
    before = {step: reader.summaries("a", step, AT, AT + 3 * DAY_S) for step in ("1m", "1h", "1d")}
    kept.after(3 * DAY_MS)
    kept.roll()
    for step, told in before.items():
        after = reader.summaries("a", step, AT, AT + 3 * DAY_S)
        assert [(one.at, one.count, one.min, one.max, one.last) for one in after] == [
            (one.at, one.count, one.min, one.max, one.last) for one in told
        ]
        assert [one.mean for one in after] == pytest.approx([one.mean for one in told])
        assert [one.weighted_mean for one in after] == pytest.approx([one.weighted_mean for one in told])


def test_what_nobody_described_gets_the_sum_of_its_rises_too(kept, reader):
    series = kept.series("home/b/energy")
    kept.put(series, *every(20_000, until_ms=2 * HOUR_MS, value=float))
    before = reader.summaries("home/b/energy", "1h", AT, AT + 7200)
    kept.after(2 * HOUR_MS)
    kept.roll()
    assert [hour.sum for hour in before] == [179.0, 180.0]
    assert reader.summaries("home/b/energy", "1h", AT, AT + 7200) == before


def gap(kept, key, since_ms, until_ms):
    insert(
        kept.database.connection, key, (BEGIN + since_ms) * 16, None if until_ms is None else (BEGIN + until_ms) * 16
    )


def test_the_hour_that_runs_counts_up_to_now(kept, reader):
    kept.put(kept.series("a"), (0, 10.0), (20_000, 30.0))
    kept.put(kept.series("lamp", kind="binary"), (5_000, 0.0), (20_000, 1.0))
    for step in ("1h", "1d"):
        (hour,) = reader.summaries("a", step, AT, AT + 3600, now_at=AT + 22)
        assert (hour.weighted_mean, hour.known) == (pytest.approx(260 / 22), 1.0)
        (lamp,) = reader.summaries("lamp", step, AT, AT + 3600, now_at=AT + 22)
        assert (lamp.weighted_mean, lamp.known) == (pytest.approx(2 / 17), pytest.approx(17 / 22))
        gap(kept, (AGENT, "house", AGENT_OFFLINE, ""), 21_000, None)
        kept.ask("UPDATE series SET agent = 'house' WHERE topic = 'a'")
        (hour,) = reader.summaries("a", step, AT, AT + 3600, now_at=AT + 42)
        assert (hour.weighted_mean, hour.known) == (pytest.approx(230 / 21), 0.5)
        kept.ask("DELETE FROM gaps")


def test_what_is_rolled_up_leaves_out_when_nothing_could_be_read(kept, reader):
    kept.put(kept.series("lamp", kind="binary"), (0, 1.0), (45 * MINUTE_MS, 0.0), (HOUR_MS, 0.0))
    gap(kept, (HUB, "", BROKER_DOWN, "stopped"), 15 * MINUTE_MS, 45 * MINUTE_MS)
    gap(kept, (AGENT, "other", AGENT_OFFLINE, ""), 0, 10 * MINUTE_MS)
    before = reader.summaries("lamp", "1h", AT, AT + 3599)
    kept.after(DAY_MS)
    kept.roll()
    assert reader.summaries("lamp", "1h", AT, AT + 3599) == before
    assert [(hour.weighted_mean, hour.known) for hour in before] == [(0.5, 0.5)]
    (day,) = reader.summaries("lamp", "1d", AT, AT + DAY_S - 1)
    assert (day.weighted_mean, day.known) == (pytest.approx(0.25 / 23.5), pytest.approx(23.5 / 24))


def test_texts_are_summed_up_by_their_number_and_the_last(kept, reader):
    kept.put(kept.series("bell", "text"), (1, "press"), (2, "hold"))
    (hour,) = reader.summaries("bell", "1h", AT, AT + 9)
    assert (hour.count, hour.last, hour.mean, hour.min, hour.sum) == (2, "hold", None, None, None)
