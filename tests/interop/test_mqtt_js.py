"""MQTT.js at our broker: the client behind many dashboards, Node-RED and Zigbee2MQTT."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

NODE, NPM = shutil.which("node"), shutil.which("npm")
HERE = Path(__file__).with_name("js")

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(NODE is None or NPM is None, reason="no node here; apt install npm"),
]

STEPS = ["connected", "delivered", "delivered", "delivered", "retained", "large", "will", "session"]


@pytest.mark.parametrize("way", ["mqtt", "mqtts", "ws", "wss"])
@pytest.mark.parametrize(("version", "more"), [(4, []), (5, ["properties"])])
def test_mqtt_js(secure, js, way, version, more):
    command = [NODE, str(js / "peer.mjs"), secure.url(way), str(version)]
    environment = {**os.environ, "NODE_EXTRA_CA_CERTS": str(secure.authority.ca)}
    run = subprocess.run(command, cwd=js, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert [json.loads(line)["step"] for line in run.stdout.splitlines()] == [*STEPS, *more, "done"]


def test_the_lock_file_names_no_registry():
    lock = json.loads((HERE / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert packages["node_modules/mqtt"]["version"].startswith("5.")
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package
