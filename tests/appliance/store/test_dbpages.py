"""SQLite's format read by hand gives what SQLite itself gives; what makes no sense is left out and never raises."""

import os
import random
import sqlite3

import pytest

from appliance.store.dbpages import Harm, open_pages, record, varint
from appliance.store.log import read_log

VALUES = [None, 0, 1, -1, 127, -(2**40), 2**63 - 1, 2.5, -0.125, "", "Küche", b"", b"\x00\xff", "x" * 700, b"y" * 9000]


@pytest.fixture(params=[512, 1024, 4096])
def made(tmp_path, request):
    """A file of this page size: tables with and without row ids, deep and with long rows, part of it in the log."""
    path = tmp_path / "a.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(
        f"PRAGMA page_size = {request.param}; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;"
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b);"
        "CREATE TABLE w (k INTEGER, j INTEGER, v, PRIMARY KEY (k, j)) WITHOUT ROWID;"
    )
    for start in (0, 300):
        connection.execute("BEGIN")
        for number in range(start, start + 300):
            value = VALUES[number % len(VALUES)]
            connection.execute("INSERT INTO t VALUES (?, ?, ?)", (number * 3 - 400, value, number))
            connection.execute("INSERT INTO w VALUES (?, ?, ?)", (number % 7, number, value))
        connection.execute("COMMIT")
        if not start:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("DELETE FROM t WHERE id % 5 = 0")
    yield path, connection
    connection.close()


def opened(path):
    file = os.open(path, os.O_RDONLY)
    log_file = os.open(f"{path}-wal", os.O_RDONLY)
    return file, log_file, open_pages(file, read_log(log_file))


def roots(connection):
    return dict(connection.execute("SELECT name, rootpage FROM sqlite_master"))


def test_every_row_is_read_as_sqlite_reads_it(made):
    path, connection = made
    file, log_file, pages = opened(path)
    harm = Harm()
    by_hand = [(row.rowid, *row.values[1:]) for row in pages.rows(roots(connection)["t"], harm)]
    assert by_hand == connection.execute("SELECT * FROM t ORDER BY id").fetchall()
    clustered = [tuple(row.values) for row in pages.rows(roots(connection)["w"], harm)]
    assert clustered == connection.execute("SELECT * FROM w ORDER BY k, j").fetchall()
    assert not harm
    free, is_whole = pages.free()
    assert is_whole
    assert len(free) == connection.execute("PRAGMA freelist_count").fetchone()[0]
    os.close(file)
    os.close(log_file)


def test_every_page_is_reached_or_free(made):
    path, connection = made
    file, log_file, pages = opened(path)
    reached = set()
    for root in (1, *roots(connection).values()):
        pages.reach(root, reached)
    free, _ = pages.free()
    assert not reached & free
    leaves = {number for number in range(2, pages.count + 1) if pages.page(number)[0] in {10, 13}} - free
    assert leaves <= reached
    os.close(file)
    os.close(log_file)


def test_damage_is_counted_and_never_raised(made):
    path, connection = made
    found = roots(connection)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    good = path.read_bytes()
    want = set(connection.execute("SELECT k, j, v FROM w"))
    dice = random.Random(5)
    harmed = 0
    other = path.with_name("b.db")
    for _ in range(60):
        data = bytearray(good)
        at = dice.randrange(len(data))
        if dice.random() < 0.5:
            data[at] ^= 1 << dice.randrange(8)
        else:
            data[at : at + 512] = bytes(len(data[at : at + 512]))
        other.write_bytes(data)
        file = os.open(other, os.O_RDONLY)
        pages = open_pages(file, None)
        harm = Harm()
        rows = list(pages.rows(found["w"], harm))
        assert len(rows) <= len(want) + 5
        harmed += bool(harm) or {tuple(row.values) for row in rows} != want
        os.close(file)
    assert harmed > 5


def test_the_size_of_a_page_is_found_without_a_header(made):
    path, connection = made
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    data = path.read_bytes()
    other = path.with_name("b.db")
    other.write_bytes(bytes(size) + data[size:])
    file = os.open(other, os.O_RDONLY)
    assert open_pages(file, None).page_size == size
    os.close(file)


def test_nothing_is_no_pages(tmp_path):
    (tmp_path / "e.db").write_bytes(b"")
    file = os.open(tmp_path / "e.db", os.O_RDONLY)
    assert open_pages(file, None) is None
    os.close(file)


VARINTS = [(b"\x00", 0), (b"\x7f", 127), (b"\x81\x00", 128), (b"\xff" * 9, 2**64 - 1), (b"\x80" * 8 + b"\x05", 5)]


@pytest.mark.parametrize(("data", "number"), VARINTS)
def test_varints(data, number):
    assert varint(data + b"rest", 0) == (number, len(data))
    for end in range(len(data)):
        with pytest.raises(IndexError):
            varint(data[:end], 0)


@pytest.mark.parametrize("data", [b"\x02\x01", b"\x02\x0a", b"\x03\x01\x01\x05", b"\x02\x0f\xff", b"\x05\x01"])
def test_a_record_that_makes_no_sense_is_refused(data):
    with pytest.raises((ValueError, IndexError)):
        record(data)
