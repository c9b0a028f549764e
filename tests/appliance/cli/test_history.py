"""history: from the running service, and from its file when none runs."""

import argparse
import json
import socket
import time

import pytest
from keeper import TOPIC, Keeper, number
from processes import appliance, eventually, free_port, running
from webserver import record

from appliance.cli import history
from appliance.clock import UNSYNCED
from appliance.exits import Exit
from appliance.store.gaps import GapNote

ROW = {"at": 1_000_000_000.25, "value": 21.5, "text": None, "quality": "ok", "clock": "synced"}

WHEN = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(1_000_000_000))


@pytest.mark.parametrize(
    ("changes", "kind", "unit", "text"),
    [
        ({}, "number", "°C", "21.5 °C"),
        ({"value": 1e-7}, "number", None, "1e-07"),
        ({"value": 1.0}, "binary", None, "ON"),
        ({"value": 0.0}, "binary", None, "OFF"),
        ({"value": None, "text": "press"}, "text", None, "press"),
        ({"value": None, "text": "\x1b[2J"}, "text", None, "\\x1b[2J"),
        ({"quality": "estimated"}, "number", "%", "21.5 %  (estimated)"),
    ],
)
def test_rows_in_words(changes, kind, unit, text):
    assert history.row_line({**ROW, **changes}, kind, unit) == f"{WHEN}  {text}"


@pytest.mark.parametrize("text", ["0", "-1", "100001", "many", "1.5"])
def test_what_is_no_limit(text):
    with pytest.raises(argparse.ArgumentTypeError, match="give one from 1 to 100000"):
        history.limit(text)


UNSURE = "appliance: some times may be wrong: the clock of the computer that measured had not been set by the network\n"
"""Where nothing keeps the clock of the machine that tests."""


def readings(shown):
    """Values of the lines that are no gaps."""
    return [line.split("  ")[1] for line in shown.splitlines() if "  -- " not in line]


def test_a_reading_is_asked_for_while_the_service_runs_and_afterwards(tmp_path):
    data_dir, port = tmp_path / "d", free_port()
    topic = "home/kitchen/temperature"
    with running(tmp_path, "run", "--data", data_dir, "--mqtt-port", port, "--http-port", "0") as service:
        service.line()
        for value in ("20.5", "21"):
            assert appliance(tmp_path, "pub", "-p", port, "-t", topic, "-m", value, "-q", "1").returncode == 0
        ask_rows = ("history", topic, "--since", "1h", "--data", data_dir)
        eventually(lambda: len(readings(appliance(tmp_path, *ask_rows).stdout)) == 2)
        assert appliance(tmp_path, *ask_rows).stderr in {"", UNSURE}
        done = appliance(tmp_path, "status", "--data", data_dir)
        assert "process" in done.stdout
        assert done.returncode == 0
        service.stop()

    done = appliance(tmp_path, *ask_rows)
    assert readings(done.stdout) == ["20.5", "21"]
    assert (
        done.stderr.removesuffix(UNSURE) == f"appliance: no appliance answers; this is from {data_dir}/appliance.db\n"
    )

    with socket.socket(socket.AF_UNIX) as left:  # as of a service that was killed
        left.bind(str(data_dir / "control.sock"))
    assert appliance(tmp_path, *ask_rows).stderr == done.stderr

    newest = appliance(tmp_path, *ask_rows, "--limit", "1", "--json")
    (row,) = (one for one in json.loads(newest.stdout) if "gap" not in one)
    assert (row["value"], row["text"], row["agent"]) == (21.0, None, None)

    far = appliance(tmp_path, "history", topic, "--data", data_dir, "--since", "2d", "--until", "1d")
    assert (far.returncode, readings(far.stdout)) == (Exit.NOTHING, [])
    assert f"no readings of {topic} in that time; the newest is of 20" in far.stderr

    unknown = appliance(tmp_path, "history", "home/kitchen/temperatur", "--data", data_dir)
    assert unknown.returncode == Exit.NOTHING
    assert f"home/kitchen/temperatur has no history; did you mean {topic}?" in unknown.stderr


