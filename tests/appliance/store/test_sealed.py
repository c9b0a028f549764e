"""Every row of the small tables is sealed, whoever writes it, and a flipped bit of any of them is found and mended."""

import re
import sqlite3
import struct
from contextlib import closing

import pytest
from keeper import AT, TOPIC, Keeper, number, origin

from appliance.store.aside import damages
from appliance.store.database import STEP_NAMES, Database, create
from appliance.store.gaps import insert
from appliance.store.harms import CHANGED
from appliance.store.history_reader import HistoryReader
from appliance.store.rescue import open_sound
from appliance.store.sealed import TABLES, find_broken, is_whole_row, prepare_seals, seal, whole_series

OTHER = "home/kitchen/humidity"


@pytest.fixture
def home(tmp_path):
    """Give a database of two series and an agent's run, with all its rows in their tables."""
    path = tmp_path / "appliance.db"
    keeper = Keeper(path)
    for n in range(1, 6):
        keeper.write(number(20 + n, TOPIC, origin(n)), number(50 + n, OTHER, origin(10 + n)), apart_s=1)
    while keeper.step(keeper.cut()):
        pass
    keeper.ask("INSERT INTO templates (client_id, head, middle, tail) VALUES ('house', x'01', x'02', x'03')")
    keeper.ask("INSERT INTO marks (name, value) VALUES ('cut', 7)")
    keeper.ask("INSERT INTO floors (tier, at_ms) VALUES ('minutes', 5)")
    keeper.stop()
    return path


def rows(path, table):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT * FROM {table}").fetchall()


@pytest.mark.parametrize("table", TABLES)
def test_whatever_inserts_or_changes_a_row_seals_it(home, table):
    found = rows(home, table)
    assert found
    assert all(is_whole_row(row) for row in found)
    assert len({row[-1] for row in found}) == len(found)
    with closing(Database.open(home)) as database:
        columns = [name for (name,) in database.connection.execute("SELECT name FROM pragma_table_info(?)", (table,))]
        database.connection.execute(f"UPDATE {table} SET {columns[-2]} = NULL WHERE {nullable(columns[-2])}")
        assert find_broken(database.connection) is None


def nullable(column):
    return "TRUE" if column in {"agent", "template", "tick", "doubted_age_ms"} else "FALSE"


@pytest.mark.parametrize(
    ("table", "wrong"),
    [
        ("series", "unit = 'F' WHERE id = 1"),
        ("series", "kind = 'text' WHERE id = 2"),
        ("runs", "agent = 'hause'"),
        ("received", "last_seq = last_seq + 64"),
        ("epochs", "offset_ms = offset_ms + 1048576"),
        ("stretches", "quality = 'oj'"),
        ("templates", "head = x'05'"),
        ("marks", "value = value + 4"),
        ("moving", "cut_id = cut_id + 4"),
        ("floors", "at_ms = at_ms + 4"),
        ("believed", "at_ms = 4"),
        ("series", "checksum = NULL"),
    ],
)
def test_a_row_that_was_changed_behind_our_back_is_found_at_the_start(home, table, wrong):
    with closing(sqlite3.connect(home)) as connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(f"UPDATE {table} SET {wrong}")
        for _, statement in triggers:
            connection.execute(statement)
        connection.commit()
        assert re.fullmatch(rf"\d rows of {table} were not what was written", find_broken(connection))
    with closing(open_sound(home)) as database:
        (damage,) = damages(home)
        assert damage.why == CHANGED
        assert find_broken(database.connection) is None
        assert database.connection.execute("SELECT count(*) FROM readings").fetchone() == (10,)
    reader = HistoryReader(home)
    assert {series.topic for series in reader.topics()} == {TOPIC, OTHER}  # the index knows the names too
    for topic, base in ((TOPIC, 20), (OTHER, 50)):
        values = [row.value for row in reader.rows(topic, 0, AT + 9_000)]
        if table == "moving":  # how far the move had come is lost: rows stand in both places until it has gone on
            values = sorted(set(values))
        assert values == [base + n for n in range(1, 6)]


