import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sensors import outbox as module
from sensors.outbox import MEMORY_READINGS, RETRY_DISK_S, SEQ_BLOCK, WRITE_AFTER_S, Outbox, OutboxError
from sensors.ranges import Range, numbers

ROOT = Path(__file__).parents[2]
TIME = "2026-11-22T20:05:51.120Z"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "house.outbox"


@pytest.fixture
def opened(path):
    boxes = []

    def open_outbox(**bounds):
        boxes.append(Outbox(path, **bounds))
        return boxes[-1]

    yield open_outbox
    for box in boxes:
        if box._db is not None:
            box._db.close()


def fill(outbox, count, now=0.0):
    return [outbox.add("home/kitchen/temperature", f"{n}", now, time=TIME).seq for n in range(count)]


def seqs(entries):
    return [entry.seq for entry in entries]


def test_a_new_outbox_is_empty_and_has_a_run(opened):
    outbox = opened()
    assert outbox.waiting == 0
    assert outbox.backlog(10) == []
    assert outbox.next_deadline() is None
    assert len(outbox.run) == 16


def test_a_reading_keeps_all_it_came_with(opened):
    outbox = opened()
    outbox.add("home/kitchen/temperature", "21.4", 7.0, time=TIME, quality="ok", clock="unsynced")
    outbox.close(7.0)
    (entry,) = opened().backlog(10)
    assert (entry.topic, entry.value, entry.time) == ("home/kitchen/temperature", "21.4", TIME)
    assert (entry.quality, entry.clock, entry.run) == ("ok", "unsynced", outbox.run)


def test_what_is_acknowledged_soon_never_touches_the_disk(opened, path):
    outbox = opened()
    before = fill(outbox, 3)
    outbox.sent(before)
    written = path.with_name(path.name + "-wal").stat().st_size
    outbox.acknowledged(before)
    outbox.tick(100.0)
    assert outbox.waiting == 0
    assert path.with_name(path.name + "-wal").stat().st_size == written


def test_what_waits_five_seconds_is_written_and_survives_a_crash(opened):
    outbox = opened()
    kept = fill(outbox, 3)
    assert outbox.next_deadline() == WRITE_AFTER_S
    outbox.tick(WRITE_AFTER_S - 0.1)
    assert outbox._stored_count == 0
    outbox.tick(WRITE_AFTER_S)
    assert outbox.next_deadline() is None
    late = fill(outbox, 1, now=WRITE_AFTER_S)
    outbox._db.close()  # no goodbye
    again = opened()
    assert seqs(again.backlog(10)) == kept
    assert late[0] not in seqs(again.backlog(10))
    assert again.run == outbox.run


def test_stop_writes_everything(opened):
    outbox = opened()
    kept = fill(outbox, 3)
    outbox.acknowledged(kept[:1])
    outbox.close(0.1)
    outbox.close(0.2)
    again = opened()
    assert seqs(again.backlog(10)) == kept[1:]
    assert fill(again, 1) == [kept[-1] + 1]  # a clean stop wastes no numbers


def test_a_crash_wastes_numbers_and_never_repeats_one(opened):
    outbox = opened()
    used = fill(outbox, 5)
    outbox._db.close()
    first = fill(opened(), 1)[0]
    assert first > used[-1]
    assert first == 1 + SEQ_BLOCK


def test_a_crash_after_a_write_repeats_none_of_the_numbers_given_since(opened):
    outbox = opened()
    fill(outbox, 5)
    outbox.tick(WRITE_AFTER_S)
    used = fill(outbox, 5, now=WRITE_AFTER_S)
    outbox._db.close()
    assert fill(opened(), 1)[0] > used[-1]


def test_what_is_acknowledged_twice_counts_once(opened):
    outbox = opened()
    kept = fill(outbox, 3)
    outbox.acknowledged(kept[:1])
    outbox.acknowledged(kept[:1])
    assert outbox.waiting == 2
    outbox.tick(WRITE_AFTER_S)
    outbox.acknowledged([kept[-1] + 1_000])
    assert outbox.waiting == 2
    outbox.acknowledged(kept)
    outbox.settle(WRITE_AFTER_S)
    outbox.acknowledged(kept)
    assert outbox.waiting == 0
    assert outbox.next_deadline() is None


