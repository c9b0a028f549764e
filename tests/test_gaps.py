"""Gaps of a real service: an agent that goes and comes, sensors that fail, a clean stop, and a kill."""

import json
import signal
import sqlite3
from contextlib import closing

from processes import appliance, eventually, free_port, running

from appliance.control import ControlClient

TOPIC = "home/attic/temperature"
ABOUT = '{"agent": "attic", "site": "home", "sensors": [{"topic": "home/attic/temperature", "kind": "temperature"}]}'


def test_each_gap_has_its_cause(tmp_path):
    data_dir, port = tmp_path / "d", free_port()
    arguments = ("run", "--data", data_dir, "--mqtt-port", port, "--http-port", "0")

    def publish(topic, text, *more):
        done = appliance(tmp_path, "pub", "-p", port, "-t", topic, "-m", text, "-q", "1", *more)
        assert done.returncode == 0, done.stderr

    def history():
        done = appliance(tmp_path, "history", TOPIC, "--data", data_dir, "--json")
        told = json.loads(done.stdout or "[]")
        return [
            (one["gap"], one["detail"]) if "gap" in one else one["value"] for one in told if one.get("gap") != UNSET
        ]

    def availability(word):
        publish("home/devices/attic/availability", word, "-r")

    with running(tmp_path, *arguments) as service:
        service.line()
        publish("home/devices/attic/about", ABOUT, "-r")
        publish(TOPIC, "1")
        availability("offline")
        availability("online")
        publish(TOPIC, "2")
        expected = [1.0, ("agent offline", ""), 2.0]
        eventually(lambda: history() == expected)
        assert service.stop()[0] == 0
    with running(tmp_path, *arguments) as service:
        service.line()
        publish(TOPIC, "3")
        expected += [("broker down", "stopped"), 3.0]
        eventually(lambda: history() == expected)
        service.process.send_signal(signal.SIGKILL)
        service.process.wait()
    with running(tmp_path, *arguments) as service:
        service.line()
        publish(TOPIC, "4")
        expected += [("broker down", "not stopped: power cut or crash"), 4.0]
        eventually(lambda: history() == expected)
        assert service.stop()[0] == 0
    assert history() == [*expected, ("broker down", "stopped")]


UNSET = "clock unset"
"""Where nothing keeps the clock of the machine that tests."""


def test_the_gap_of_its_absence_ends_when_it_runs_though_nothing_is_published(tmp_path):
    data_dir, port = tmp_path / "d", free_port()
    arguments = ("run", "--data", data_dir, "--mqtt-port", port, "--http-port", "0")
    for starts, sign in enumerate((signal.SIGTERM, signal.SIGKILL, signal.SIGTERM)):
        with running(tmp_path, *arguments) as service:
            service.line()
            eventually(lambda starts=starts: [until is None for _, until in down(data_dir)] == [False] * starts)
            service.process.send_signal(sign)
            service.process.wait()
    assert [(detail, until is None) for detail, until in down(data_dir)] == [
        ("stopped", False),
        ("not stopped: power cut or crash", False),
        ("stopped", True),
    ]


def down(data_dir):
    """Details and ends of the gaps of the service."""
    with closing(sqlite3.connect(data_dir / "appliance.db")) as database:
        return database.execute("SELECT detail, to_tick FROM gaps ORDER BY id").fetchall()


def test_a_sensor_that_fails_leaves_a_gap_with_its_cause_whoever_is_killed_meanwhile(tmp_path):
    data_dir, port = tmp_path / "d", free_port()
    service = ("run", "--data", data_dir, "--mqtt-port", port, "--http-port", "0")
    config = tmp_path / "sensors.toml"

    def configure(faults, room="bath"):
        config.write_text(
            f'agent = "house"\ndata_dir = "{tmp_path / "house"}"\n[broker]\nport = {port}\n[[sensor]]\n'
            f'name = "{room}"\nroom = "{room}"\nkind = "simulated"\nmodel = "room"\ninterval_s = 0.1\n'
            f"offline_after = 1\n{faults}\n"
        )
        return running(tmp_path, "run", "--config", config, program="sensors")

    def gaps():
        """What failed, why, and whether it still fails."""
        asked = "SELECT name, detail, to_tick IS NULL FROM gaps WHERE scope = 'series' ORDER BY name, id"
        with closing(sqlite3.connect(data_dir / "appliance.db")) as database:
            return [(name.removeprefix("home/bath/"), *more) for name, *more in database.execute(asked)]

    def fails(*rooms):
        """Whether just these fail now, and why is known."""
        return [gap for gap in gaps() if gap[-1]] == [(room, "disconnected", 1) for room in rooms]

    both = ("humidity", "temperature")
    with running(tmp_path, *service) as first, configure('faults = ["unplugged@2s/4s"]') as agent:
        first.lines_until("appliance runs")
        eventually(lambda: {(one, "disconnected", 0) for one in both} <= set(gaps()))
        told = appliance(tmp_path, "history", "home/bath/temperature", "--data", data_dir, "--json")
        found = {(one["gap"], one["name"], one["detail"]) for one in json.loads(told.stdout) if "gap" in one}
        assert ("sensor failing", "home/bath/temperature", "disconnected") in found
        agent.stop(signal.SIGTERM)
        with configure('faults = ["unplugged"]') as failing:
            eventually(lambda: fails(*both))
            first.stop(signal.SIGKILL)
            with running(tmp_path, *service) as second:
                second.lines_until("appliance runs")
                status = ControlClient(data_dir / "control.sock")
                eventually(lambda: status.get("/api/status")["clients_now"] and fails(*both))
                failing.stop(signal.SIGKILL)
                eventually(fails)  # none: now the agent is away
                with configure('faults = ["unplugged"]'):
                    eventually(lambda: fails(*both))
                    second.stop(signal.SIGKILL)
        with running(tmp_path, *service) as third, configure("", room="hall"):
            third.lines_until("appliance runs")
            eventually(fails)
            assert third.stop(signal.SIGTERM)[0] == 0
