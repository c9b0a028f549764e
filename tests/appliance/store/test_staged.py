"""Groups as rows of the journal, and rows as what was in the groups."""

import sqlite3
from types import SimpleNamespace

import pytest
from groups import AT, START_TICK, FakeHistory, age_ms, histories_of_groups, provenance, told
from hypothesis import given, settings
from strategies import texts

from appliance.broker import records
from appliance.broker.image import Image
from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag
from appliance.broker.records import AnyRecord, Opened, Queued
from appliance.store.database import Database
from appliance.store.group import Group
from appliance.store.schema import HISTORY
from appliance.store.schema_journal import JOURNAL
from appliance.store.staged import (
    FURTHER,
    MAX_BODY_BYTES,
    RECORD_TYPES,
    RECORDS,
    Moment,
    Staging,
    changes_of,
    group_of,
    insert,
    is_kept,
    read,
    read_back,
)

LAST = 2**62
RETAINED, RECORD = int(RouteFlag.RETAINED), int(RouteFlag.RECORD)


@pytest.fixture
def database(tmp_path):
    database = Database.open(tmp_path / "appliance.db")
    yield database
    database.close()


def stage(database, group, first_id=1, history=None):
    """Write a group and give its rows as they come back."""
    staging = Staging(database.connection)
    with database.transaction():
        rows = staging.rows(group, first_id, age_ms, None if history is None else history.place)
        insert(database.connection, rows)
    found = list(read(database.connection, first_id - 1, LAST))
    assert found == rows
    return found


def reading(seq=1, payload=b"21.4", *, now=5.0, at=AT + 5.0, topic="home/kitchen/temperature", expires_at=None, **more):
    """Give the entry of an agent's reading."""
    message = Message(topic, payload, 1, True, provenance(seq, at, **more), expires_at, "house-agent")
    return message, RETAINED | RECORD, now, None


def test_every_kind_of_change_has_its_place():
    assert set(RECORD_TYPES) == set(AnyRecord.__args__)
    assert [kind.__name__ for kind in RECORD_TYPES[:4]] == ["Opened", "Left", "Back", "Ended"]  # written in files


@given(histories_of_groups(max_groups=3))
@settings(max_examples=60, deadline=None)
def test_any_group_comes_back_as_it_was(groups):
    database = _memory()
    history = FakeHistory(database, readings=2)
    staging = Staging(database.connection)
    next_id = 1
    for group in groups:
        rows = staging.rows(group, next_id, age_ms, history.place)
        insert(database.connection, rows)
        found = list(read(database.connection, next_id - 1, LAST))
        assert all(staging.is_whole(row) for row in found)
        assert [change for row in found for change in changes_of(row)] == group.records
        kept = [(entry[0], entry[1]) for entry in group.entries if is_kept(entry[0], entry[1])]
        given_back = [stored for row in found if (stored := staging.message(row)) is not None]
        moment = Moment(group.now, age_ms(group.now))
        assert [told(stored.message(moment)) for stored in given_back] == [told(message) for message, _ in kept]
        assert [stored.number for stored in given_back] == [message.number for message, _ in kept]
        assert [stored.flags & 0x0F for stored in given_back] == [flags for _, flags in kept]
        if rows:
            assert group_of(found[-1]) == group.number
            assert [group_of(row) for row in found[:-1] if row.kind != RECORDS] == [0] * (
                len(found) - 1 - _records(found[:-1])
            )
        next_id += len(rows)
    database.connection.close()


def _records(rows):
    return sum(row.kind == RECORDS for row in rows)