def crashed(outbox):
    outbox._db.close()
    outbox._db = None


def test_numbers_that_a_crash_wastes_are_told(opened):
    outbox = opened()
    kept = fill(outbox, 5)
    outbox.tick(5.0)
    outbox.acknowledged(kept[:2])
    fill(outbox, 2, now=6.0)  # never written: nobody knows whether the broker has them
    crashed(outbox)
    outbox = opened()
    assert numbers(outbox.unused_ranges) == [(6, SEQ_BLOCK)]
    crashed(outbox)  # it gave no number: the same are told again
    outbox = opened()
    assert numbers(outbox.unused_ranges) == [(6, SEQ_BLOCK)]
    fill(outbox, 3, now=7.0)
    outbox.tick(8.0)
    crashed(outbox)
    outbox = opened()
    assert numbers(outbox.unused_ranges) == [(6, SEQ_BLOCK), (SEQ_BLOCK + 1, 2 * SEQ_BLOCK)]
    fill(outbox, 1, now=9.0)
    outbox.close(9.0)
    outbox = opened()  # a stop in order wastes none
    assert numbers(outbox.unused_ranges) == [(6, SEQ_BLOCK), (SEQ_BLOCK + 1, 2 * SEQ_BLOCK)]
    outbox._begin_run()
    assert outbox.unused_ranges == []


def test_a_file_of_before_numbers_were_told_wastes_none_that_is_known(opened):
    outbox = opened()
    fill(outbox, 5)
    outbox._db.execute("DELETE FROM meta WHERE key IN ('kept_below', 'unused_ranges')")
    crashed(outbox)
    assert opened().unused_ranges == []


def test_the_newest_wasted_numbers_are_told(opened, monkeypatch):
    monkeypatch.setattr(module, "MAX_RANGES", 2)
    for _ in range(3):
        outbox = opened()
        fill(outbox, 1)
        crashed(outbox)
    firsts = [first for first, _ in numbers(opened().unused_ranges)]
    assert firsts == [1 + SEQ_BLOCK, 1 + 2 * SEQ_BLOCK]


def test_backlog_leaves_out_what_is_on_its_way(opened):
    outbox = opened()
    kept = fill(outbox, 6)
    outbox.tick(10.0)
    kept += fill(outbox, 2, now=10.0)
    outbox.sent([kept[0], kept[6]])
    assert seqs(outbox.backlog(100)) == [*kept[1:6], kept[7]]
    assert seqs(outbox.backlog(3)) == kept[1:4]
    outbox.refused([kept[0]])
    outbox.connection_lost()
    assert seqs(outbox.backlog(100)) == kept


def test_backlog_is_bounded_in_bytes_but_never_empty(opened):
    outbox = opened()
    kept = fill(outbox, 5)
    size = outbox.backlog(1)[0].size
    assert seqs(outbox.backlog(100, most_bytes=2 * size)) == kept[:2]
    assert seqs(outbox.backlog(100, most_bytes=1)) == kept[:1]


def test_acknowledged_rows_go_at_once_when_settled_and_soon_otherwise(opened):
    outbox = opened()
    kept = fill(outbox, 4)
    outbox.tick(5.0)
    outbox.acknowledged(kept[:2])
    assert outbox.waiting == 2
    assert seqs(outbox.backlog(10)) == kept[2:]
    outbox.settle(6.0)
    assert outbox._stored_count == 2
    outbox.acknowledged(kept[2:])
    assert outbox.next_deadline() == 6.0 + WRITE_AFTER_S
    outbox.tick(11.0)
    assert (outbox._stored_count, outbox.waiting, outbox.waiting_bytes) == (0, 0, 0)
    assert outbox.next_deadline() is None


def test_oldest_go_first_and_are_counted_across_restarts(opened):
    outbox = opened(max_readings=100)
    kept = fill(outbox, 250)
    outbox.tick(5.0)
    assert outbox.waiting <= 100
    assert outbox.dropped == 250 - outbox.waiting
    assert seqs(outbox.backlog(1000)) == kept[outbox.dropped :]
    assert numbers(outbox.dropped_ranges) == [(kept[0], kept[outbox.dropped - 1])]
    outbox.close(6.0)
    again = opened()
    assert (again.dropped, again.dropped_ranges) == (outbox.dropped, outbox.dropped_ranges)


