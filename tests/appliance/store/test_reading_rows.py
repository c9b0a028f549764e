"""A row of the readings: values that come back exactly, and a checksum that any flipped bit breaks."""

import sqlite3
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.store.reading_rows import (
    IS_WHOLE,
    LATE_CHECK,
    LATE_MS,
    SHOWN_TEXT,
    SHOWN_VALUE,
    is_whole,
    prepare,
    shown,
    stored,
)

STORED = [
    (21.4, 21400),
    (-0.5, -500),
    (0.0, 0),
    (1013.25, 1013250),
    (0.001, 1),
    (3.14159, 3.14159),
    (1e-9, 1e-9),
    (1e15, 1e15),
    (1e308, 1e308),
    (140737488355.0, 140737488355000),
]


@pytest.fixture
def table():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    prepare(connection)
    connection.execute("CREATE TABLE readings (series_id, tick, value, seq, late_check, stretch_id)")
    yield connection
    connection.close()


def put(table, *row):
    table.execute(
        f"INSERT INTO readings SELECT series_id, tick, value, seq, {LATE_CHECK}, stretch_id"
        " FROM (SELECT ? AS series_id, ? AS tick, ? AS value, ? AS seq, ? AS late_ms, ? AS stretch_id)",
        row,
    )


@pytest.mark.parametrize(("value", "expected"), STORED)
def test_thousandths_where_they_are_exact(value, expected):
    assert stored(value) == expected
    assert type(stored(value)) is type(expected)
    assert shown(stored(value)) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_comes_back(value):
    assert shown(stored(value)) == value


def test_a_text_is_no_number():
    assert shown("press") is None


ROWS = [
    (1, 28640000000000, 21400, 7, 12, 2),
    (1, 28640000000000, -21400, None, -60_000, 2),
    (2000, 2**52, 3.14159, 2**62, 2**45, 40_000),
    (2000, 0, 1e308, 0, -(2**45), 1),
    (3, 5, "press", None, 0, 1),
    (3, 5, "", None, 255, 1),
    (3, 5, None, None, 256, 1),
]


@pytest.mark.parametrize("row", ROWS)
def test_lateness_and_values_are_shown_as_they_were(table, row):
    put(table, *row)
    value, text, late_ms, whole = table.execute(
        f"SELECT {SHOWN_VALUE}, {SHOWN_TEXT}, {LATE_MS}, {IS_WHOLE} FROM readings"
    ).fetchone()
    assert (value, text) == ((None, row[2]) if isinstance(row[2], str) else (shown(row[2]), None))
    assert (late_ms, whole) == (row[4], 1)


@pytest.mark.parametrize("row", ROWS[:5])
@pytest.mark.parametrize("column", ["series_id", "tick", "value", "seq", "late_check", "stretch_id"])
def test_any_flipped_bit_is_noticed(table, row, column):
    put(table, *row)
    (good,) = table.execute(f"SELECT {column} FROM readings").fetchone()
    for bit in range(63):
        table.execute(f"UPDATE readings SET {column} = ?", (flipped(good, bit),))
        assert table.execute(f"SELECT {IS_WHOLE} FROM readings").fetchone() == (0,), (column, bit)
        assert not is_whole(*table.execute("SELECT * FROM readings").fetchone()), (column, bit)
    table.execute(f"UPDATE readings SET {column} = ?", (good,))
    assert is_whole(*table.execute("SELECT * FROM readings").fetchone())


def flipped(good, bit):
    if good is None:
        return bit
    if isinstance(good, float):
        (bits,) = struct.unpack("<q", struct.pack("<d", good))
        return struct.unpack("<d", struct.pack("<q", bits ^ 1 << bit))[0]
    if isinstance(good, str):
        at = bit % len(good)
        return good[:at] + chr(ord(good[at]) ^ 1 << bit % 7) + good[at + 1 :]
    return good ^ 1 << bit


def test_a_live_row_keeps_its_lateness_in_three_bytes(table):
    for late_ms in (0, 255):
        put(table, 1, 1, 1, 1, late_ms, 1)
    assert all(-(2**23) <= kept < 2**23 for (kept,) in table.execute("SELECT late_check FROM readings"))
