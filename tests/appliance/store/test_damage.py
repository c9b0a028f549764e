"""What is seen at a damaged file, and what its owner is told."""

import sqlite3
import time
from pathlib import Path

import pytest
from storage.corpus import foreign
from storage.home import NAME, build

from appliance.store.breaks import Lost
from appliance.store.damage import (
    ASIDE,
    TOLD,
    Damage,
    MisfitError,
    check,
    damages,
    examine,
    forget_untrue,
    is_damage,
    last_aside,
    lines,
    log_of,
    tell,
)
from appliance.store.database import Database
from appliance.store.harms import CUT, EMPTY, GONE, LOG_BROKEN, OVERWRITTEN
from appliance.store.notes import Notes
from appliance.store.suspicion import suspect

NOTES = Notes(page_size=1024, roots={}, steps=[], is_open=True)


@pytest.fixture
def path(tmp_path):
    build(tmp_path / "home", topics=20, rounds=2)
    return tmp_path / "home" / NAME


def damage(path, **fields):
    said = {"at": 1_795_000_000.0, "why": "cut", "aside": f"{path}.corrupt-1", "kept": 5, "lost": 0, "lost_pages": 0,
            "is_finished": True, "most": {}, "roots": {}}  # fmt: skip
    return Damage(**{**said, **fields})


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


def test_the_owner_is_told_for_as_long_as_the_file_is_there(tmp_path):
    path = tmp_path / NAME
    one = damage(path, lost=2, lost_pages=1, is_finished=False)
    tell(one)
    assert damages(path) == []
    assert str(last_aside(path)) == one.aside
    (tmp_path / f"{NAME}.corrupt-1").touch()
    assert damages(path) == [one]
    assert one.line() == (
        "the database was damaged (cut): on 2026-11-18 11:06 UTC 5 records were kept, 2 were lost and some could not"
        f" be read, older history is still being copied; the old file is {one.aside} (delete it to end this message)"
    )
    (tmp_path / f"{NAME}.corrupt-1").unlink()
    forget_untrue(path)
    assert last_aside(path) is None
    assert list(tmp_path.iterdir()) == []
    assert time.gmtime(one.at).tm_year == 2026


def test_of_what_nothing_is_kept_no_more_is_said():
    nothing = Damage(
        at=0, why="zeros", aside="a", kept=0, lost=0, lost_pages=3, is_finished=True, most={}, roots={}
    ).line()
    assert nothing.startswith("the database was damaged (zeros): on 1970-01-01 00:00 UTC nothing could be saved of it,")


def test_the_line_says_what_a_person_wants(tmp_path):
    path = tmp_path / NAME
    one = damage(path, kept=1, lost=1, since=1_795_000_000.0, until=1_795_000_060.0, topics=["a/b"])
    assert (
        "1 record was kept, 1 was lost and readings of a/b between 2026-11-18 11:06:40 UTC and 2026-11-18 11:07:40 UTC"
        " may be missing; the old file is"
    ) in one.line()
    more = one.with_lost(Lost(1_794_999_999.0, 1_795_000_001.0, ["c/d"]))
    assert (more.since, more.until, more.topics) == (1_794_999_999.0, 1_795_000_060.0, ["a/b", "c/d"])
    assert "waits for 7 MB of free space" in damage(path, is_finished=False).line(7)


def test_damage_that_a_reader_met_is_told_until_it_is_salvaged(path):
    suspect(path)
    assert lines(path) == [
        f"{path} is damaged: what is whole of it is saved within a minute, or when the service is restarted"
    ]


def test_with_the_old_file_its_log_and_its_account_go(tmp_path):
    aside = tmp_path / f"{NAME}{ASIDE}1"
    for left in (log_of(aside), Path(f"{aside}{TOLD}")):
        left.touch()
    forget_untrue(tmp_path / NAME)
    assert list(tmp_path.iterdir()) == []


def test_a_name_in_the_lock_file_without_its_database(tmp_path):
    notes = Notes(page_size=1024, roots={}, steps=[], is_open=False)
    assert "is gone, a new history begins" in examine(tmp_path / NAME, notes).lack.text
