"""What the writer has open of its file."""

import sqlite3

import pytest
from ledgers import Disk, disk_error

from appliance.store.database import StoreError
from appliance.store.opened import Opened


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path / "appliance.db")


@pytest.fixture
def opened(disk):
    opened = Opened(disk.path, disk.open)
    yield opened
    opened.let_go()


def test_it_is_open_until_it_is_let_go(opened):
    assert opened.ledger is None
    ledger = opened.open()
    assert opened.ledger is ledger
    opened.let_go()
    opened.let_go()
    assert opened.ledger is None
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        ledger.settle()


def test_what_cannot_be_opened_is_not_open(opened, disk):
    disk.faults["open"] = [disk_error()]
    with pytest.raises(sqlite3.OperationalError):
        opened.open()
    assert opened.ledger is None


def test_a_ledger_that_cannot_be_closed_in_order_is_let_go(opened):
    ledger = opened.open()
    ledger.close()

    def close():
        raise disk_error()

    ledger.close = close
    opened.let_go()
    assert opened.ledger is None


class TestItsPlace:
    def test_the_file_is_missed_where_it_was_moved_or_replaced(self, opened, disk):
        opened.open()
        opened.check_place()  # nobody looked yet where it is
        opened.take_place()
        opened.check_place()
        elsewhere = disk.path.rename(disk.path.with_name("elsewhere.db"))
        with pytest.raises(StoreError, match=f"{disk.path} was moved or deleted while it was in use: put it back, or"):
            opened.check_place()
        disk.path.touch()
        with pytest.raises(StoreError, match="was moved or deleted"):
            opened.check_place()
        elsewhere.rename(disk.path)
        opened.check_place()

    def test_the_new_file_counts_once_its_place_is_taken(self, opened, disk):
        opened.open()
        opened.take_place()
        disk.path.rename(disk.path.with_name("elsewhere.db"))
        disk.path.touch()
        opened.take_place()
        opened.check_place()

    def test_the_log_is_missed_where_it_was_deleted_or_replaced(self, opened, disk):
        log = disk.path.with_name("appliance.db-wal")
        opened.open()
        opened.take_place()
        log.unlink()
        with pytest.raises(StoreError, match=f"{log} was moved or deleted while it was in use: what it held is"):
            opened.check_place()
        assert opened.is_astray
        assert disk.calls[-1] == "settle"  # as long as it is open, it can be read
        log.touch()
        with pytest.raises(StoreError, match="was moved or deleted"):
            opened.check_place()

    def test_a_log_may_come_later(self, opened, disk):
        opened.open()
        log = disk.path.with_name("appliance.db-wal")
        elsewhere = log.rename(disk.path.with_name("elsewhere"))
        opened.take_place()
        elsewhere.rename(log)
        opened.check_place()
        opened.check_place()
        assert not opened.is_astray

    def test_what_is_opened_anew_and_is_another_file_may_lack_something(self, opened, disk):
        opened.open()
        opened.take_place()
        opened.let_go()
        opened.open()
        assert not opened.is_astray
        opened.let_go()
        disk.path.rename(disk.path.with_name("aside.db"))
        opened.open()
        assert opened.is_astray


class TestSuspicion:
    def test_a_broken_rule_is_a_reason_once(self, opened, disk):
        opened.open()
        broken = sqlite3.IntegrityError("UNIQUE constraint failed: series.topic")
        assert opened.suspect(broken)
        assert not opened.suspect(broken)
        assert disk.suspected == ["UNIQUE constraint failed: series.topic"]

    def test_nothing_else_is(self, opened, disk):
        assert not opened.suspect(sqlite3.IntegrityError("nothing is open"))
        opened.open()
        assert not opened.suspect(sqlite3.ProgrammingError("a bug"))
        assert not opened.suspect(ValueError("a bug"))
        assert disk.suspected == []
        assert opened.suspect(sqlite3.IntegrityError("damaged"))
