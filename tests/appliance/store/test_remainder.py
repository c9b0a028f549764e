"""The rest of a damaged file's history: copied later, into the database that was made of it, when there is room."""

import os
import time
from contextlib import closing
from pathlib import Path

import pytest
from keeper import Keeper, number
from storage.home import NAME, build, spoil

from appliance.store import aside as aside_module
from appliance.store import salvage
from appliance.store.aside import damages, lines
from appliance.store.backup import backup, restore
from appliance.store.database import Database
from appliance.store.remainder import RETRY_S, Remainder
from appliance.store.rescue import complete, open_sound, rescue


@pytest.fixture
def home(tmp_path):
    build(tmp_path / "home", topics=20, rounds=2)
    path = tmp_path / "home" / NAME
    Database.open(path).close()
    return path


def copy_all(path, clock=time.monotonic):
    """Copy what is left; gives how many steps that took."""
    with closing(Database.open(path)) as database:
        remainder = Remainder(path, database.connection, clock=clock)
        steps = 0
        while remainder.step():
            steps += 1
        remainder.close()
    return steps


def readings(path):
    with closing(Database.open(path)) as database:
        return database.connection.execute("SELECT count(*) FROM readings").fetchone()[0]


def test_much_history_follows_while_the_service_runs(home, monkeypatch):
    monkeypatch.setattr(salvage, "BATCH_ROWS", 4)
    with closing(Database.open(home)) as database:
        before = database.connection.execute("SELECT * FROM readings").fetchall()
    spoil(home)
    rescue(home, None, "told by a test", bulk_s=-1)
    assert not damages(home)[0].is_finished
    with closing(Database.open(home)) as database:
        connection = database.connection
        first = connection.execute("SELECT count(*) FROM readings").fetchone()[0]
        assert first < len(before)
        # A new series gets no rows of an old one whose name was lost.
        connection.execute("INSERT INTO series (topic, kind) VALUES ('home/new/temperature', 'number')")
        remainder = Remainder(home, connection)
        steps = 0
        while remainder.step():
            steps += 1
        remainder.close()
        assert not remainder.step()
        after = connection.execute("SELECT * FROM readings").fetchall()
        assert set(after) <= set(before)
        assert len(after) > len(before) / 2
    assert damages(home)[0].is_finished
    assert steps
    kept = sorted(home.parent.iterdir())
    complete(home)
    assert sorted(home.parent.iterdir()) == kept  # nothing was left to do


def test_a_restored_database_gets_nothing_of_another(home, tmp_path, monkeypatch):
    monkeypatch.setattr(salvage, "BATCH_ROWS", 4)
    other = Keeper(tmp_path / "other.db")
    other.write(number(1013, "home/attic/pressure"))
    other.move()
    backup(tmp_path / "other.db", tmp_path / "copy.db")
    other.stop()
    spoil(home)
    rescue(home, None, "told by a test", bulk_s=-1)
    restore(tmp_path / "copy.db", home)
    copy_all(home)
    assert readings(home) == 1
    (damage,) = damages(home)
    assert (damage.is_finished, damage.is_apart) == (True, True)
    assert "the rest of its history stays in it, as another database is here now" in damage.line()


def test_a_backup_that_was_made_after_the_salvage_gets_the_rest(home, tmp_path, monkeypatch):
    monkeypatch.setattr(salvage, "BATCH_ROWS", 4)
    spoil(home)
    rescue(home, None, "told by a test", bulk_s=-1)
    Database.open(home).close()
    before = readings(home)
    backup(home, tmp_path / "copy.db")
    restore(tmp_path / "copy.db", home)
    assert copy_all(home)
    assert readings(home) > before
    assert not damages(home)[0].is_apart


def test_what_does_not_fit_waits_and_says_so(home, monkeypatch, caplog):
    monkeypatch.setattr(salvage, "BATCH_ROWS", 4)
    with closing(Database.open(home)) as database:
        database.connection.execute("CREATE TABLE padding AS SELECT zeroblob(2000000) AS zeros")
    spoil(home)
    rescue(home, None, "told by a test", bulk_s=-1)
    real, free, now = os.statvfs, [1_000_000], [0.0]

    class Filled:
        f_frsize, f_flag = 1, 0

        def __init__(self, _path):
            self.f_bavail = free[0]

    monkeypatch.setattr(aside_module.os, "statvfs", Filled)
    with closing(Database.open(home)) as database:
        remainder = Remainder(home, database.connection, clock=lambda: now[0])
        for _ in range(3):
            assert not remainder.step()
            now[0] += RETRY_S
        (line,) = lines(home)
        assert "older history waits for 3 MB of free space" in line or "waits for 4 MB" in line
        assert not damages(home)[0].is_finished
        free[0] = 10_000_000
        assert remainder.step()
        assert "still being copied" in lines(home)[0]
        remainder.close()
    assert caplog.text.count("MB more") == 1
    monkeypatch.setattr(aside_module.os, "statvfs", real)


def test_what_is_not_copied_is_never_deleted(home, monkeypatch):
    monkeypatch.setattr(salvage, "BATCH_ROWS", 4)
    for at in (20_000, 22_000, 24_000, 30_000, 31_000):
        spoil(home, at)
        open_sound(home, bulk_s=-1).close()
    found = damages(home)
    assert len(found) == 5
    assert not any(damage.is_finished for damage in found)
    assert all(Path(damage.aside).exists() for damage in found)
