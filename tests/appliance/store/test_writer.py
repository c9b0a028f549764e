"""The writing thread: every group becomes durable once and in order, and no failing disk ends it."""

import errno
import os
import sqlite3
import threading
import time
from types import SimpleNamespace

import pytest
from ledgers import Disk, disk_error

from appliance.broker.image import Image
from appliance.broker.message import Message
from appliance.broker.records import Left
from appliance.store.database import StoreError
from appliance.store.group import Group
from appliance.store.room import MB, RESERVE, Room
from appliance.store.stall import STUCK_S
from appliance.store.wear import Wear
from appliance.store.writer import MERGED_BYTES, TRIMS, Loaded, Writer

RUN = 7


def group(number, *payloads, records=(), size_bytes=100):
    entries = [(Message("t", payload, 1), 2, 1.0, None) for payload in payloads]
    return Group(number, entries, list(records), size_bytes=size_bytes, run=RUN, now=float(number), at=1e9 + number)


def until(holds, what):
    """Wait for something that the thread brings about."""
    ends = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < ends, what
        time.sleep(0.002)


class Loop:
    """What the loop is told, in order."""

    def __init__(self):
        self.told = []

    def committed(self, number):
        self.told.append(number)

    def failed(self, trouble):
        self.told.append(trouble)

    def recovered(self):
        self.told.append("recovered")


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path / "appliance.db")


@pytest.fixture
def loop():
    return Loop()


@pytest.fixture
def make_writer(disk, loop, tmp_path):
    writers = []

    def make(reserve_mb=0, **options):
        writer = Writer(
            disk.path,
            disk.open,
            run=RUN,
            room=Room(tmp_path, reserve_mb),
            wear=Wear(200, lambda: None, lambda: None),
            retry_s=0.01,
            **{"on_committed": loop.committed, "on_failure": loop.failed, "on_recovery": loop.recovered, **options},
        )
        writers.append(writer)
        return writer

    yield make
    disk.gate.set()
    for writer in writers:
        writer.close()


@pytest.fixture
def writer(make_writer):
    writer = make_writer()
    writer.start(0.0)
    return writer


def test_start_gives_what_is_in_the_file(make_writer):
    loaded = make_writer().start(0.0)
    assert (loaded.next_number, loaded.next_key) == (40, 9)
    assert loaded.image.sessions == {}


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        (StoreError("move it away"), StoreError, "move it away"),
        (disk_error(sqlite3.SQLITE_FULL), StoreError, "is full: free some space"),
        (OSError(errno.EACCES, "Permission denied"), StoreError, "cannot be used"),
        (RuntimeError("a bug"), RuntimeError, "a bug"),
    ],
)
@pytest.mark.parametrize("call", ["open", "load"])
def test_start_says_in_the_callers_thread_why_it_cannot(make_writer, disk, call, fault, kind, text):
    disk.faults[call] = [fault]
    with pytest.raises(kind, match=text):
        make_writer().start(0.0)


def test_close_writes_all_that_was_handed_over(writer, disk, loop):
    for number in range(1, 101):
        writer.submit(group(number, b"%d" % number))
    writer.close()
    writer.close()
    assert disk.rows() == [b"%d" % n for n in range(1, 101)]
    assert loop.told == sorted(loop.told)
    assert loop.told[-1] == 100
    assert writer.stats.groups == 100
    assert not disk.path.with_name("appliance.db-wal").exists()


def test_groups_that_wait_share_a_transaction(writer, disk, loop):
    disk.gate.clear()
    writer.submit(group(1, b"1"))
    until(lambda: not disk.gate.is_set() and "step" in disk.calls, "the first step")
    time.sleep(0.02)  # it has the first group now, or takes it with the others: both are right
    for number in range(2, 6):
        writer.submit(group(number, b"%d" % number, records=[Left(number)]))
    disk.gate.set()
    writer.close()
    assert [row for row in disk.rows() if isinstance(row, bytes)] == [b"1", b"2", b"3", b"4", b"5"]
    assert loop.told[-1] == 5
    assert writer.stats.commits <= 2
    assert writer.stats.groups == 5


