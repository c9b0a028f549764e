"""`sensors simulate` as a process of its own, against our service and against a broker of others."""

import argparse
import json
import logging
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from types import SimpleNamespace

import pytest
from authority import Authority
from mosquitto_peer import BINARY, Mosquitto, end
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from processes import PATIENCE_S, environment, eventually, free_port, running

from appliance.clock import rfc3339
from appliance.store.database import open_reader
from sensors import cli, simulate
from sensors.fleet import HOUSE, Count, readings_per_round

TOPICS = readings_per_round(len(HOUSE)) + sum(model in {"motion", "door", "window", "leak"} for _, model in HOUSE) + 2


def play(tmp_path, *arguments):
    """Run it to its end, its temporary files in a directory of their own."""
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "sensors", "simulate", "--json", *map(str, arguments)],
        env={**environment(tmp_path), "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert list(scratch.iterdir()) == []
    return done


class Witness:
    """Another client: every live reading with who made it, and the availability of every agent."""

    def __init__(self, port):
        self.readings, self.topics, self.availability = [], set(), {}
        self.health, self.sensors, self.times, self.cleared = {}, {}, [], set()
        ready = threading.Event()
        self.client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        self.client.on_message = self.hear
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.connect("127.0.0.1", port)
        self.client.subscribe("home/#", qos=1)
        self.client.loop_start()
        assert ready.wait(10)

    def hear(self, _client, _data, message):
        levels = message.topic.split("/")
        if not message.payload:
            self.cleared.add(message.topic)
            return
        if levels[1] == "devices":
            if levels[3] == "availability":
                self.availability[levels[2]] = message.payload.decode()
            elif levels[3] == "health":
                self.health = json.loads(message.payload)
            elif levels[-1] == "availability":
                self.sensors[levels[3]] = message.payload.decode()
            if levels[3] == "backlog":  # made before the connection stood
                told = dict(message.properties.UserProperty)
                for entry in json.loads(message.payload):
                    self.readings.append((told["run"], str(entry["seq"])))
                    self.topics.add(entry["topic"])
            return
        told = dict(message.properties.UserProperty)
        self.readings.append((told["run"], told["seq"]))
        self.times.append(told["time"])
        self.topics.add(message.topic)


def retained(port):
    """Topics that the broker keeps something on."""
    told, ready = set(), threading.Event()
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    client.on_message = lambda _client, _data, message: told.add(message.topic)
    # The end comes behind what is retained, which the broker sends first.
    client.on_subscribe = lambda *_: client.publish("end", b"x", qos=1)
    client.message_callback_add("end", lambda *_: ready.set())
    client.connect("127.0.0.1", port)
    client.subscribe([("home/#", 0), ("end", 1)])
    client.loop_start()
    assert ready.wait(10)
    end(client)
    return told


@pytest.mark.interop
@pytest.mark.skipif(BINARY is None, reason="needs mosquitto")
def test_another_broker_gets_every_reading_once_and_a_goodbye(tmp_path):
    broker = Mosquitto(tmp_path)
    broker.start()
    witness = Witness(broker.port)
    try:
        done = play(tmp_path, "--broker", f"127.0.0.1:{broker.port}", "--devices", 4, "--interval", 0.5, "--seconds", 3)
        assert done.returncode == 0, done.stderr
        count = json.loads(done.stdout)
        assert count["made"] == count["acknowledged"] == len(set(witness.readings)) == len(witness.readings)
        assert count["made"] > 4 * readings_per_round(20) * 3
        assert len([topic for topic in witness.topics if not topic.endswith("/button")]) == 4 * TOPICS
        assert witness.availability == {f"house-{n}": "offline" for n in range(1, 5)}
        own = {f"home/devices/house-{n}/{leaf}" for n in range(1, 5) for leaf in ("about", "availability", "health")}
        assert own < witness.cleared
        assert retained(broker.port) == set()
    finally:
        end(witness.client)
        broker.stop()


@pytest.mark.interop
@pytest.mark.skipif(BINARY is None, reason="needs mosquitto")
def test_what_a_killed_one_left_with_the_broker_the_next_takes_back(tmp_path):
    broker = Mosquitto(tmp_path)
    broker.start()
    few = ("--broker", f"127.0.0.1:{broker.port}", "--interval", 0.2, "--sensors", 8)
    try:
        with running(tmp_path, "simulate", *few, "--devices", 2, program="sensors") as playing:
            eventually(lambda: len(retained(broker.port)) > 20)
            playing.stop(signal.SIGKILL)
        assert len(retained(broker.port)) > 20
        assert play(tmp_path, *few, "--devices", 2, "--seconds", 2, "--keep").returncode == 0
        assert len(retained(broker.port)) > 20
        done = play(tmp_path, *few, "--devices", 2, "--seconds", 2)
        assert retained(broker.port) == set()
        assert "did not clear" not in done.stderr
    finally:
        broker.stop()


@pytest.mark.interop
@pytest.mark.skipif(BINARY is None, reason="needs mosquitto")
def test_what_could_not_be_taken_back_is_told(tmp_path):
    broker = Mosquitto(tmp_path)
    broker.start()
    try:
        few = ("--broker", f"127.0.0.1:{broker.port}", "--interval", 0.2, "--sensors", 1)
        with running(tmp_path, "simulate", *few, program="sensors") as playing:
            eventually(lambda: "home/kitchen-1/temperature" in retained(broker.port))
            broker.stop()
            _, complaints = playing.stop(signal.SIGINT)
        assert f"the broker did not clear {readings_per_round(1) + 4} topics" in complaints
        assert "appliance forget house-1" in complaints
    finally:
        broker.stop()


@pytest.mark.interop
@pytest.mark.skipif(BINARY is None, reason="needs mosquitto")
def test_faults_arrive_as_those_of_real_sensors_do(tmp_path):
    broker = Mosquitto(tmp_path)
    broker.start()
    witness = Witness(broker.port)
    hour_ago = rfc3339(time.time() - 3500)
    try:
        faults = ("--fault", "checksum", "--fault", "clock=-3600", "--fault", "unplugged")
        done = play(
            tmp_path, "--broker", f"127.0.0.1:{broker.port}", "--interval", 0.1, "--seconds", 3, "--sensors", 6, *faults
        )
        assert done.returncode == 0, done.stderr
        assert "kitchen-room (simulated): no answer: check power and wiring" in done.stderr
        assert witness.topics == {"home/livingroom-1/motion", "home/hall-1/door"}  # a cut wire is no failure
        assert witness.sensors["kitchen-room"] == "offline"
        assert witness.sensors["hall-door"] == "online"
        assert witness.health["sensors"]["kitchen-room"]["failed"].keys() == {"disconnected"}
        assert witness.times
        assert max(witness.times) < hour_ago
    finally:
        end(witness.client)
        broker.stop()


def test_our_history_has_every_reading_once(tmp_path):
    port = free_port()
    with running(tmp_path, "run", "--data", tmp_path / "data", "--mqtt-port", port, "--http-port", 0) as service:
        service.lines_until("appliance runs")
        done = play(
            tmp_path, "--broker", f"127.0.0.1:{port}", "--devices", 3, "--rate", 60, "--seconds", 3, "--life", "busy"
        )
        assert service.stop(signal.SIGTERM) == (0, "")
    assert done.returncode == 0, done.stderr
    count = json.loads(done.stdout)
    assert count["made"] == count["acknowledged"]
    with closing(open_reader(tmp_path / "data" / "appliance.db")) as database:
        ((rows, readings, foreign, runs),) = database.execute(
            "SELECT count(*), count(DISTINCT run || '/' || seq), count(*) - count(run), count(DISTINCT run)"
            " FROM history"
        )
        assert (rows, readings, foreign, runs) == (count["made"], count["made"], 0, 3)
        ((topics,),) = database.execute("SELECT count(DISTINCT topic) FROM history WHERE topic NOT LIKE '%/button'")
        assert topics == 3 * TOPICS


def test_ctrl_c_ends_it_and_the_outboxes_are_closed(tmp_path):
    kept = tmp_path / "kept"
    with running(
        tmp_path,
        *("simulate", "--broker", "127.0.0.1:9", "--data", kept, "--devices", 2, "--interval", 0.2),
        program="sensors",
    ) as playing:
        lines = [playing.process.stderr.readline(), playing.process.stderr.readline()]
        assert lines[0] == (
            "2 x 20 sensors play in the site home, each read every 0.2 s; Ctrl-C ends it. "
            "The page of that site's hub shows them until then, its history keeps them\n"
        )
        assert "nothing listens on 127.0.0.1:9" in lines[1]
        eventually(lambda: len(list(kept.glob("*.outbox"))) == 2)
        code, complaints = playing.stop(signal.SIGINT)
        assert code in {cli.OK, cli.FAILED}  # whether a reading was made by then
        assert "nothing listens" not in complaints  # said once, not by each
    names = sorted(path.name for path in kept.iterdir())
    assert names == [f"home-house-{n}.{end}" for n in (1, 2) for end in ("kept", "outbox")]


def test_what_a_killed_one_left_is_cleared_away_by_the_next(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "sensors", "simulate", "--broker", "127.0.0.1:9"],
        env={**environment(tmp_path), "TMPDIR": str(scratch)},
        stderr=subprocess.DEVNULL,
    )
    with process:
        eventually(lambda: list(scratch.glob("*/*.outbox")))
        process.kill()
    assert list(scratch.glob("*/*.outbox"))
    play(tmp_path, "--broker", "127.0.0.1:9", "--seconds", 0.1)  # looks that nothing is left


