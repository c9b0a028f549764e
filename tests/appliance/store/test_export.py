"""The history as CSV and JSON lines."""

import csv
import io
import json
from math import inf

import pytest
from keeper import AT, TOPIC, Keeper, number, origin

from appliance.devices import Device, Measurement
from appliance.store.export import BUCKET_COLUMNS, GAP_COLUMNS, ROW_COLUMNS, Wanted, export, export_gaps
from appliance.store.gaps import AGENT, AGENT_OFFLINE, BROKER_DOWN, DROPPED, HUB, SERIES, GapNote, Gaps
from appliance.store.tier_reader import TierReader


@pytest.fixture
def keeper(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db", at=AT - 800.0)  # AT is 13 min 20 s after a full hour
    keeper.write(
        number("20.5", properties=origin(1)), number("21", properties=origin(2, quality="suspect")),
        number("ON", "home/hall/door"), number('a "b", c', "home/x/word"), apart_s=1.0,
    )  # fmt: skip
    keeper.advance(3600)
    keeper.move()
    keeper.write(number("22", properties=origin(3)), number("OFF", "home/hall/door"))
    yield keeper
    keeper.stop()


def wanted(topic_filter="#", since_at=0.0, until_at=1e11, every_s=None, now_at=inf):
    return Wanted(topic_filter=topic_filter, since_at=since_at, until_at=until_at, every_s=every_s, now_at=now_at)


def rows(keeper, form="csv", **asked):
    text = "".join(export(keeper.path, wanted(**asked), form))
    if form == "csv":
        head, *lines = csv.reader(io.StringIO(text))
        return [dict(zip(head, line, strict=True)) for line in lines]
    return [json.loads(line) for line in text.splitlines()]


def test_csv(keeper):
    found = rows(keeper)
    assert [row["topic"] for row in found] == ["home/hall/door"] * 2 + [TOPIC] * 3 + ["home/x/word"]
    assert [row["value"] for row in found] == ["ON", "OFF", "20.5", "21", "22", 'a "b", c']
    assert tuple(found[0]) == ROW_COLUMNS
    assert found[2] | {"unit": ""} == {
        "topic": TOPIC,
        "time": "2026-09-21T14:00:01.000Z",
        "value": "20.5",
        "unit": "",
        "quality": "ok",
        "clock": found[2]["clock"],
        "agent": "house",
        "run": "r1",
        "seq": "1",
    }
    assert found[3]["quality"] == "suspect"


def test_json_lines(keeper):
    found = rows(keeper, "jsonl")
    assert [row["value"] for row in found] == ["ON", "OFF", 20.5, 21, 22, 'a "b", c']
    assert found[2]["seq"] == 1
    assert found[0]["agent"] is None


def test_a_part_of_it(keeper):
    assert [row["value"] for row in rows(keeper, topic_filter="home/+/door")] == ["ON", "OFF"]
    assert [row["value"] for row in rows(keeper, since_at=AT)] == ["OFF", "22"]
    assert [row["value"] for row in rows(keeper, until_at=AT, topic_filter=TOPIC)] == ["20.5", "21"]
    assert rows(keeper, topic_filter="none/#") == []


def test_by_the_hour(keeper):
    found = rows(keeper, "jsonl", every_s=3600.0)
    assert tuple(found[0]) == BUCKET_COLUMNS
    of = [row for row in found if row["topic"] == TOPIC]
    assert [(row["time"], row["min"], row["mean"], row["max"], row["count"], row["last"]) for row in of] == [
        ("2026-09-21T14:00:00.000Z", 20.5, 20.75, 21.0, 2, 21),
        ("2026-09-21T15:00:00.000Z", 22.0, 22.0, 22.0, 1, 22),
    ]
    (word,) = (row for row in found if row["topic"] == "home/x/word")
    assert (word["min"], word["mean"], word["count"], word["last"]) == (None, None, 1, 'a "b", c')
    doors = [row for row in found if row["topic"] == "home/hall/door"]
    assert [(row["mean"], row["last"]) for row in doors] == [(1.0, "ON"), (0.0, "OFF")]


def test_how_far_it_is_is_told(keeper):
    told = []
    for _ in export(keeper.path, wanted(), "csv", lambda *far: told.append(far)):
        pass
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_periods_are_those_of_the_history(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db", at=AT - 800.0)
    keeper.learn(Device(agent="m", site="home", sensors=(Measurement(topic="home/m/gas", kind="gas", unit="m³"),)))
    for step, value in enumerate((20, 22.5, 19, 30, 4, 4.25)):
        door = number("ON" if value > 20 else "OFF", "home/hall/door")
        keeper.write(number(value), number(value, "home/m/gas"), number(value, "home/p/energy"), door)
        keeper.advance(700 + 900 * (step % 3))
    keeper.move()
    with keeper.database.transaction():
        down = GapNote(HUB, "", BROKER_DOWN, 700.0, 900.0)
        Gaps(keeper.database.connection).write([down], keeper.clock.tick)
    asked = {"every_s": 3600.0, "now_at": keeper.at}
    for topic in (TOPIC, "home/m/gas", "home/p/energy", "home/hall/door"):
        hours = TierReader(keeper.path).summaries(topic, "1h", 0.0, 1e10, now_at=keeper.at)
        found = rows(keeper, "jsonl", topic_filter=topic, **asked)
        assert len(found) == len(hours) > 1
        for row, hour in zip(found, hours, strict=True):
            for name in ("min", "mean", "weighted_mean", "known", "max", "sum", "count"):
                assert row[name] == pytest.approx(getattr(hour, name)), (topic, row, name)
    for topic in ("home/m/gas", "home/p/energy"):
        assert any(row["sum"] for row in rows(keeper, "jsonl", topic_filter=topic, every_s=3600.0))
    keeper.stop()


def gaps(keeper, form="csv", **asked):
    text = "".join(export_gaps(keeper.path, wanted(**asked), form))
    if form == "csv":
        head, *lines = csv.reader(io.StringIO(text))
        assert tuple(head) == GAP_COLUMNS
        return [dict(zip(head, line, strict=True)) for line in lines]
    return [json.loads(line) for line in text.splitlines()]


def test_gaps(keeper):
    keeper.learn(Device(agent="house", site="home", sensors=(Measurement(topic=TOPIC, kind="temperature"),)))
    with keeper.database.transaction():
        Gaps(keeper.database.connection).write(
            [
                GapNote(AGENT, "house", AGENT_OFFLINE, keeper.now - 600, keeper.now - 60, "died"),
                GapNote(AGENT, "attic", AGENT_OFFLINE, keeper.now - 500, None),
                GapNote(SERIES, "home/hall/door", DROPPED, keeper.now - 400, keeper.now - 300),
                GapNote(HUB, "", BROKER_DOWN, keeper.now - 200, keeper.now - 100, "stopped"),
            ],
            keeper.clock.tick,
        )
    found = gaps(keeper)
    assert [(gap["name"], gap["cause"]) for gap in found] == [
        ("house", AGENT_OFFLINE), ("attic", AGENT_OFFLINE), ("home/hall/door", DROPPED), ("", BROKER_DOWN)
    ]  # fmt: skip
    assert found[0] == {
        "since": "2026-09-21T14:50:04.000Z",
        "until": "2026-09-21T14:59:04.000Z",
        "cause": "agent offline",
        "detail": "died",
        "scope": "agent",
        "name": "house",
    }
    assert found[1]["until"] == ""
    assert [gap["name"] for gap in gaps(keeper, topic_filter="home/kitchen/#")] == ["house", ""]
    lines = gaps(keeper, form="jsonl", topic_filter="home/hall/#", since_at=keeper.at - 350)
    assert [(gap["name"], gap["scope"]) for gap in lines] == [("home/hall/door", "series"), ("", "hub")]
    assert lines[0]["until"].endswith("Z")
