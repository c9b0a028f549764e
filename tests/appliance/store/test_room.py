"""Room: the reserve file, and what counts as a full disk."""

import errno
import os
import sqlite3
from types import SimpleNamespace

import pytest

from appliance.store import room
from appliance.store.room import MB, RESERVE, Room, is_full


def disk(monkeypatch, *, free_mb, size_mb=100):
    """The disk that the room sees: blocks of one byte, none of them root's own."""
    found = SimpleNamespace(f_frsize=1, f_blocks=size_mb * MB, f_bfree=free_mb * MB, f_bavail=free_mb * MB)
    monkeypatch.setattr(room.os, "statvfs", lambda _: found)


def test_the_reserve_takes_real_room_and_gives_it_back(tmp_path):
    kept = Room(tmp_path, 1)
    kept.keep()
    kept.keep()
    stat = (tmp_path / RESERVE).stat()
    assert stat.st_size == MB
    assert stat.st_blocks * 512 >= MB
    assert stat.st_mode & 0o777 == 0o600
    assert kept.give_up()
    assert not kept.give_up()
    assert list(tmp_path.iterdir()) == []


def test_a_reserve_of_another_size_is_made_anew(tmp_path):
    Room(tmp_path, 2).keep()
    Room(tmp_path, 1).keep()
    assert (tmp_path / RESERVE).stat().st_size == MB
    Room(tmp_path, 0).keep()
    assert list(tmp_path.iterdir()) == []


def test_it_is_not_set_aside_on_a_disk_that_is_nearly_full(tmp_path, monkeypatch):
    disk(monkeypatch, free_mb=1)
    Room(tmp_path, 1).keep()
    assert list(tmp_path.iterdir()) == []


def test_a_reserve_that_finds_no_room_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(room.os, "posix_fallocate", full)
    Room(tmp_path, 1).keep()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("free_mb", "reserve_mb", "tight"), [(11, 0, False), (10, 0, True), (8, 4, False)])
def test_tight_is_nine_tenths_full_the_reserve_counted_as_free(tmp_path, monkeypatch, free_mb, reserve_mb, tight):
    kept = Room(tmp_path, reserve_mb)
    kept.keep()
    disk(monkeypatch, free_mb=free_mb)
    assert kept.is_tight() is tight


def test_a_disk_that_cannot_be_asked_is_not_tight(tmp_path):
    assert not Room(tmp_path / "missing", 1).is_tight()


def failure(code):
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), True),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), True),
        (OSError(errno.EIO, os.strerror(errno.EIO)), False),
        (failure(sqlite3.SQLITE_FULL), True),
        (failure(sqlite3.SQLITE_IOERR_SHMSIZE), True),
        (failure(sqlite3.SQLITE_IOERR_FSYNC), False),
        (failure(sqlite3.SQLITE_READONLY), False),
        (ValueError("full"), False),
    ],
)
def test_what_says_that_there_is_no_room(error, full):
    assert is_full(error) is full


def test_a_reserve_that_does_not_fit_is_told_once(tmp_path, monkeypatch, caplog):
    room = Room(tmp_path, 1)
    monkeypatch.setattr(room, "free_bytes", lambda: 2 * MB - 1)
    room.keep()
    room.keep()
    assert caplog.messages == [room.lack()]
    assert "set store.reserve_mb lower" in room.lack()
    monkeypatch.setattr(room, "free_bytes", lambda: 2 * MB)
    room.keep()
    assert room.lack() is None
    assert Room(tmp_path / "none", 0).lack() is None
