"""Step 0003: old readings come over, and the views show each row once, in the order of ticks."""

import sqlite3

import pytest
import sqlite_utils
from keeper import AT, TOPIC, Keeper, number, origin

from appliance.store.database import APPLICATION_ID, Database
from appliance.store.history_reader import HistoryReader
from appliance.store.reading_rows import IS_WHOLE, prepare
from appliance.store.schema import STEPS

OLD = [  # series_id, at_ms, nth, value, text, quality, clock, run_id, seq
    (1, 1_795_377_951_125, 0, 21.4, None, None, None, 1, 1),
    (1, 1_795_378_011_125, 0, 21.6, None, "suspect", "unsynced", 1, 2),
    *((2, 1_795_377_951_125, nth, float(nth), None, None, None, None, None) for nth in range(20)),
    (2, 1_795_377_951_126, 0, 3.14159, None, None, None, None, None),
    (2, 1_795_377_951_127, 0, None, "press", None, None, None, None),
    (2, 4_102_444_800_000, 0, 0.5, None, None, None, None, None),  # somebody's clock is far ahead
]


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "appliance.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    STEPS.apply(sqlite_utils.Database(connection), stop_before="0002_journal")
    connection.execute("INSERT INTO series (id, topic, kind) VALUES (1, 'a', 'number'), (2, 'b', 'number')")
    connection.execute("INSERT INTO runs VALUES (1, 'house', 'r1')")
    connection.execute("INSERT INTO received VALUES (1, 1, 2)")
    connection.executemany("INSERT INTO readings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", OLD)
    connection.close()
    return path


def test_old_readings_come_over_whole_and_in_order(old):
    database = Database.open(old)
    prepare(database.connection)
    ask = database.connection.execute
    assert ask(f"SELECT count(*), sum({IS_WHOLE}) FROM readings").fetchone() == (len(OLD), len(OLD))
    assert ask("SELECT name FROM sqlite_master WHERE name = 'readings_by_ms'").fetchall() == []
    assert ask("SELECT id, boot, offset_ms, clock, last_tick FROM epochs").fetchall() == [
        (1, "before", 0, "synced", 1_795_378_011_125 * 16)
    ]
    assert ask("PRAGMA foreign_key_check").fetchall() == []
    database.close()
    reader = HistoryReader(old)
    first, second = reader.rows("a", 0, 1e11)
    assert (first.at, first.value, first.quality, first.clock, first.seq) == (1795377951.125, 21.4, "ok", "synced", 1)
    assert (second.at, second.value, second.quality, second.clock) == (1795378011.125, 21.6, "suspect", "unsynced")
    assert (first.agent, first.run) == ("house", "r1")
    rows = reader.rows("b", 0, 1e11)
    assert [row.value for row in rows] == [*map(float, range(20)), 3.14159, None, 0.5]
    assert [row.at for row in rows] == pytest.approx([fields[1] / 1000 for fields in OLD[2:]], abs=0.0011)
    assert rows[-2].text == "press"


def test_what_was_received_before_is_not_taken_again(old):
    keeper = Keeper(old)
    assert keeper.write(number(1, "a", origin(2)), number(1, "a", origin(3)))[0].seq == 3
    assert keeper.history.tally.duplicates == 1
    keeper.stop()


@pytest.fixture
def keeper(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db")
    yield keeper
    keeper.stop()


def test_each_row_once_at_every_moment_of_a_move(keeper):
    topics = [f"home/room{n}/temperature" for n in range(4)]
    for value in range(600):
        keeper.write(*(number(value, topic) for topic in topics), apart_s=0.1)
    cut_id = keeper.cut()
    keeper.write(*(number(600, topic) for topic in topics))
    everything = "SELECT * FROM history ORDER BY topic, tick"
    newest = "SELECT * FROM latest ORDER BY topic"
    told = keeper.ask(everything).fetchall(), keeper.ask(newest).fetchall()
    assert len(told[0]) == 4 * 601
    assert [row[2] for row in told[1]] == [600] * 4
    steps = 1
    while keeper.step(cut_id):
        steps += 1
        assert (keeper.ask(everything).fetchall(), keeper.ask(newest).fetchall()) == told
        keeper.restart()  # killed in between
    assert steps == 4
    assert (keeper.ask(everything).fetchall(), keeper.ask(newest).fetchall()) == told
    keeper.delete()
    assert (keeper.ask(everything).fetchall(), keeper.ask(newest).fetchall()) == told
    assert keeper.ask("SELECT count(*) FROM journal").fetchone() == (4,)


def test_the_view_looks_up_a_topic_and_never_sorts_what_is_moved(keeper):
    asked = keeper.ask(
        "EXPLAIN QUERY PLAN SELECT * FROM history WHERE topic = ? AND tick BETWEEN 1 AND 2 ORDER BY tick DESC LIMIT 9",
        (TOPIC,),
    )
    plan = [(row[0], row[1], row[3]) for row in asked]
    (left,) = [node for node, _, step in plan if step == "LEFT"]
    moved = [step for _, parent, step in plan if parent == left]
    assert moved[:2] == [
        "SEARCH series USING INDEX sqlite_autoindex_series_1 (topic=?)",
        "SEARCH readings USING PRIMARY KEY (series_id=? AND tick>? AND tick<?)",
    ]
    assert not [step for step in moved if step.startswith(("SCAN", "USE TEMP"))]


def test_latest_looks_up_and_never_scans_the_readings(keeper):
    plan = [row[3] for row in keeper.ask("EXPLAIN QUERY PLAN SELECT * FROM latest")]
    assert not [step for step in plan if step.startswith("SCAN readings")]


def test_times_of_the_view_are_the_corrected_ones(keeper):
    keeper.restart(boot="boot 2", at=0.0, quality="unsynced")
    keeper.write(number(1))
    keeper.at, keeper.quality = 1795377951.125, "synced"
    keeper.look()
    keeper.write(number(2, properties=origin(1, at=1795377951.0, clock="synced")))
    asked = keeper.ask("SELECT time, value, clock, received FROM history ORDER BY tick")
    assert asked.fetchall() == [
        ("2026-11-22T20:05:51.125Z", 1.0, "redated", "2026-11-22T20:05:51.125Z"),
        ("2026-11-22T20:05:51.000Z", 2.0, "synced", "2026-11-22T20:05:51.125Z"),
    ]
    assert keeper.at > AT
