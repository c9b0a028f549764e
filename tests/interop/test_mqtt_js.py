"""MQTT.js at our broker: the client behind many dashboards, Node-RED and Zigbee2MQTT."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

NODE, NPM = shutil.which("node"), shutil.which("npm")
HERE = Path(__file__).with_name("js")
FILES = ("package.json", "package-lock.json", "peer.mjs")

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(NODE is None or NPM is None, reason="no node here; apt install npm"),
]

STEPS = ["connected", "delivered", "delivered", "delivered", "retained", "large", "will", "session"]


@pytest.fixture(scope="module")
def peer(tmp_path_factory):
    """Install what the lock file names, and nothing else, beside a copy of the script."""
    directory = tmp_path_factory.mktemp("js")
    for name in FILES:
        shutil.copy(HERE / name, directory)
    command = [NPM, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"]
    installed = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=300, check=False)
    if installed.returncode:
        pytest.skip(f"npm ci does not get MQTT.js: {installed.stderr[-300:]}")
    return directory / "peer.mjs"


@pytest.mark.parametrize(("version", "more"), [(4, []), (5, ["properties"])])
def test_mqtt_js(service, peer, version, more):
    command = [NODE, str(peer), str(service.port), str(version)]
    run = subprocess.run(command, cwd=peer.parent, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert [json.loads(line)["step"] for line in run.stdout.splitlines()] == [*STEPS, *more, "done"]


def test_the_lock_file_names_no_registry():
    lock = json.loads((HERE / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert packages["node_modules/mqtt"]["version"].startswith("5.")
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package
