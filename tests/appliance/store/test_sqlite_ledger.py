"""The real ledger on a real file: what is written, when it is moved, and how large the file stays."""

import sqlite3

import pytest
from groups import AT, FakeHistory, age_ms, ask, described, provenance, retained, told
from keeper import AT as KEPT_AT
from keeper import Keeper

from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag
from appliance.broker.records import Done, Left, Opened, Queued, Subscribed
from appliance.clock import RELEASED_MS, SYNCED, UNSYNCED
from appliance.devices import Device
from appliance.store import sqlite_ledger, state_move
from appliance.store.database import Database, StoreError, open_reader
from appliance.store.gap_reader import GapReader
from appliance.store.gaps import AGENT, DROPPED, GapNote, Measured
from appliance.store.group import Group
from appliance.store.sqlite_ledger import GapBook, SqliteLedger

TOPIC = "home/kitchen/temperature"
RECORD = int(RouteFlag.RECORD)


class Ledgers:
    """Ledgers on one file, with a fake history or none, that are closed at the end."""

    def __init__(self, path):
        self.path = path
        self.opened = []

    def open(self, *, history=True, path=None):
        database = Database.open(path or self.path)
        made = FakeHistory(database) if history else None
        self.damage = []
        ledger = SqliteLedger(database, made, age_ms=age_ms, on_damage=self.damage.append)
        self.opened.append(ledger)
        return ledger

    def kill(self, ledger):
        """Let go of the file without a word to the ledger."""
        ledger._database.close()
        self.opened.remove(ledger)


@pytest.fixture
def ledgers(tmp_path):
    ledgers = Ledgers(tmp_path / "appliance.db")
    yield ledgers
    for ledger in ledgers.opened:
        ledger.close()


def work(ledger):
    """Let the ledger do what may wait, and give the number of steps."""
    steps = 0
    while ledger.step():
        steps += 1
    return steps


def move(ledger):
    ledger._moving = ledger._begin_move()
    return work(ledger)


def test_a_group_is_one_transaction_and_comes_back(ledgers):
    ledger = ledgers.open()
    ledger.write(Group(1, entries=[retained("a"), retained("b", b"2")], records=[Opened(1, "c", None, 9.0)], run=7))
    assert ledger.last_stamp == (7, 1)
    ledgers.kill(ledger)
    again = ledgers.open()
    assert again.last_stamp == (7, 1)
    image = again.load(5.0)
    assert {topic: message.payload for topic, message in image.retained.items()} == {"a": b"1", "b": b"2"}
    assert (again.next_number, again.next_key) == (1, 2)


def test_of_a_group_that_fails_nothing_stays(ledgers):
    ledger = ledgers.open()
    ledger.write(Group(1, entries=[retained("a")], run=7))
    ledger._database.connection.execute("PRAGMA query_only = ON")
    with pytest.raises(sqlite3.OperationalError):
        ledger.write(Group(2, entries=[retained("b")], devices=[Device(agent="x", site="home", sensors=())], run=7))
    ledger.close()
    again = ledgers.open()
    assert again.last_stamp == (7, 1)
    assert set(again.load(5.0).retained) == {"a"}
    assert ask(again, "SELECT count(*) FROM journal") == 1


def test_the_last_group_is_known_whatever_it_held(ledgers):
    ledger = ledgers.open()
    ledger.write(Group(1, entries=[retained("a")], run=7))
    ledger.write(Group(2, records=[Opened(1, "c", None, 9.0)], run=7))
    ledgers.kill(ledger)
    ledger = ledgers.open()
    assert ledger.last_stamp == (7, 2)
    ledger.write(Group(1, run=8))  # another start, and nothing to keep
    assert ledger.last_stamp == (8, 1)
    ledgers.kill(ledger)
    assert ledgers.open().last_stamp == (8, 0)


def test_descriptions_go_to_the_history(ledgers):
    ledger = ledgers.open()
    device = Device(agent="house", site="home", sensors=())
    ledger.write(Group(1, devices=[device], run=7))
    assert ledger._history.learnt == [device]


def test_without_a_history_messages_are_kept_all_the_same(ledgers):
    ledger = ledgers.open(history=False)
    message = Message(TOPIC, b"21.4", 1, True, provenance(1, AT), None, "house")
    ledger.write(Group(1, entries=[(message, 3, 1.0, None)], devices=[Device(agent="x", site="home", sensors=())]))
    move(ledger)
    assert told(ledger.load(5.0).retained[TOPIC]) == told(message)
    assert ask(ledger, "SELECT count(*) FROM series") == 0