def _memory():
    """A database in memory, as far as rows are made and read: an example is soon over."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in (*HISTORY, *JOURNAL):
        connection.execute(statement)
    return SimpleNamespace(connection=connection)


@given(texts)
def test_a_change_may_hold_any_text(text):
    database = _memory()
    change = records.WillKept(1, text, None, "t/" + text, b"\0\xff", 1, True, b"", 2, None)
    (row,) = Staging(database.connection).rows(Group(1, records=[change]), 1, age_ms, None)
    assert changes_of(row) == [change]
    database.connection.close()


def test_of_an_agents_reading_only_what_is_new_is_written(database):
    history = FakeHistory(database)
    (row,) = stage(database, Group(1, entries=[reading()], now=5.0), history=history)
    assert (row.topic, row.payload, row.properties, row.client_id) == (None, None, None, None)
    assert (row.value, row.seq, row.tick) == (21_400, 1, START_TICK + 80_000)
    stored = Staging(database.connection).message(row)
    assert stored.topic == "home/kitchen/temperature"
    assert (stored.payload, stored.client_id) == (b"21.4", "house-agent")
    assert stored.properties == provenance(1, AT + 5.0)


@pytest.mark.parametrize("payload", [b"21.4", b"7", b"-0.5", b"0", b"1e3", b"21.40", b"ON", b"+1", b" 7", b"007"])
def test_a_payload_comes_back_to_the_letter(database, payload):
    (row,) = stage(database, Group(1, entries=[reading(payload=payload)], now=5.0), history=FakeHistory(database))
    assert Staging(database.connection).message(row).payload == payload
    assert (row.payload is None) == (payload in {b"21.4", b"7", b"-0.5", b"0", b"ON"})


def test_a_time_of_its_own_is_written_beside_the_template(database):
    (row,) = stage(database, Group(1, entries=[reading(at=AT - 60)], now=5.0), history=FakeHistory(database))
    assert row.properties == round((AT - 60) * 1000)
    assert Staging(database.connection).message(row).properties == provenance(1, AT - 60)


def test_rows_are_small(database):
    """Two hundred sensors of ten agents: what a reading takes that is retained and recorded."""
    history = FakeHistory(database)
    seq, next_id = 0, 1
    for number in range(1, 6):
        group = Group(number, now=float(number))
        for n in range(200):
            seq += 1
            at = AT + number
            group.entries.append(
                reading(
                    seq,
                    f"{20 + n / 10:.1f}".encode(),
                    now=group.now,
                    at=at,
                    topic=f"home/room{n}/temperature",
                    agent=f"agent{n % 10}",
                )
            )
        next_id += len(stage(database, group, next_id, history))
    taken = database.connection.execute("SELECT sum(pgsize) FROM dbstat WHERE name = 'journal'").fetchone()[0]
    assert taken / 1000 <= 50
    assert database.connection.execute("SELECT count(*) FROM templates").fetchone() == (10,)


def test_of_a_message_that_only_made_history_no_more_is_kept(database):
    message = Message("home/hall/doorbell", b"press", 1, False, provenance(3, AT), None, "house")
    (row,) = stage(database, Group(1, entries=[(message, RECORD, 1.0, None)], now=1.0), history=FakeHistory(database))
    assert (row.flags, row.topic, row.payload, row.properties) == (None, None, None, None)
    assert Staging(database.connection).message(row) is None
    assert Staging(database.connection).is_whole(row)


def test_of_what_nobody_needs_nothing_is_written(database):
    message = Message("home/hall/doorbell", b"press")
    assert stage(database, Group(1, entries=[(message, RECORD, 1.0, None)], now=1.0)) == []


def test_further_readings_follow_their_message(database):
    message = Message("tele/plug/SENSOR", b"{}", 0, True)
    entries = [(message, RETAINED | RECORD, 1.0, None)]
    rows = stage(database, Group(4, entries=entries, now=1.0), history=FakeHistory(database, readings=3))
    assert [row.kind for row in rows] == [0, FURTHER, FURTHER]
    assert len({row.series_id for row in rows}) == 3
    assert rows[0].topic is None
    assert [group_of(row) for row in rows] == [0, 0, 4]
    assert [group_of(row) for row in read_back(database.connection, 1)] == [4, 0, 0]


def test_expiry_is_kept_in_the_service_s_age(database):
    entry = reading(expires_at=65.0)
    (row,) = stage(database, Group(1, entries=[entry], now=5.0))
    assert row.expires_age_ms == 65_000
    later = Staging(database.connection).message(row).message(Moment(1000.0, 25_000))
    assert later.expires_at == 1040.0


def test_many_changes_are_split(database):
    changes = [Queued(1, number, 1, False, (), "$share/" + "x" * 50, 0) for number in range(3_000)]
    rows = stage(database, Group(1, records=changes, now=1.0))
    assert len(rows) == 4
    assert all(len(row.body) <= MAX_BODY_BYTES + 9 for row in rows)
    assert [change for row in rows for change in changes_of(row)] == changes


def test_a_large_change_stands_alone(database):
    will = records.WillKept(1, "c", None, "t", bytes(200_000), 1, True, b"", 2, None)
    rows = stage(database, Group(1, records=[Opened(1, "c", None, 1.0), will, Opened(2, "d", None, 1.0)], now=1.0))
    assert [len(changes_of(row)) for row in rows] == [1, 1, 1]


WRONG = [
    "UPDATE journal SET tick = tick + 1",
    "UPDATE journal SET value = value + 1",
    "UPDATE journal SET seq = seq + 1",
    "UPDATE journal SET series_id = series_id + 1",
    "UPDATE journal SET series_id = NULL",
    "UPDATE journal SET stretch_id = stretch_id + 1",
    "UPDATE journal SET late_ms = late_ms + 1",
    "UPDATE journal SET flags = flags + 1",
    "UPDATE journal SET number = 9",
    "UPDATE journal SET topic = 'home/kitchen/pressure'",
    "UPDATE journal SET payload = CAST('21.5' AS BLOB)",
    "UPDATE journal SET properties = 1",
    "UPDATE journal SET id = 2",
    "UPDATE journal SET expires_age_ms = 1",
    "UPDATE journal SET body = body + 1",
    "UPDATE journal SET kind = 2",
    "UPDATE journal SET checksum = checksum + 1",
    "UPDATE journal SET checksum = NULL",
    "UPDATE journal SET tick = 'x'",
    "UPDATE series SET topic = 'home/kitchen/pressure'",
    "UPDATE templates SET tail = CAST('x' AS BLOB)",
    "UPDATE templates SET client_id = 'other'",
    "DELETE FROM templates",
    "DELETE FROM series",
]


@pytest.mark.parametrize("damage", WRONG)
def test_damage_shows(database, damage):
    stage(database, Group(1, entries=[reading()], now=5.0), history=FakeHistory(database))
    assert Staging(database.connection).is_whole(next(read(database.connection, 0, LAST)))
    database.connection.execute("PRAGMA foreign_keys = OFF")
    database.connection.execute(damage)
    assert not Staging(database.connection).is_whole(next(read(database.connection, 0, LAST)))


def test_damage_of_changes_shows(database):
    stage(database, Group(1, records=[Opened(1, "client", None, 60.0)], now=5.0))
    row = next(read(database.connection, 0, LAST))
    staging = Staging(database.connection)
    assert staging.is_whole(row)
    assert not staging.is_whole(row._replace(body=row.body.replace(b"client", b"clienu")))
    assert not staging.is_whole(row._replace(expires_age_ms=5_001))


def test_what_a_row_says_is_what_an_image_takes(database):
    """The seam to the core: rows give what its image is made of."""
    message = Message("a/b", b"1", 1, False)
    message.number = 8
    changes = [Opened(1, "c", None, 9.0), Queued(1, 8, 1, False, (), None, 0)]
    rows = stage(database, Group(1, entries=[(message, 0, 1.0, None)], records=changes, now=1.0))
    image = Image()
    for row in rows:
        stored = Staging(database.connection).message(row)
        if stored is not None:
            image.append(stored.message(Moment(1.0, 1000)), stored.flags)
        for change in changes_of(row):
            image.apply(change)
    image.settle()
    assert [told(one.message) for one in image.sessions[1].deliveries] == [told(message)]
