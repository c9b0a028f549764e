"""Ticks and times, over starts, steps and a clock that is set late."""

import pytest
from keeper import AT, Keeper

from appliance.clock import SYNCED, UNSYNCED
from appliance.store.asking import asking
from appliance.store.calendar import Calendar


@pytest.fixture
def keeper(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db")
    yield keeper
    keeper.stop()


def calendar(keeper):
    with asking(keeper.path) as connection:
        return Calendar(connection)


def test_a_set_clock(keeper):
    tick = keeper.clock.tick(keeper.now)
    asked = calendar(keeper)
    assert asked.at(tick) == AT
    assert asked.tick(AT) == tick
    assert asked.unset() == []
    assert asked.tick(-5.0) == 0
    assert asked.tick(1e15) == asked.tick(1e14)  # SQLite's numbers end somewhere


def test_a_clock_that_is_set_late(keeper):
    keeper.restart(boot="boot 2", at=1000.0, quality=UNSYNCED)
    keeper.advance(60)
    tick = keeper.clock.tick(keeper.now)
    ((first, last),) = calendar(keeper).unset()
    assert first <= tick
    assert last is None
    keeper.at, keeper.quality = AT + 5000, SYNCED
    keeper.look()
    keeper.advance(1)
    assert calendar(keeper).unset() == []
    assert calendar(keeper).at(tick) == pytest.approx(AT + 5000, abs=0.01)
    assert calendar(keeper).tick(AT + 4990) == pytest.approx(tick - 10 * 16_000, abs=16)
    assert calendar(keeper).at(calendar(keeper).tick(AT + 5000)) == AT + 5000
    assert calendar(keeper).at(keeper.clock.tick(keeper.now)) == pytest.approx(keeper.at, abs=0.01)


def test_a_clock_that_was_never_set(keeper):
    keeper.restart(boot="boot 2", at=1000.0, quality=UNSYNCED)
    keeper.advance(60)
    keeper.restart(boot="boot 3", at=AT + 9000, quality=SYNCED)
    ((first, last),) = calendar(keeper).unset()
    assert last is not None
    assert first <= last


def test_several_starts_in_a_row_that_nobody_set_the_clock_for(keeper):
    keeper.restart(boot="boot 2", at=1000.0, quality=UNSYNCED)
    ((first, _),) = calendar(keeper).unset()
    keeper.restart(boot="boot 3", at=1000.0, quality=UNSYNCED)
    assert calendar(keeper).unset() == [(first, None)]
    keeper.restart(boot="boot 4", at=AT + 9000, quality=SYNCED)
    ((again, last),) = calendar(keeper).unset()
    assert again == first
    assert last is not None
    keeper.restart(boot="boot 5", at=1000.0, quality=UNSYNCED)
    assert len(calendar(keeper).unset()) == 2


def test_nothing_known(keeper):
    with keeper.database.transaction():
        keeper.ask("DELETE FROM epochs")
    assert calendar(keeper).at(16_000) == 1.0
    assert calendar(keeper).tick(AT) == 0
