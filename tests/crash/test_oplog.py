"""What may be left on a disk: of a log made by hand, and of one recorded from a process."""

import os
import random
import subprocess
import sys

import pytest

from tests.crash.oplog import (
    CREATE,
    FLUSH,
    FLUSH_DIR,
    RENAME,
    SECTOR,
    TRUNCATE,
    UNLINK,
    WRITE,
    Disk,
    Op,
    Recorder,
    operations,
    write_out,
)

FILE = 7


def op(kind, offset=0, data=b"", inode=FILE):
    return Op(kind, inode, offset, 0, data)


def states(*ops, count=300):
    """Every state that was seen in so many cuts at the end."""
    disk = Disk(list(ops))
    disk.go_on(len(ops))
    return [disk.cut(random.Random(seed)) for seed in range(count)]


def contents(*ops):
    """Likewise of the one file, which is there for sure."""
    return {state["f"] for state in states(op(CREATE, data=b"f"), op(FLUSH_DIR), *ops)}


def test_what_was_flushed_is_there():
    assert contents(op(WRITE, 0, b"abc"), op(FLUSH, 3)) == {b"abc"}


def test_what_was_not_flushed_may_be_there_in_any_part():
    found = contents(op(WRITE, 0, b"a"), op(WRITE, 1, b"b"))
    assert found == {b"", b"a", b"\0b", b"ab"}


def test_a_flush_covers_what_was_written_when_it_began():
    found = contents(op(WRITE, 0, b"a"), op(WRITE, 0, b"b"), op(FLUSH, 3))
    assert found == {b"a", b"b"}


def test_files_do_not_wait_for_each_other():
    found = states(
        *(op(CREATE, data=b"f"), op(CREATE, data=b"g", inode=8), op(FLUSH_DIR)),
        *(op(WRITE, 0, b"1"), op(WRITE, 0, b"2", inode=8)),
    )
    assert {(state["f"], state["g"]) for state in found} == {(b"", b""), (b"1", b""), (b"", b"2"), (b"1", b"2")}


def test_a_write_is_torn_at_sectors_only():
    found = contents(op(WRITE, 100, b"x" * 2 * SECTOR))
    assert {content.count(b"x") for content in found} > {0, SECTOR, 2 * SECTOR}
    for content in found:
        for at in range(100, len(content) - 1):
            assert content[at] == content[at + 1] or (at + 1) % SECTOR == 0


def test_a_file_is_cut_short_or_not():
    sure = (op(WRITE, 0, b"abcd"), op(FLUSH, 3))
    assert contents(*sure, op(TRUNCATE, 2)) == {b"abcd", b"ab"}
    assert contents(*sure, op(TRUNCATE, 6)) == {b"abcd", b"abcd\0\0"}


def test_names_come_and_go_in_their_order():
    made = (op(CREATE, data=b"f"), op(RENAME, data=b"f\0g"), op(CREATE, data=b"h", inode=8), op(UNLINK, data=b"g"))
    names = {tuple(sorted(state)) for state in states(*made)}
    assert names == {(), ("f",), ("g",), ("g", "h"), ("h",)}
    assert {tuple(sorted(state)) for state in states(*made[:2], op(FLUSH_DIR), *made[2:])} == {
        ("g",),
        ("g", "h"),
        ("h",),
    }


def test_a_lying_card_keeps_a_beginning():
    ops = [op(CREATE, data=b"f"), op(WRITE, 0, b"a"), op(FLUSH, 2), op(WRITE, 1, b"b"), op(FLUSH, 4)]
    disk = Disk(ops)
    kept = []
    for position in range(1, 6):
        disk.go_on(position)
        kept.append(disk.lie()["f"])
    assert kept == [b"", b"a", b"a", b"ab", b"ab"]


SCRIPT = """
import os, sqlite3, sys
directory = sys.argv[1]
path = f"{directory}/plain"
with open(path, "wb", buffering=0) as file:
    file.write(b"hello")
    file.write(b" world")
    file.truncate(9)
    os.fsync(file.fileno())
    os.pwrite(file.fileno(), b"J", 0)
os.rename(path, f"{directory}/renamed")
above = os.open(directory, os.O_RDONLY)
os.fsync(above)
os.close(above)
connection = sqlite3.connect(f"{directory}/some.db", isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("PRAGMA synchronous = FULL")
connection.execute("CREATE TABLE t (x)")
connection.execute("INSERT INTO t VALUES (zeroblob(5000))")
open(f"{directory}/gone", "w").close()
os.unlink(f"{directory}/gone")
open(f"{directory}.beside", "w").write("not below it")
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def recorded(tmp_path):
    """A process that wrote, flushed and was killed; gives its directory and the log."""
    data = tmp_path / "data"
    data.mkdir()
    recorder = Recorder(tmp_path, data)
    command = [sys.executable, "-c", SCRIPT, str(data)]
    subprocess.run(command, env={**os.environ, **recorder.env}, check=False)
    ops = operations(recorder.log)
    assert recorder.position() == len(ops)
    recorder.close()
    return data, ops


def test_a_process_is_recorded(recorded, tmp_path):
    data, ops = recorded
    disk = Disk(ops)
    disk.go_on(len(ops))
    there = {path.name: path.read_bytes() for path in data.iterdir() if not path.name.endswith("-shm")}
    assert set(there) == {"renamed", "some.db", "some.db-wal"}
    assert disk.lie() == there
    assert there["renamed"] == b"Jello wor"
    again = tmp_path / "again"
    again.mkdir()
    write_out(there, again)
    write_out(disk.lie(), again)
    assert {path.name: path.read_bytes() for path in again.iterdir()} == there


def test_what_sqlite_committed_is_flushed(recorded):
    data, ops = recorded
    disk = Disk(ops)
    disk.go_on(len(ops))
    for seed in range(20):
        state = disk.cut(random.Random(seed))
        assert state["some.db-wal"] == (data / "some.db-wal").read_bytes()
        assert state["renamed"] in {b"Jello wor", b"hello wor"}
