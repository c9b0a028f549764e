"""The one file: opened, migrated, held, refused with a cure."""

import os
import resource
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.store.database import APPLICATION_ID, STEP_NAMES, Database, StoreError, explain, open_reader

ROOT = Path(__file__).parents[3]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "appliance.db"


def test_a_new_file_is_ours_durable_and_migrated(path):
    database = Database.open(path)
    try:
        ask = lambda sql: database.connection.execute(sql).fetchone()[0]  # noqa: E731
        assert ask("PRAGMA application_id") == APPLICATION_ID
        assert ask("PRAGMA journal_mode") == "wal"
        assert ask("PRAGMA synchronous") == 2  # FULL
        assert ask("PRAGMA foreign_keys") == 1
        assert ask("PRAGMA busy_timeout") == 5000
        assert ask("PRAGMA page_size") == 1024
        assert ask("PRAGMA wal_autocheckpoint") == 0
        assert ask("PRAGMA temp_store") == 2  # in memory
        assert set(ask("SELECT group_concat(name) FROM _sqlite_migrations").split(",")) == STEP_NAMES
    finally:
        database.close()
        database.close()  # harmless
    assert not path.with_name("appliance.db-wal").exists()  # moved into the file


def test_directories_are_made_and_a_second_start_changes_nothing(tmp_path):
    path = tmp_path / "var" / "lib" / "appliance.db"
    Database.open(path).close()
    before = path.read_bytes()
    Database.open(path).close()
    assert path.read_bytes() == before


def test_a_transaction_is_all_or_nothing(path):
    database = Database.open(path)
    try:
        insert = "INSERT INTO runs (agent, run) VALUES (?, 'a')"
        with database.transaction():
            database.connection.execute(insert, ("kept",))
        with pytest.raises(sqlite3.IntegrityError), database.transaction():  # noqa: PT012 the second spoils the first
            database.connection.execute(insert, ("gone",))
            database.connection.execute(insert, ("gone",))
        assert database.connection.execute("SELECT agent FROM runs").fetchall() == [("kept",)]
    finally:
        database.close()


def test_one_writer_at_a_time(path):
    first = Database.open(path)
    try:
        with pytest.raises(StoreError, match="in use by another running appliance: stop that one"):
            Database.open(path)
    finally:
        first.close()
    Database.open(path).close()


def foreign(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE recipes (name)")
    connection.close()


def other_id(path):
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA application_id = 42")
    connection.close()


def newer(path):
    Database.open(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('appliance', '9999_later', '')"
        )
    connection.close()


def damaged(path):
    Database.open(path).close()
    content = bytearray(path.read_bytes())
    content[100:4096] = b"\xff" * 3996  # the page with the schema
    path.write_bytes(content)


def truncated(path):
    Database.open(path).close()
    os.truncate(path, 4096)


REFUSED = [
    (foreign, "belongs to another program: move it away"),
    (other_id, "belongs to another program: move it away"),
    (newer, "newer version .step 9999_later.*update this installation"),
    (damaged, "is damaged: restart the service, which saves what is whole"),
    (truncated, "is damaged: restart the service, which saves what is whole"),
    (lambda path: path.write_text("heating log, do not delete. " * 40), "is not a database: move it away"),
    (lambda path: path.mkdir(), "cannot be opened: check that its directory"),
]


@pytest.mark.parametrize(("spoil", "says"), REFUSED)
def test_refused_in_one_line_that_names_the_file_and_the_cure(path, spoil, says):
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StoreError, match=says) as refused:
        Database.open(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    if before is not None:
        assert path.read_bytes() == before  # what is not ours stays as it was
    with pytest.raises(StoreError):  # and the lock was let go: the same answer again
        Database.open(path)


def test_a_directory_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot be used .*: check its directory"):
        Database.open(tmp_path / "file" / "appliance.db")


def test_no_room_at_the_start(path):
    """A limit on the size of files stands for the full disk: the write fails in the same place."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
    try:
        with pytest.raises(StoreError, match="free some space"):
            Database.open(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    Database.open(path).close()  # as soon as there is room


CAUSES = [
    (sqlite3.SQLITE_FULL, "is full: free some space"),
    (sqlite3.SQLITE_READONLY, "cannot be written: mount its disk writable"),
    (sqlite3.SQLITE_IOERR_FSYNC, "check its free space, then the disk or card"),
    (sqlite3.SQLITE_CORRUPT, "is damaged"),
    (sqlite3.SQLITE_MISUSE, "cannot be used"),
]


@pytest.mark.parametrize(("code", "says"), CAUSES)
def test_explain_gives_each_cause_its_cure(path, code, says):
    error = sqlite3.OperationalError("reason")
    error.sqlite_errorcode = code
    assert says in explain(path, error)
    assert str(path) in explain(path, error)


def test_a_reader_cannot_write_and_needs_our_file(path):
    with pytest.raises(StoreError, match="cannot be opened"):
        open_reader(path)
    database = Database.open(path)
    try:
        reader = open_reader(path)
        assert reader.execute("SELECT count(*) FROM readings").fetchone() == (0,)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.execute("DELETE FROM runs")
        reader.close()
    finally:
        database.close()


@pytest.mark.parametrize("spoil", [foreign, lambda path: path.write_text("no database at all, sorry" * 9)])
def test_a_reader_refuses_what_is_not_ours(path, spoil):
    spoil(path)
    with pytest.raises(StoreError, match="move it away"):
        open_reader(path)


def test_a_killed_owner_lets_go_and_a_half_made_file_is_finished(path):
    """Killed between marking the file and its first step: the next start goes on from there."""
    script = (
        "import os, signal, sys; from pathlib import Path; from appliance.store import database\n"
        "database._migrate = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "database.Database.open(Path(sys.argv[1]))"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False, cwd=ROOT).returncode == -9
    assert path.exists()
    database = Database.open(path)
    assert database.connection.execute("SELECT count(*) FROM readings").fetchone() == (0,)
    database.close()
