import sqlite3

import pytest
from groups import told

from appliance.broker.image import Image, StoredDelivery, StoredSession, StoredWill
from appliance.broker.message import Message
from appliance.broker.records import WillKept
from appliance.broker.topictree import Grant
from appliance.store.schema_journal import JOURNAL
from appliance.store.staged import Moment, StoredMessage
from appliance.store.state_tables import (
    KEY_WIDTH,
    OF_A_SESSION,
    TABLES,
    StateTables,
    delivery_row,
    fill,
    retained_row,
    session_row,
    subscription_rows,
    will_row,
)

AGE_MS = 90_000
MOMENT = Moment(1_000.0, AGE_MS)
MESSAGE = StoredMessage(7, 0x11, "home/hall/door", b"ON", b"\x26\0\1a\0\1b", "house", 91_500)


@pytest.fixture
def connection():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in JOURNAL:
        connection.execute(statement)
    yield connection
    connection.close()


@pytest.fixture
def damage():
    return []


@pytest.fixture
def tables(connection, damage):
    return StateTables(connection, damage.append)


def session():
    message = MESSAGE.message(MOMENT)
    stored = StoredSession(3, "phone", "anna", float("inf"), 12.345)
    stored.subscriptions = {"a/#": Grant(1, True, False, 9), "$share/g/b": Grant(2)}
    stored.replays = {"a/#"}
    stored.incoming = {5, 65_535}
    stored.deliveries = [
        StoredDelivery(7, message, 1, True, (1, 9), None, 4),
        StoredDelivery(8, None, 2, False, (), None, 5),
        StoredDelivery(9, message, 0, False, (), "$share/g/b", 0),
    ]
    return stored


WILL = WillKept(3, "phone", None, "home/phone", b"gone", 1, True, b"", 30, None)


def put_all(tables):
    stored = session()
    tables.put("messages", [MESSAGE, MESSAGE._replace(number=9)])
    tables.put("sessions", [session_row(stored, AGE_MS)])
    tables.put("subscriptions", subscription_rows(stored))
    tables.put("deliveries", [delivery_row(3, one) for one in stored.deliveries])
    tables.put("incoming", [(3, packet_id) for packet_id in stored.incoming])
    tables.put("wills", [will_row(StoredWill(WILL, 4.25), AGE_MS)])
    tables.put("retained", [retained_row(MESSAGE)])


def load(tables, moment=MOMENT):
    image = Image()
    tables.load(image, moment)
    image.settle()
    return image


def test_everything_comes_back(tables, damage):
    put_all(tables)
    image = load(tables)
    expected = session()
    (found,) = image.sessions.values()
    assert (found.key, found.client_id, found.username, found.expiry_s, found.away_s) == (
        3,
        "phone",
        "anna",
        float("inf"),
        12.345,
    )
    assert (found.subscriptions, found.replays, found.incoming) == (
        expected.subscriptions,
        expected.replays,
        expected.incoming,
    )
    assert [
        (one.number, told(one.message), one.qos, one.retain, one.identifiers, one.shared, one.packet_id)
        for one in found.deliveries
    ] == [
        (one.number, told(one.message), one.qos, one.retain, one.identifiers, one.shared, one.packet_id)
        for one in expected.deliveries
    ]
    assert image.wills == {3: StoredWill(WILL, 4.25)}
    assert told(image.retained["home/hall/door"]) == told(MESSAGE.message(MOMENT))
    assert damage == []


def test_time_goes_on_with_the_age_of_the_service(tables):
    put_all(tables)
    image = load(tables, Moment(5.0, AGE_MS + 2_000))
    assert image.sessions[3].away_s == 14.345
    assert image.wills[3].due_s == 2.25
    assert image.retained["home/hall/door"].expires_at == 4.5


def test_types_are_those_of_the_core(tables):
    put_all(tables)
    image = load(tables)
    grant = image.sessions[3].subscriptions["a/#"]
    assert (grant.no_local, grant.retain_as_published) == (True, False)
    assert image.wills[3].will.retain is True
    assert image.sessions[3].deliveries[0].retain is True
    assert isinstance(image.sessions[3].deliveries[0].message, Message)


DAMAGED = [(table, column) for table, columns in TABLES.items() for column in (*columns, "checksum")]


@pytest.mark.parametrize(("table", "column"), DAMAGED, ids=[".".join(one) for one in DAMAGED])
def test_a_damaged_row_is_left_out_and_reported(connection, tables, damage, table, column):
    put_all(tables)
    before = list(tables.rows(table))
    first = TABLES[table][: KEY_WIDTH[table]]
    named = " AND ".join(f"{name} = ?" for name in first)
    connection.execute(
        f"UPDATE {table} SET {column} = CASE typeof({column}) WHEN 'integer' THEN {column} + 100 WHEN 'null' THEN 1"
        f" WHEN 'real' THEN 5.5 WHEN 'text' THEN {column} || 'x' ELSE CAST({column} || 'x' AS BLOB) END WHERE {named}",
        before[0][: len(first)],
    )
    after = list(tables.rows(table))
    assert len(after) == len(before) - 1
    assert set(after) < set(before)
    assert damage == [f"a row of {table} is damaged and left out"]
    load(tables)  # whatever is missing, the rest is there


def test_a_session_s_own_row_carries_the_others():
    image = Image()
    for table in OF_A_SESSION[1:]:
        rows = {"subscriptions": subscription_rows(session()), "incoming": [(3, 5)]}.get(table, [])
        for row in rows:
            fill(image, table, row, AGE_MS)
    assert image.sessions == {}


def test_deleting(connection, tables):
    put_all(tables)
    tables.delete("deliveries", [(3, 7), (3, 8)])
    assert [row[1] for row in tables.rows("deliveries")] == [9]
    connection.execute("UPDATE subscriptions SET checksum = 0")
    tables.delete_session(3)
    for table in ("sessions", "subscriptions", "deliveries", "incoming"):
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    assert len(list(tables.rows("wills"))) == 1


def test_marks(tables):
    assert tables.mark("number") == 0
    tables.set_mark("number", 5)
    tables.raise_mark("number", 4)
    assert tables.mark("number") == 5
    tables.raise_mark("number", 6)
    assert tables.mark("number") == 6
