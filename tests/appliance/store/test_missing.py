"""What may be missing is told with its seconds; a file that is gone until the account of it is deleted."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag
from appliance.store.damage import Lack, examine
from appliance.store.database import Database
from appliance.store.group import Group
from appliance.store.hubclock import BEFORE_EPOCH, Epoch, HubClock
from appliance.store.missing import CUT_OFF, Missing, Tail, keep, missings
from appliance.store.notes import Notes
from appliance.store.sqlite_ledger import open_ledger

AT = 1_900_000_000.0
GAPS = "CREATE TABLE gaps (cause TEXT, from_tick INTEGER, to_tick INTEGER)"


def reading(*, now, at):
    """Give a group with one reading."""
    message = Message(topic="home/kitchen/temperature", payload=b"21.4", qos=1)
    return Group(1, run=1, now=now, at=at, entries=[(message, RouteFlag.RECORD, now, None)])


def opened(path, *, at=AT, now=1_000.0, boot="a", quality="synced"):
    """Open the ledger of one start of the service; gives it, and what is told."""
    told = []
    ledger = open_ledger(
        path,
        site="home",
        max_series=9,
        on_missing=told.append,
        boot=boot,
        quality=lambda: quality,
        clock=lambda: now,
        wall_clock=lambda: at,
    )
    return ledger, told


def test_a_start_after_a_cut_tells_how_many_seconds_may_be_missing(tmp_path):
    path = tmp_path / "appliance.db"
    ledger, told = opened(path)
    assert told == []  # the first start of all
    ledger.write(reading(now=1_030.0, at=AT + 30))
    ledger.close()  # without a word that it stops: for the history that is a cut
    ledger, (missing,) = opened(path, at=AT + 75.5, now=5.0, boot="b")
    assert (missing.seconds, missing.is_seen, missing.place) == (46, False, "")
    assert missing.line() == (
        f"{CUT_OFF}: up to 46 s before 2030-03-17 17:47:55 UTC may be missing,"
        " if the disk lies about what it has flushed"
    )
    assert missing.told() == {"since": AT + 30, "at": AT + 75.5, "seconds": 46, "text": missing.line()}
    ledger.write(reading(now=6.0, at=AT + 76))
    ledger.finish()
    ledger.close()
    ledger, told = opened(path, at=AT + 90, now=5.0, boot="c")
    assert told == []
    ledger.close()


def test_a_log_that_is_gone_is_told_until_its_account_is_deleted(tmp_path):
    path = tmp_path / "appliance.db"
    ledger, _ = opened(path)
    ledger.write(reading(now=1_030.0, at=AT + 30))
    ledger.settle()
    log = path.with_name("appliance.db-wal")
    content = path.read_bytes(), Path(f"{path}.lock").read_bytes()
    ledger.close()
    assert not log.exists()
    path.write_bytes(content[0])
    Path(f"{path}.lock").write_bytes(content[1])  # which says that it is open
    ledger, (missing,) = opened(path, at=AT + 90, now=5.0, boot="b")
    ledger.close()
    assert missing.seconds == 60
    assert missing.line().startswith(
        f"{log} is gone: up to 60 s before 2030-03-17 17:48:10 UTC may be missing (delete "
    )
    assert missings(path) == [missing]
    Path(missing.place).unlink()
    assert missings(path) == []


def test_a_database_that_is_gone_is_told(tmp_path):
    path = tmp_path / "appliance.db"
    Database.open(path).close()
    path.unlink()
    notes = Notes(page_size=1024, roots={}, steps=[], is_open=False)
    assert examine(path, None).lack is None
    assert examine(path, notes).lack == Lack(f"{path} is gone, a new history begins", is_kept=True)
    ledger, (missing,) = opened(path)
    ledger.close()
    assert "is gone, a new history begins: what was written before 2030-03-17" in missing.line()
    assert "nobody can tell how much (delete " in missing.line()
    ledger, _ = opened(path)
    ledger.close()
    assert len(missings(path)) == 1


def test_only_the_newest_accounts_are_kept(tmp_path):
    path = tmp_path / "appliance.db"
    for at in range(5):
        keep(path, Missing(at=AT + at, why="again", since=None))
    assert [one.at for one in missings(path)] == [AT + 2, AT + 3, AT + 4]
    Path(missings(path)[0].place).write_text("{")
    assert len(missings(path)) == 2


def tail(*gaps, epochs, opened_at=None):
    """Look at the end of a file with these gaps, then begin the clock of a start at AT, on boot b."""
    clock = HubClock(epochs, boot="b", last_tick=0, quality=lambda: "synced")
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(GAPS)
        connection.executemany("INSERT INTO gaps VALUES (?, ?, NULL)", gaps)
        found = Tail(connection, clock, opened_at)
    clock.begin(10.0, AT)
    return found


def epoch(last_s, *, boot="a", clock="synced", epoch_id=2):
    """One that ran up to so many seconds before AT."""
    ends = int(AT - last_s) * 16_000
    return Epoch(epoch_id, boot, ends - 16_000, ends, 0, 0, clock, 0)


NEW = Epoch(BEFORE_EPOCH, "before", 0, 0, 0, 0, "synced", 0)
CASES = [  # gaps that are open, the last epoch, when it was left open -> whether it was a cut, seconds
    ([], [], None, False, None),
    ([], [NEW], None, False, None),
    ([], [NEW], AT - 9, True, None),  # somebody was here, and nothing of it is left
    ([], [epoch(20)], None, True, 20),
    ([("agent offline", 5)], [epoch(20)], None, True, 20),
    ([("broker down", epoch(20).last_tick)], [epoch(20)], None, False, None),
    ([("broker down", epoch(20).last_tick)], [epoch(20)], AT - 30, False, None),  # a reader kept the log
    ([("broker down", epoch(20).last_tick)], [epoch(20)], AT - 10, True, 20),  # it ran once more after that stop
    ([("lost to damage", epoch(20).last_tick)], [epoch(20)], AT - 10, False, None),  # which is told as such
    ([], [epoch(20, clock="unsynced")], None, True, None),  # nobody knows for how long there was no power
    ([], [epoch(-20)], None, True, None),  # somebody has set the clock back
]


@pytest.mark.parametrize(("gaps", "epochs", "opened_at", "is_cut", "seconds"), CASES)
def test_what_is_known_of_the_end(gaps, epochs, opened_at, is_cut, seconds):
    found = tail(*gaps, epochs=epochs, opened_at=opened_at)
    assert found.is_cut is is_cut
    missing = found.missing(None, 10.0)
    assert (missing is not None) is is_cut
    assert seconds == (None if missing is None else missing.seconds)
    seen = found.missing("the log is torn", 10.0)  # which is told in any case
    assert (seen.why, seen.is_seen) == ("the log is torn", True)
