"""The shapes of tables: which records can be rows of theirs."""

import sqlite3

import pytest

from appliance.store.dbpages import Row
from appliance.store.shape import shapes


@pytest.fixture
def found():
    connection = sqlite3.connect(":memory:")
    connection.executescript(
        "CREATE TABLE a (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, size REAL, extra);"
        "CREATE TABLE w (v BLOB, k INTEGER NOT NULL, j INTEGER NOT NULL, a_id INTEGER REFERENCES z (id),"
        " PRIMARY KEY (j, k)) WITHOUT ROWID;"
        "CREATE TABLE z (id INTEGER PRIMARY KEY);"
    )
    yield shapes(connection)
    connection.close()


def test_what_is_referred_to_comes_first(found):
    assert list(found).index("z") < list(found).index("w")
    assert found["w"].parents == ((3, "z", "id"),)


ROWS = [
    ("a", Row(7, [None, "x", 2, b"e"]), (7, "x", 2.0, b"e")),
    ("a", Row(7, [None, "x"]), (7, "x", None, None)),  # columns that were added later
    ("a", Row(7, [None, None, 2, b"e"]), None),
    ("a", Row(7, [None, 5, 2, b"e"]), None),
    ("a", Row(7, [1, "x", 2, b"e"]), None),  # a row id stands beside the record
    ("a", Row(None, [None, "x", 2, b"e"]), None),
    ("a", Row(7, [None, "x", 2, b"e", 5]), None),
    ("w", Row(None, [1, 2, b"v", 3]), (b"v", 2, 1, 3)),  # the key's columns come first
    ("w", Row(None, [1, None, b"v", 3]), None),
    ("w", Row(9, [1, 2, b"v", 3]), None),
]


@pytest.mark.parametrize(("table", "row", "values"), ROWS)
def test_a_record_is_a_row_or_not(found, table, row, values):
    assert found[table].values(row) == values


def test_an_index_gives_what_it_knows_of_a_row(found):
    ((name, columns),) = found["a"].indexes
    assert name == "sqlite_autoindex_a_1"
    assert found["a"].part(columns, Row(None, ["x", 7]), {"size": 1.5}) == (7, "x", 1.5, None)
    assert found["a"].part(columns, Row(None, ["x", "y"]), {}) is None
    assert found["a"].part(columns, Row(3, ["x", 7]), {}) is None
    assert found["a"].part(columns, Row(None, [4, 7]), {}) is None
