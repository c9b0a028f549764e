"""The table of gaps and its view, as anybody reads them."""

import sqlite3

import pytest
from keeper import AT, Keeper

from appliance.store.gaps import BROKER_DOWN, HUB, GapNote, Gaps


@pytest.fixture
def keeper(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db")
    yield keeper
    keeper.stop()


def test_the_view_follows_the_epochs(keeper):
    with keeper.database.transaction():
        Gaps(keeper.database.connection).write(
            [GapNote(HUB, "", BROKER_DOWN, keeper.now, keeper.now + 60, "stopped")], keeper.clock.tick
        )
    asked = "SELECT since, until, cause, detail FROM gap_times"
    assert keeper.at == AT
    assert keeper.ask(asked).fetchall() == [
        ("2026-09-21T14:13:20.000Z", "2026-09-21T14:14:20.000Z", BROKER_DOWN, "stopped")
    ]
    keeper.ask("UPDATE epochs SET offset_ms = 3600000 WHERE id > 1")
    assert keeper.ask(asked).fetchall() == [
        ("2026-09-21T15:13:20.000Z", "2026-09-21T15:14:20.000Z", BROKER_DOWN, "stopped")
    ]


@pytest.mark.parametrize("wrong", ["('house', '', 'c', '', 1, 2, 0)", "('hub', '', 'c', '', 2, 1, 0)"])
def test_what_makes_no_sense_is_refused(keeper, wrong):
    with pytest.raises(sqlite3.IntegrityError):
        keeper.ask(f"INSERT INTO gaps (scope, name, cause, detail, from_tick, to_tick, checksum) VALUES {wrong}")


def test_open_and_ended_gaps_are_found_without_a_scan(keeper):
    for where in ("to_tick IS NULL AND from_tick <= 5", "to_tick >= 5"):
        (plan,) = keeper.ask(f"EXPLAIN QUERY PLAN SELECT * FROM gaps WHERE {where}").fetchall()
        assert "USING INDEX gaps_" in plan[-1]
