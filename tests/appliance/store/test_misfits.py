"""What fits of a group that cannot be written whole."""

import sqlite3
from types import SimpleNamespace

import pytest
from ledgers import Disk, disk_error

from appliance.broker.message import Message
from appliance.broker.records import Left
from appliance.store.group import Group
from appliance.store.misfits import MISUSE, write_what_fits
from appliance.store.opened import Opened
from appliance.store.written import WriterStats

RUN = 7


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path / "appliance.db")


@pytest.fixture
def opened(disk):
    opened = Opened(disk.path, disk.open)
    yield opened
    opened.let_go()


def group(*payloads, records=()):
    """A group of messages; what is no bytes cannot be written (nor, once compiled, be the payload of a Message)."""
    messages = [
        Message("t", payload, 1) if isinstance(payload, bytes) else SimpleNamespace(qos=1, payload=payload)
        for payload in payloads
    ]
    return Group(5, [(message, 2, 1.0, None) for message in messages], list(records), run=RUN)


def test_all_but_what_is_faulty_is_written_in_its_order(opened, disk, caplog):
    stats = WriterStats()
    assert write_what_fits(opened, group(b"1", b"2", ["3"], b"4", b"5", records=[Left(6)]), stats)
    assert disk.rows() == [b"1", b"2", b"4", b"5", repr(Left(6))]
    assert stats.misfits == 1
    assert [record.getMessage()[:8] for record in caplog.records if record.levelname == "ERROR"] == ["left out"]
    assert opened.open().last_stamp == (RUN, 5)


def test_nobody_is_owed_anything_where_all_of_it_fits_in_the_end(opened, disk):
    disk.faults["write"] = [ValueError("a bug"), None, ValueError("a bug"), None]
    stats = WriterStats()
    assert not write_what_fits(opened, group(b"1", b"2", b"3"), stats)
    assert disk.rows() == [b"1", b"2", b"3"]
    assert stats.misfits == 0


def test_nobody_is_owed_what_needs_no_acknowledgement(opened, disk):
    bad = group(b"1")
    bad.entries.append((SimpleNamespace(qos=0, payload=["no payload"]), 2, 1.0, None))
    stats = WriterStats()
    assert not write_what_fits(opened, bad, stats)
    assert disk.rows() == [b"1"]
    assert stats.misfits == 1


@pytest.mark.parametrize("kind", MISUSE)
def test_a_wrong_statement_is_no_failing_disk(opened, disk, kind):
    opened.open()
    opened.suspect(sqlite3.IntegrityError("it was suspected before"))
    disk.faults["write"] = [kind("wrong")]
    assert not write_what_fits(opened, group(b"1", b"2"), WriterStats())
    assert disk.rows() == [b"1", b"2"]


def test_a_broken_rule_in_a_file_that_was_never_suspected_is_trouble(opened, disk):
    disk.faults["write"] = [sqlite3.IntegrityError("damaged")]
    with pytest.raises(sqlite3.IntegrityError):
        write_what_fits(opened, group(b"1", b"2"), WriterStats())
    assert disk.suspected == ["damaged"]


@pytest.mark.parametrize("call", ["open", "settle", "write"])
def test_a_disk_that_fails_is_trouble(opened, disk, call):
    disk.faults[call] = [disk_error()]
    with pytest.raises(sqlite3.OperationalError):
        write_what_fits(opened, group(b"1", b"2"), WriterStats())


def test_what_was_in_the_log_is_settled_before_more_is_written(opened, disk):
    write_what_fits(opened, group(["1"]), WriterStats())
    assert opened.ledger is None  # it believed to have written something
    assert disk.calls == ["open", "settle", "write"]