def test_on_a_terminal_the_line_is_written_over(tmp_path):
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        process = subprocess.Popen(
            [sys.executable, "-m", "sensors", "simulate", "--broker", "127.0.0.1:9", "--seconds", "1.5"],
            env=environment(tmp_path),
            stdout=subprocess.PIPE,
            stderr=theirs,
            text=True,
        )
        os.close(theirs)
        with process:
            out, _ = process.communicate(timeout=PATIENCE_S)
        shown = b""
        while b"waiting\r\n" not in shown:
            shown += terminal.read(4096)
    assert b"\r\x1b[K0 of 1 connected; " in shown
    assert re.fullmatch(r"(\d+) readings, 0 acknowledged, \1 waiting\n", out)
    assert process.returncode == cli.FAILED


def test_an_outbox_that_cannot_be_used_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    done = play(tmp_path, "--data", tmp_path / "file", "--seconds", 1)
    assert done.returncode == cli.NO_OUTBOX
    assert done.stderr.count("set data_dir to a directory") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.interop
@pytest.mark.skipif(BINARY is None, reason="needs mosquitto")
def test_a_broker_behind_tls_that_wants_certificates(tmp_path):
    authority, port = Authority(tmp_path / "authority"), free_port()
    certificate, key = authority.issue("houses")
    broker = Mosquitto(
        tmp_path,
        f"listener {port} 127.0.0.1",
        *(f"cafile {authority.ca}", f"certfile {authority.certificate}", f"keyfile {authority.key}"),
        "require_certificate true",
    )
    broker.start()
    try:
        files = ("--ca-file", authority.ca, "--cert-file", certificate, "--key-file", key)
        done = play(tmp_path, "--broker", f"127.0.0.1:{port}", "--devices", 2, "--seconds", 2, "--tls", *files)
    finally:
        broker.stop()
    assert done.returncode == 0, done.stderr
    count = json.loads(done.stdout)
    assert count["made"] == count["acknowledged"] > 0


