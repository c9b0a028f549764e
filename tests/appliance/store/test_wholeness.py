"""Rows that are as they were written, and rows that are not."""

import pytest
from storage.home import NAME, build

from appliance.store.database import Database
from appliance.store.shape import shapes
from appliance.store.wholeness import judges


@pytest.fixture
def database(tmp_path):
    build(tmp_path / "home", topics=20, rounds=1)
    opened = Database.open(tmp_path / "home" / NAME)
    yield opened
    opened.close()


def test_each_row_is_whole_and_a_change_of_any_column_is_seen(database):
    connection = database.connection
    found = judges(connection, shapes(connection))
    assert {"journal", "sessions", "retained", "messages", "wills"} <= set(found)
    rows = connection.execute("SELECT * FROM journal").fetchall()
    assert len(rows) > 10
    for row in rows:
        assert found["journal"](row)
        for place, value in enumerate(row):
            if place and value is not None:  # its id is its place and no part of it
                changed = (
                    value + 1
                    if isinstance(value, int)
                    else value[:-1] + (b"?" if value[-1:] != b"?" else b"!")
                    if isinstance(value, bytes)
                    else f"{value}?"
                )
                assert not found["journal"]([*row[:place], changed, *row[place + 1 :]])
