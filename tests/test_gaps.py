"""Gaps of a real service: an agent that goes and comes, a clean stop, and a kill."""

import json
import signal
import sqlite3
from contextlib import closing

from processes import appliance, eventually, free_port, running

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
