"""The tables as a reader of the file sees them: Datasette, sqlite-utils, a person with a shell."""

import pytest
import sqlite_utils
from keeper import Keeper, number, origin

from appliance.devices import Device, Measurement
from appliance.store.database import STEP_NAMES
from appliance.store.schema import STEPS, step_names

AT = 1795377951.125  # 2026-11-22T20:05:51.125Z


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "appliance.db"
    keeper = Keeper(path, at=AT)
    kitchen = Measurement(topic="home/kitchen/temperature", kind="temperature", unit="°C", name="Küche")
    keeper.learn(Device(agent="house", site="home", sensors=(kitchen,)))
    keeper.write(
        number(21.4, kitchen.topic, origin(1, at=AT, quality="ok", clock="synced")),
        number("ON", "attic/window"),
        number("OFF", "attic/window"),
    )
    keeper.move()
    keeper.advance(60)
    keeper.write(number(21.6, kitchen.topic, origin(2, at=AT, quality="ok", clock="unsynced")))
    keeper.stop()
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
            "received": "2026-11-22T20:05:51.125Z",
            "tick": 1795377951125 * 16,
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
            "received": "2026-11-22T20:06:51.125Z",
            "tick": 1795378011125 * 16,
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
    assert set(database.table_names()) >= {"series", "runs", "received", "epochs", "stretches", "readings", "journal"}
    assert set(database.view_names()) >= {"history", "latest", "gap_times"}
    assert database["readings"].pks == ["series_id", "tick"]
    assert {(key.column, key.other_table) for key in database["readings"].foreign_keys} == {
        ("series_id", "series"),
        ("stretch_id", "stretches"),
    }
    assert [(row["run_id"], row["first_seq"], row["last_seq"]) for row in database["received"].rows] == [(1, 1, 1)]
    assert list(database.query("PRAGMA foreign_key_check")) == []
    database.close()


def test_the_steps_are_numbered_in_their_order():
    names = sorted(step_names())
    assert set(names) == STEP_NAMES
    numbers = [int(name.split("_")[0]) for name in names]
    assert numbers[0] == 1
    assert len(set(numbers)) == len(numbers)
    assert repr(STEPS) == f"<Migrations 'appliance': [{', '.join(names)}]>"