def test_numbers_keys_and_ids_are_never_used_again(ledgers):
    ledger = ledgers.open()
    message = retained("a", number=41)
    records = [Opened(6, "c", None, 9.0), Queued(6, 41, 1, False, (), None, 3), Done(6, 3)]
    ledger.write(Group(1, entries=[(message[0], 0, 1.0, None)], records=records, run=7))
    move(ledger)
    assert [ask(ledger, f"SELECT count(*) FROM {table}") for table in ("journal", "messages", "deliveries")] == [
        0,
        0,
        0,
    ]
    ledgers.kill(ledger)
    ledger = ledgers.open()
    ledger.load(5.0)
    assert (ledger.next_number, ledger.next_key) == (42, 7)
    ledger.write(Group(2, entries=[retained("b")], run=7))
    assert ask(ledger, "SELECT min(id) FROM journal") == 3
    assert ledger.last_stamp == (7, 2)


def test_it_moves_when_enough_waits(ledgers, monkeypatch):
    monkeypatch.setattr(sqlite_ledger, "MOVE_ROWS", 10)
    ledger = ledgers.open()
    ledger.write(Group(1, entries=[retained(f"t/{n}") for n in range(9)], run=7, now=1.0))
    assert not ledger.step()
    ledger.write(Group(2, entries=[retained("t/9")], run=7, now=1.0))
    assert work(ledger) > 1
    assert [ask(ledger, f"SELECT count(*) FROM {table}") for table in ("journal", "retained")] == [0, 10]


def test_it_moves_when_something_waits_for_long(ledgers):
    ledger = ledgers.open()
    ledger.write(Group(1, entries=[retained("a")], run=7, now=10.0))
    ledger.write(Group(2, entries=[retained("b")], run=7, now=3_609.0))
    assert not ledger.step()
    ledger.write(Group(3, entries=[retained("c")], run=7, now=3_610.0))
    assert work(ledger) > 1
    assert ask(ledger, "SELECT count(*) FROM journal") == 0
    ledger.write(Group(4, entries=[retained("d")], run=7, now=3_620.0))
    assert not ledger.step()


def test_it_moves_when_much_waits(ledgers, monkeypatch):
    monkeypatch.setattr(sqlite_ledger, "MOVE_BYTES", 100_000)
    ledger = ledgers.open()
    ledger.write(Group(1, entries=[retained("a", bytes(100_000))], run=7, now=1.0))
    assert work(ledger) > 1
    assert ledger.load(2.0).retained["a"].payload == bytes(100_000)


def test_groups_go_on_between_the_steps_of_a_move(ledgers):
    ledger = ledgers.open()
    ledger.write(Group(1, entries=[retained(f"t/{n}") for n in range(300)], run=7, now=1.0))
    ledger._moving = ledger._begin_move()
    number = 1
    while ledger._moving is not None:
        ledger.step()
        number += 1
        ledger.write(Group(number, entries=[retained("t/0", b"%d" % number)], run=7, now=1.0))
    assert number > 5
    assert 0 < ask(ledger, "SELECT count(*) FROM journal") < number
    assert ledger.load(5.0).retained["t/0"].payload == b"%d" % number
    assert ledger.last_stamp == (7, number)
    ledgers.kill(ledger)
    again = ledgers.open()
    assert again.last_stamp == (7, number)
    assert again.load(5.0).retained["t/0"].payload == b"%d" % number


@pytest.mark.parametrize("tail", [0, 3])
def test_a_move_that_is_followed_by_much_deletes_row_by_row(ledgers, monkeypatch, tail):
    monkeypatch.setattr(state_move, "TAIL_ROWS", tail)
    monkeypatch.setattr(state_move, "DELETE_ROWS", 2)
    ledger = ledgers.open()
    ledger.write(Group(1, entries=[retained(f"t/{n}") for n in range(6)], run=7, now=1.0))
    ledger._moving = ledger._begin_move()
    ledger.write(Group(2, entries=[retained(f"u/{n}") for n in range(3)], run=7, now=1.0))
    work(ledger)
    assert ask(ledger, "SELECT group_concat(topic) FROM journal") == "u/0,u/1,u/2"
    assert len(ledger.load(5.0).retained) == 9
    assert ledger._history.moves[-1] is None  # told that its rows are gone


