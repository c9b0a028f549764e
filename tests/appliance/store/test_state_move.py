"""Moving the state from the journal into its tables, interrupted everywhere."""

import sqlite3
import tempfile
from itertools import pairwise
from pathlib import Path
from unittest import mock

import pytest
from groups import AT, FakeHistory, age_ms, applied, ask, crash_copy, described, histories_of_groups, provenance, told
from hypothesis import given, settings

from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag
from appliance.broker.records import Dropped, Ended, Opened, Queued, Subscribed
from appliance.store import state_move
from appliance.store.database import Database
from appliance.store.group import Group
from appliance.store.loading import load
from appliance.store.sqlite_ledger import SqliteLedger
from appliance.store.staged import Moment

NOW = 20_000.0


def loaded(path):
    damage = []
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        found = load(connection, Moment(NOW, age_ms(NOW)), damage.append)
    finally:
        connection.close()
    assert damage == []
    return found


def open_at(path):
    database = Database.open(path)
    database.connection.execute("PRAGMA synchronous = OFF")  # files are copied here, no power is cut
    return SqliteLedger(database, FakeHistory(database), age_ms=age_ms)


def lasting(image, now):
    """Give what can be compared of an image, without retained messages whose time is over."""
    image.retained = {
        topic: message
        for topic, message in image.retained.items()
        if message.expires_at is None or round(message.expires_at, 3) >= now
    }
    return described(image)


@pytest.mark.parametrize("write_rows", [state_move.WRITE_ROWS, 1])
@given(groups=histories_of_groups())
@settings(max_examples=20, deadline=None)
def test_a_move_changes_nothing_wherever_it_is_interrupted(write_rows, groups):
    with mock.patch.object(state_move, "WRITE_ROWS", write_rows), tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "appliance.db"
        ledger = open_at(path)
        for group in groups:
            ledger.write(group)
        over = groups[-1].now
        expected = lasting(applied(groups, NOW), over)
        before = loaded(path)
        assert described(before.image) == described(applied(groups, NOW))
        reopened = open_at(crash_copy(path, Path(directory) / "stamp"))
        stamp = reopened.last_stamp
        reopened.close()
        ledger._moving = ledger._begin_move()
        steps = 0
        while ledger.step():
            steps += 1
            copy = crash_copy(path, Path(directory) / "crashed")
            found = loaded(copy)
            assert lasting(found.image, over) == expected
            assert (found.next_number, found.next_key) == (before.next_number, before.next_key)
            if steps % 3 == 0:  # goes on from there
                again = open_at(copy)
                while again.step():
                    pass
                assert lasting(again.load(NOW), over) == expected
                assert again._database.connection.execute("SELECT count(*) FROM journal").fetchone() == (0,)
                assert again.last_stamp == stamp
                again.close()
        assert lasting(ledger.load(NOW), over) == expected
        ledger.close()


@pytest.fixture
def ledger(tmp_path):
    ledger = open_at(tmp_path / "appliance.db")
    yield ledger
    ledger.close()


def queued(first, last, payload=b"p", key=1):
    """Give messages with these numbers, and that they wait for a session."""
    entries, records = [], []
    for number in range(first, last + 1):
        message = Message("t", payload, 1)
        message.number = number
        entries.append((message, 0, 1.0, None))
        records.append(Queued(key, number, 1, False, (), None, 0))
    return entries, records


def move(ledger):
    ledger._moving = ledger._begin_move()
    while ledger.step():
        pass


def test_a_message_stays_for_as_long_as_somebody_holds_it(ledger):
    entries, records = queued(1, 3)
    others = [Opened(2, "d", None, 9.0), Queued(2, 2, 0, False, (), None, 0)]
    ledger.write(Group(1, entries=entries, records=[Opened(1, "c", None, 9.0), *records, *others], run=5))
    move(ledger)
    assert ask(ledger, "SELECT group_concat(number) FROM messages") == "1,2,3"
    ledger.write(Group(2, records=[Dropped(1, 1), Dropped(1, 2)], run=5))
    move(ledger)
    assert ask(ledger, "SELECT group_concat(number) FROM messages") == "2,3"
    ledger.write(Group(3, records=[Ended(1)], run=5))
    move(ledger)
    assert ask(ledger, "SELECT group_concat(number) FROM messages") == "2"
    assert [one.number for one in ledger.load(NOW).sessions[2].deliveries] == [2]


def test_retained_messages_whose_time_is_over_are_forgotten(ledger, monkeypatch):
    monkeypatch.setattr(state_move, "LOOK_ROWS", 2)
    monkeypatch.setattr(state_move, "WRITE_ROWS", 1)

    def write(number, now, *times):
        entries = [
            (Message(topic, b"1", 0, True, b"", expires_at), int(RouteFlag.RETAINED), now, None)
            for topic, expires_at in times
        ]
        ledger.write(Group(number, entries=entries, run=5, now=now))
        move(ledger)
        return ask(ledger, "SELECT group_concat(topic, ' ') FROM retained")

    assert write(1, 1.0, ("a", 10.0), ("b", None), ("c", 10.0), ("d", 30.0), ("e", 10.0)) == "a b c d e"
    assert write(2, 10.0, ("x", 20.0)) == "a b c d e x"
    assert write(3, 11.0, ("a", 30.0), ("gone", 10.5)) == "a b d x"
    assert write(4, 31.0) == "b"


