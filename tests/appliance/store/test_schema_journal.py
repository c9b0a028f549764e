import sqlite3

import pytest

from appliance.store.schema_journal import JOURNAL
from appliance.store.staged import COLUMNS, StagedRow
from appliance.store.state_tables import KEY_WIDTH, TABLES


@pytest.fixture
def connection():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in JOURNAL:
        connection.execute(statement)
    yield connection
    connection.close()


def columns(connection, table):
    return [(name, place) for _, name, _, _, _, place in connection.execute(f"PRAGMA table_info({table})")]


@pytest.mark.parametrize("table", TABLES)
def test_the_tables_are_what_is_read_and_written(connection, table):
    found = columns(connection, table)
    assert [name for name, _ in found] == [*TABLES[table], "checksum"]
    assert [name for name, place in found if place] == list(TABLES[table][: KEY_WIDTH[table]])


def test_so_is_the_journal(connection):
    names = [name for name, _ in columns(connection, "journal")]
    assert names == COLUMNS.split(", ") == list(StagedRow._fields)


def test_its_values_come_back_as_they_were(connection):
    """No column turns a whole number into another kind of number, or bytes into a text."""
    for value in (1, 1.5, 1e300, "1", b"1", 2**47):
        connection.execute("DELETE FROM journal")
        connection.execute("INSERT INTO journal (kind, value, properties, body) VALUES (0, ?1, ?1, ?1)", (value,))
        (found,) = connection.execute("SELECT value, properties, body FROM journal")
        assert [(type(one), one) for one in found] == [(type(value), value)] * 3