class TestAstray:
    """The file holds something else than what counts as durable."""

    @pytest.fixture
    def asked(self):
        return []

    @pytest.fixture
    def writer(self, make_writer, asked):
        writer = make_writer(on_astray=asked.append)
        writer.start(0.0)
        return writer

    def test_after_a_salvage_nothing_is_written_before_it_is_said_what_is_missing(self, writer, disk, loop, asked):
        writer.submit(group(1, b"1"))
        until(lambda: loop.told == [1], "the first group")
        disk.path.rename(disk.path.with_name("aside"))
        disk.path.touch()  # what a salvage leaves
        writer.submit(group(2, b"2"))
        until(lambda: asked, "the question")
        time.sleep(0.02)
        assert disk.rows() == []
        for number in (3, 4):
            writer.submit(group(number, b"%d" % number, size_bytes=MERGED_BYTES))
        writer.amended(4)
        until(lambda: loop.told[-1] == "recovered", "the recovery")
        assert loop.told[2:] == [4, "recovered"]  # in one transaction, however large
        assert disk.rows() == [b"2", b"3", b"4"]
        assert len(asked) == 1
        assert isinstance(asked[0], Image)

    def test_a_log_that_was_deleted_is_noticed_with_the_next_group(self, writer, disk, loop, asked):
        writer.submit(group(1, b"1"))
        until(lambda: loop.told == [1], "the first group")
        disk.path.with_name("appliance.db-wal").unlink()
        writer.submit(group(2, b"2"))
        until(lambda: asked, "the question")
        writer.amended(2)
        until(lambda: loop.told[-1] == "recovered", "the recovery")
        assert disk.rows() == [b"1", b"2"]

    def test_the_loop_may_ask_what_is_in_the_file(self, writer, disk, loop, asked):
        disk.faults["load"] = [disk_error()]
        writer.compare()
        until(lambda: asked, "the question")
        writer.submit(group(1, b"1"))
        writer.amended(1)
        until(lambda: 1 in loop.told, "the group")
        assert disk.rows() == [b"1"]
        assert len(asked) == 1

    def test_it_is_asked_before_it_closes(self, writer, asked):
        writer.compare()
        closing = threading.Thread(target=writer.close)
        closing.start()
        until(lambda: asked, "the question")
        writer.amended(0)
        closing.join()