@pytest.mark.parametrize(
    ("old", "new"), [(b"temperature", b"temperatura"), (TOPIC.encode(), b"home/kitchen/humiditz1")]
)
@pytest.mark.parametrize("place", ["row", "index"])
def test_no_topic_gets_the_history_of_another(home, old, new, place):
    data = home.read_bytes()
    found = [match.start() for match in re.finditer(re.escape(old), data)]
    assert len(found) == 2, "in its row and in the index"
    with closing(sqlite3.connect(home)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'series'").fetchone()
    ((at),) = [at for at in found if (at // 1024 + 1 == root) == (place == "row")]
    new = new[: len(old)].ljust(len(old), b"x")
    home.write_bytes(data[:at] + new + data[at + len(old) :])
    reader = HistoryReader(home)
    for topic in (series.topic for series in reader.topics()):  # while nobody has looked at the file
        assert topic in {TOPIC, OTHER}
    open_sound(home).close()
    assert len(damages(home)) == 1
    assert {series.topic for series in reader.topics()} == {TOPIC, OTHER}
    assert [row.value for row in reader.rows(TOPIC, 0, AT + 9_000)] == [21, 22, 23, 24, 25]


def test_what_was_written_without_triggers_is_sealed_afterwards(tmp_path):
    with closing(create(tmp_path / "new.db", STEP_NAMES)) as connection:
        connection.execute("DROP TRIGGER series_is_sealed")
        connection.execute("INSERT INTO series (topic, kind) VALUES ('a', 'text')")
        assert find_broken(connection) == "1 rows of series were not what was written"
        seal(connection)
        assert find_broken(connection) is None
    with closing(create(tmp_path / "old.db", {"0001_history", "0002_journal"})) as connection:
        seal(connection)  # there is no column yet


def test_a_row_from_before_the_step_is_sealed_by_it(tmp_path):
    path = tmp_path / "old.db"
    with closing(create(path, STEP_NAMES - {"0009_seals"})) as connection:
        connection.execute("INSERT INTO series (topic, kind) VALUES ('a', 'text')")
    with closing(Database.open(path)) as database:
        assert find_broken(database.connection) is None
        assert is_whole_row(database.connection.execute("SELECT * FROM series").fetchone())


def test_a_program_that_does_not_know_of_seals_cannot_write(home):
    with closing(sqlite3.connect(home)) as connection:
        with pytest.raises(sqlite3.OperationalError, match="row_sum"):
            connection.execute("UPDATE series SET topic = 'mine'")
        prepare_seals(connection)
        connection.execute("UPDATE series SET unit = 'K'")
        assert find_broken(connection) is None


def spoil_index(path, name):
    """Change the last byte of the first entry of an index."""
    with closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()
    data = bytearray(path.read_bytes())
    at = (root - 1) * 1024
    (cell,) = struct.unpack_from(">H", data, at + 8)
    data[at + cell + 4] ^= 4
    path.write_bytes(data)


def test_an_index_of_gaps_that_does_not_fit_is_found(home):
    with closing(sqlite3.connect(home)) as connection:
        insert(connection, ("hub", "", "broker down", ""), 5, 9_000_000)
        connection.commit()
    spoil_index(home, "gaps_by_end")
    open_sound(home).close()
    assert [damage.why for damage in damages(home)] == [CHANGED]


def test_an_index_of_a_file_without_checksums_is_held_to_its_table(tmp_path):
    path = tmp_path / "appliance.db"
    with closing(create(path, STEP_NAMES - {"0009_seals"})) as connection:
        connection.execute("INSERT INTO series (topic, kind) VALUES ('home/kitchen/temperature', 'number')")
    spoil_index(path, "sqlite_autoindex_series_1")
    with closing(open_sound(path)) as database:
        assert [row[1] for row in whole_series(database.connection)] == ["home/kitchen/temperature"]
    assert [damage.why for damage in damages(path)] == [CHANGED]
