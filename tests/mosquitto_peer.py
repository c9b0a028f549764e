"""Debian's Mosquitto as a peer: a process of the test's own, on a loopback port of its own."""

import shutil
import socket
import subprocess
import time
from pathlib import Path

BINARY = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(condition, seconds=10.0):
    """Wait for a condition to come true; gives what it gave."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return result


def end(client):
    """End a paho client that runs in a thread of its own, with its sockets."""
    client.disconnect()
    client.loop_stop()
    client._reset_sockets()  # paho would close the pair that wakes its thread only when it is collected


class Mosquitto:
    """Starts and stops one broker, always on the same port."""

    def __init__(self, directory: Path, *settings: str):
        self.port = free_port()
        self.config = directory / "mosquitto.conf"
        anonymous = () if any(line.startswith("allow_anonymous") for line in settings) else ("allow_anonymous true",)
        lines = (f"listener {self.port} 127.0.0.1", *anonymous, "persistence false", "user root", *settings)
        self.config.write_text("\n".join(lines) + "\n")
        self.log = directory / "mosquitto.log"
        self.process = None

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([BINARY, "-c", self.config], stdout=log, stderr=log)
        eventually(self.listens)

    def listens(self):
        assert self.process.poll() is None, self.log.read_text()
        with socket.socket() as probe:
            probe.settimeout(1.0)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