def test_the_history_moves_before_any_row_is_gone(ledgers):
    ledger = ledgers.open()
    ledger.write(Group(1, entries=[retained("a")], run=7))
    seen = []
    forward = ledger._history.move

    def watch(cut_id):
        seen.append((cut_id, ask(ledger, "SELECT count(*) FROM journal"), ledger._database.connection.in_transaction))
        return forward(cut_id)

    ledger._history.move = watch
    move(ledger)
    assert seen == [(1, 1, True)] * 3


def test_sessions_rest_in_their_tables(ledgers):
    ledger = ledgers.open()
    records = [
        Opened(1, "c", None, 900.0),
        Subscribed(1, "a/#", 1, False, False, 0, False),
        Queued(1, 5, 1, True, (3,), None, 0),
        Left(1),
    ]
    ledger.write(Group(1, entries=[retained("a", number=5)], records=records, run=7, now=10.0))
    before = described(ledger.load(70.0))
    move(ledger)
    assert described(ledger.load(70.0)) == before
    assert ask(ledger, "SELECT left_age_ms FROM sessions") == 10_000
    ledger.write(Group(2, records=[Left(1, 2.5)], run=7, now=20.0))
    move(ledger)
    assert ask(ledger, "SELECT left_age_ms FROM sessions") == 17_500


def test_what_does_not_change_is_not_written(ledgers):
    ledger = ledgers.open()
    records = [Opened(1, "c", None, 900.0), *(Subscribed(1, f"a/{n}", 1, False, False, 0, False) for n in range(50))]
    ledger.write(Group(1, records=records, run=7, now=10.0))
    move(ledger)
    ledger.write(Group(2, records=[Opened(1, "c", None, 900.0), records[9]], run=7, now=20.0))
    before = ledger._database.connection.total_changes
    move(ledger)
    assert ledger._database.connection.total_changes - before <= 12  # marks, twice each, and the row of the journal


def test_the_file_does_not_grow_with_what_passes_through(ledgers):
    ledger = ledgers.open(history=False)
    sizes = []
    for cycle in range(20):
        entries = [retained(f"home/room{n}/temperature", b"%d" % (cycle * n)) for n in range(400)]
        queued = []
        for n in range(100):
            number = cycle * 100 + n + 1
            message = Message("a", bytes(200), 1)
            message.number = number
            entries.append((message, 0, 1.0, None))
            queued += [Queued(1, number, 1, False, (), None, n + 1)]
        over = [Done(1, n + 1) for n in range(100)] if cycle else []
        ledger.write(Group(cycle + 1, entries=entries, records=[Opened(1, "c", None, 9.0), *over, *queued], run=7))
        move(ledger)
        ledger.settle()
        sizes.append(ask(ledger, "PRAGMA page_count"))
    assert max(sizes[2:]) <= sizes[1] * 1.1
    assert len(ledger.load(5.0).sessions[1].deliveries) == 100


def test_the_log_is_moved_when_nobody_waits_and_kept(ledgers, monkeypatch):
    monkeypatch.setattr(sqlite_ledger, "CHECKPOINT_BYTES", 200_000)
    monkeypatch.setattr(sqlite_ledger, "GROWTH_BYTES", 100_000)
    ledger = ledgers.open()
    log = ledgers.path.with_name("appliance.db-wal")
    sizes = []
    for number in range(1, 41):
        ledger.write(Group(number, entries=[retained(f"t/{n}", bytes(2_000)) for n in range(10)], run=7, now=1.0))
        ledger.step()
        sizes.append(log.stat().st_size)
    assert max(sizes) < 400_000
    assert sizes[-1] == sizes[20]  # written over, not grown


def test_a_log_is_moved_early_where_the_file_must_grow_for_it_or_the_disk_is_short(ledgers, monkeypatch):
    monkeypatch.setattr(sqlite_ledger, "GROWTH_BYTES", 100_000)
    ledger = ledgers.open()

    def write(number, topic):
        ledger.write(Group(number, entries=[retained(topic, bytes(2_000)) for _ in range(10)], run=7, now=1.0))
        ledger.step()

    for number in range(1, 31):
        write(number, "t/0")
    assert ledgers.path.stat().st_size > 400_000  # new rows: the file grew with them
    move(ledger)
    ledger.settle()
    size = ledgers.path.stat().st_size
    for number in range(31, 41):
        write(number, "t/0")  # into pages that are free
    assert ledger._log_bytes > 200_000
    ledger.short_of_space = True
    ledger.step()
    assert ledger._log_bytes == 0
    assert ledgers.path.stat().st_size == size


