"""A database is read where nothing can be written beside it."""

import errno
import sqlite3
from contextlib import closing

import pytest

from appliance.store.still import cannot_write, is_read_only, open_still


@pytest.mark.parametrize("has_log", [False, True])
def test_it_reads_the_file_and_its_log_and_makes_no_other(tmp_path, has_log):
    path, copy = tmp_path / "a.db", tmp_path / "copy"
    copy.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (a)")
        connection.execute("INSERT INTO t VALUES (7)")
        if not has_log:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for one in tmp_path.glob("a.db*"):
            if not one.name.endswith("-shm"):
                (copy / one.name).write_bytes(one.read_bytes())
    before = {one.name: one.read_bytes() for one in copy.iterdir()}
    with closing(open_still(copy / "a.db")) as connection:
        assert connection.execute("SELECT a FROM t").fetchone() == (7,)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("DELETE FROM t")
    assert {one.name: one.read_bytes() for one in copy.iterdir()} == before


def test_what_is_no_database_is_told(tmp_path):
    (tmp_path / "a.db").write_bytes(b"no database at all, for sure" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        open_still(tmp_path / "a.db")


@pytest.mark.parametrize(
    ("error", "may"),
    [
        (OSError(errno.ENOSPC, "full"), True),
        (OSError(errno.EROFS, "read-only"), True),
        (PermissionError(errno.EACCES, "not yours"), False),
        (ValueError("no"), False),
    ],
)
def test_which_errors_leave_reading(error, may):
    assert cannot_write(error) is may


@pytest.mark.parametrize(("code", "may"), [(sqlite3.SQLITE_FULL, True), (sqlite3.SQLITE_CORRUPT, False)])
def test_which_errors_of_sqlite_leave_reading(code, may):
    error = sqlite3.OperationalError("told by a test")
    error.sqlite_errorcode = code
    assert cannot_write(error) is may


def test_a_disk_that_is_mounted_read_only(tmp_path):
    assert not is_read_only(tmp_path / "a.db")
    assert not is_read_only(tmp_path / "none" / "a.db")
