"""What may be missing is told with its seconds; a file that is gone until the account of it is deleted."""

import math
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from raw import subscribe
from service import Service

from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag
from appliance.control import ControlClient
from appliance.places import control_path
from appliance.store.damage import Lack, examine
from appliance.store.database import Database
from appliance.store.group import Group
from appliance.store.hubclock import BEFORE_EPOCH, Epoch, HubClock
from appliance.store.missing import CUT_OFF, Missing, Tail, keep, missings
from appliance.store.notes import Notes
from appliance.store.opening import open_ledger

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
    ledger.write(reading(now=1_031.0, at=AT + 31))
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


def tail(*gaps, epochs, opened_at=None, change_ms=None):
    """Look at the end of a file with these gaps, then begin the clock of a start at AT, on boot b.

    change_ms: age of the service when a session last changed.
    """
    clock = HubClock(epochs, boot="b", last_tick=0, quality=lambda: "synced")
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(GAPS)
        connection.execute("CREATE TABLE journal (kind INTEGER, expires_age_ms INTEGER)")
        connection.execute("INSERT INTO journal VALUES (1, ?), (0, 99000000)", (change_ms,))
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


def test_a_change_of_a_session_is_as_good_as_a_reading():
    began = epoch(1_000)
    began.age_ms, began.last_tick = 7_000, began.first_tick
    assert tail(epochs=[began]).missing(None, 10.0).seconds == 1_001
    assert tail(epochs=[began], change_ms=607_000).missing(None, 10.0).seconds == 401
    assert tail(epochs=[began], change_ms=6_000).missing(None, 10.0).seconds == 1_001  # of an earlier run


def test_a_service_that_was_killed_says_so_at_its_next_start_and_one_that_was_stopped_does_not(tmp_path):
    def status():
        return ControlClient(control_path(tmp_path / "own" / "data")).get("/api/status")["store"]["cut"]

    services = [Service(tmp_path / "own")]
    try:
        assert status() is None
        link = services[-1].client("kept", clean=False)
        link.send(subscribe("x"))
        assert link.packet() == b"\x90\x03\x00\x01\x00"  # which is on disk
        os.kill(services[-1].pid, signal.SIGKILL)
        assert link.until_closed() == b""
        services.append(Service(tmp_path / "own"))
        cut = status()
        assert cut["text"].startswith(f"{CUT_OFF}: up to {cut['seconds']} s before ")
        assert cut["seconds"] == math.ceil(cut["at"]) - math.floor(cut["since"])
        assert cut["text"] in services[-1].log.read_text()
        services[-1].close_links()
        services[-1].stop()
        services.append(Service(tmp_path / "own"))
        assert status() is None
    finally:
        for service in services:
            service.close_links()
            service.stop()
