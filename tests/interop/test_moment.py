"""appliance sub --at, against what Mosquitto's clients published and the broker then retained."""

import shutil
import signal
import subprocess
import time
from contextlib import ExitStack

import pytest
from processes import appliance, free_port, running

from appliance.clock import rfc3339

PUB, SUB = shutil.which("mosquitto_pub"), shutil.which("mosquitto_sub")
PATIENCE_S = 30

pytestmark = pytest.mark.interop

STEPS = [
    [("home/a/t", "-r", "-m", "20.50"), ("home/a/door", "-r", "-m", "online"), ("home/b/t", "-m", "5")],
    [("home/a/t", "-m", "21.50"), ("home/a/door", "-r", "-n")],
    None,  # kill -9
    [("home/a/t", "-m", "22"), ("z/lamp", "-r", "-m", '{"level": 3, "on": "ON"}')],
    [("home/a/t", "-r", "-n"), ("home/a/door", "-r", "-m", "offline")],
    None,
    [("home/a/t", "-r", "-m", "23.00"), ("z/lamp", "-r", "-m", '{"level": 4}')],
    [("home/b/t", "-V", "mqttv5", "-D", "publish", "message-expiry-interval", "3600", "-r", "-m", "6")],
]
HELD = [
    {"home/a/t": "20.50", "home/a/door": "online"},
    {"home/a/t": "20.50"},
    None,
    {"home/a/t": "20.50", "z/lamp/level": "3", "z/lamp/on": "ON"},
    {"home/a/door": "offline", "z/lamp/level": "3", "z/lamp/on": "ON"},
    None,
    {"home/a/t": "23.00", "home/a/door": "offline", "z/lamp/level": "4"},
    {"home/a/t": "23.00", "home/a/door": "offline", "z/lamp/level": "4", "home/b/t": "6"},
]


def published(port, topic, *arguments):
    command = [PUB, "-h", "127.0.0.1", "-p", str(port), "-q", "1", "-t", topic, *arguments]
    subprocess.run(command, check=True, timeout=PATIENCE_S)


def retained(port):
    """What a new subscriber is sent."""
    command = [SUB, "-h", "127.0.0.1", "-p", str(port), "-v", "-t", "home/#", "--retained-only", "-W", "1"]
    return lines(subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False).stdout)


def lines(text):
    return dict(line.split(" ", 1) for line in text.splitlines())


def test_what_was_retained_when(tmp_path):
    port, data = free_port(), tmp_path / "data"
    moments = []
    with ExitStack() as services:

        def start():
            arguments = ("run", "--data", data, "--mqtt-port", port, "--http-port", "0")
            service = services.enter_context(running(tmp_path, *arguments))
            service.line()
            return service

        service = start()
        for step in STEPS:
            if step is None:
                service.stop(signal.SIGKILL)
                service = start()
                moments.append(None)
                continue
            for topic, *arguments in step:
                published(port, topic, *arguments)
            moments.append(time.time())
        live = retained(port)
        assert live == {topic: payload for topic, payload in HELD[-1].items() if topic.startswith("home/")}
        found = [told(tmp_path, data, at) for at in moments]
        service.stop()
    assert found == HELD
    assert told(tmp_path, data, moments[-1]) == HELD[-1]  # from the file


def told(home, data, at):
    """What was retained then, by the command."""
    if at is None:
        return None
    return lines(appliance(home, "sub", "--data", data, "--at", rfc3339(at), "-v", "#").stdout)