def test_a_running_service_says_the_same(tmp_path):
    data_dir, port = tmp_path / "d", free_port()
    with running(tmp_path, "run", "--data", data_dir, "--mqtt-port", port, "--http-port", "0") as service:
        service.line()
        unknown = appliance(tmp_path, "history", "home/none", "--data", data_dir)
        assert (unknown.returncode, unknown.stdout) == (Exit.NOTHING, "")
        assert (
            unknown.stderr == "appliance: home/none has no history; `appliance sub -v -t '#'` shows what is published\n"
        )


def test_a_service_that_records_nothing_says_so(tmp_path):
    config = tmp_path / "a.toml"
    config.write_text('data_dir = "d"\nmqtt.port = 0\nweb.port = 0\nhistory.enabled = false\n')
    with running(tmp_path, "run", "--config", config) as service:
        service.line()
        done = appliance(tmp_path, "history", "home/x", "--data", tmp_path / "d")
        assert done.returncode == Exit.NOTHING
        assert "nothing is recorded; set history.enabled to true" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--since", "soon"), "--since: 'soon' is not a time"),
        (("--until", "?"), "--until: '?' is not a time"),
        (("--since", "9999-01-01"), "--since: 9999-01-01 00:00:00 is still to come; give"),
        (("--since", "1h", "--until", "2h"), "--since is not before --until; swap them"),
    ],
)
def test_times_that_cannot_be(tmp_path, arguments, complaint):
    done = appliance(tmp_path, "history", "home/x", *arguments)
    assert done.returncode == Exit.USAGE
    assert done.stderr.startswith(f"appliance: {complaint}")


def test_a_file_that_is_no_history(tmp_path):
    (tmp_path / "appliance.db").write_bytes(b"certainly not a database, but long enough to look at " * 20)
    done = appliance(tmp_path, "history", "home/x", "--data", tmp_path)
    assert done.returncode == Exit.DATA
    assert "is not a database" in done.stderr


def test_a_gap_is_shown_while_the_service_runs_and_afterwards(tmp_path):
    at = time.time()
    folder = tmp_path / "d"
    folder.mkdir()
    note = GapNote("agent", "house", "agent offline", None, None)
    rows = [("home/a/t", at - 900, 20.0), ("home/a/t", at - 300, 21.0)]
    record(
        folder / "appliance.db",
        rows,
        [(note._replace(scope="hub", name="", cause="broker down"), at - 800, at - 400)],
    )
    ask_rows = ("history", "home/a/t", "--since", "1h", "--data", folder)
    with running(tmp_path, "run", "--data", folder, "--mqtt-port", free_port(), "--http-port", "0") as service:
        service.line()
        shown = appliance(tmp_path, *ask_rows).stdout.splitlines()
        assert len(readings("\n".join(shown))) == 2
        assert any(line.endswith("(6 min 40 s): broker down") for line in shown)
        service.stop()
    told = json.loads(appliance(tmp_path, *ask_rows, "--json").stdout)
    assert [one["value"] for one in told if "gap" not in one] == [20.0, 21.0]
    (between,) = (one for one in told if one.get("gap") == "broker down" and not one["detail"])
    assert between["since"] == pytest.approx(at - 800, abs=0.01)


@pytest.mark.parametrize("every", [(), ("--every", "1h")])
def test_readings_of_a_clock_that_was_never_set_are_found(tmp_path, every):
    keeper = Keeper(tmp_path / "appliance.db", at=946_684_800.0, quality=UNSYNCED)
    keeper.write(number(21), number(22), apart_s=10.0)
    keeper.move()
    keeper.stop()
    done = appliance(tmp_path, "history", TOPIC, *every, "--data", tmp_path)
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(946_684_820))
    said = f"no readings of {TOPIC} in that time; the newest is of {when}, measured while the clock was not set"
    assert said in done.stderr
    with running(tmp_path, "run", "--data", tmp_path, "--mqtt-port", "0", "--http-port", "0") as service:
        service.line()
        done = appliance(tmp_path, "history", TOPIC, *every, "--data", tmp_path)
    assert said in done.stderr
    assert "no appliance answers" not in done.stderr
