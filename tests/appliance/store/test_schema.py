"""The tables as a reader of the file sees them: Datasette, sqlite-utils, a person with a shell."""

import pytest
import sqlite_utils

from appliance.devices import Device, Measurement
from appliance.store.database import STEP_NAMES, Database
from appliance.store.history import History
from appliance.store.readings import Measured, Origin, Value
from appliance.store.schema import STEPS, step_names

AT = 1795377951.125  # 2026-11-22T20:05:51.125Z


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "appliance.db"
    database = Database.open(path)
    history = History(database.connection, max_series=9)
    kitchen = Measurement(topic="home/kitchen/temperature", kind="temperature", unit="°C", name="Küche")
    with database.transaction():
        history.learn(Device(agent="house", site="home", sensors=(kitchen,)))
        history.append(
            [
                Measured(AT, [Value(kitchen.topic, "number", 21.4)], "ok", "synced", Origin("house", "r1", 1)),
                Measured(AT + 60, [Value(kitchen.topic, "number", 21.6)], "ok", "unsynced", Origin("house", "r1", 2)),
                Measured(AT, [Value("attic/window", "binary", 1.0)]),
                Measured(AT, [Value("attic/window", "binary", 0.0)]),
            ]
        )
    database.close()
    return path


def test_history_reads_as_it_lies(path):
    database = sqlite_utils.Database(path)
    assert list(database["history"].rows_where("topic = 'home/kitchen/temperature'", order_by="time")) == [
        {
            "topic": "home/kitchen/temperature",
            "time": "2026-11-22T20:05:51.125Z",
            "value": 21.4,
            "text": None,
            "unit": "°C",
            "kind": "number",
            "name": "Küche",
            "quality": "ok",
            "clock": "synced",
            "agent": "house",
            "run": "r1",
            "seq": 1,
            "at_ms": 1795377951125,
            "nth": 0,
        },
        {
            "topic": "home/kitchen/temperature",
            "time": "2026-11-22T20:06:51.125Z",
            "value": 21.6,
            "text": None,
            "unit": "°C",
            "kind": "number",
            "name": "Küche",
            "quality": "ok",
            "clock": "unsynced",
            "agent": "house",
            "run": "r1",
            "seq": 2,
            "at_ms": 1795378011125,
            "nth": 0,
        },
    ]
    database.close()


def test_latest_has_one_row_a_topic(path):
    database = sqlite_utils.Database(path)
    rows = [(row["topic"], row["value"], row["time"], row["clock"]) for row in database["latest"].rows]
    assert sorted(rows) == [
        ("attic/window", 0.0, "2026-11-22T20:05:51.125Z", None),  # the second of one millisecond
        ("home/kitchen/temperature", 21.6, "2026-11-22T20:06:51.125Z", "unsynced"),
    ]
    database.close()


def test_the_tables_are_keyed_the_way_they_are_asked(path):
    database = sqlite_utils.Database(path)
    assert {"series", "runs", "received", "readings"} <= set(database.table_names())
    assert database.view_names() == ["history", "latest"]
    assert database["readings"].pks == ["series_id", "at_ms", "nth"]
    assert {(key.column, key.other_table) for key in database["readings"].foreign_keys} == {
        ("series_id", "series"),
        ("run_id", "runs"),
    }
    assert list(database["received"].rows) == [{"run_id": 1, "first_seq": 1, "last_seq": 2}]
    assert list(database.query("PRAGMA foreign_key_check")) == []
    database.close()


def test_latest_looks_up_and_never_scans_the_readings(path):
    database = sqlite_utils.Database(path)
    plan = [row["detail"] for row in database.query("EXPLAIN QUERY PLAN SELECT * FROM latest")]
    assert not [step for step in plan if step.startswith(("SCAN readings", "SCAN same", "USE TEMP"))]
    database.close()


def test_the_steps_are_numbered_in_their_order():
    names = sorted(step_names())
    assert set(names) == STEP_NAMES
    assert [int(name.split("_")[0]) for name in names] == list(range(1, len(names) + 1))
    assert repr(STEPS) == f"<Migrations 'appliance': [{', '.join(names)}]>"
