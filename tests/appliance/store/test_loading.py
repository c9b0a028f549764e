import sqlite3
import tempfile
from pathlib import Path

import pytest
from groups import AT, FakeHistory, age_ms, applied, described, histories_of_groups, provenance
from hypothesis import given, settings

from appliance.broker.message import Message
from appliance.broker.records import Ended, Left, Opened, Queued, Subscribed, WillKept
from appliance.store.database import Database, open_reader
from appliance.store.group import Group
from appliance.store.loading import last_stamp, load
from appliance.store.sqlite_ledger import SqliteLedger
from appliance.store.staged import Moment

NOW = 20_000.0
MOMENT = Moment(NOW, age_ms(NOW))


def write(path, *groups):
    """Write groups as a service does that is killed afterwards."""
    database = Database.open(path)
    ledger = SqliteLedger(database, FakeHistory(database), age_ms=age_ms)
    for group in groups:
        ledger.write(group)
    database.close()


@given(histories_of_groups())
@settings(max_examples=25, deadline=None)
def test_what_is_loaded_is_what_was_handed_over(groups):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "appliance.db"
        write(path, *groups)
        connection = open_reader(path)
        loaded = load(connection, MOMENT, pytest.fail)
        connection.close()
    assert described(loaded.image) == described(applied(groups, NOW))
    numbers = [entry[0].number for group in groups for entry in group.entries]
    assert loaded.next_number > max(numbers, default=0)
    keys = [change.key for group in groups for change in group.records]
    assert loaded.next_key > max(keys, default=0)
    assert loaded.image.messages == {}


def retained(topic, payload=b"1"):
    return Message(topic, payload, 1, True), 1, 1.0, None


def test_a_damaged_row_is_left_out_and_what_follows_is_taken(tmp_path):
    path = tmp_path / "appliance.db"
    opened, left = Opened(1, "c", None, 60.0), Left(1)
    write(
        path,
        Group(1, entries=[retained("a"), retained("b"), retained("c")], now=1.0, run=1),
        Group(2, records=[opened], now=2.0, run=1),
        Group(3, records=[Subscribed(1, "x", 1, False, False, 0, False)], now=3.0, run=1),
        Group(4, records=[left], now=4.0, run=1),
    )
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE journal SET payload = CAST('2' AS BLOB) WHERE topic = 'b' OR id = 2")
    connection.execute("UPDATE journal SET body = CAST(body || 'x' AS BLOB) WHERE id = 5")
    told = []
    loaded = load(connection, MOMENT, told.append)
    assert set(loaded.image.retained) == {"a", "c"}
    assert loaded.image.sessions[1].subscriptions == {}
    assert loaded.image.sessions[1].away_s == NOW - 4.0
    assert (loaded.damaged, loaded.damaged_ids) == (2, [2, 5])
    assert told == ["row 2 of the journal is damaged and left out", "row 5 of the journal is damaged and left out"]
    assert last_stamp(connection) == (1, 4)
    connection.close()


def test_a_change_of_something_that_was_lost_changes_nothing(tmp_path):
    path = tmp_path / "appliance.db"
    write(path, Group(1, records=[Queued(4, 9, 1, False, (), None, 0), Left(4), Ended(4)], now=1.0, run=1))
    connection = open_reader(path)
    loaded = load(connection, MOMENT, pytest.fail)
    connection.close()
    assert loaded.image.sessions == {}
    assert (loaded.next_key, loaded.next_number) == (5, 10)


def test_nothing_is_written(tmp_path):
    path = tmp_path / "appliance.db"
    will = WillKept(1, "c", None, "t", b"p", 0, False, b"", 0, None)
    message = Message("home/kitchen/temperature", b"21.4", 1, True, provenance(1, AT), None, "house")
    write(path, Group(1, entries=[(message, 3, 1.0, None)], records=[will], now=1.0, run=1))
    path.chmod(0o400)
    before = path.read_bytes()
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None)
    loaded = load(connection, MOMENT, pytest.fail)
    connection.close()
    assert set(loaded.image.retained) == {"home/kitchen/temperature"}
    assert set(loaded.image.wills) == {1}
    assert path.read_bytes() == before
    assert {entry.name for entry in tmp_path.iterdir()} == {"appliance.db", "appliance.db.lock"}


def test_a_new_file_is_empty(tmp_path):
    Database.open(tmp_path / "appliance.db").close()
    connection = open_reader(tmp_path / "appliance.db")
    loaded = load(connection, MOMENT, pytest.fail)
    assert (loaded.next_number, loaded.next_key, loaded.damaged) == (1, 1, 0)
    assert last_stamp(connection) == (0, 0)
    connection.close()
