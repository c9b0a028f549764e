"""Readings by their true times, whatever their epochs say."""

import pytest
from kept import BEGIN, Kept

from appliance.store.dated import LARGEST, DatedReadings, scaled
from appliance.store.rollup import DAY_MS, HOUR_MS, Reading


@pytest.fixture
def kept(tmp_path):
    kept = Kept(tmp_path / "appliance.db")
    kept.series("a")
    yield kept
    kept.close()


def told(kept, from_ms, until_ms):
    dated = DatedReadings(kept.database.connection)
    return [(at_ms - BEGIN, value) for at_ms, value in dated.between(1, BEGIN + from_ms, BEGIN + until_ms)]


def test_a_stretch_begins_with_its_begin_and_ends_before_its_end(kept):
    kept.put(1, (0, 1), (10, 2), (20, "press"), (30, 0.0001))
    assert told(kept, 0, 30) == [(0, 1_000), (10, 2_000), (20, "press")]
    assert told(kept, 30, 31) == [(30, 0.1)]
    assert told(kept, 31, 99) == []


def test_epochs_of_another_offset_are_put_where_they_belong(kept):
    """In the order of their times, and of their ticks where those are the same."""
    kept.put(1, (0, 1), (DAY_MS, 2))
    kept.epoch(BEGIN + 2 * DAY_MS, last_ms=BEGIN + 3 * DAY_MS, offset_ms=-DAY_MS - HOUR_MS)
    kept.put(1, (2 * DAY_MS, 3), (2 * DAY_MS + HOUR_MS, 4))
    assert told(kept, 0, 9 * DAY_MS) == [(0, 1_000), (DAY_MS - HOUR_MS, 3_000), (DAY_MS, 2_000), (DAY_MS, 4_000)]
    dated = DatedReadings(kept.database.connection)
    assert dated.before(1, BEGIN + DAY_MS, texts=False) == Reading(BEGIN + DAY_MS - HOUR_MS, 3_000)
    assert dated.before(1, BEGIN + DAY_MS + 1, texts=False).value == 4_000


def test_a_provisional_time_counts_until_the_true_one_is_found(kept):
    epoch = kept.epoch(BEGIN + DAY_MS, clock="unsynced")
    kept.put(1, (DAY_MS, 1))
    dated = DatedReadings(kept.database.connection)
    assert dated.between(1, 0, BEGIN + 9 * DAY_MS) == [Reading(BEGIN + DAY_MS, 1_000)]
    assert dated.before(1, BEGIN + 9 * DAY_MS, texts=False) == Reading(BEGIN + DAY_MS, 1_000)
    kept.ask("UPDATE epochs SET clock = 'redated', offset_ms = 5 WHERE id = ?", (epoch,))
    dated.forget(all_offsets=True)
    assert dated.between(1, 0, BEGIN + 9 * DAY_MS) == [Reading(BEGIN + DAY_MS + 5, 1_000)]


def test_the_last_number_and_the_last_text_before_a_time(kept):
    kept.put(1, (0, 1), (10, "press"), (20, 2))
    dated = DatedReadings(kept.database.connection)
    assert dated.before(1, BEGIN + 20, texts=False) == Reading(BEGIN, 1_000)
    assert dated.before(1, BEGIN + 20, texts=True) == Reading(BEGIN + 10, "press")
    assert dated.before(1, BEGIN, texts=False) is None


def test_late_ones_are_taken_out(kept):
    kept.put(1, (0, 1))
    kept.ask(
        "INSERT INTO floors (tier, at_ms, tick) VALUES ('readings', ?, ?)", (BEGIN + HOUR_MS, (BEGIN + HOUR_MS) * 16)
    )
    kept.put(1, (5, 2), (HOUR_MS, 3))
    dated = DatedReadings(kept.database.connection)
    assert dated.take_late(1, BEGIN, BEGIN + HOUR_MS) == [Reading(BEGIN + 5, 2_000)]
    assert kept.count("late") == 0
    assert told(kept, 0, DAY_MS) == [(0, 1_000), (HOUR_MS, 3_000)]


def test_numbers_too_large_to_be_added_up_are_cut():
    assert [scaled(value) for value in (5, "press", 0.25, 1e300, -1e300)] == [5, "press", 250, LARGEST, -LARGEST]
