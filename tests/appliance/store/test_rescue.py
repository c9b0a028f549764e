"""A start on a damaged file: what is whole goes on, the old file is put aside, and an interruption is made up for."""

import logging
from pathlib import Path

import pytest
from kept import Kept, every

from appliance.store.damage import damages
from appliance.store.database import StoreError
from appliance.store.rescue import Remainder, complete, open_sound, rescue
from appliance.store.rollup import HOUR_MS, MINUTE_MS


@pytest.fixture
def path(tmp_path):
    kept = Kept(tmp_path / "appliance.db")
    for topic in ("a", "b"):
        kept.put(kept.series(topic), *every(MINUTE_MS, until_ms=5 * HOUR_MS))
    kept.ask("PRAGMA wal_checkpoint(TRUNCATE)")
    kept.close()
    return kept.path


def count(database, table="readings"):
    return database.connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def spoil(path):
    """Overwrite the begin of the file, where it says what it is and lists its tables."""
    with path.open("r+b") as file:
        file.write(b"\xff" * 600)


def names(path):
    return sorted(found.name for found in path.parent.iterdir())


def test_a_sound_file_is_opened_and_nothing_is_put_aside(path):
    before = names(path)
    database = open_sound(path)
    assert count(database) == 600
    database.close()
    assert set(names(path)) <= {*before, "appliance.db-wal", "appliance.db-shm"}
    assert damages(path) == []


def test_a_damaged_file_is_put_aside_and_its_history_goes_on(path, caplog):
    spoil(path)
    spoiled = path.read_bytes()
    with caplog.at_level(logging.ERROR):
        database = open_sound(path)
    (damage,) = damages(path)
    assert damage.line() in caplog.text
    assert damage.is_finished
    assert count(database) == 600
    assert count(database, "series") == 2
    assert Path(damage.aside).read_bytes() == spoiled
    database.close()
    again = open_sound(path)  # is sound now
    again.close()
    assert damages(path) == [damage]


def test_a_file_of_somebody_else_is_left_alone(tmp_path):
    path = tmp_path / "appliance.db"
    path.write_bytes(b"notes of mine\n" * 99)
    with pytest.raises(StoreError):
        open_sound(path)
    assert path.read_bytes() == b"notes of mine\n" * 99
    assert damages(path) == []


def test_much_history_follows_while_the_service_runs(path):
    spoil(path)
    database = open_sound(path, bulk_s=-1.0)
    assert count(database) < 600
    (damage,) = damages(path)
    assert not damage.is_finished
    assert "still being copied" in damage.line()
    remainder = Remainder(path, database.connection)
    steps = 0
    while remainder.step():
        steps += 1
    assert steps > 1
    assert not remainder.step()
    remainder.close()
    assert count(database) == 600
    assert damages(path)[0].is_finished
    assert not Remainder(path, database.connection).step()
    database.close()


def test_a_start_that_was_cut_is_taken_up_where_it_was(path):
    """The new file was whole and the old one not aside yet; nothing is salvaged twice."""
    damage = rescue(path, None, "for the test")
    whole = path.read_bytes()
    path.rename(path.with_name(f"{path.name}.salvaged"))
    complete(path)
    assert path.read_bytes() == whole
    assert [found.aside for found in damages(path)] == [damage.aside]
    complete(path)
    assert path.read_bytes() == whole