def test_numbers_dropped_of_another_run_are_not_named(opened):
    outbox = opened()
    kept = fill(outbox, 4)
    outbox.tick(5.0)
    outbox._db.execute("UPDATE readings SET run = 'another' WHERE seq = ?", (kept[1],))
    outbox._max_readings = 1
    fill(outbox, 1, now=6.0)
    outbox.tick(11.0)
    assert (outbox.dropped, numbers(outbox.dropped_ranges)) == (4, [(kept[0], kept[0]), (kept[2], kept[3])])


def test_what_the_broker_never_takes_is_put_aside_and_counted_across_restarts(opened):
    outbox = opened()
    kept = fill(outbox, 6)
    outbox.tick(5.0)
    fresh = fill(outbox, 2)
    outbox.put_aside([kept[0], kept[1], fresh[0], fresh[0], 999], "not authorized")
    assert (outbox.set_aside, outbox.waiting) == (3, 5)
    assert numbers(outbox.set_aside_ranges) == [(kept[0], kept[1]), (fresh[0], fresh[0])]
    assert seqs(outbox.backlog(100)) == [*kept[2:], fresh[1]]
    assert (outbox.dropped, outbox.dropped_ranges) == (0, [])
    outbox.close(6.0)
    again = opened()
    assert (again.set_aside, again.set_aside_ranges) == (3, outbox.set_aside_ranges)
    assert again.set_aside_why == "not authorized"
    assert seqs(again.backlog(100)) == [*kept[2:], fresh[1]]


def test_what_is_gone_has_the_times_when_it_was_measured(opened):
    outbox = opened(max_readings=2)

    def measure(minute, now, clock="synced"):
        return outbox.add("home/x", "1", now, time=f"2026-11-22T20:0{minute}:00.000Z", clock=clock).seq

    kept = [measure(minute, 0.0) for minute in range(5)]
    outbox.tick(5.0)
    unknown = measure(6, 6.0, clock="unsynced")
    gone = [Range(kept[0], kept[3], "2026-11-22T20:00:00.000Z", "2026-11-22T20:03:00.000Z", "synced")]
    outbox.tick(11.0)
    assert outbox.dropped_ranges == gone
    outbox.put_aside([kept[4], unknown], "not authorized")
    aside = [
        Range(number, number, time, time, clock)
        for number, time, clock in (
            (kept[4], "2026-11-22T20:04:00.000Z", "synced"),
            (unknown, "2026-11-22T20:06:00.000Z", "unsynced"),
        )
    ]
    assert outbox.set_aside_ranges == aside
    outbox.close(12.0)
    again = opened(max_readings=2)
    assert (again.dropped_ranges, again.set_aside_ranges) == (gone, aside)


def test_numbers_put_aside_of_an_earlier_run_are_counted_and_not_named(opened):
    outbox = opened()
    kept = fill(outbox, 2)
    outbox.tick(5.0)
    outbox.run = "another"
    outbox.put_aside(kept, "not authorized")
    assert (outbox.set_aside, outbox.set_aside_ranges, outbox.waiting) == (2, [], 0)


def test_what_somebody_else_wrote_there_is_no_range(opened):
    outbox = opened()
    outbox._db.execute("INSERT OR REPLACE INTO meta VALUES ('dropped_ranges', '[[1]]')")
    outbox.close(1.0)
    assert opened().dropped_ranges == []


def test_bytes_are_bounded_too(opened):
    outbox = opened(max_bytes=2_000)
    fill(outbox, 100)
    outbox.tick(5.0)
    assert 0 < outbox.waiting_bytes <= 2_000
    assert outbox.dropped == 100 - outbox.waiting


def test_many_readings_do_not_wait_in_memory(opened):
    outbox = opened()
    fill(outbox, 5_000)
    assert len(outbox._fresh) <= 2_000
    assert outbox.waiting == 5_000