def test_a_rate_beyond_all_sensors_is_said(tmp_path):
    done = play(tmp_path, "--broker", "127.0.0.1:9", "--sensors", 1, "--rate", 1000, "--seconds", 0.2)
    assert done.stderr.startswith("so many sensors give 20 readings a second at most; more need more sensors\n")
    assert "each read every 0.1 s" in done.stderr


def test_a_rate_below_one_reading_a_week_is_said(tmp_path):
    done = play(tmp_path, "--broker", "127.0.0.1:9", "--sensors", 1, "--rate", 1e-6, "--seconds", 0.2)
    assert done.stderr.startswith("no sensor is read less often than once a week; fewer readings need fewer sensors\n")
    assert "each read every 604800 s" in done.stderr


def test_a_password_that_is_not_there_is_one_line(tmp_path):
    done = play(tmp_path, "--password-file", tmp_path / "none", "--seconds", 1)
    assert done.returncode == cli.BAD_CONFIG
    assert "broker.password_file" in done.stdout + done.stderr


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    simulate.add_arguments(parser)
    return parser.parse_args(arguments)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("hub.local", ("hub.local", None)),
        ("hub.local:1884", ("hub.local", 1884)),
        ("[::1]:1884", ("::1", 1884)),
        ("[fd00::5]", ("fd00::5", None)),
    ],
)
def test_a_broker_is_a_name_with_or_without_port(text, address):
    assert parsed("--broker", text).broker == address


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--broker", ":1883"), "is no address"),
        (("--broker", "hub:65536"), "is no address"),
        (("--broker", "hub:x"), "is no address"),
        (("--devices", "0"), "from 1 to 10000"),
        (("--sensors", "1e3"), "from 1 to 1000"),
        (("--interval", "0.01"), "from 0.1 s"),
        (("--interval", "x"), "is not a number above 0"),
        (("--rate", "-1"), "is not a number above 0"),
        (("--seconds", "nan"), "is not a number above 0"),
        (("--rate", "5", "--interval", "5"), "not allowed with"),
        (("--fault", "fire"), 'there is no fault "fire"'),
    ],
)
def test_a_wrong_command_line_is_said(arguments, words, capsys):
    with pytest.raises(SystemExit) as ended:
        parsed(*arguments)
    assert ended.value.code == cli.USAGE
    assert words in capsys.readouterr().err


def test_each_line_of_the_log_passes_once(monkeypatch):
    def record(text):
        return logging.LogRecord("sensors", logging.WARNING, "", 0, text, (), None)

    once = simulate.Once()
    assert [once.passes(record(text)) for text in ("a", "b", "a")] == [True, True, False]
    monkeypatch.setattr(simulate, "MOST_REPEATS", 2)
    assert not once.passes(record("c"))


@pytest.mark.parametrize(("waiting", "dropped", "code"), [(0, 0, cli.OK), (1, 0, cli.FAILED), (0, 1, cli.FAILED)])
def test_readings_that_the_broker_has_not_are_a_failure(monkeypatch, waiting, dropped, code):
    count = Count(devices=1, connected=1, made=9, acknowledged=9 - waiting - dropped, waiting=waiting, dropped=dropped)
    fleet = SimpleNamespace(
        start=lambda _: None, stop=lambda: None, running=False, count=lambda: count, trouble=[], left_behind=0
    )
    monkeypatch.setattr("sensors.fleet.Fleet", lambda _, **_keys: fleet)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert cli.main(["simulate"]) == code
