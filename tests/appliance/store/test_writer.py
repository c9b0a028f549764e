"""The writing thread: everything handed over is written once, and no failing disk ends it."""

import json
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.broker.message import Message
from appliance.clock import rfc3339
from appliance.devices import Device, Measurement
from appliance.store.database import Database, StoreError
from appliance.store.history_reader import HistoryReader
from appliance.store.writer import Batch, HistoryWriter

ROOT = Path(__file__).parents[3]
AT = 1_790_000_000.0
TOPIC = "home/kitchen/temperature"


def batch(*numbers, topic=TOPIC, size_bytes=100):
    messages = [(AT + number, Message(topic, str(number).encode())) for number in numbers]
    return Batch(messages=messages, size_bytes=size_bytes)


def values(path, topic=TOPIC):
    return [row.value for row in HistoryReader(path).rows(topic, 0, AT * 2, 99_999)]


def until(holds, what):
    """Wait for something that another thread or process brings about."""
    ends = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < ends, what
        time.sleep(0.005)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "appliance.db"


@pytest.fixture
def told():
    return []


@pytest.fixture
def make_writer(path, told):
    writers = []

    def make(**options):
        writers.append(HistoryWriter(path, site="home", on_trouble=told.append, retry_s=0.01, **options))
        return writers[-1]

    yield make
    for writer in writers:
        writer.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "history-writer"]


def test_close_writes_all_that_was_handed_over(make_writer, path, told):
    writer = make_writer()
    writer.start()
    for first in range(0, 1000, 10):
        assert writer.submit(batch(*range(first, first + 10)))
    writer.close()
    writer.close()
    assert not path.with_name("appliance.db-wal").exists()
    assert values(path) == list(range(1000))
    assert (writer.stats.rows, writer.stats.commits, writer.stats.dropped) == (1000, 100, 0)
    assert told == []


def test_it_is_readable_while_it_runs(make_writer, path):
    writer = make_writer()
    writer.start()
    writer.submit(batch(1))
    until(lambda: writer.stats.commits == 1, "the commit")
    assert values(path) == [1]


def test_descriptions_come_before_the_readings_of_their_batch(make_writer, path):
    writer = make_writer(max_series=1)
    writer.start()
    kitchen = Measurement(topic=TOPIC, kind="temperature", unit="°C")
    both = batch(1, topic="home/attic/temperature")
    both.devices.append(Device(agent="house", site="home", sensors=(kitchen,)))
    writer.submit(both)
    writer.close()
    (series,) = HistoryReader(path).topics()
    assert (series.topic, series.unit) == (TOPIC, "°C")
    assert (writer.stats.rows, writer.stats.refused) == (0, 1)


def test_start_says_in_the_callers_thread_why_it_cannot(make_writer, path):
    path.write_text("heating log, do not delete. " * 40)
    writer = make_writer()
    with pytest.raises(StoreError, match="is not a database: move it away"):
        writer.start()


def test_a_bug_at_the_start_is_raised_too(path):
    def broken(_path):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        HistoryWriter(path, site="home", open_database=broken).start()


def test_what_finds_no_room_is_dropped_and_counted(make_writer, path):
    gate = threading.Event()

    def slow(path):
        gate.wait(20)
        return Database.open(path)

    writer = make_writer(max_waiting_bytes=250, open_database=slow)
    starting = threading.Thread(target=writer.start)
    starting.start()
    assert writer.submit(batch(1))
    assert writer.submit(batch(2))
    assert not writer.submit(batch(3, 4))
    assert writer.submit(batch(5, size_bytes=50))
    gate.set()
    starting.join()
    until(lambda: writer.stats.commits == 3, "the room that commits make")
    assert writer.submit(batch(6, size_bytes=250))
    writer.close()
    assert not writer.submit(batch(7))  # closed
    assert values(path) == [1, 2, 5, 6]
    assert writer.stats.dropped == 3


