"""Columns hold what rows do, or are not given: also where something of a row is damaged."""

import pytest
from keeper import AT, TOPIC, Keeper, number, origin

from appliance.store.asking import asking
from appliance.store.columns import Span, buckets, columns

EVERYTHING = Span(1, 0, 2**60)
ROWS = 200


@pytest.fixture
def keeper(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db")
    keeper.write(*(number(n / 10, properties=origin(n, clock="synced")) for n in range(ROWS - 1)), number("-0.5"))
    keeper.move()
    yield keeper
    keeper.stop()


def ask(keeper, question, *arguments):
    with asking(keeper.path) as connection:
        found = question(connection, *arguments)
        return found if found is None or question is columns else list(found)


def test_they_are_the_rows(keeper):
    ticks, values, seqs, late, stretch_ids = ask(keeper, columns, EVERYTHING)
    rows = keeper.ask("SELECT tick, value, seq, late_check >> 16, stretch_id FROM readings ORDER BY tick").fetchall()
    assert list(zip(ticks, values, seqs, late, stretch_ids, strict=True)) == rows
    assert values[-2:] == [(ROWS - 2) * 100, -500]
    assert seqs[-1] is None


@pytest.mark.parametrize(("most", "is_given"), [(ROWS, True), (ROWS - 1, False)])
def test_more_than_are_wanted_are_not_given(keeper, most, is_given):
    assert (ask(keeper, columns, EVERYTHING, most) is not None) is is_given


def test_nothing_is_columns_without_rows(keeper):
    assert ask(keeper, columns, Span(1, 5, 4)) == ([], [], [], [], [])
    assert ask(keeper, columns, Span(9, 0, 2**60)) == ([], [], [], [], [])
    assert ask(keeper, buckets, Span(9, 0, 2**60), 0, 1000) == []


@pytest.mark.parametrize(
    "damage",
    [
        *(f"{column} = {column} + {1 << bit}" for column in ("value", "seq", "late_check") for bit in (0, 7, 20)),
        "stretch_id = stretch_id + 1",
        "value = value * 1.0 + 0.5",
        "value = 'warm'",
        "value = x'00'",
        "value = 9223372036854775807",
        "seq = NULL",
        "seq = x'00'",
        "seq = 'seven'",
        "late_check = 0.5",
        "late_check = x'00'",
        "late_check = 9223372036854775807",
    ],
)
def test_a_damaged_row_is_never_among_them(keeper, damage):
    first, last = keeper.ask("SELECT min(tick), max(tick) FROM readings").fetchone()
    keeper.ask("PRAGMA foreign_keys = OFF")
    keeper.ask(f"UPDATE readings SET {damage} WHERE tick = (SELECT tick FROM readings LIMIT 1 OFFSET 70)")
    assert ask(keeper, columns, Span(1, first, last)) is None
    assert ask(keeper, buckets, Span(1, first, last), 0, 1000) is None
    values = [row.value for row in keeper.reader.rows(TOPIC, AT - 1, AT + 60)]
    assert values == [n / 10 for n in range(ROWS - 1) if n != 70] + [-0.5]
    assert sum(bucket.count for bucket in keeper.reader.chart(TOPIC, AT - 1, AT + 60, 7).buckets) == ROWS - 1


def test_other_numbers_than_thousandths_are_read_otherwise(keeper):
    keeper.write(number(3.14159), number("press"))
    keeper.move()
    assert ask(keeper, columns, EVERYTHING) is None
    values = [row.value for row in keeper.reader.rows(TOPIC, AT - 1, AT + 60)]
    assert values[-3:] == [-0.5, 3.14159, None]


def test_buckets_are_of_one_length(keeper):
    first_ms = keeper.ask("SELECT min(tick) / 16 FROM readings").fetchone()[0]
    found = ask(keeper, buckets, EVERYTHING, -first_ms, 3)
    ticks, values, *_ = ask(keeper, columns, EVERYTHING)
    places = [(tick // 16 - first_ms) // 3 for tick in ticks]
    assert [place for place, *_ in found] == sorted(set(places))
    for place, tick, lowest, total, highest, count in found:
        inside = [value for value, other in zip(values, places, strict=True) if other == place]
        assert (lowest, total, highest, count) == (min(inside), sum(inside), max(inside), len(inside))
        assert tick == ticks[places.index(place)]