def test_what_is_merged_is_bounded(writer, disk):
    disk.gate.clear()
    for number in range(1, 8):
        writer.submit(group(number, b"%d" % number, size_bytes=MERGED_BYTES // 2))
    disk.gate.set()
    writer.close()
    assert disk.rows() == [b"%d" % n for n in range(1, 8)]
    assert writer.stats.commits >= 4


class TestSteps:
    def test_what_may_wait_is_done_while_no_group_waits(self, make_writer, disk):
        disk.steps = 5
        make_writer().start(0.0)
        until(lambda: disk.steps <= 0, "five steps")

    def test_with_nothing_to_do_it_asks_once_and_sleeps(self, make_writer, disk):
        make_writer().start(0.0)
        until(lambda: "step" in disk.calls, "the first step")
        calls = len(disk.calls)
        time.sleep(0.05)
        assert len(disk.calls) == calls

    def test_a_group_goes_first(self, make_writer, disk, loop):
        disk.steps = 10**9
        writer = make_writer()
        writer.start(0.0)
        for number in range(1, 20):
            writer.submit(group(number, b"x"))
            until(lambda number=number: loop.told and loop.told[-1] == number, "the commit")

    def test_it_rests_four_times_as_long_as_it_works(self, make_writer, disk):
        disk.steps = 10**9
        moments = iter([step / 2 for step in range(10**6)])  # every look at the clock is half a second later
        writer = make_writer(clock=lambda: next(moments))
        writer._step(writer._opened.open())
        assert writer._next_step == 0.5 + 4 * 0.5
        writer._opened.let_go()

    def test_a_tight_disk_is_told_and_makes_room_first(self, make_writer, disk, monkeypatch):
        monkeypatch.setattr(Room, "is_tight", lambda _: True)
        disk.trims, disk.steps = 3, 1
        make_writer().start(0.0)
        until(lambda: "step" in disk.calls, "a step")
        assert disk.calls.count("trim") == 3
        assert disk.tight == [True]

    @pytest.mark.parametrize("fault", [disk_error(), RuntimeError("a bug")])
    def test_one_that_fails_costs_the_connection_and_no_acknowledgement(self, make_writer, disk, loop, fault, caplog):
        disk.faults["step"] = [fault]
        writer = make_writer()
        writer.start(0.0)
        until(lambda: disk.calls.count("settle") == 1, "the file opened again")
        writer.submit(group(1, b"1"))
        writer.close()
        assert loop.told == [1]
        assert disk.calls.count("step") == 1  # and not again for a while
        assert caplog.text


class TestFailure:
    def test_one_refused_commit_is_told_and_written_on_a_new_connection(self, writer, disk, loop):
        disk.faults["write"] = [disk_error()]
        writer.submit(group(1, b"1"))
        until(lambda: "recovered" in loop.told, "the recovery")
        trouble, *rest = loop.told
        assert "check its free space, then the disk or card itself" in trouble
        assert str(disk.path) in trouble
        assert rest == [1, "recovered"]
        calls = [call for call in disk.calls if call not in {"step", "load"}]
        assert calls == ["open", "write", "open", "settle", "write", "written"]
        assert writer.trouble is None
        writer.submit(group(2, b"2"))
        writer.close()
        assert disk.rows() == [b"1", b"2"]

    def test_a_commit_that_failed_and_is_in_all_the_same_is_not_repeated(self, writer, disk, loop):
        disk.faults["written"] = [disk_error()]
        writer.submit(group(1, b"1"))
        until(lambda: "recovered" in loop.told, "the recovery")
        assert loop.told[1:] == [1, "recovered"]
        writer.submit(group(2, b"2"))
        writer.close()
        assert disk.rows() == [b"1", b"2"]
        assert disk.calls.count("write") == 2

    def test_it_counts_as_durable_only_once_the_log_is_moved(self, writer, disk, loop):
        disk.faults = {"written": [disk_error()], "settle": [disk_error(), disk_error()]}
        writer.submit(group(1, b"1"))
        until(lambda: "recovered" in loop.told, "the recovery")
        assert loop.told[1:] == [1, "recovered"]
        assert disk.calls.count("settle") == 3
        writer.close()
        assert disk.rows() == [b"1"]

    def test_the_stamp_of_an_earlier_run_says_nothing(self, make_writer, disk):
        connection = sqlite3.connect(disk.path)
        connection.execute("CREATE TABLE stamp (id INTEGER PRIMARY KEY, run, number)")
        connection.execute(f"INSERT INTO stamp VALUES (1, {RUN + 1}, 99)")
        connection.commit()
        connection.close()
        disk.faults["write"] = [disk_error()]
        writer = make_writer()
        writer.start(0.0)
        writer.submit(group(1, b"1"))
        writer.close()
        assert disk.rows() == [b"1"]

    def test_a_disk_that_stays_broken_is_told_once_and_tried_again(self, writer, disk, loop):
        disk.faults["write"] = [disk_error(sqlite3.SQLITE_READONLY, "attempt to write a readonly database")]
        disk.sticky.add("write")
        for number in range(1, 4):
            writer.submit(group(number, b"%d" % number))
        until(lambda: disk.calls.count("write") > 4, "several tries")
        assert loop.told == [writer.trouble]
        assert "mount its disk writable" in writer.trouble
        del disk.faults["write"]
        until(lambda: "recovered" in loop.told, "the recovery")
        writer.close()
        assert disk.rows() == [b"1", b"2", b"3"]
        assert loop.told[1:] in ([3, "recovered"], [1, "recovered", 3])
        assert writer.stats.failures > 3

    def test_a_file_system_that_is_gone_is_waited_for(self, writer, disk, loop):
        disk.faults = {
            "write": [disk_error()],
            "open": [StoreError("mount the card again"), OSError(errno.EIO, os.strerror(errno.EIO)), ValueError("odd")],
        }
        writer.submit(group(1, b"1"))
        until(lambda: "recovered" in loop.told, "the recovery")
        writer.close()
        assert disk.rows() == [b"1"]

    def test_close_gives_up_after_one_more_try_and_counts(self, writer, disk, loop, caplog):
        disk.faults["write"] = [disk_error(sqlite3.SQLITE_FULL)]
        disk.sticky.add("write")
        writer.submit(group(1, b"1", b"2"))
        writer.submit(group(2, b"3", records=[Left(1)]))
        until(lambda: loop.told, "the refusal")
        writer.close()
        assert writer.stats.given_up == 4
        assert "4 messages and changes were not written: the disk under" in caplog.text
        assert disk.rows() == []

    def test_a_listener_that_fails_does_not_end_the_writing(self, make_writer, disk, caplog):
        def deaf(*_):
            raise RuntimeError("event loop is closed")

        disk.faults["write"] = [disk_error()]
        writer = make_writer(on_committed=deaf, on_failure=deaf, on_recovery=deaf)
        writer.start(0.0)
        writer.submit(group(1, b"1"))
        writer.close()
        assert disk.rows() == [b"1"]
        assert "nobody could be told" in caplog.text


class TestFullDisk:
    def test_the_reserve_is_given_up_and_history_trimmed_before_the_next_try(self, make_writer, disk, loop, tmp_path):
        writer = make_writer(reserve_mb=1)
        writer.start(0.0)
        until(lambda: "step" in disk.calls, "the first step")
        assert (tmp_path / RESERVE).stat().st_size == MB
        seen = []

        disk.trims = 3
        real = disk.meet

        def meet(call):
            if call in {"trim", "write"}:
                seen.append((call, (tmp_path / RESERVE).exists()))
            real(call)

        disk.meet = meet
        disk.faults["write"] = [disk_error(sqlite3.SQLITE_FULL, "database or disk is full")]
        writer.submit(group(1, b"1"))
        until(lambda: "recovered" in loop.told, "the recovery")
        assert loop.told[0] == f"the disk under {disk.path} is full: free some space"
        assert seen[:5] == [("write", True), *[("trim", False)] * 3, ("write", False)]
        until((tmp_path / RESERVE).exists, "the reserve set aside again")
        writer.close()
        assert disk.rows() == [b"1"]

    def test_trimming_ends(self, make_writer, disk, loop):
        writer = make_writer()
        writer.start(0.0)
        disk.trims = 10**9
        disk.faults["write"] = [disk_error(sqlite3.SQLITE_FULL)]
        writer.submit(group(1, b"1"))
        until(lambda: 1 in loop.told, "the commit")
        assert disk.calls.count("trim") == TRIMS

    def test_other_trouble_trims_nothing(self, writer, disk, loop):
        disk.faults["write"] = [disk_error(sqlite3.SQLITE_IOERR_WRITE)]
        writer.submit(group(1, b"1"))
        until(lambda: "recovered" in loop.told, "the recovery")
        assert "trim" not in disk.calls


class TestMisfits:
    """A fault of ours in one message must not keep the others from being written."""

    def test_only_what_cannot_be_written_is_left_out(self, writer, disk, loop, caplog):
        bad = group(1, b"1", b"2", b"", b"4", b"5", records=[Left(1)])
        bad.entries[2] = (SimpleNamespace(qos=1, payload=["no payload"]), 2, 1.0, None)
        writer.submit(bad)
        writer.submit(group(2, b"6"))
        until(lambda: 2 in loop.told, "the commits")
        writer.close()
        assert [row for row in disk.rows() if isinstance(row, bytes)] == [b"1", b"2", b"4", b"5", b"6"]
        assert len(disk.rows()) == 6
        assert writer.stats.misfits == 1
        assert "could not be written as it is" in caplog.text
        refusal = f"a message or change does not fit into {disk.path}: the log shows it"
        assert loop.told[0] == refusal  # whoever waits is refused before anything is acknowledged
        assert loop.told[-1] in {2, "recovered"}
        assert loop.told.count("recovered") == 1

    def test_groups_that_shared_the_transaction_count_when_all_of_them_is_in(self, writer, disk, loop):
        class Bad:
            def __repr__(self):
                return "\ud800"  # no text that the file takes

        disk.gate.clear()
        writer.submit(group(1, b"0"))
        until(lambda: disk.taken == 1, "the first group")
        writer.submit(group(2, b"1", records=[Left(1)]))
        writer.submit(group(3, b"2", records=[Left(2)]))
        writer.submit(group(4, b"3", records=[Bad(), Left(3)]))
        # Of the first, twice of all others, of a part of these; then the disk fails once.
        disk.faults["write"] = [None, None, None, None, disk_error(sqlite3.SQLITE_IOERR_WRITE)]
        disk.gate.set()
        until(lambda: 4 in loop.told, "the last group")
        writer.close()
        assert {*disk.rows()} == {b"0", b"1", b"2", b"3", *(repr(Left(n)) for n in (1, 2, 3))}
        assert writer.stats.misfits == 1

    def test_nobody_waits_for_what_needs_no_acknowledgement(self, writer, disk, loop):
        bad = group(1, b"1", b"2")
        bad.entries[1] = (SimpleNamespace(qos=0, payload=["no payload"]), 2, 1.0, None)
        writer.submit(bad)
        until(lambda: 1 in loop.told, "the commit")
        assert loop.told == [1]
        assert writer.stats.misfits == 1
        assert disk.rows() == [b"1"]

    def test_a_broken_rule_is_first_taken_for_damage(self, writer, disk, loop):
        disk.faults["write"] = [sqlite3.IntegrityError("UNIQUE constraint failed: series.topic")]
        writer.submit(group(1, b"1"))
        until(lambda: "recovered" in loop.told, "the recovery")
        assert disk.suspected == ["UNIQUE constraint failed: series.topic"]
        assert disk.calls.count("open") == 2
        assert disk.rows() == [b"1"]
        assert writer.stats.misfits == 0

    def test_one_that_is_broken_in_a_sound_file_too_is_left_out_and_refused(self, writer, disk, loop):
        disk.faults["write"] = [sqlite3.IntegrityError("NOT NULL constraint failed")]
        disk.sticky.add("write")
        writer.submit(group(1, b"1"))
        until(lambda: 1 in loop.told, "the end of it")
        assert len(disk.suspected) == 1  # salvaging for ever would help nobody
        assert writer.stats.misfits == 1
        assert (
            loop.told[loop.told.index(1) - 1] == f"a message or change does not fit into {disk.path}: the log shows it"
        )
        assert disk.rows() == []

    def test_a_wrong_statement_is_no_failing_disk(self, writer, disk, loop):
        disk.faults["write"] = [sqlite3.IntegrityError("NOT NULL constraint failed")]
        writer.submit(group(1, b"1", b"2"))
        until(lambda: 1 in loop.told, "the commit")
        writer.close()
        assert disk.rows() == [b"1", b"2"]
        assert writer.stats.misfits == 0

    def test_a_disk_that_fails_meanwhile_is_trouble(self, writer, disk, loop):
        disk.faults["write"] = [ValueError("a bug"), disk_error()]
        writer.submit(group(1, b"1", b"2"))
        until(lambda: "recovered" in loop.told, "the recovery")
        writer.close()
        assert disk.rows() == [b"1", b"2"]


def test_a_disk_that_does_not_answer_stops_nobody_else(writer, disk, loop):
    """The thread hangs in a flush; handing over goes on at once."""
    disk.gate.clear()
    for number in range(1, 1_001):
        writer.submit(group(number, b"x"))
    assert loop.told == []
    disk.gate.set()
    until(lambda: loop.told and loop.told[-1] == 1_000, "the commits")


def test_what_the_watchdog_asks_for_is_that_a_write_ends_some_time(make_writer, disk, loop):
    """A flush of 5 s is a slow card; a minute is a thread that hangs, for the state of this one is no disk's."""
    now = [1_000.0]
    writer = make_writer(clock=lambda: now[0])
    writer.start(0.0)
    disk.gate.clear()
    writer.submit(group(41, b"a"))
    until(lambda: writer.stall._begun is not None, "the write is under way")
    now[0] += 5.0
    assert not writer.stall.is_stuck()
    now[0] += STUCK_S
    assert writer.stall.is_stuck()
    disk.gate.set()
    until(lambda: loop.told == [41], "it is durable")
    until(lambda: not writer.stall.is_stuck(), "the thread gets on")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_watchdog_hears_of_a_thread_that_an_error_ended(writer, disk, monkeypatch):
    """Nothing would be acknowledged any more, and no ping may say that all is well."""

    def bug(_error):
        raise RuntimeError("a bug in what deals with errors")

    monkeypatch.setattr(writer, "_fail", bug)
    disk.faults["write"] = [disk_error()]
    writer.submit(group(1, b"a"))
    until(writer.stall.is_stuck, "it is found")


def test_no_thread_is_left(make_writer):
    writer = make_writer()
    writer.start(0.0)
    assert [thread.name for thread in threading.enumerate()].count("writer") == 1
    writer.close()
    assert [thread.name for thread in threading.enumerate()].count("writer") == 0


def test_a_start_where_nothing_can_be_written_reads_what_is_there(make_writer, disk, loop):
    disk.faults["open"] = [disk_error(sqlite3.SQLITE_FULL), disk_error(sqlite3.SQLITE_FULL)]
    found = Loaded(Image(), 12, 3)
    writer = make_writer(read=lambda _now: found)
    assert writer.start(0.0) is found
    assert "is full" in loop.told[0]
    until(lambda: "recovered" in loop.told, "nobody was told of the recovery")
    assert writer.trouble is None


def test_a_start_where_nothing_can_be_read_either_says_the_first(make_writer, disk):
    disk.faults["open"] = [disk_error(sqlite3.SQLITE_READONLY)]

    def read(_now):
        raise disk_error(sqlite3.SQLITE_CANTOPEN)

    with pytest.raises(StoreError, match="mount its disk writable"):
        make_writer(read=read).start(0.0)


def test_what_is_damaged_is_no_matter_of_writing(make_writer, disk):
    disk.faults["open"] = [disk_error(sqlite3.SQLITE_CORRUPT)]
    with pytest.raises(StoreError, match="is damaged"):
        make_writer(read=lambda _now: Loaded(Image(), 1, 1)).start(0.0)


def test_a_file_that_is_moved_away_is_missed_and_taken_up_again_where_it_is_put_back(writer, disk, loop):
    writer.submit(group(1, b"a"))
    until(lambda: loop.told == [1], "not written")
    elsewhere = disk.path.with_name("elsewhere.db")
    disk.path.rename(elsewhere)
    writer.submit(group(2, b"b"))
    until(lambda: len(loop.told) > 1, "nobody was told")
    assert "was moved or deleted while it was in use: put it back" in loop.told[1]
    until(lambda: writer.stats.failures > 2, "it does not try again")
    assert not disk.path.exists()
    elsewhere.rename(disk.path)
    until(lambda: 2 in loop.told and "recovered" in loop.told, "not taken up again")
    assert disk.rows() == [b"a", b"b"]


class TestReopening:
    """What is done again when a file is opened anew, and what not."""

    @pytest.fixture
    def writer(self, make_writer, disk):
        disk.reopened = 0

        def reopen():
            disk.reopened += 1
            return disk.open()

        writer = make_writer(reopen_ledger=reopen)
        writer.start(0.0)
        return writer

    @pytest.mark.parametrize(
        ("code", "settles", "reopened"),
        [
            (sqlite3.SQLITE_FULL, 0, 1),
            (sqlite3.SQLITE_READONLY, 0, 1),
            (sqlite3.SQLITE_IOERR_FSYNC, 1, 0),
            (sqlite3.SQLITE_CORRUPT, 1, 0),
        ],
    )
    def test_a_full_disk_is_no_reason_to_flush_the_log_or_look_through_the_file(
        self, writer, disk, loop, code, settles, reopened
    ):
        disk.faults["write"] = [disk_error(code)]
        writer.submit(group(1, b"1"))
        until(lambda: "recovered" in loop.told, "the recovery")
        assert disk.calls.count("settle") == settles
        assert disk.reopened == reopened
        assert disk.rows() == [b"1"]

    def test_what_a_full_disk_took_all_the_same_is_flushed_before_it_counts(self, writer, disk, loop):
        disk.faults["written"] = [disk_error(sqlite3.SQLITE_FULL)]
        writer.submit(group(1, b"1"))
        until(lambda: 1 in loop.told, "the commit")
        assert disk.calls.count("settle") == 1
        assert disk.rows() == [b"1"]

    def test_a_flush_that_is_owed_stays_owed(self, writer, disk, loop):
        held = StoreError("a reader holds the log")
        disk.faults = {
            "write": [disk_error(sqlite3.SQLITE_IOERR_FSYNC), disk_error(sqlite3.SQLITE_FULL)],
            "settle": [held, held],
        }
        writer.submit(group(1, b"1"))
        until(lambda: 1 in loop.told, "the commit")
        assert disk.calls.count("settle") == 3


class TestCalm:
    def test_a_trouble_that_comes_again_is_not_said_to_be_over_at_once(self, make_writer, disk, loop):
        now = [0.0]
        writer = make_writer(clock=lambda: now[0])
        writer.start(0.0)
        disk.faults["write"] = [disk_error(sqlite3.SQLITE_FULL)]
        writer.submit(group(1, b"1"))
        until(lambda: loop.told.count("recovered") == 1, "the recovery")
        disk.faults["write"] = [disk_error(sqlite3.SQLITE_FULL)]
        writer.submit(group(2, b"2"))
        until(lambda: 2 in loop.told, "the commit")
        time.sleep(0.02)
        assert loop.told.count("recovered") == 1
        assert "is full" in writer.trouble
        now[0] = 0.021  # two units of 0.01 s
        writer.submit(group(3, b"3"))
        until(lambda: loop.told.count("recovered") == 2, "the recovery")
        assert "is full" in writer.trouble  # for a while
        now[0] = 1.0
        writer.submit(group(4, b"4"))
        until(lambda: writer.trouble is None, "the end of the alarm")

    def test_nothing_need_come_for_it_to_be_over(self, make_writer, disk, loop):
        writer = make_writer()
        writer.start(0.0)
        for number in (1, 2):
            disk.faults["write"] = [disk_error(sqlite3.SQLITE_FULL)]
            writer.submit(group(number, b"1"))
            until(lambda n=number: loop.told.count("recovered") == n, "the recovery")
