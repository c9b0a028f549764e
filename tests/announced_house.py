"""A real service on an interface of its own, in a network namespace that somebody else made, and who looks for it.

Prints what was found as JSON.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from accounts import password, write_accounts  # noqa: E402
from authority import Authority  # noqa: E402
from service import Service  # noqa: E402

from sensors.discovery import look  # noqa: E402

CONFIG = """
site = "cabin"

[web]
port = 0

[accounts]
password_file = "passwords"

[[listener]]
address = "0.0.0.0"
certificate = "server.pem"
key = "server.key"

[[listener]]
serve = "web"
address = "0.0.0.0"
certificate = "server.pem"
key = "server.key"
"""
KINDS = ("_secure-mqtt._tcp.local.", "_https._tcp.local.")
LOOK_S = 20.0


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def until_found(addresses):
    ends = time.monotonic() + LOOK_S
    while time.monotonic() < ends:
        found = look("_secure-mqtt._tcp", "cabin", seconds=3.0)
        if found and found[0].addresses == addresses:
            return {
                "name": found[0].name,
                "port": found[0].port,
                "addresses": found[0].addresses,
                "site": found[0].site,
            }
    raise SystemExit(f"{addresses} not found, but {found}")


class Watcher:
    """Sees announcements go, and tries the port at that moment."""

    def __init__(self, address):
        self.address = address
        self.there = set()
        self.gone = {}

    def add_service(self, _zeroconf, kind, _name):
        self.there.add(kind)

    def update_service(self, *_):
        pass

    def remove_service(self, _zeroconf, kind, _name):
        with socket.create_connection((self.address, 8883), timeout=5) as tried:
            self.gone[kind] = tried.getpeername()[0] == self.address


def wait(condition):
    ends = time.monotonic() + LOOK_S
    while not condition():
        if time.monotonic() > ends:
            raise SystemExit("waited in vain")
        time.sleep(0.01)


def main(scratch):
    from zeroconf import ServiceBrowser, Zeroconf

    ip("link", "set", "lo", "up")
    ip("link", "add", "eth0", "type", "veth", "peer", "name", "cable")
    ip("link", "set", "cable", "up")
    ip("link", "set", "eth0", "up")
    ip("addr", "add", "10.77.0.1/24", "dev", "eth0")
    folder = scratch / "service"
    write_accounts(folder, users=["ann"])
    Authority(folder)
    service = Service(folder, CONFIG)
    try:
        told = {"found": until_found(("10.77.0.1",))}
        ip("addr", "del", "10.77.0.1/24", "dev", "eth0")
        ip("addr", "add", "10.77.0.9/24", "dev", "eth0")
        told["moved"] = until_found(("10.77.0.9",))
        watcher = Watcher("10.77.0.9")
        with Zeroconf() as zeroconf:
            ServiceBrowser(zeroconf, list(KINDS), listener=watcher)
            wait(lambda: watcher.there == set(KINDS))
            os.kill(service.pid, signal.SIGTERM)
            wait(lambda: set(watcher.gone) == set(KINDS))
        told["gone"] = watcher.gone
    finally:
        service.stop()
    told["log"] = service.last_words()
    print(json.dumps(told))
    assert password("ann") not in told["log"]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
