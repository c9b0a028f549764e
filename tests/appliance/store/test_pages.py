"""All rows of a series in pages, whatever moves meanwhile."""

import pytest
from keeper import AT, TOPIC, Keeper, number, origin

from appliance.clock import SYNCED, UNSYNCED
from appliance.store.pages import numbers, pages


@pytest.fixture
def keeper(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db")
    yield keeper
    keeper.stop()


def series_id(keeper, topic=TOPIC):
    return keeper.ask("SELECT id FROM series WHERE topic = ?", (topic,)).fetchone()[0]


def values(keeper, since_at=0.0, until_at=1e11, **more):
    return [[row.value for row in page] for page in pages(keeper.path, series_id(keeper), since_at, until_at, **more)]


def test_pages_over_moved_and_staged_rows(keeper):
    keeper.write(*(number(step) for step in range(5)), number(99, "home/else"), apart_s=1.0)
    keeper.move()
    keeper.write(*(number(step) for step in range(5, 8)), apart_s=1.0)
    assert values(keeper, page_rows=3) == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert values(keeper, page_rows=4) == [[0, 1, 2, 3], [4, 5, 6, 7]]  # and no empty one behind them
    assert values(keeper) == [[0, 1, 2, 3, 4, 5, 6, 7]]
    assert values(keeper, AT + 3, AT + 5) == [[2, 3, 4]]  # both ends belong to it
    assert values(keeper, AT + 100, AT + 200) == []


def test_what_moves_between_two_pages_is_there_once(keeper):
    keeper.write(*(number(step) for step in range(9)), apart_s=1.0)
    found = []
    for page in pages(keeper.path, series_id(keeper), 0.0, 1e11, page_rows=2):
        found += [row.value for row in page]
        if keeper.cut():
            keeper.move()
    assert found == list(range(9))


def test_rows_of_an_unset_clock_have_their_place(keeper):
    keeper.write(number(1), number(2), apart_s=1.0)
    keeper.restart(boot="boot 2", at=1000.0, quality=UNSYNCED)
    keeper.write(number(3), number(4), apart_s=1.0)
    keeper.at, keeper.quality = AT + 5000, SYNCED
    keeper.look()
    keeper.write(number(5), apart_s=1.0)
    assert values(keeper) == [[1, 2, 3, 4, 5]]
    assert values(keeper, AT + 4000, AT + 6000) == [[3, 4, 5]]
    assert values(keeper, AT, AT + 100) == [[1, 2]]


def test_a_damaged_row_is_left_out(keeper):
    keeper.write(number(1), number(2), number(3), apart_s=1.0)
    keeper.move()
    keeper.ask("UPDATE readings SET value = 7000 WHERE value = 2000")
    assert values(keeper) == [[1, 3]]


def test_numbers_of_moved_and_staged_rows(keeper):
    keeper.write(number(1, properties=origin(7)), number(2), number(3, properties=origin(8)), apart_s=1.0)
    keeper.move()
    keeper.write(number(4, properties=origin(9)), apart_s=1.0)
    found = list(numbers(keeper.path, series_id(keeper), 0.0, page_rows=2))
    assert [seq for _, seq, _ in found] == [7, 8, 9]
    assert [tick for tick, _, _ in found] == sorted(tick for tick, _, _ in found)
    assert [seq for _, seq, _ in numbers(keeper.path, series_id(keeper), AT + 2)] == [8, 9]


@pytest.mark.parametrize("ask", [lambda *of: pages(*of, 1e11, page_rows=2), lambda *of: numbers(*of, page_rows=2)])
def test_no_connection_is_open_while_a_page_is_looked_at(keeper, ask):
    """Or a slow reader would keep the log from being moved into the file."""
    keeper.write(*(number(step, properties=origin(step)) for step in range(9)), apart_s=1.0)
    reading = ask(keeper.path, series_id(keeper), 0.0)
    next(reading)
    keeper.write(number(9))
    busy, in_log, moved = keeper.ask("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert (busy, in_log, moved) == (0, 0, 0)