@contextmanager
def file_size_limit(limit):
    """No file of this process may grow beyond `limit`: writes fail as they do on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_failing_disk_is_told_and_outlived(make_writer, path, told):
    writer = make_writer()
    writer.start()
    writer.submit(batch(1))
    until(lambda: writer.stats.commits == 1, "the first commit")
    with file_size_limit(4096):
        writer.submit(batch(2))
        writer.submit(batch(3))
        until(lambda: told, "a refused write")
        assert "check its free space" in told[0]
        assert writer.trouble == told[0]
        assert str(path) in told[0]
    until(lambda: writer.trouble is None, "the recovery")
    writer.close()
    assert values(path) == [1, 2, 3]
    assert told[-1] is None
    assert writer.stats.dropped == 0


def full_at_first(times):
    """Open databases of which the first `times` have no free page: SQLite itself says that the disk is full."""
    opened = []

    def open_database(path):
        database = Database.open(path)
        opened.append(path)
        if len(opened) <= times:
            (pages,) = database.connection.execute("PRAGMA page_count").fetchone()
            database.connection.execute(f"PRAGMA max_page_count = {pages}")
        return database

    return open_database


def test_a_full_disk_is_told_with_its_cure_and_everything_written_later(make_writer, path, told):
    writer = make_writer(open_database=full_at_first(3))
    writer.start()
    writer.submit(batch(*range(500)))
    writer.submit(batch(*range(500, 1000)))
    until(lambda: writer.stats.commits == 2, "the recovery")
    writer.close()
    assert told == [f"the disk under {path} is full: free some space", None]
    assert values(path) == list(range(1000))
    assert writer.stats.failures == 3


def test_close_gives_up_on_a_disk_that_stays_full_and_counts(make_writer, path, told, caplog):
    writer = make_writer(open_database=full_at_first(10**9))
    writer.start()
    writer.submit(batch(*range(500)))
    writer.submit(batch(*range(500, 700)))
    until(lambda: told, "the refusal")
    writer.close()
    assert writer.stats.dropped == 700
    assert "700 messages were not recorded: the disk under" in caplog.text
    assert values(path) == []


def test_a_lost_file_system_is_trouble_and_not_the_end(make_writer, path, told):
    """The data directory cannot be opened again for a while: it is a file where a directory should be."""
    attempts = []

    def gone_for_a_while(path):
        attempts.append(path)
        if len(attempts) == 1:
            database = Database.open(path)
            database.connection.close()  # what is left of it after its file system went
            database.connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
            return database
        if len(attempts) < 4:
            raise StoreError("mount the card again")
        return Database.open(path)

    writer = make_writer(open_database=gone_for_a_while)
    writer.start()
    writer.submit(batch(1))
    until(lambda: writer.stats.commits == 1, "the recovery")
    assert "cannot be written: mount its disk writable" in told[0]
    assert told[1:] == ["mount the card again", None]
    writer.close()
    assert values(path) == [1]


def test_a_batch_that_makes_no_sense_is_dropped_alone(make_writer, path, told, caplog):
    writer = make_writer()
    writer.start()
    writer.submit(batch(1))
    writer.submit(Batch(messages=[(AT, None)], size_bytes=1))  # our bug, if it ever happens
    writer.submit(batch(2))
    writer.close()
    assert values(path) == [1, 2]
    assert writer.stats.dropped == 1
    assert "1 messages could not be recorded" in caplog.text
    assert told == []


def test_a_listener_that_fails_does_not_end_the_recording(path, caplog):
    def deaf(_):
        raise RuntimeError("event loop is closed")

    writer = HistoryWriter(path, site="home", on_trouble=deaf, retry_s=0.01, open_database=full_at_first(1))
    writer.start()
    writer.submit(batch(*range(500)))
    writer.close()
    assert len(values(path)) == 500
    assert "nobody could be told" in caplog.text


CHILD = """
import sys, time
from pathlib import Path
from appliance.broker.message import Message
from appliance.mqtt.wire import Writer
from appliance.store.writer import Batch, HistoryWriter

