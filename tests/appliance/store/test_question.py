"""One state of the history: what several kinds of questions ask it."""

import pytest
from keeper import AT, TOPIC, Keeper, number, origin

from appliance.store.asking import asking
from appliance.store.question import ENDLESS, Question, Span
from appliance.store.reading_rows import TICKS_PER_MS
from appliance.store.staged import StagedRow

EVERYTHING = Span(0, 0, ENDLESS, mixed=False)
AT_MS = round(AT * 1000)


@pytest.fixture
def keeper(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db")
    keeper.write(number(1, properties=origin(1, at=AT - 2)), number("idle"))
    keeper.move()
    keeper.advance(60)
    keeper.write(number(2))
    yield keeper
    keeper.stop()


def test_moved_and_staged_rows_in_order(keeper):
    with asking(keeper.path) as connection:
        ask = Question(connection)
        series_id = ask.series_id(TOPIC)
        assert ask.series_id("none") is None
        found = ask.newest(series_id, [EVERYTHING], 9)
        assert [row[:3] for row in found] == [
            ((AT_MS - 2000) * TICKS_PER_MS, 1000, 1),
            (AT_MS * TICKS_PER_MS, "idle", None),
            ((AT_MS + 60_000) * TICKS_PER_MS, 2000, None),
        ]
        assert ask.newest(series_id, [EVERYTHING], 2) == found[1:]
        assert ask.newest(series_id, [EVERYTHING], 0) == []
        told = ask.told(found)
        assert [(row.value, row.text, row.at, row.received) for row in told] == [
            (1.0, None, AT - 2, AT),
            (None, "idle", AT, AT),
            (2.0, None, AT + 60, AT + 60),
        ]
        assert ask.last_rows([series_id]) == {series_id: told[-1]}


def test_a_time_is_one_range_of_ticks_for_each_offset(keeper):
    with asking(keeper.path) as connection:
        (span,) = Question(connection).spans(AT_MS, AT_MS + 1)
    assert span == Span(0, AT_MS * TICKS_PER_MS, (AT_MS + 2) * TICKS_PER_MS - 1, mixed=False)
    keeper.restart(off_s=1)
    keeper.at -= 3600
    keeper.look()
    keeper.write(number(3))
    with asking(keeper.path) as connection:
        one, shifted = Question(connection).spans(AT_MS - 3_600_000, AT_MS - 1_800_000)
    assert (one.offset_ms, shifted.mixed) == (0, True)
    assert -3_600_000 - 400 <= shifted.offset_ms <= -3_600_000


def test_a_damaged_row_is_never_found(keeper):
    keeper.ask("UPDATE journal SET value = 2001")
    keeper.ask("UPDATE readings SET value = 'idlE' WHERE value = 'idle'")
    with asking(keeper.path) as connection:
        ask = Question(connection)
        assert [row[1] for row in ask.newest(1, [EVERYTHING], 9)] == [1000]
        (row,) = connection.execute("SELECT * FROM journal").fetchall()
        assert ask.found(StagedRow._make(row)) is None
