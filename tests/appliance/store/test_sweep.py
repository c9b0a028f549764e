"""Everything is read once a week, a few rows at a time, and damage is found before somebody needs what is lost."""

import sqlite3
from contextlib import closing

import pytest
from kept import Kept

from appliance.store import sweep as module
from appliance.store.damage import MisfitError
from appliance.store.notes import read_notes
from appliance.store.rollup import HOUR_MS
from appliance.store.state_tables import StateTables
from appliance.store.sweep import EVERY_MS, PLACE, SWEPT, Sweep
from appliance.store.wholeness import IN_SQL

ROWS = 1_000


@pytest.fixture
def kept(tmp_path):
    kept = Kept(tmp_path / "appliance.db")
    series = kept.series("home/kitchen/temperature")
    kept.put(series, *((at * 10_000, at % 40) for at in range(ROWS)))
    kept.after(3 * HOUR_MS)
    kept.roll()
    yield kept
    kept.close()


def swept(kept, age_ms):
    """Sweep to the end; gives how many steps that took."""
    sweep = Sweep(kept.database, IN_SQL, lambda _: age_ms)
    steps = 0
    while sweep.step(0.0):
        steps += 1
    return steps


def why(kept):
    with kept.path.with_name("appliance.db.lock").open("rb") as lock:
        return read_notes(lock.fileno()).suspect


def test_it_begins_after_a_week_of_running_and_then_once_a_week(kept):
    assert swept(kept, EVERY_MS - 1) == 0
    assert swept(kept, EVERY_MS) >= ROWS // module.ROWS_A_STEP
    assert StateTables(kept.database.connection).mark(SWEPT) == EVERY_MS
    assert swept(kept, 2 * EVERY_MS - 1) == 0
    assert swept(kept, 2 * EVERY_MS) > 0
    assert not why(kept)


def test_of_a_file_that_no_start_looks_through_the_first_begins_at_once(kept, monkeypatch):
    monkeypatch.setattr(module, "CHECK_BYTES", 1)
    assert swept(kept, 5) > 0
    assert swept(kept, 6) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        "UPDATE readings SET value = value + 1000 WHERE tick = (SELECT max(tick) FROM readings)",
        "UPDATE minutes SET low = low + 1 WHERE start = (SELECT max(start) FROM minutes)",
        "UPDATE gaps SET cause = 'x'",
    ],
)
def test_a_row_that_changed_has_the_file_salvaged(kept, wrong):
    kept.ask("INSERT INTO gaps (scope, name, cause, detail, from_tick, checksum) VALUES ('hub', '', 'c', '', 1, 5)")
    kept.ask("UPDATE gaps SET checksum = ?", (module_checksum(),))
    assert swept(kept, EVERY_MS)
    kept.ask(wrong)
    with pytest.raises(MisfitError):
        swept(kept, 2 * EVERY_MS)
    assert why(kept) == "some of its records are not what was written"


def module_checksum():
    from appliance.store.checksum import checksum

    return checksum("hub", "", "c", "", 1, None, None, None, None)


def test_a_page_of_zeros_has_the_file_salvaged(kept):
    kept.database.checkpoint("TRUNCATE")
    (root,) = kept.ask("SELECT rootpage FROM sqlite_master WHERE name = 'readings'").fetchone()
    kept.close()
    data = bytearray(kept.path.read_bytes())
    child = int.from_bytes(data[(root - 1) * 1024 + 8 :][:4], "big")
    data[(child - 1) * 1024 : child * 1024] = bytes(1024)
    kept.path.write_bytes(data)
    kept.open()
    with pytest.raises(sqlite3.DatabaseError):
        swept(kept, EVERY_MS)
    assert why(kept) == "parts of it are unreadable"


def test_a_start_goes_on_where_it_was(kept, monkeypatch):
    monkeypatch.setattr(module, "NOTED_STEPS", 1)
    sweep = Sweep(kept.database, IN_SQL, lambda _: EVERY_MS)
    assert sweep.step(0.0)
    assert StateTables(kept.database.connection).mark(PLACE)
    with closing(sqlite3.connect(kept.path)) as other:  # nothing is held open between two steps
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = swept(kept, 2 * EVERY_MS)
    rest = Sweep(kept.database, IN_SQL, lambda _: 2 * EVERY_MS)
    assert not rest.step(0.0)
    assert whole < ROWS // module.ROWS_A_STEP + 5
