"""status and history: from the running service, and from its file when none runs."""

import argparse
import errno
import json
import socket
import time
from pathlib import Path

import pytest
from keeper import TOPIC, Keeper, number
from processes import appliance, eventually, free_port, running
from webserver import record

from appliance.cli import ask, main
from appliance.clock import UNSYNCED
from appliance.control import ControlClient, ControlUnavailable
from appliance.exits import Exit
from appliance.store.gaps import GapNote

STATUS = {
    "version": "1.2.3",
    "site": "home",
    "pid": 7,
    "uptime_s": 3_700.5,
    "data_dir": "/d",
    "mqtt": "127.0.0.1:1883",
    "web": "127.0.0.1:8080",
    "listeners": ["mqtts://192.168.1.5:8883", "mqtt socket /run/mqtt.sock"],
    "agents": {"house": "online", "attic\x1b": "offline"},
    "clients_now": 2,
    "sessions_now": 3,
    "retained_now": 9,
    "connections": 5,
    "messages_received": 10,
    "messages_sent": 20,
    "connections_turned_away": {"too many connections": 6},
    "connections_closed": {"keep alive timeout": 2, "session taken over": 3},
    "sessions_ended": {"expired": 8},
    "subscriptions_refused": {"too many levels": 1},
    "messages_dropped": {"queue full": 4},
    "bytes_received": 1,
    "bytes_sent": 1,
    "store": {
        "waits": False,
        "commits": 1,
        "size_bytes": 2_500_000,
        "max_bytes": 4_000_000_000,
        "free_bytes": 9_900_000,
        "written_day_bytes": 300_000_000,
        "device_written_day_bytes": 400_000_000,
        "day_hours": 7.25,
        "budget_day_bytes": 200_000_000,
        "budget_left_bytes": -1_200_000,
        "window_ms": 321.5,
        "waiting_bytes": 3_000_000,
        "dropped": 1,
        "left_out": 2,
        "trouble": "the disk is full",
        "damages": ["the database was damaged (it was overwritten)"],
        "cut": {"since": 1.0, "at": 35.0, "seconds": 34, "text": "not stopped in order: up to 34 s may be missing"},
        "refuses": True,
    },
    "history": {"rows": 6, "duplicates": 0, "beyond_max_series": 2, "not_allowed_to_publish": 3},
    "gaps": {
        "day": 3,
        "lasting": 1,
        "clock_unset": True,
        "newest": {
            "since": 1_795_377_951.0,
            "until": None,
            "cause": "agent offline",
            "detail": "",
            "scope": "agent",
            "name": "house",
        },
    },
}
WELL = {
    **STATUS["store"],
    "waits": True,
    "free_bytes": None,
    "written_day_bytes": None,
    "device_written_day_bytes": None,
    "day_hours": 24,
    "budget_left_bytes": 5,
    "waiting_bytes": 400,
    "dropped": 0,
    "left_out": 0,
    "trouble": None,
    "damages": [],
    "cut": None,
    "refuses": False,
}


def test_status_in_words():
    assert list(ask.status_lines(STATUS)) == [
        "appliance 1.2.3, running for 1 h 1 min (process 7)",
        "  MQTT      127.0.0.1:1883",
        "  page      http://127.0.0.1:8080/",
        "  also at   mqtts://192.168.1.5:8883",
        "  also at   mqtt socket /run/mqtt.sock",
        "  data      /d",
        "  agents    house online, attic\\x1b offline",
        "  clients   2 connected, 3 sessions",
        "  messages  10 in, 20 out",
        "  retained  9",
        "  dropped   4 messages (queue full)",
        "  refused   1 subscription (too many levels)",
        "  closed    2 connections (keep alive timeout)",
        "  closed    3 connections (session taken over)",
        "  refused   6 connections (too many connections)",
        "  ended     8 sessions (expired)",
        "  store     2.5 MB of 4000.0 MB, 1 commit since the start; acknowledgements do not wait for it",
        "            9.9 MB free on its disk",
        "            300.0 MB written in the last 7.2 h of 200.0 MB a day",
        "            400.0 MB by all programs to its disk",
        "            1.2 MB over the budget: messages wait 321.5 ms to be written together",
        "            3.0 MB wait to be written",
        "            1 message (QoS 0) found no room to wait",
        "            2 messages could not be written; the log says why",
        "            the disk is full",
        "            the database was damaged (it was overwritten)",
        "            not stopped in order: up to 34 s may be missing",
        "            nothing is acknowledged that would have to be kept",
        "  history   6 rows since the start",
        "            3 values of topics that their agent may not publish to",
        "            not recorded: 2 values of topics beyond history.max_series",
        "            the clock is not set: until it is, nobody knows the times of readings",
        "            3 gaps in the last 24 h, 1 of them lasts",
        f"            the newest since {ask.local_time(1_795_377_951.0)}: agent offline house",
    ]


def test_status_of_a_bare_service():
    bare = {
        **STATUS,
        "mqtt": None,
        "web": None,
        "listeners": [],
        "agents": {},
        **{key: {} for key in ask.TROUBLES},
        "store": None,
        "history": None,
        "gaps": None,
    }
    lines = list(ask.status_lines(bare))
    assert lines[1:3] == ["  MQTT      no port", "  page      no port"]
    assert "  agents    none yet" in lines
    assert lines[-2:] == ["  store     off: everything is gone when the service ends", "  history   off"]


