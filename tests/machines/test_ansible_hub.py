"""One command makes a hub of a blank machine; a second one changes nothing; an upgrade that fails rolls itself back."""

import json
import re
import subprocess
import zipfile

import pytest
from machines.playbooks import Control

HOME = "/opt/home-sensor-appliance"
CHECK = f"{HOME}/check-appliance"


@pytest.fixture(scope="module")
def control(tmp_path_factory, given):
    return Control(tmp_path_factory.mktemp("control"), given.wheels)


@pytest.fixture(scope="module")
def hub(machines, control):
    """A hub, made by the playbook of a blank machine."""
    machine = machines("hub", blank=True)
    control.admit(machine)
    control.add("hubs", machine)
    first = control.play("site.yml")
    assert first.changed > 0
    return machine


@pytest.fixture(scope="module")
def wheel(given, tmp_path_factory):
    """Makes wheels as broken as a test wants them: `wheel(version, {file: text})`."""
    (good,) = given.wheels.glob("home_sensor_appliance-*.whl")
    old = good.name.split("-")[1]
    folder = tmp_path_factory.mktemp("wheels")

    def make(version, changes):
        """The project's wheel, of that version, with other files."""
        made = folder / good.name.replace(old, version)
        with zipfile.ZipFile(good) as whole, zipfile.ZipFile(made, "w") as changed:
            for item in whole.infolist():
                name = item.filename.replace(f"-{old}.", f"-{version}.")
                content = changes.get(name, whole.read(item).decode("latin-1")).encode("latin-1")
                if name.endswith("METADATA"):
                    content = content.replace(f"Version: {old}".encode(), f"Version: {version}".encode())
                if name.endswith("RECORD"):  # pip wants no digests
                    content = re.sub(rb",sha256=[^,]*,\d*", b",,", content).replace(old.encode(), version.encode())
                changed.writestr(name, content)
        return made

    return make


class Caller:
    """Asks the hub for a connection again and again, from outside, and keeps when nobody answered."""

    SCRIPT = """
import socket, sys, time
refused = longest = 0.0
since = None
while True:
    now = time.monotonic()
    try:
        socket.create_connection((sys.argv[1], 8883), 1).close()
        since = None
    except OSError:
        since = since or now
        longest = max(longest, time.monotonic() - since)
    print(longest, flush=True)
    time.sleep(0.02)
"""

    def __init__(self, hub, log):
        self._log = log
        self._hub = hub

    def __enter__(self):
        self._out = self._log.open("w")
        self._process = subprocess.Popen(["python3", "-c", self.SCRIPT, str(self._hub.address)], stdout=self._out)
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        self._out.close()

    def longest_s(self):
        """The longest time without an answer, in seconds."""
        return float(self._log.read_text().splitlines()[-2])


def listening(machine):
    """Ports that other computers reach."""
    lines = machine.run("ss", "-Hltn").splitlines()
    places = [line.split()[3] for line in lines]
    return {int(place.rpartition(":")[2]) for place in places if not re.match(r"127\.|\[::1\]", place)}


def test_the_hub_runs_and_serves_the_network_encrypted_alone(hub):
    assert hub.shown("appliance.service", "ActiveState") == "active"
    assert hub.shown("appliance.service", "UnitFileState") == "enabled"
    assert listening(hub) - {22, 123, 323} == {8883, 8443}


def test_a_reading_that_comes_over_tls_is_in_the_history(hub, tmp_path):
    account = json.dumps(
        {"role": "device", "agent": "attic", "publish": ["home/attic/temperature"], "secret": "s" * 22}
    )
    hub.run("appliance", "devices", "add", "attic", "--from", "-", stdin=account)
    hub.write("/root/secret", "s" * 22 + "\n", mode="600")
    words = "-h hub -p 8883 --cafile /var/lib/appliance/tls/ca.pem -u attic --pw-file /root/secret -q 1"
    hub.sh(f"appliance pub {words} -r -t home/attic/temperature -m 21.4")
    hub.run("appliance", "history", "home/attic/temperature")
    told = hub.run("appliance", "history", "home/attic/temperature", "--json")
    assert "21.4" in told


def test_a_second_run_changes_nothing(hub, control):
    started = hub.shown("appliance.service", "InvocationID")
    assert control.play("site.yml").changed == 0
    assert hub.shown("appliance.service", "InvocationID") == started


def test_check_and_diff_say_what_would_change_and_change_nothing(hub, control):
    started = hub.shown("appliance.service", "InvocationID")
    before = hub.read("/etc/appliance/appliance.toml")
    played = control.play("site.yml", "--check", "--diff", appliance_settings={"history": {"raw_days": 30}})
    assert "+raw_days = 30" in played.said
    assert played.changed > 0
    assert hub.read("/etc/appliance/appliance.toml") == before
    assert hub.shown("appliance.service", "InvocationID") == started


def test_a_changed_setting_is_checked_and_restarts_the_hub(hub, control):
    started = hub.shown("appliance.service", "InvocationID")
    played = control.play("site.yml", good=False, appliance_settings={"history": {"raw_dais": 30}})
    assert played.code != 0
    assert 'did you mean "raw_days"?' in played.said
    assert hub.shown("appliance.service", "InvocationID") == started
    control.play("site.yml", appliance_settings={"history": {"raw_days": 30}})
    assert "raw_days = 30" in hub.read("/etc/appliance/appliance.toml")
    assert hub.shown("appliance.service", "InvocationID") != started
    control.play("site.yml")


BROKEN = {
    "it does not start": ("0.9.1", {"appliance/app.py": "raise RuntimeError('no part of it is there')\n"}),
    "it starts and does not answer": None,
}


def test_an_upgrade_to_a_release_that_does_not_start_is_taken_back(hub, control, wheel, tmp_path):
    before = hub.read("/etc/appliance/appliance.toml")
    broken = wheel("0.9.1", {"appliance/app.py": "raise RuntimeError('no part of it is there')\n"})
    with Caller(hub, tmp_path / "calls") as caller:
        played = control.play("site.yml", good=False, release_source=str(broken))
        down_s = caller.longest_s()
    assert played.code != 0
    assert "Rolled back to" in played.said
    assert hub.shown("appliance.service", "ActiveState") == "active"
    assert hub.read("/etc/appliance/appliance.toml") == before
    assert "0.9.1" not in hub.run("readlink", f"{HOME}/current")
    assert down_s < 15
    print(f"down for {down_s:.1f} s")