def test_a_disk_that_fails_keeps_readings_in_memory_until_it_recovers(opened):
    outbox = opened(max_readings=100)
    kept = fill(outbox, 3)
    real, outbox._db = outbox._db, Failing(outbox._db)
    outbox.tick(5.0)
    assert "disk I/O error" in outbox.problem
    assert outbox.next_deadline() == 5.0 + RETRY_DISK_S
    kept += fill(outbox, 150, now=5.0)
    outbox.tick(6.0)  # not asked again at once
    outbox.tick(5.0 + RETRY_DISK_S)
    assert outbox.waiting == 100
    assert outbox.dropped == 53
    assert numbers(outbox.dropped_ranges) == [(kept[0], kept[52])]
    outbox._db = real
    outbox.tick(5.0 + 2 * RETRY_DISK_S)
    assert outbox.problem == ""
    assert seqs(outbox.backlog(1000)) == kept[53:]
    assert outbox._stored_count == 100


@pytest.mark.parametrize("disk", ["Failing", "Unreadable"])
def test_when_the_disk_fails_the_oldest_go_first_wherever_they_are(opened, disk):
    outbox = opened(max_readings=100)
    kept = fill(outbox, 95)
    outbox.tick(WRITE_AFTER_S)
    real, outbox._db = outbox._db, globals()[disk](outbox._db)
    most = 0
    for _ in range(150):
        kept += fill(outbox, 1, now=6.0)
        outbox.tick(12.0)
        most = max(most, outbox.waiting)
    assert (most, outbox.waiting, outbox.dropped) == (100, 100, 145)
    if disk == "Failing":
        assert seqs(outbox.backlog(1_000)) == kept[145:]
    outbox._db = real
    outbox.tick(12.0 + RETRY_DISK_S)
    assert (outbox.problem, outbox._stored_count, outbox.waiting, outbox.dropped) == ("", 100, 100, 145)
    assert numbers(outbox.dropped_ranges) == [(kept[0], kept[94]), (kept[95], kept[144])]
    outbox.close(50.0)
    assert seqs(opened().backlog(1_000)) == kept[145:]


def test_of_a_full_outbox_half_on_disk_no_more_goes_than_must(opened):
    outbox = opened(max_readings=100)
    kept = fill(outbox, 95)
    outbox.tick(WRITE_AFTER_S)
    outbox.sent(kept[:10])
    kept += fill(outbox, 25, now=6.0)
    assert (outbox.waiting, outbox.dropped) == (100, 20)
    assert seqs(outbox.backlog(1_000)) == kept[20:]
    outbox.acknowledged(kept[20:30])
    assert seqs(outbox.backlog(1_000)) == kept[30:]
    outbox.settle(7.0)
    assert (outbox._stored_count, outbox.waiting, seqs(outbox.backlog(1_000))) == (65, 90, kept[30:])
    assert numbers(outbox.dropped_ranges) == [(kept[0], kept[19])]


def test_narrower_bounds_hold_from_the_start(opened):
    outbox = opened()
    kept = fill(outbox, 50)
    outbox.close(0.0)
    outbox = opened(max_readings=20)
    assert (outbox.waiting, outbox.dropped, seqs(outbox.backlog(100))) == (20, 30, kept[30:])
    outbox.tick(WRITE_AFTER_S)
    assert outbox._stored_count == 20


def test_what_a_write_that_fails_would_have_dropped_is_not_counted(opened):
    outbox = opened(max_readings=100)
    kept = fill(outbox, 150)
    real, outbox._db = outbox._db, Failing(outbox._db, "INSERT OR REPLACE INTO meta")
    outbox.tick(WRITE_AFTER_S)
    assert outbox._db.refused == 1
    assert outbox.dropped == 50  # of those in memory
    outbox._db = real
    outbox.tick(WRITE_AFTER_S + RETRY_DISK_S)
    assert outbox.dropped == 50
    assert numbers(outbox.dropped_ranges) == [(kept[0], kept[49])]
    assert seqs(outbox.backlog(1_000)) == kept[50:]


