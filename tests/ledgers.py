"""A ledger of one table in a real SQLite file that fails when it is told to."""

import sqlite3
import threading

from appliance.broker.image import Image


def disk_error(code=sqlite3.SQLITE_IOERR_FSYNC, text="disk I/O error"):
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


class Disk:
    """One file, and what is to go wrong with it. Every ledger on it is opened in the thread that uses it.

    `faults` maps a call (open, settle, write, written, step, trim) to errors, raised one after the other; the last
    stays when `sticky`. "written" fails after the commit, as a flush does whose data arrived all the same.
    """

    def __init__(self, path):
        self.path = path
        self.faults = {}
        self.sticky = set()
        self.calls = []
        self.steps = 0  # pieces of work that wait
        self.trims = 0
        self.taken = 0  # groups that a ledger was given to write
        self.suspected = []  # why the file is to be salvaged
        self.tight = []  # what ledgers were told
        self.gate = threading.Event()
        self.gate.set()

    def meet(self, call):
        self.calls.append(call)
        waiting = self.faults.get(call)
        if waiting:
            error = waiting[0] if call in self.sticky and len(waiting) == 1 else waiting.pop(0)
            if error is not None:
                raise error

    def open(self):
        self.meet("open")
        return TableLedger(self)

    def rows(self):
        """Payloads in the order they were written."""
        connection = sqlite3.connect(self.path)
        try:
            return [payload for (payload,) in connection.execute("SELECT payload FROM rows ORDER BY id")]
        finally:
            connection.close()


class TableLedger:
    def __init__(self, disk):
        self._disk = disk
        self._connection = sqlite3.connect(disk.path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, payload)")
        self._connection.execute("CREATE TABLE IF NOT EXISTS stamp (id INTEGER PRIMARY KEY, run, number)")
        stamp = self._connection.execute("SELECT run, number FROM stamp").fetchone()
        self.last_stamp = stamp or (0, 0)
        self.next_number = self.next_key = 1
        self.short_of_space = False
        self.damaged = 0

    def load(self, _now):
        self._disk.meet("load")
        self.next_number, self.next_key = 40, 9
        return Image()

    def settle(self):
        self._disk.meet("settle")
        busy, *_ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert not busy

    def write(self, group):
        self._disk.taken += 1
        self._disk.gate.wait(20)
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._disk.meet("write")
            for entry in group.entries:
                self._connection.execute("INSERT INTO rows (payload) VALUES (?)", (entry[0].payload,))
            for record in group.records:
                self._connection.execute("INSERT INTO rows (payload) VALUES (?)", (repr(record),))
            self._connection.execute("INSERT OR REPLACE INTO stamp VALUES (1, ?, ?)", (group.run, group.number))
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._disk.meet("written")

    def suspect(self, why):
        self._disk.suspected.append(why)

    def step(self):
        self._disk.tight.append(self.short_of_space)
        self._disk.meet("step")
        self._disk.steps -= 1
        return self._disk.steps > 0

    def trim(self):
        self._disk.meet("trim")
        self._disk.trims -= 1
        return self._disk.trims > 0

    def finish(self):
        self._disk.meet("finish")

    def close(self):
        self._connection.close()
