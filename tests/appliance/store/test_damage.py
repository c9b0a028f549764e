"""What is seen at a damaged file."""

import sqlite3

import pytest
from storage.corpus import foreign
from storage.home import NAME, build

from appliance.store.damage import MisfitError, check, examine, is_damage
from appliance.store.database import Database
from appliance.store.harms import CUT, EMPTY, GONE, LOG_BROKEN, OVERWRITTEN
from appliance.store.notes import Notes

NOTES = Notes(page_size=1024, roots={}, steps=[], is_open=True)


@pytest.fixture
def path(tmp_path):
    build(tmp_path / "home", topics=20, rounds=2)
    return tmp_path / "home" / NAME


def test_a_crash_is_no_damage(path):
    seen = examine(path, NOTES)
    assert seen == (True, None, None, None)
    assert check(path, (), {}) is None


NEW = [("PRAGMA application_id",), ("PRAGMA application_id", "PRAGMA journal_mode")]


@pytest.mark.parametrize("done", NEW, ids=len)
def test_a_first_start_that_was_cut_short_is_no_damage(tmp_path, done):
    path = tmp_path / "appliance.db"
    values = {"PRAGMA application_id": int.from_bytes(b"HSA1", "big"), "PRAGMA journal_mode": "WAL"}
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in done:
        connection.execute(f"{statement} = {values[statement]}")
    connection.close()
    seen = examine(path, None)
    assert seen.is_ours
    assert seen.why is None


def test_a_clean_stop_is_no_damage_and_checking_changes_nothing(path):
    Database.open(path).close()
    before = path.read_bytes()
    assert examine(path, NOTES).lack.text.endswith("-wal is gone")  # they say that it is open
    assert examine(path, None) == (True, None, None, None)
    assert check(path, (), {}) is None
    assert path.read_bytes() == before


WHYS = [
    (lambda path: path.write_bytes(b""), EMPTY),
    (lambda path: path.unlink(), GONE),
    (lambda path: path.write_bytes(b"?" + path.read_bytes()[1:]), OVERWRITTEN),
    (lambda path: path.with_name(f"{NAME}-wal").write_bytes(b"?" * 60_000), LOG_BROKEN),
]


@pytest.mark.parametrize(("spoil", "why"), WHYS)
def test_what_is_seen(path, spoil, why):
    spoil(path)
    assert examine(path, NOTES).why == why


def test_a_header_and_a_size_that_cannot_be(path):
    Database.open(path).close()
    data = path.read_bytes()
    for at in (16, 18, 20, 45, 58, 70):
        path.write_bytes(data[:at] + bytes([data[at] ^ 8]) + data[at + 1 :])
        assert examine(path, None).why == OVERWRITTEN
    path.write_bytes(data[:-700])
    assert examine(path, None).why == CUT


@pytest.mark.parametrize("content", [b"shopping list\n" * 99, foreign()])
def test_a_strangers_file_is_not_ours(tmp_path, content):
    path = tmp_path / NAME
    path.write_bytes(content)
    assert not examine(path, None).is_ours
    assert examine(path, NOTES).is_ours is (content[:4] == b"shop")  # what is a database of others stays theirs


def test_of_a_file_of_ours_one_page_is_enough(path):
    Database.open(path).close()
    last = path.read_bytes()[-40 * 1024 :]
    path.write_bytes(b"\xff" * 300 * 1024 + last)
    assert examine(path, NOTES).why == OVERWRITTEN
    path.write_bytes(b"\xff" * 300 * 1024)
    assert not examine(path, None).is_ours
    assert examine(path, NOTES).why == OVERWRITTEN  # the lock file says whose place it is


def test_nothing_is_nothing(tmp_path):
    assert examine(tmp_path / NAME, None) == (False, None, None, None)
    (tmp_path / NAME).touch()
    is_ours, why, _, remark = examine(tmp_path / NAME, None)
    assert (is_ours, why) == (False, None)
    assert remark.endswith("was there and empty: a new history begins in it")
    assert examine(tmp_path / NAME, NOTES).why == EMPTY


def test_a_torn_end_is_told(path):
    log = path.with_name(f"{NAME}-wal")
    log.write_bytes(log.read_bytes()[:-100])
    seen = examine(path, NOTES)
    assert seen.why is None
    assert "torn, as by a power cut" in seen.lack.text
    assert not seen.lack.is_kept


def test_a_table_that_makes_no_sense_is_found(path):
    Database.open(path).close()
    data = bytearray(path.read_bytes())
    for start in range(4096, len(data), 1024):
        data[start + 3 : start + 5] = b"\xff\xff"
    path.write_bytes(data)
    assert check(path, (), {})


ERRORS = [
    (MisfitError("x"), True),
    (sqlite3.OperationalError("Could not decode to UTF-8 column 'topic'"), True),
    (sqlite3.OperationalError("no such column: quantity"), True),
    (sqlite3.OperationalError("disk I/O error"), False),
    (sqlite3.DatabaseError("whatever"), False),
]


@pytest.mark.parametrize(("error", "expected"), ERRORS)
def test_which_errors_speak_of_damage(error, expected):
    assert is_damage(error) is expected


def test_a_name_in_the_lock_file_without_its_database(tmp_path):
    notes = Notes(page_size=1024, roots={}, steps=[], is_open=False)
    assert "is gone, a new history begins" in examine(tmp_path / NAME, notes).lack.text