def test_a_disk_that_fails_is_not_asked_for_every_reading(opened):
    outbox = opened(max_readings=MEMORY_READINGS + 20)
    fill(outbox, MEMORY_READINGS)
    real, outbox._db = outbox._db, Failing(outbox._db)
    kept = fill(outbox, 100)
    assert outbox._db.refused == 2  # for a block of numbers, and for the readings
    assert outbox.waiting == MEMORY_READINGS + 20
    assert outbox.dropped == 80
    outbox._db = real
    outbox.tick(RETRY_DISK_S)
    assert outbox._last_stored == kept[-1]


def test_numbers_that_cannot_be_reserved_start_a_new_run(opened):
    outbox = opened()
    old_run = outbox.run
    fill(outbox, 2)
    real, outbox._db = outbox._db, Failing(outbox._db)
    fill(outbox, SEQ_BLOCK)
    assert outbox.run != old_run
    outbox._db = real
    outbox.tick(100.0)
    assert {entry.run for entry in outbox.backlog(10_000)} == {old_run}  # a batch is of one run
    outbox.acknowledged(seqs(outbox.backlog(10_000)))
    assert {entry.run for entry in outbox.backlog(10_000)} == {outbox.run}
    outbox.close(100.0)
    assert opened().run == outbox.run


def test_a_disk_that_fails_at_the_end_says_what_is_lost(opened):
    outbox = opened()
    fill(outbox, 2)
    outbox._db = Failing(outbox._db)
    with pytest.raises(OutboxError, match="2 readings that the broker did not acknowledge are lost"):
        outbox.close(1.0)


class Failing:
    """A connection whose disk refuses to be written, from the statement on that begins with `at`."""

    def __init__(self, db, at="BEGIN"):
        self.db = db
        self.at = at
        self.refused = 0

    def execute(self, statement, *args):
        self._refuse(statement)
        return self.db.execute(statement, *args)

    def executemany(self, statement, rows):
        self._refuse(statement)
        return self.db.executemany(statement, rows)

    def _refuse(self, statement):
        if statement.startswith(self.at):
            self.refused += 1
            raise sqlite3.OperationalError("disk I/O error")

    def close(self):
        self.db.close()


def spoil(outbox, path):
    """Overwrite most of the file of a running agent, as a card does that loses its mind."""
    outbox._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    outbox._db.execute("PRAGMA cache_size = 1")
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * (path.stat().st_size - 16384))
    outbox._db.execute("PRAGMA shrink_memory")


FINDS_IT = {
    "reading": lambda outbox: outbox.backlog(10_000),
    "asking for one": lambda outbox: outbox.put_aside((900,), "not authorized"),
    "writing": lambda outbox: (fill(outbox, 2, now=100.0), outbox.acknowledged(range(1, 900)), outbox.settle(200.0)),
}


@pytest.mark.parametrize("find", FINDS_IT.values(), ids=FINDS_IT.keys())
def test_damage_that_shows_while_the_agent_runs_costs_what_was_on_disk_and_nothing_else(opened, path, find):
    outbox = opened()
    fill(outbox, 1_800)
    outbox.put_aside((1,), "not authorized")
    outbox.tick(WRITE_AFTER_S)
    old_run, fresh = outbox.run, fill(outbox, 3, now=10.0)
    spoil(outbox, path)
    find(outbox)
    assert "kept aside as house.outbox.damaged, readings waiting in it were not sent" in outbox.salvaged
    assert outbox.problem == ""
    ((next_seq,),) = outbox._db.execute("SELECT value FROM meta WHERE key = 'next_seq'")
    assert next_seq > fresh[-1]  # should the agent be killed now
    outbox.close(300.0)
    again = opened()
    waiting = again.backlog(10_000)
    assert [(entry.run, entry.seq) for entry in waiting][:3] == [(old_run, seq) for seq in fresh]
    assert again.run != old_run
    assert again.set_aside == 1
    assert fill(again, 1)[0] > fresh[-1]


