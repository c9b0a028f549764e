"""Readings that the broker has not acknowledged yet: in memory at first, in a small SQLite file when it takes longer.

A reading gets its `seq` here and leaves only when the broker has it, or when the outbox is full: then the oldest go
first and are counted. The file's random `run` and the `seq` name a reading for good, so that whoever keeps readings
can tell a repetition from a new one. One thread uses an outbox; `now` is monotonic seconds.
"""

import contextlib
import json
import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from sensors.entry import Entry
from sensors.outbox_file import OutboxError, ReadOnlyDisk, is_damage, open_file, replace_file, transaction
from sensors.ranges import MAX_RANGES, Range, Ranges, extended, remembered

WRITE_AFTER_S = 5.0  # what is acknowledged sooner never touches the disk
RETRY_DISK_S = 30.0
SEQ_BLOCK = 1_000  # numbers reserved on disk at once, so that a crash wastes numbers and never repeats one
MEMORY_READINGS = 2_000  # more than this is written at once
NO_DISK = 2**62  # numbers that need not be reserved


class Outbox:
    """The readings of one agent from their filters to the broker's acknowledgement.

    `problem` is a line about the disk while it does not work; readings then stay in memory, within the same bounds.
    `dropped` counts what the bounds cost since the file was made, `dropped_ranges` are its numbers of the present run
    and when they were measured; `set_aside` and `set_aside_ranges` do the same for what the broker refuses for good,
    and `set_aside_why` is the last reason. `unused_ranges` are numbers of the present run that were reserved when the
    agent was killed or its power cut: it gave them to nothing, but for what it had for less than WRITE_AFTER_S.
    """

    def __init__(self, path: Path, *, max_readings: int = 100_000, max_bytes: int = 16_777_216) -> None:
        """Open or create the file at `path`; OutboxError says why it cannot be used.

        On a read-only disk everything stays in memory: what waits in the file waits for the next start.

        A damaged file is kept aside as `<path>.damaged` and a new one begun: `salvaged` then says so.
        """
        self._path = path
        self._max_readings = max_readings
        self._max_bytes = max_bytes
        self._fresh: dict[int, tuple[Entry, float]] = {}  # not on disk: in order of seq, with the time they came
        self._fresh_bytes = 0
        self._flying: set[int] = set()  # sent on the present connection, not acknowledged yet
        self._forgotten: set[int] = set()  # acknowledged, their rows not deleted yet
        self._retry_disk_at: float | None = None
        self._now = self._written_at = 0.0
        self._closed = False
        self._computer = ""  # serial number of the one that numbers this run
        self._stored_count = 0
        self._stored_bytes = 0
        self._first_stored = 1  # the lowest and highest seq on disk; last below first: none
        self._last_stored = 0
        self.run = secrets.token_hex(8)
        self._next_seq = self._reserved = 1
        self.dropped = self.set_aside = 0
        self.set_aside_why = self.problem = ""
        self.dropped_ranges: Ranges = []
        self.set_aside_ranges: Ranges = []
        self.unused_ranges: Ranges = []
        self._readable = True  # what is on disk; False until a write shows that the disk works
        self.salvaged = ""
        self._db: sqlite3.Connection | None = None
        try:
            self._db, self.salvaged = open_file(path)
        except ReadOnlyDisk as error:
            self.problem = f"{error}; readings wait in memory meanwhile"
            self._reserved = NO_DISK
        else:
            self._take_over(self._db)

    @property
    def waiting(self) -> int:
        """Readings that the broker has not acknowledged."""
        return len(self._fresh) + self._stored_count - len(self._forgotten)

    @property
    def waiting_bytes(self) -> int:
        """Roughly what they hold."""
        return self._fresh_bytes + self._stored_bytes

    def add(
        self, topic: str, value: str, now: float, *, time: str, quality: str = "ok", clock: str = "synced"
    ) -> Entry:
        """Take a reading in and number it."""
        self._now = now
        entry = Entry(self._take_seq(), self.run, topic, value, time, quality, clock)
        self._fresh[entry.seq] = (entry, now)
        self._fresh_bytes += entry.size
        if len(self._fresh) > MEMORY_READINGS:
            if self._disk_rests(now):
                self._trim_memory()
            else:
                self._write(now, everything=True)
        return entry

    def sent(self, seqs: Iterable[int]) -> None:
        """Note that readings are on their way and must not be sent again on this connection."""
        self._flying.update(seqs)

    def acknowledged(self, seqs: Iterable[int]) -> None:
        """Forget readings: the broker has them."""
        for seq in seqs:
            self._flying.discard(seq)
            if self._drop_fresh(seq) is None and self._first_stored <= seq <= self._last_stored:
                self._forgotten.add(seq)

    def refused(self, seqs: Iterable[int]) -> None:
        """Keep readings that the broker did not take; they wait with the others."""
        self._flying.difference_update(seqs)

    def put_aside(self, seqs: Iterable[int], why: str) -> None:
        """Forget readings that the broker will never take, and count them."""
        self.set_aside_why = why
        for seq in seqs:
            origin = self._origin_of(seq)
            if origin is None:
                continue
            self.set_aside += 1
            self.set_aside_ranges = self._and_one(self.set_aside_ranges, seq, *origin)
            self.acknowledged((seq,))

    def connection_lost(self) -> None:
        """Whatever was on its way waits again."""
        self._flying.clear()

    def backlog(self, most: int, most_bytes: int = 1 << 30) -> list[Entry]:
        """Give the oldest readings that are not on their way, in order and of one run; at least one if there is any.

        Nothing where the disk cannot be read; the next time gives what is in memory.
        """
        try:
            return self._oldest(most, most_bytes)
        except sqlite3.Error as error:
            self._cannot_read(error)
            return []

    def _oldest(self, most: int, most_bytes: int) -> list[Entry]:
        batch: list[Entry] = []
        size = 0
        for entry in self._in_order():
            size += entry.size
            if batch and (len(batch) >= most or size > most_bytes or entry.run != batch[0].run):
                break
            batch.append(entry)
        return batch

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        if self._retry_disk_at is not None:
            return self._retry_disk_at
        if self._fresh:
            return next(iter(self._fresh.values()))[1] + WRITE_AFTER_S
        return self._written_at + WRITE_AFTER_S if self._forgotten else None

    def tick(self, now: float) -> None:
        """Write what has waited WRITE_AFTER_S, delete the rows of what was acknowledged."""
        self._now = now
        if self._disk_rests(now):
            return
        deadline = self.next_deadline()
        if (deadline is not None and now >= deadline) or len(self._forgotten) >= MEMORY_READINGS:
            self._write(now)

    def settle(self, now: float) -> None:
        """Delete the rows of acknowledged readings now: after a backlog batch, before the next is sent."""
        if self._forgotten and self._retry_disk_at is None:
            self._write(now)

    def close(self, now: float) -> None:
        """Write everything that is not acknowledged and close the file; may be called twice.

        OutboxError where the disk did not take it and readings are lost.
        """
        if self._closed:
            return
        self._closed = True
        self._write(now, everything=True, closing=True)
        self._let_go()
        if self._fresh:
            lost = len(self._fresh)
            raise OutboxError(
                f"{self._path}: {lost} readings that the broker did not acknowledge are lost: {self.problem}"
            )

    def live_on(self, computer: str) -> bool:
        """Begin a new run, and say so, where the file was another computer's: its card was cloned, or moved.

        Two agents that numbered one run would lose each other's readings, which pass for repetitions. What waits keeps
        its numbers: it is the same on both. `computer` is a serial number; empty where there is none to tell by.
        """
        if not computer or computer == self._computer:
            return False
        is_moved = bool(self._computer)
        self._computer = computer
        if is_moved:
            self._begin_run()
        self._write(self._now)
        return is_moved

    # The file

    def _take_over(self, db: sqlite3.Connection) -> None:
        """Know what the file holds."""
        meta = dict(db.execute("SELECT key, value FROM meta"))
        self.run = str(meta["run"])
        self._next_seq = self._reserved = int(meta["next_seq"])
        self.dropped = int(meta["dropped"])
        self.dropped_ranges = remembered(meta.get("dropped_ranges", "[]"))
        self.set_aside = int(meta.get("set_aside", 0))
        self.set_aside_why = str(meta.get("set_aside_why", ""))
        self.set_aside_ranges = remembered(meta.get("set_aside_ranges", "[]"))
        self.unused_ranges = remembered(meta.get("unused_ranges", "[]"))
        kept_below = int(meta.get("kept_below", self._next_seq))
        if kept_below < self._next_seq:  # not closed in order; a range for each time, though they may touch
            self.unused_ranges = [*self.unused_ranges, Range(kept_below, self._next_seq - 1)][-MAX_RANGES:]
        self._computer = str(meta.get("computer", ""))
        self._stored_count, self._stored_bytes = db.execute(
            "SELECT count(*), coalesce(sum(size), 0) FROM readings"
        ).fetchone()
        self._first_stored, self._last_stored = _ends(db)

    def _take_seq(self) -> int:
        if self._next_seq >= self._reserved:
            self._reserve(self._next_seq + SEQ_BLOCK)
        seq = self._next_seq
        self._next_seq += 1
        return seq

    def _disk_rests(self, now: float) -> bool:
        """Whether the disk failed and is not yet to be asked again."""
        return self._retry_disk_at is not None and now < self._retry_disk_at

    def _reserve(self, upto: int) -> None:
        try:
            with transaction(self._db) as db:
                self._note_numbers(db, upto, next(iter(self._fresh), self._next_seq))
        except sqlite3.Error as error:
            # Numbers that a restart might give again would be taken for repetitions; a new run cannot be.
            self._begin_run()
            self.problem = f"{self._path}: {error}; free or repair the disk"
        self._reserved = upto

    def _begin_run(self) -> None:
        self.run = secrets.token_hex(8)
        self.dropped_ranges = []
        self.set_aside_ranges = []
        self.unused_ranges = []

    def _note_numbers(self, db: sqlite3.Connection, next_seq: int, kept_below: int) -> None:
        """Write which number a restart begins with, and below which one each is acknowledged or on disk."""
        db.executemany(
            "INSERT OR REPLACE INTO meta (value, key) VALUES (?, ?)",
            [
                (next_seq, "next_seq"),
                (kept_below, "kept_below"),
                (json.dumps(self.unused_ranges), "unused_ranges"),
            ],
        )

    def _cannot_read(self, error: sqlite3.Error) -> None:
        """Leave what is on disk until that works again, or for good where the file is damaged."""
        if is_damage(error) and self._begin_anew(error):
            return
        self._readable = False
        self._fails(error)

    def _fails(self, error: sqlite3.Error) -> None:
        if self._db is not None or not self.problem:  # which says why there is no file
            self.problem = f"{self._path}: {error}; free or repair the disk, readings wait in memory meanwhile"
        self._retry_disk_at = self._now + RETRY_DISK_S

    def _begin_anew(self, error: sqlite3.Error) -> bool:
        """Put a damaged file aside, as at a start, and go on with a new one; False where none can be made."""
        self._let_go()
        kept = self._next_seq, self.dropped, self.set_aside, self.set_aside_why, self._computer
        self._forgotten.clear()
        self._stored_count = self._stored_bytes = 0
        self._first_stored, self._last_stored = 1, 0
        try:
            self._db, self.salvaged = replace_file(self._path, error)
        except (sqlite3.Error, OSError):
            return False
        self._take_over(self._db)
        self._next_seq, self.dropped, self.set_aside, self.set_aside_why, self._computer = kept
        self._reserve(self._next_seq + SEQ_BLOCK)  # what is in memory keeps its numbers, and none is given twice
        self._retry_disk_at = None
        return True

    def _let_go(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.close()

    def _write(self, now: float, *, everything: bool = False, closing: bool = False) -> None:
        """Write what is old enough, delete what was acknowledged and what exceeds the bounds: one transaction."""
        self._now = now
        old = [entry for entry, since in self._fresh.values() if everything or since + WRITE_AFTER_S <= now]
        counted = self._stored_count, self._stored_bytes, self.dropped, self.dropped_ranges
        try:
            with transaction(self._db) as db:
                for seq in self._forgotten:
                    self._uncount(db.execute("DELETE FROM readings WHERE seq = ? RETURNING size", (seq,)))
                db.executemany(
                    "INSERT INTO readings VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    [(e.seq, e.run, e.topic, e.value, e.time, e.quality, e.clock, e.size) for e in old],
                )
                self._stored_count += len(old)
                self._stored_bytes += sum(entry.size for entry in old)
                self._trim(db)
                kept_below = next(islice(self._fresh, len(old), None), self._next_seq)
                self._note_numbers(db, self._next_seq if closing else self._reserved, kept_below)
                db.executemany(
                    "INSERT OR REPLACE INTO meta (value, key) VALUES (?, ?)",
                    [
                        (self.dropped, "dropped"),
                        (json.dumps(self.dropped_ranges), "dropped_ranges"),
                        (self.set_aside, "set_aside"),
                        (self.set_aside_why, "set_aside_why"),
                        (json.dumps(self.set_aside_ranges), "set_aside_ranges"),
                        (self.run, "run"),
                        (self._computer, "computer"),
                    ],
                )
                ends = _ends(db)
        except sqlite3.Error as error:
            self._stored_count, self._stored_bytes, self.dropped, self.dropped_ranges = counted
            if is_damage(error) and self._begin_anew(error):
                self._write(now, everything=everything, closing=closing)
                return
            self._fails(error)
            self._trim_memory()
            return
        for entry in old:
            self._drop_fresh(entry.seq)
        self._forgotten.clear()
        self._written_at = now
        self._retry_disk_at = None
        self._readable = True
        self.problem = ""
        self._first_stored, self._last_stored = ends

    def _uncount(self, deleted: sqlite3.Cursor) -> int:
        sizes = [size for (size,) in deleted.fetchall()]
        self._stored_count -= len(sizes)
        self._stored_bytes -= sum(sizes)
        return len(sizes)

    # The bounds

    def _trim(self, db: sqlite3.Connection) -> None:
        """Delete the oldest rows until the bounds hold."""
        while self._stored_count > self._max_readings or self._stored_bytes > self._max_bytes:
            # A hundredth more than needed, so that a full outbox is not trimmed at every write.
            too_many = max(self._stored_count - self._max_readings, 0) + max(self._stored_count // 100, 1)
            oldest = "SELECT seq FROM readings ORDER BY seq LIMIT ?"
            for row in db.execute("SELECT seq, run, time, clock FROM readings ORDER BY seq LIMIT ?", (too_many,)):
                self.dropped_ranges = self._and_one(self.dropped_ranges, *row)
            self.dropped += self._uncount(
                db.execute(f"DELETE FROM readings WHERE seq IN ({oldest}) RETURNING size", (too_many,))  # noqa: S608 constant
            )

    def _trim_memory(self) -> None:
        while self._fresh and (self.waiting > self._max_readings or self.waiting_bytes > self._max_bytes):
            entry = self._drop_fresh(next(iter(self._fresh)))
            if entry is not None:
                self.dropped_ranges = self._and_one(self.dropped_ranges, entry.seq, entry.run, entry.time, entry.clock)
            self.dropped += 1

    def _and_one(self, ranges: Ranges, seq: int, run: str, time: str, clock: str) -> Ranges:
        """Give ranges with a number that is gone, if it is of the present run; the old ones stay as they are."""
        return extended(ranges, seq, time, clock) if run == self.run else ranges

    def _origin_of(self, seq: int) -> tuple[str, str, str] | None:
        """Give run, time and clock of a reading that is still here."""
        if seq in self._fresh:
            entry = self._fresh[seq][0]
            return entry.run, entry.time, entry.clock
        if self._db is None or seq in self._forgotten or not self._first_stored <= seq <= self._last_stored:
            return None
        try:
            row = self._db.execute("SELECT run, time, clock FROM readings WHERE seq = ?", (seq,)).fetchone()
        except sqlite3.Error as error:
            self._cannot_read(error)
            return None
        return None if row is None else (str(row[0]), str(row[1]), str(row[2]))

    def _drop_fresh(self, seq: int) -> Entry | None:
        entry, _ = self._fresh.pop(seq, (None, 0.0))
        if entry is not None:
            self._fresh_bytes -= entry.size
        return entry

    def _in_order(self) -> Iterator[Entry]:
        if self._stored_count and self._readable and self._db is not None:
            with contextlib.closing(
                self._db.execute("SELECT seq, run, topic, value, time, quality, clock FROM readings ORDER BY seq")
            ) as rows:
                for row in rows:
                    if row[0] not in self._flying and row[0] not in self._forgotten:
                        yield Entry(*row)
        for seq, (entry, _) in self._fresh.items():
            if seq not in self._flying:
                yield entry


def _ends(db: sqlite3.Connection) -> tuple[int, int]:
    """Give the lowest and the highest number on disk, the higher one first where there is none."""
    first, last = db.execute(
        "SELECT (SELECT min(seq) FROM readings), (SELECT max(seq) FROM readings)"  # two look-ups; together a scan
    ).fetchone()
    return (1, 0) if first is None else (first, last)


__all__ = ["Outbox", "OutboxError"]