def test_what_passes_through_between_two_moves_never_reaches_the_tables(ledger):
    entries, records = queued(1, 50)
    over = [Dropped(1, number) for number in range(1, 51)]
    ledger.write(Group(1, entries=entries, records=[Opened(1, "c", None, 9.0), *records, *over], run=5))
    ledger._database.connection.execute("CREATE TEMP TABLE seen (number)")
    ledger._database.connection.execute(
        "CREATE TEMP TRIGGER watch AFTER INSERT ON messages BEGIN INSERT INTO seen VALUES (new.number); END"
    )
    move(ledger)
    assert ask(ledger, "SELECT count(*) FROM temp.seen") == 0


def test_no_step_writes_much(ledger):
    entries, records = queued(1, 2_000)
    ledger.write(Group(1, entries=entries, records=[Opened(1, "c", None, 9.0), *records], run=5))
    ledger._moving = ledger._begin_move()
    changes = [ledger._database.connection.total_changes]
    while ledger.step():
        changes.append(ledger._database.connection.total_changes)
    steps = [after - before for before, after in pairwise(changes)]
    deleted = steps.index(max(steps))  # all at once, which writes no page of them
    assert steps[deleted] >= 2_000
    assert max(steps[:deleted] + steps[deleted + 1 :]) <= 2 * state_move.WRITE_ROWS + 10
    assert len(ledger.load(NOW).sessions[1].deliveries) == 2_000


def test_large_messages_are_moved_a_few_at_a_time(ledger):
    entries, records = queued(1, 12, bytes(60_000))
    ledger.write(Group(1, entries=entries, records=[Opened(1, "c", None, 9.0), *records], run=5))
    ledger._moving = ledger._begin_move()
    counts = [0]
    while ledger.step():
        counts.append(ask(ledger, "SELECT count(*) FROM messages"))
    assert max(after - before for before, after in pairwise(counts)) <= 3
    assert counts[-1] == 12


def test_templates_make_room_when_no_row_needs_them(ledger, monkeypatch):
    monkeypatch.setattr(state_move, "MAX_TEMPLATES", 4)
    entries = [
        (Message("t", b"1", 1, True, provenance(n, AT, run=f"run{n}"), None, "house"), 3, 1.0, None) for n in range(3)
    ]
    ledger.write(Group(1, entries=entries, run=5))
    assert ask(ledger, "SELECT count(*) FROM templates") == 3
    move(ledger)
    assert ask(ledger, "SELECT count(*) FROM templates") == 0
    ledger.write(Group(2, entries=entries[:1], run=5))
    assert told(ledger.load(NOW).retained["t"]) == told(entries[0][0])


def test_messages_of_damaged_rows_go_and_the_others_stay(ledger):
    entries, records = queued(1, 3)
    ledger.write(Group(1, entries=entries, records=[Opened(1, "c", None, 9.0), *records], run=5))
    ledger._database.connection.execute("UPDATE journal SET payload = CAST('x' AS BLOB) WHERE number = 2 AND kind = 0")
    move(ledger)
    assert ask(ledger, "SELECT group_concat(number) FROM messages") == "1,3"
    found = ledger.load(NOW).sessions[1].deliveries
    assert [(one.number, one.message is None) for one in found] == [(1, False), (2, True), (3, False)]


def test_a_session_that_is_described_anew_holds_what_was_said_last(tmp_path):
    """After a loss the broker ends every session in the file and describes it again, under its key."""
    message = Message("t", b"held", 1)
    message.number = 1
    begun = [Opened(1, "a", None, 60.0), Subscribed(1, "old", 1, False, False, 0, False)]
    queued = Queued(1, 1, 1, False, (), None, 0)
    anew = [Ended(1), Opened(1, "a", None, 90.0), Subscribed(1, "new", 1, False, False, 0, False), queued]
    path = tmp_path / "appliance.db"
    ledger = open_at(path)
    ledger.write(Group(1, [(message, 0, 1.0, None)], [*begun, queued], run=7, now=1.0, at=AT))
    ledger.rest()
    ledger.write(Group(2, [(message, 0, 2.0, None)], anew, run=7, now=2.0, at=AT))
    staged = described(loaded(path).image)
    ledger.rest()
    found = loaded(path).image
    assert described(found) == staged
    (session,) = found.sessions.values()
    assert (session.expiry_s, [*session.subscriptions]) == (90.0, ["new"])
    assert [one.message.payload for one in session.deliveries] == [b"held"]
    ledger.close()