def told(seq):
    writer = Writer()
    for pair in (("agent", "house"), ("run", "r1"), ("seq", str(seq))):
        writer.byte(0x26)
        writer.pair(pair)
    return bytes(writer.buffer)

writer = HistoryWriter(Path(sys.argv[1]), site="home")
writer.start()
for first in range(0, 1_000_000, 7):
    writer.submit(Batch([(1.79e9 + n, Message("home/kitchen/temperature", b"%d" % n, 1, True, told(n)))
                         for n in range(first, first + 7)], size_bytes=1))
    while writer.stats.rows + writer.stats.duplicates < first + 7:
        time.sleep(0)
    print(first + 7, flush=True)
"""


def test_a_kill_loses_nothing_that_was_committed_and_repeats_nothing(path):
    for round_number in range(1, 4):
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        ) as child:
            committed = 0
            while committed < 150 * round_number:  # further each time, so that every start repeats what is there
                committed = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            rest = child.stdout.read().split()
        committed = max([committed, *map(int, rest)])
        found = values(path)
        assert found == list(range(len(found)))  # in order, once, without a hole
        assert len(found) >= committed
        assert len(found) % 7 == 0  # whole transactions
        with sqlite3.connect(path) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            seqs = connection.execute("SELECT count(DISTINCT seq), min(seq), max(seq) FROM history").fetchall()
            assert seqs == [(len(found), 0, len(found) - 1)]
        connection.close()


def test_live_and_backlog_interleaved_over_a_restart_count_once(make_writer, path):
    from appliance.mqtt.wire import Writer

    def properties(**said):
        writer = Writer()
        for pair in said.items():
            writer.byte(0x26)
            writer.pair(pair)
        return bytes(writer.buffer)

    at = time.time()

    def live(seq):
        said = properties(agent="house", run="r1", seq=str(seq), time=rfc3339(at - 60 + seq))
        return (at, Message(TOPIC, str(seq).encode(), 1, True, said))

    def backlog(*seqs):
        entries = [{"topic": TOPIC, "value": seq, "time": rfc3339(at - 60 + seq), "seq": seq} for seq in seqs]
        return (at, Message("home/devices/house/backlog", json.dumps(entries).encode(), 1, False, properties(run="r1")))

    first = make_writer()
    first.start()
    first.submit(Batch([live(1), backlog(2, 3), live(6), backlog(1, 2, 4)], size_bytes=1))
    first.close()
    second = make_writer()
    second.start()
    second.submit(Batch([live(6), backlog(5, 6, 0), live(7), backlog(7)], size_bytes=1))
    second.close()
    assert values(path) == list(range(8))
    assert (first.stats.duplicates, second.stats.duplicates) == (2, 3)


class Kitchen:
    """Rights to one room."""

    def may_publish(self, topic):
        return topic.startswith("home/kitchen/")


def test_a_backlog_holds_nothing_of_topics_that_its_publisher_may_not_publish_to(make_writer, path):
    def backlog(number):
        topics = (TOPIC, "home/attic/temperature", "home/kitchen/door")
        entries = [{"topic": topic, "value": number, "seq": number * 10 + n} for n, topic in enumerate(topics)]
        return Message("home/devices/house/backlog", json.dumps(entries).encode())

    limited, free = backlog(1), backlog(2)
    writer = make_writer()
    writer.start()
    writer.submit(Batch(messages=[(AT, limited), (AT, free)], rights={limited: Kitchen()}))
    writer.close()
    assert values(path) == [1.0, 2.0]
    assert values(path, "home/kitchen/door") == [1.0, 2.0]
    assert values(path, "home/attic/temperature") == [2.0]
    assert writer.stats.forbidden == 1
    assert writer.stats.rows == 5