def test_a_day_without_gaps_has_nothing_to_say():
    assert list(ask.gap_lines({"day": 0, "lasting": 0, "newest": None, "clock_unset": False})) == []
    over = {**STATUS["gaps"], "day": 1, "lasting": 0, "clock_unset": False}
    assert next(iter(ask.gap_lines(over))) == "            1 gap in the last 24 h"
    assert next(iter(ask.gap_lines({**over, "lasting": 2}))).endswith(", 2 of them last")


def test_a_store_that_is_well_has_little_to_say():
    assert list(ask.store_lines(WELL)) == ["  store     2.5 MB of 4000.0 MB, 1 commit since the start"]
    *_, damage = ask.store_lines({**WELL, "damages": ["the database was damaged"]})
    assert "the database was damaged" in damage
    written = list(ask.store_lines({**WELL, "written_day_bytes": 1_000_000}))
    assert written[1:] == ["            1.0 MB written in the last 24 h of 200.0 MB a day"]
    written = list(ask.store_lines({**WELL, "written_day_bytes": 1_000_000, "day_hours": 0.01}))
    assert written[1:] == ["            1.0 MB written in the last 1 min of 200.0 MB a day"]
    *_, lack = ask.store_lines({**WELL, "reserve": "the reserve does not fit"})
    assert "the reserve does not fit" in lack


@pytest.mark.parametrize(("number", "text"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows")])
def test_one_thing_and_more(number, text):
    assert ask.counted(number, "row") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.9, "59 s"), (60, "1 min 0 s"), (3_661, "1 h 1 min"), (90_000, "1 d 1 h"), (864_000, "10 d 0 h")],
)
def test_durations(seconds, text):
    assert ask.duration(seconds) == text


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
    assert ask.row_line({**ROW, **changes}, kind, unit) == f"{WHEN}  {text}"


@pytest.mark.parametrize("text", ["0", "-1", "100001", "many", "1.5"])
def test_what_is_no_limit(text):
    with pytest.raises(argparse.ArgumentTypeError, match="give one from 1 to 100000"):
        ask.limit(text)


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


@pytest.mark.parametrize("command", [("status",), ("history", "home/x")])
def test_nobody_there(tmp_path, command):
    done = appliance(tmp_path, *command, "--data", tmp_path / "none")
    assert done.returncode == Exit.UNAVAILABLE
    assert done.stderr.startswith("appliance: no appliance answers")
    assert done.stderr.endswith("or name its directory with --data\n")


@pytest.mark.parametrize("command", [("status",), ("history", "home/x")])
def test_a_service_that_does_not_let_us_ask_says_why(tmp_path, monkeypatch, capsys, command):
    def refuse(*_, **__):
        raise ControlUnavailable("not allowed to open it; use sudo")

    def hide(_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(ControlClient, "get", refuse)
    monkeypatch.setattr(Path, "exists", hide)  # root may look everywhere, so a mode proves nothing
    assert main([*command, "--data", str(tmp_path)]) == Exit.UNAVAILABLE
    assert capsys.readouterr().err == "appliance: not allowed to open it; use sudo\n"


def test_a_file_that_is_no_history(tmp_path):
    (tmp_path / "appliance.db").write_bytes(b"certainly not a database, but long enough to look at " * 20)
    done = appliance(tmp_path, "history", "home/x", "--data", tmp_path)
    assert done.returncode == Exit.DATA
    assert "is not a database" in done.stderr


def gap(since, until, cause="agent offline", scope="agent", name="house", detail=""):
    return {"since": since, "until": until, "cause": cause, "detail": detail, "scope": scope, "name": name}


def test_gaps_in_words(monkeypatch):
    monkeypatch.setattr(ask.time, "localtime", time.gmtime)
    assert ask.gap_line(gap(0.0, 3_660.0)) == (
        "1970-01-01 00:00:00  -- nothing until 1970-01-01 01:01:00 (1 h 1 min): agent offline house"
    )
    assert ask.gap_line(gap(0.0, None, "clock unset", "hub", "")) == (
        "1970-01-01 00:00:00  -- times are not sure until now: clock unset"
    )
    assert ask.gap_line(gap(0.0, None, "broker down", "hub", "", "stopped\x1b")) == (
        "1970-01-01 00:00:00  -- nothing until now: broker down (stopped\\x1b)"
    )


def test_gaps_stand_between_the_rows():
    found = {"rows": [{**ROW, "at": 1.0}, {**ROW, "at": 5.0}], "gaps": [gap(2.0, 4.0), gap(6.0, None)]}
    assert [one.get("cause", one.get("at")) for one in ask.in_order(found)] == [
        1.0,
        "agent offline",
        5.0,
        "agent offline",
    ]
    assert ask.gap_object(gap(2.0, 4.0)) == {
        "gap": "agent offline",
        "since": 2.0,
        "until": 4.0,
        "detail": "",
        "scope": "agent",
        "name": "house",
    }


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


def test_the_database_of_the_service_that_answers(tmp_path):
    data_dir = tmp_path / "d"
    with running(tmp_path, "run", "--data", data_dir, "--mqtt-port", free_port(), "--http-port", "0") as service:
        service.line()
        assert ask.database_in_use(data_dir) == data_dir / "appliance.db"
        service.stop()
    assert ask.database_in_use(data_dir) == data_dir / "appliance.db"
    with pytest.raises(ask.CommandError, match="no appliance answers and there is no history"):
        ask.database_in_use(tmp_path / "none")


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