def test_damage_where_no_new_file_can_be_made_is_a_problem_and_no_end(opened, path, monkeypatch):
    outbox = opened()
    fill(outbox, 1_800)
    outbox.tick(WRITE_AFTER_S)
    fresh = fill(outbox, 3, now=10.0)
    spoil(outbox, path)
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    assert outbox.backlog(100) == []
    assert "malformed" in outbox.problem
    assert seqs(outbox.backlog(100)) == fresh
    outbox.tick(10.0 + RETRY_DISK_S)
    with pytest.raises(OutboxError, match="3 readings that the broker did not acknowledge are lost"):
        outbox.close(100.0)


def test_a_disk_that_cannot_be_read_leaves_what_is_in_memory_until_it_works_again(opened):
    outbox = opened()
    kept = fill(outbox, 3)
    outbox.tick(WRITE_AFTER_S)
    kept += fill(outbox, 2, now=6.0)
    real, outbox._db = outbox._db, Unreadable(outbox._db)
    assert outbox.backlog(100) == []
    assert "disk I/O error" in outbox.problem
    outbox.put_aside((1,), "not authorized")
    assert seqs(outbox.backlog(100)) == kept[3:]
    outbox._db = real
    outbox.tick(6.0 + RETRY_DISK_S)
    assert seqs(outbox.backlog(100)) == kept
    assert (outbox.problem, outbox.set_aside) == ("", 0)


def test_on_a_read_only_disk_readings_wait_in_memory_and_go_from_there(opened, path, monkeypatch):
    path.mkdir(parents=True)  # as good as a file that nobody can open
    monkeypatch.setattr("os.statvfs", lambda _: SimpleNamespace(f_flag=os.ST_RDONLY))
    outbox = opened(max_readings=100)
    assert f"{path}: its file system is read-only; check the card" in outbox.problem
    problem, kept = outbox.problem, fill(outbox, 3_000)
    outbox.tick(WRITE_AFTER_S)
    assert outbox.live_on("1000-pi") is False
    outbox.tick(WRITE_AFTER_S + RETRY_DISK_S)
    assert (outbox.problem, outbox.waiting, outbox.dropped) == (problem, 100, 2_900)
    assert seqs(outbox.backlog(1_000)) == kept[-100:]
    assert {entry.run for entry in outbox.backlog(1_000)} == {outbox.run}
    outbox.put_aside(kept[-1:], "not authorized")
    outbox.acknowledged(kept[:-2])
    with pytest.raises(OutboxError, match=r"1 readings that the broker did not acknowledge are lost: .* read-only"):
        outbox.close(100.0)


class Forgetful(Failing):
    """A connection whose disk takes everything and cannot find the first of it any more."""

    def execute(self, statement, *args):
        if "min(seq)" in statement:
            raise sqlite3.OperationalError("disk I/O error")
        return self.db.execute(statement, *args)

    def executemany(self, *args):
        return self.db.executemany(*args)


def test_a_disk_that_fails_at_the_end_of_a_write_does_not_end_the_agent(opened):
    outbox = opened()
    kept = fill(outbox, 3)
    real, outbox._db = outbox._db, Forgetful(outbox._db)
    outbox.tick(WRITE_AFTER_S)
    assert "disk I/O error" in outbox.problem
    assert outbox.waiting == 3
    outbox._db = real
    outbox.tick(WRITE_AFTER_S + RETRY_DISK_S)
    assert (outbox.problem, seqs(outbox.backlog(100))) == ("", kept)


class Unreadable(Failing):
    """A connection whose disk can neither be written nor read."""

    def execute(self, *_):
        raise sqlite3.OperationalError("disk I/O error")


def test_a_cloned_card_begins_a_run_of_its_own_and_what_waits_keeps_its_numbers(opened, path):
    outbox = opened()
    assert not outbox.live_on("")
    assert not outbox.live_on("1000-pi")  # none was known before
    waiting = fill(outbox, 2)
    outbox.close(0.0)
    copy = path.with_name("copy.outbox")
    shutil.copy(path, copy)
    original, clone = opened(), Outbox(copy)
    assert not original.live_on("1000-pi")
    assert not clone.live_on("")  # cannot tell
    assert clone.live_on("2000-pi")
    assert original.run == outbox.run != clone.run
    assert original.backlog(10) == clone.backlog(10)
    assert fill(original, 1) == fill(clone, 1) == [waiting[-1] + 1]
    own_run = clone.run
    clone._db.close()  # killed
    clone = Outbox(copy)
    assert not clone.live_on("2000-pi")
    assert clone.run == own_run
    clone.close(0.0)


