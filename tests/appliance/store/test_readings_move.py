"""Readings are brought to where they are read, and nothing on the way is lost or taken twice."""

import pytest
from keeper import Keeper, number

from appliance.store.readings_move import MOVED_ROWS


@pytest.fixture
def keeper(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db")
    yield keeper
    keeper.stop()


def test_a_move_goes_by_series_in_small_steps_and_tells_what_it_brought(keeper):
    topics = [f"home/room{n}/temperature" for n in range(5)]
    for value in range(300):
        keeper.write(*(number(value, topic) for topic in topics), apart_s=0.01)
    cut_id = keeper.cut()
    counts = [0]
    while keeper.step(cut_id):
        counts += keeper.ask("SELECT count(*) FROM readings").fetchone()
    assert counts == [0, 900]  # never half a series
    assert 900 <= MOVED_ROWS < 1200
    assert [moved[0] for moved in keeper.moved] == [1, 2, 3, 4, 5]
    first, last = keeper.ask("SELECT min(tick), max(tick) FROM readings WHERE series_id = 1").fetchone()
    assert keeper.moved[0] == (1, first, last)
    assert not keeper.step(cut_id)  # it is all there


def test_a_move_that_was_begun_is_finished_before_the_next_begins(keeper):
    topics = [f"home/room{n}/temperature" for n in range(3)]
    for value in range(400):
        keeper.write(*(number(value, topic) for topic in topics), apart_s=0.01)
    first_cut = keeper.cut()
    assert keeper.step(first_cut)
    keeper.write(number(400, topics[0]))
    keeper.restart()
    second_cut = keeper.cut()
    assert not keeper.step(second_cut)
    assert keeper.history.cut_id == first_cut
    assert not keeper.step(second_cut)  # not before the rows of the first are deleted
    assert keeper.history.cut_id == first_cut
    keeper.delete()
    assert not keeper.step(second_cut)
    assert keeper.history.cut_id == second_cut
    keeper.delete()
    assert [len(keeper.in_order(topic)) for topic in topics] == [401, 400, 400]
    assert keeper.ask("SELECT count(*) FROM journal").fetchone() == (0,)


def test_ids_that_are_used_again_count_as_staged(keeper):
    for value in range(5):
        keeper.write(number(value))
        keeper.move()
    keeper.write(number(5))
    assert keeper.cut() == 1
    assert keeper.in_order() == keeper.values() == list(range(6))


def test_moving_nothing_is_nothing(keeper):
    assert not keeper.step(keeper.cut())
    keeper.ask("INSERT INTO journal (kind) VALUES (1)")
    assert not keeper.step(keeper.cut())
    assert keeper.ask("SELECT count(*) FROM readings").fetchone() == (0,)