def test_settling_empties_the_log_unless_somebody_reads(ledgers):
    ledger = ledgers.open()
    ledger.write(Group(1, entries=[retained("a")], run=7))
    log = ledgers.path.with_name("appliance.db-wal")
    reader = open_reader(ledgers.path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM journal").fetchone()
    ledger._database.connection.execute("PRAGMA busy_timeout = 0")
    ledger.write(Group(2, entries=[retained("b")], run=7))
    with pytest.raises(StoreError, match="a reader holds the log of"):
        ledger.settle()
    reader.execute("COMMIT")
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM journal").fetchone()
    ledger.settle()  # the reader holds a log whose pages are all in the file
    assert log.stat().st_size
    reader.close()
    ledger.settle()
    assert log.stat().st_size == 0


def test_at_a_stop_everything_comes_into_its_tables(ledgers):
    ledger = ledgers.open()
    ledger.write(Group(1, entries=[retained("a")], records=[Opened(1, "c", None, 9.0)], run=7))
    ledger.finish()
    ledger.close()
    ledger.close()
    again = ledgers.open()
    assert [ask(again, f"SELECT count(*) FROM {table}") for table in ("journal", "retained", "sessions")] == [0, 1, 1]
    assert again.last_stamp == (7, 1)


def test_a_stop_takes_no_longer_than_it_may_and_the_next_start_goes_on(ledgers):
    ledger = ledgers.open()
    ledger.write(Group(1, entries=[retained(f"t/{n}") for n in range(500)], run=7))
    ledger.rest(within_s=0.0)
    assert ask(ledger, "SELECT count(*) FROM journal") == 500
    ledger._moving = ledger._begin_move()
    for _ in range(4):
        ledger.step()
    ledgers.kill(ledger)
    again = ledgers.open()
    assert work(again) > 0  # without being told
    assert [ask(again, f"SELECT count(*) FROM {table}") for table in ("journal", "retained")] == [0, 500]


def test_damaged_rows_are_deleted_before_they_are_moved(ledgers):
    ledger = ledgers.open()
    ledger.write(Group(1, entries=[retained("a"), retained("b"), retained("c")], run=7))
    ledger._database.connection.execute("UPDATE journal SET payload = CAST('2' AS BLOB) WHERE topic = 'b'")
    ledger.load(5.0)
    assert ledger.damaged == 1
    assert work(ledger) == 1
    assert ask(ledger, "SELECT group_concat(topic) FROM journal") == "a,c"
    ledger._database.connection.execute("UPDATE journal SET flags = 0 WHERE topic = 'c'")
    move(ledger)
    assert ask(ledger, "SELECT group_concat(topic) FROM retained") == "a"
    assert ledgers.damage == [f"row {row_id} of the journal is damaged and left out" for row_id in (2, 3)]


def test_there_is_nothing_to_trim(ledgers):
    assert ledgers.open().trim() is False


@pytest.mark.parametrize(
    ("hub", "agent", "measured", "placed"),
    [
        (SYNCED, SYNCED, (-3_600.0, -60.0), (-3_600.0, -60.0)),  # also before this boot
        (SYNCED, UNSYNCED, (-50.0, -10.0), (-50.0, -10.0)),
        (SYNCED, UNSYNCED, (RELEASED_MS / 1000 - KEPT_AT - 2, -10.0), (98.0, 98.0)),  # a clock that was never set
        (UNSYNCED, UNSYNCED, (40.0, 60.0), (1_040.0, 1_060.0)),  # of the hub's own machine, whose clock is set since
    ],
)
def test_what_an_agent_dropped_stands_where_it_was_measured(tmp_path, hub, agent, measured, placed):
    keeper = Keeper(tmp_path / "appliance.db", quality=hub)
    keeper.advance(98.0)
    keeper.look()
    told_at = keeper.now
    if hub == UNSYNCED:
        keeper.at, keeper.quality = keeper.at + 1_000.0, SYNCED
        keeper.look()
    note = GapNote(AGENT, "house", DROPPED, told_at, told_at, "full", "r1", 5, 9)
    with keeper.database.transaction():
        book = GapBook(keeper.database.connection, keeper.clock)
        book.write([note._replace(measured=Measured(KEPT_AT + measured[0], KEPT_AT + measured[1], agent))])
    (gap,) = GapReader(keeper.path).last(0, KEPT_AT * 2)
    assert (gap.since_at - KEPT_AT, gap.until_at - KEPT_AT) == pytest.approx(placed, abs=0.01)
    keeper.stop()
