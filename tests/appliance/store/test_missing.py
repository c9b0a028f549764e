"""What is missing is told until the account of it is deleted."""

import os
from pathlib import Path

from appliance.store.damage import examine
from appliance.store.database import Database
from appliance.store.missing import missings, tell_missing
from appliance.store.notes import Notes
from appliance.store.rescue import open_sound


def test_a_log_that_is_gone_is_told_with_its_seconds(tmp_path):
    path = tmp_path / "appliance.db"
    for one in (path, Path(f"{path}.lock")):
        one.touch()
        os.utime(one, (1_000.0, 1_000.0))
    missing = tell_missing(path, "the log is gone", 1_090.0)
    assert missings(path) == [missing]
    assert ", up to the last 90 s before that: found on 1970-01-01 00:18 UTC" in missing.line()
    for at in range(5):
        tell_missing(path, "again", 2_000.0 + at)
    assert len(missings(path)) == 3
    for one in missings(path):
        Path(one.place).unlink()
    assert missings(path) == []


def test_a_database_that_is_gone_is_told(tmp_path):
    path = tmp_path / "appliance.db"
    Database.open(path).close()
    path.unlink()
    notes = Notes(page_size=1024, roots={}, steps=[], is_open=False)
    assert examine(path, None).remark is None
    assert examine(path, notes).remark == f"{path} is gone: a new history begins"
    open_sound(path).close()
    (missing,) = missings(path)
    assert "is gone: a new history begins" in missing.line()
    open_sound(path).close()
    assert len(missings(path)) == 1
