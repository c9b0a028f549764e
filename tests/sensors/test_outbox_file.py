"""The outbox's file: one agent's alone, never anybody else's, and put aside where it is damaged."""

import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from sensors.outbox_file import OutboxError, is_damage, open_file, replace_file, transaction

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "house.outbox"


def made(path):
    """A file as an agent leaves it, and its run."""
    with closing(open_file(path)[0]) as db:
        return run_of(db)


def run_of(db):
    return db.execute("SELECT value FROM meta WHERE key = 'run'").fetchone()[0]


def alter(path, statement):
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(statement)


def test_a_file_is_laid_out_once_and_keeps_its_run(path):
    run = made(path)
    assert len(run) == 16
    db, salvaged = open_file(path)
    with closing(db):
        assert (run_of(db), salvaged) == (run, "")
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert path.parent.stat().st_mode & 0o777 == 0o750


def test_nobody_else_reads_what_waits(path):
    old_mask = os.umask(0o022)
    try:
        with closing(open_file(path)[0]):
            log = path.with_name(path.name + "-wal")
            assert [stat.S_IMODE(file.stat().st_mode) for file in (path, log)] == [0o600, 0o600]
        path.chmod(0o644)  # as an older version left it
        made(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(old_mask)


def test_two_agents_never_share_an_outbox(path):
    program = "import sys; from pathlib import Path; from sensors.outbox_file import *; open_file(Path(sys.argv[1]))"
    with closing(open_file(path)[0]):
        command = [sys.executable, "-c", program, path]
        other = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "another agent uses this data_dir" in other.stderr


def test_a_foreign_file_is_left_alone(path):
    path.parent.mkdir()
    alter(path, "CREATE TABLE photos (name)")
    before = path.read_bytes()
    with pytest.raises(OutboxError, match="is not an outbox of this program"):
        open_file(path)
    assert path.read_bytes()[100:] == before[100:]  # WAL mode is noted in the header


def test_a_newer_file_is_left_alone(path):
    made(path)
    alter(path, "PRAGMA user_version = 9")
    with pytest.raises(OutboxError, match="newer version"):
        open_file(path)


@pytest.mark.parametrize("whole", [True, False])
def test_a_damaged_file_is_kept_aside_and_a_new_run_begun(path, whole):
    run = made(path)
    if whole:
        alter(path, "DELETE FROM meta WHERE key = 'next_seq'")
    else:
        path.write_bytes(b"no database at all" * 100)
    before = path.read_bytes()
    db, salvaged = open_file(path)
    with closing(db):
        assert "kept aside as house.outbox.damaged, readings waiting in it were not sent" in salvaged
        assert run_of(db) != run
    assert path.with_name("house.outbox.damaged").read_bytes()[100:] == before[100:]


def test_a_file_that_is_replaced_leaves_its_log_to_nobody(path):
    run = made(path)
    for tail in ("-wal", "-shm"):
        path.with_name(path.name + tail).write_bytes(b"of the old one")
    db, _ = replace_file(path, sqlite3.DatabaseError("malformed"))
    with closing(db):
        assert run_of(db) != run


def test_a_directory_in_the_way_is_one_line_with_the_cure(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutboxError, match="set data_dir to a directory"):
        open_file(tmp_path / "file" / "house.outbox")
    (tmp_path / "house.outbox").mkdir()
    with pytest.raises(OutboxError, match="check that"):
        open_file(tmp_path / "house.outbox")


def test_damage_is_told_from_a_disk_that_does_not_work(path):
    assert is_damage(sqlite3.DatabaseError("malformed"))
    assert not is_damage(sqlite3.OperationalError("disk I/O error"))
    assert not is_damage(sqlite3.IntegrityError("UNIQUE constraint failed"))  # nothing is wrong with the file
    db, _ = open_file(path)
    with closing(db):
        with pytest.raises(sqlite3.IntegrityError), transaction(db):
            db.executemany("INSERT INTO meta VALUES (?, 1)", [("new",), ("run",)])
        assert db.execute("SELECT count(*) FROM meta").fetchone() == (3,)
    with pytest.raises(sqlite3.OperationalError), transaction(None):
        pass