class Story(RuleBasedStateMachine):
    """Whatever happens, a number is given once, and a reading leaves only when acknowledged."""

    directory = None

    def __init__(self):
        super().__init__()
        Story.directory.mkdir(exist_ok=True)
        self.path = Story.directory / "story.outbox"
        self.now = 0.0
        self.outbox = Outbox(self.path)
        self.all, self.acknowledged, self.flying, self.safe = set(), set(), [], set()

    def teardown(self):
        self.outbox._db.close()
        shutil.rmtree(Story.directory)

    @rule(count=st.integers(1, 5))
    def add(self, count):
        new = fill(self.outbox, count, self.now)
        assert not self.all & set(new)
        self.all.update(new)

    @rule(most=st.integers(1, 8))
    def send(self, most):
        batch = seqs(self.outbox.backlog(most))
        assert batch == sorted(batch)
        assert not set(batch) & set(self.flying)
        self.outbox.sent(batch)
        self.flying += batch

    @precondition(lambda self: self.flying)
    @rule(share=st.integers(1, 8))
    def acknowledge(self, share):
        done, self.flying = self.flying[:share], self.flying[share:]
        self.outbox.acknowledged(done)
        self.acknowledged.update(done)

    @rule(seconds=st.sampled_from([0.5, 5.0]))
    def wait(self, seconds):
        self.now += seconds
        self.outbox.tick(self.now)
        if seconds == WRITE_AFTER_S:
            self.safe = set(self.all)

    @rule()
    def lose_connection(self):
        self.outbox.connection_lost()
        self.flying = []

    @rule()
    def restart(self):
        self.outbox.close(self.now)
        self.outbox = Outbox(self.path)
        self.flying = []
        assert self.outbox.waiting == len(self.all - self.acknowledged)

    @rule()
    def crash(self):
        self.outbox._db.close()
        self.outbox = Outbox(self.path)
        self.flying = []
        left = set(seqs(self.outbox.backlog(10_000)))
        assert self.safe - self.acknowledged <= left <= self.all
        self.acknowledged -= left  # those travel again, under the same number
        self.all = left | self.acknowledged | (self.all - left)
        self.acknowledged |= self.all - left

    @invariant()
    def nothing_is_forgotten(self):
        waiting = set(seqs(self.outbox.backlog(10_000))) | set(self.flying)
        assert waiting == self.all - self.acknowledged
        assert self.outbox.waiting == len(waiting)


Story.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


@pytest.mark.usefixtures("_story_directory")
class TestStory(Story.TestCase):
    pass


@pytest.fixture
def _story_directory(tmp_path):
    Story.directory = tmp_path / "story"


NUMBERS = """
import sys
from pathlib import Path
from sensors import outbox as module
module.SEQ_BLOCK = 7  # so that many blocks are reserved
outbox = module.Outbox(Path(sys.argv[1]))
now = 0.0
while True:
    entry = outbox.add("home/attic/temperature", "21.4", now, time="2026-11-22T20:05:51.120Z")
    sys.stdout.write(f"{entry.run} {entry.seq}\\n")
    sys.stdout.flush()
    now += 0.9
    outbox.tick(now)
"""


def test_no_number_comes_twice_however_often_the_agent_is_killed(tmp_path):
    random = Random(5)
    given = []
    for _ in range(25):
        command = [sys.executable, "-c", NUMBERS, tmp_path / "house.outbox"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            first = process.stdout.readline()
            time.sleep(random.uniform(0.0, 0.03))
            process.kill()
            given += [first, *process.stdout]
    whole = [line for line in given if line.endswith("\n")]
    assert len(whole) > 200
    assert len(set(whole)) == len(whole)
    assert len({line.split()[0] for line in whole}) == 1  # of one run, over all of them
    kept = Outbox(tmp_path / "house.outbox")
    assert fill(kept, 1)[0] > max(int(line.split()[1]) for line in whole)
    kept.close(0.0)
