"""history --every: from the running service, and from its file when none runs."""

import json
import time

import pytest
from keeper import Keeper
from processes import appliance, eventually, running
from webserver import record

from appliance.cli import summary
from appliance.exits import Exit
from appliance.store.gaps import GapNote

ROW = {
    "at": 0.0,
    "min": 1.5,
    "mean": 2.0,
    "max": 3.25,
    "weighted_mean": 2.125,
    "known": 1.0,
    "count": 1,
    "last": 3.0,
    "sum": None,
}


@pytest.mark.parametrize(
    ("row", "kind", "unit", "told"),
    [
        ({}, "number", "°C", "mean over time 2.125 °C, min 1.5, max 3.25, last 3, 1 reading"),
        ({"weighted_mean": None, "count": 2}, "number", None, "mean 2, min 1.5, max 3.25, last 3, 2 readings"),
        (
            {"sum": 0.75},
            "number",
            "kWh\x1b",
            "sum 0.75 kWh\\x1b, mean over time 2.125 kWh\\x1b, min 1.5, max 3.25, last 3, 1 reading",
        ),
        ({"weighted_mean": 0.25, "last": 1.0}, "binary", None, "ON 25.0% of the time, last ON, 1 reading"),
        (
            {"weighted_mean": 0.25, "last": 1.0, "known": 0.5},
            "binary",
            None,
            "ON 25.0% of the time, known 50.0% of it, last ON, 1 reading",
        ),
        (
            {"known": 0.1},
            "number",
            None,
            "mean over time 2.125, known 10.0% of it, min 1.5, max 3.25, last 3, 1 reading",
        ),
        ({"mean": None, "last": "press\x1b"}, "text", None, "last press\\x1b, 1 reading"),
    ],
)
def test_a_period_in_words(monkeypatch, row, kind, unit, told):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert summary.summary_line({**ROW, **row}, kind, unit) == f"1970-01-01 00:00:00  {told}"


def test_hours_and_days_of_a_file(tmp_path):
    now = time.time() // 3600 * 3600
    record(tmp_path / "appliance.db", [("home/a/b", now - 7200 + 600 * n, n) for n in range(10)])
    done = appliance(tmp_path, "history", "home/a/b", "--every", "1h", "--since", "3h", "--data", tmp_path)
    assert done.returncode == Exit.OK
    first, second = done.stdout.splitlines()
    assert first.endswith(" mean over time 2.5, min 0, max 5, last 5, 6 readings")
    assert second.endswith(" mean over time 7.8, min 6, max 9, last 9, 4 readings") or "last 9, 4 readings" in second
    done = appliance(tmp_path, "history", "home/a/b", "--every", "1d", "--since", "2d", "--json", "--data", tmp_path)
    rows = json.loads(done.stdout)
    assert sum(row["count"] for row in rows) == 10
    assert rows[-1]["last"] == 9
    done = appliance(tmp_path, "history", "home/a/b", "--every", "1m", "--limit", "2", "--data", tmp_path)
    assert len(done.stdout.splitlines()) == 2
    assert "only the newest 2 rows; --limit gives more" in done.stderr


def test_what_there_is_none_of(tmp_path):
    record(tmp_path / "appliance.db", [("home/a/b", time.time() - 90 * 86_400, 1)])
    done = appliance(tmp_path, "history", "home/a/b", "--every", "1h", "--data", tmp_path)
    assert (done.returncode, done.stdout) == (Exit.NOTHING, "")
    assert "no readings of home/a/b in that time" in done.stderr
    done = appliance(tmp_path, "history", "home/a/c", "--every", "1h", "--data", tmp_path)
    assert done.returncode == Exit.NOTHING
    assert "did you mean home/a/b?" in done.stderr
    done = appliance(tmp_path, "history", "home/a/b", "--every", "2h", "--data", tmp_path)
    assert done.returncode == Exit.USAGE


def test_a_running_service_is_asked(tmp_path):
    config = tmp_path / "a.toml"
    config.write_text('data_dir = "d"\nmqtt.port = 0\nweb.port = 0\n')
    record(tmp_path / "d" / "appliance.db", [("home/a/b", time.time() - 60, 1.5)])
    keeper = Keeper(tmp_path / "d" / "appliance.db")
    keeper.move()
    keeper.stop()
    with running(tmp_path, "run", "--config", config) as service:
        service.line()

        def hours():
            done = appliance(tmp_path, "history", "home/a/b", "--every", "1h", "--json", "--data", tmp_path / "d")
            rows = [one for one in json.loads(done.stdout or "[]") if "gap" not in one]
            return rows if done.returncode == Exit.OK and not done.stderr else None

        (row,) = eventually(hours)
        assert (row["count"], row["min"], row["last"]) == (1, 1.5, 1.5)


def test_gaps_stand_between_the_periods(tmp_path):
    now = time.time() // 3600 * 3600
    readings = [("home/a/b", now - 7200 + 60 * minute, 1.0) for minute in range(120) if not 20 <= minute < 50]
    gaps = [
        (GapNote("hub", "", "broker down", None, None), now - 7200 + 60 * a, now - 7200 + 60 * b)
        for a, b in ((19, 50), (70, 80))
    ]  # the second one was filled later
    record(tmp_path / "appliance.db", readings, gaps)
    asked = ("history", "home/a/b", "--every", "1h", "--since", "3h", "--data", tmp_path)
    first, between, second = appliance(tmp_path, *asked).stdout.splitlines()
    assert "30 readings" in first
    assert between.endswith("(31 min 0 s): broker down")
    assert "60 readings" in second
    told = json.loads(appliance(tmp_path, *asked, "--json").stdout)
    assert [one.get("gap", one.get("count")) for one in told] == [30, "broker down", 60]
