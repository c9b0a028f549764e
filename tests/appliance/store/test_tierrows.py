"""A rollup written and read back: the same, small, and known when it is damaged."""

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.store.reading_rows import prepare
from appliance.store.rollup import HOUR_MS, MINUTE_MS, Reading, roll
from appliance.store.tierrows import CHECKSUM, COLUMNS, DAYS, HOURS, IS_WHOLE, MINUTES, TIERS, decode, encode, insert

BEGIN = 1_790_000_000_000 // HOUR_MS * HOUR_MS


@pytest.fixture
def ask():
    connection = sqlite3.connect(":memory:")
    prepare(connection)
    for tier in TIERS:
        connection.execute(
            f"CREATE TABLE {tier.table} ({COLUMNS}, checksum, PRIMARY KEY (series_id, start)) WITHOUT ROWID"
        )
    yield connection.execute
    connection.close()


def rolled(tier, *pairs, counter=False, before=None):
    told = [Reading(BEGIN + at_ms, value) for at_ms, value in pairs]
    (rollup,) = roll(told, tier.width_ms, before=before, hold_ms=HOUR_MS, counter=counter)
    return rollup


def stored(ask, tier, rollup):
    ask(insert(tier), encode(7, rollup))
    return ask(f"SELECT {COLUMNS} FROM {tier.table} WHERE series_id = 7 AND {IS_WHOLE}").fetchone()


@pytest.mark.parametrize("tier", [HOURS, DAYS])
@pytest.mark.parametrize(
    ("pairs", "counter"),
    [
        ([(0, 21_400)], False),
        ([(5, 21_400), (60_000, 21_900)], False),
        ([(5, -400), (60_000, -400)], True),
        ([(5, 0), (60_000, 9_000)], True),
        ([(5, "press"), (9, "hold")], False),
        ([(5, 0.5), (9, 1_000), (11, 2.25)], True),
        ([(5, 2**52), (9, -(2**52))], False),
    ],
)
def test_a_rollup_comes_back_as_it_was(ask, tier, pairs, counter):
    rollup = rolled(tier, *pairs, counter=counter)
    assert decode(tier, stored(ask, tier, rollup)) == rollup


def test_of_a_minute_it_is_forgotten_when_its_last_reading_came(ask):
    rollup = rolled(MINUTES, (5, 21_400))
    assert decode(MINUTES, stored(ask, MINUTES, rollup)).last_ms == rollup.start_ms + MINUTE_MS - 1


def test_what_repeats_itself_is_left_out():
    quiet = rolled(MINUTES, (5, 21_400), (30_000, 21_400), before=Reading(BEGIN - 1, 21_400))
    assert encode(7, quiet) == (7, BEGIN // MINUTE_MS, 2, 21_400, *[None] * 7)
    usual = rolled(MINUTES, (5, 21_400), (30_000, 21_500), before=Reading(BEGIN - 1, 21_300))
    assert encode(7, usual)[4:] == (21_500, 100, 100 * 30_000 - 100 * 5, None, 21_500, None, None)


@given(st.lists(st.floats(-1e290, 1e290, allow_nan=False), min_size=1, max_size=5))
def test_any_numbers_can_be_stored_and_sums_are_rounded_once(values):
    connection = sqlite3.connect(":memory:")
    prepare(connection)
    connection.execute(f"CREATE TABLE hours ({COLUMNS}, checksum)")
    rollup = rolled(HOURS, *((place * 1000, value) for place, value in enumerate(values)), counter=True)
    found = decode(HOURS, stored(connection.execute, HOURS, rollup))
    connection.close()
    assert (found.count, found.low, found.high, found.last) == (rollup.count, rollup.low, rollup.high, rollup.last)
    scale = max(map(abs, values)) * len(values)
    assert float(abs(found.total - rollup.total)) <= scale * 1e-15
    assert float(abs(found.area - rollup.area)) <= scale * HOUR_MS * 1e-15


@pytest.mark.parametrize("column", COLUMNS.split(", "))
@pytest.mark.parametrize("change", ["NULL", "1", "0", "'x'", "0.5"])
def test_any_change_is_known(ask, column, change):
    rollup = rolled(HOURS, (5, 21_400), (60_000, 21_900), (90_000, 21_500), counter=True)
    ask(insert(HOURS), encode(7, rollup))
    ask(f"CREATE TABLE damaged AS SELECT {COLUMNS}, checksum FROM hours")
    ask(f"UPDATE damaged SET {column} = {change}")
    assert ask(f"SELECT count(*) FROM damaged WHERE {IS_WHOLE}").fetchone() == (0,)
    assert (
        ask(f"SELECT count(*) FROM hours WHERE checksum BETWEEN -32768 AND 32767 AND checksum = {CHECKSUM}") is not None
    )
