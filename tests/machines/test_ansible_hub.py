"""One command makes a hub of a blank machine; a second one changes nothing; an upgrade that fails rolls itself back."""

import json
import re
import subprocess
import sys
import zipfile

import pytest
from machines.machine import wait_for

FEWER_DAYS = {"history": {"raw_days": 30}}
DOWN_S = 30.0  # a bound for a busy computer; the tests print what it took
HOME = "/opt/home-sensor-appliance"
CHECK = f"{HOME}/check-appliance"
ACTIVATE = ("systemd-run", "--quiet", "--wait", "--collect", "--pipe", f"{HOME}/releases.py", "activate")  # as the role


@pytest.fixture(scope="module")
def hub(machines, control):
    """A hub, made by the playbook of a blank machine."""
    machine = machines("hub", blank=True)
    control.admit(machine)
    control.inventory["all"]["vars"]["computer_unattended_upgrades"] = True
    control.add("hubs", machine)
    told = control.play("site.yml", "--check", "--diff")  # of a first run, too, it can be asked what it would do
    assert "hub has no release yet" in told.said
    assert machine.result("ls", HOME).returncode != 0
    first = control.play("site.yml")
    assert first.changed > 0
    return machine


@pytest.fixture(scope="module")
def wheel(given, tmp_path_factory):
    """Makes wheels as broken as a test wants them: `wheel(version, {file: text})`."""
    (good,) = given.wheels.glob("home_sensor_appliance-*.whl")
    old = good.name.split("-")[1]
    folder = tmp_path_factory.mktemp("wheels")

    def make(version, changes, added=None):
        """The project's wheel, of that version, with other files, and with something at the end of some."""
        made = folder / good.name.replace(old, version)
        with zipfile.ZipFile(good) as whole, zipfile.ZipFile(made, "w") as changed:
            for item in whole.infolist():
                name = item.filename.replace(f"-{old}.", f"-{version}.")
                content = changes[name].encode() if name in changes else whole.read(item)
                content += (added or {}).get(name, "").encode()
                if name == "appliance/__init__.py":
                    content = content.replace(f'"{old}"'.encode(), f'"{version}"'.encode())
                if name.endswith("METADATA"):
                    content = content.replace(f"Version: {old}".encode(), f"Version: {version}".encode())
                if name.endswith("RECORD"):  # pip wants no digests
                    content = re.sub(rb",sha256=[^,]*,\d*", b",,", content).replace(old.encode(), version.encode())
                changed.writestr(name, content)
        return made

    return make


class Caller:
    """Asks the hub for an answer in MQTT over TLS again and again, and keeps how long there was none."""

    SCRIPT = """
import socket, ssl, sys, time
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
longest, since = 0.0, time.monotonic()
while True:
    try:
        with context.wrap_socket(socket.create_connection((sys.argv[1], 8883), 1)) as link:
            link.sendall(bytes.fromhex("100c00044d5154540402003c0000"))
            if link.recv(1) == b"\\x20":  # CONNACK, that refuses who has no name
                longest = max(longest, time.monotonic() - since)
                since = time.monotonic()
    except OSError:
        pass
    print(max(longest, time.monotonic() - since), flush=True)
    time.sleep(0.1)
"""

    def __init__(self, hub, log):
        self._log = log
        self._hub = hub

    def __enter__(self):
        self._out = self._log.open("w")
        self._process = subprocess.Popen([sys.executable, "-c", self.SCRIPT, str(self._hub.address)], stdout=self._out)
        wait_for(lambda: self._log.stat().st_size, "the first answer")
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        self._out.close()

    def longest_s(self):
        """The longest time without an answer, in seconds."""
        return float(self._log.read_text().split("\n")[-2])


def listening(machine):
    """Ports that other computers reach."""
    lines = machine.run("ss", "-Hltn").splitlines()
    places = [line.split()[3] for line in lines]
    return {int(place.rpartition(":")[2]) for place in places if not re.match(r"127\.|\[::1\]", place)}


def test_the_hub_runs_and_serves_the_network_encrypted_alone(hub):
    assert hub.shown("appliance.service", "ActiveState") == "active"
    assert hub.shown("appliance.service", "UnitFileState") == "enabled"
    assert listening(hub) - {22, 123, 323} == {8883, 8443}


def test_a_reading_that_comes_over_tls_is_in_the_history(hub):
    account = json.dumps(
        {"role": "device", "agent": "attic", "publish": ["home/attic/temperature"], "secret": "s" * 22}
    )
    hub.run("appliance", "devices", "add", "attic", "--from", "-", stdin=account)
    hub.write("/root/secret", "s" * 22 + "\n", mode="600")
    words = "-h hub -p 8883 --cafile /var/lib/appliance/tls/ca.pem -u attic --pw-file /root/secret -q 1"
    hub.sh(f"appliance pub {words} -r -t home/attic/temperature -m 21.4")
    told = hub.run("appliance", "history", "home/attic/temperature", "--json")
    assert "21.4" in told


def test_security_updates_are_installed_every_day(hub):
    told = hub.run("apt-config", "dump").splitlines()
    for name in ("Update-Package-Lists", "Unattended-Upgrade"):
        assert f'APT::Periodic::{name} "1";' in told
    assert any(line.startswith("Unattended-Upgrade::Origins-Pattern::") and "-Security" in line for line in told)
    assert hub.shown("apt-daily-upgrade.timer", "ActiveState") == "active"


def test_a_second_run_changes_nothing(hub, control):
    started = hub.shown("appliance.service", "InvocationID")
    played = control.play("site.yml")
    assert played.changed == 0, played.said
    asked = control.play("site.yml", "--check", "--diff")
    assert asked.changed == 0, asked.said
    assert hub.shown("appliance.service", "InvocationID") == started


def test_check_and_diff_say_what_would_change_and_change_nothing(hub, control):
    started = hub.shown("appliance.service", "InvocationID")
    before = hub.read("/etc/appliance/appliance.toml")
    played = control.play("site.yml", "--check", "--diff", appliance_settings=FEWER_DAYS)
    assert "+raw_days = 30" in played.said
    assert played.changed > 0
    assert hub.read("/etc/appliance/appliance.toml") == before
    assert hub.shown("appliance.service", "InvocationID") == started


def test_a_changed_setting_is_checked_and_restarts_the_hub(hub, control):
    started = hub.shown("appliance.service", "InvocationID")
    before = hub.read("/etc/appliance/appliance.toml")
    played = control.play("site.yml", good=False, appliance_settings={"history": {"raw_dais": 30}})
    assert played.code != 0
    assert 'did you mean "raw_days"?' in played.said
    assert hub.read("/etc/appliance/appliance.toml") == before
    assert hub.shown("appliance.service", "InvocationID") == started
    control.add("hubs", hub, appliance_settings=FEWER_DAYS)
    control.play("site.yml")
    assert "raw_days = 30" in hub.read("/etc/appliance/appliance.toml")
    assert hub.shown("appliance.service", "InvocationID") != started


NO_CONFIG = {"appliance/config.py": "raise RuntimeError('this part is missing')\n"}
NO_PAGE = {"appliance/page.py": "raise RuntimeError('this part is missing')\n"}
NEW_FORM = {
    "appliance/store/database.py": "\nSTEP_NAMES.add('9999_more')\n",
    "appliance/store/schema.py": """

@STEPS(name="9999_more")
def more(db: Database) -> None:
    db.execute("CREATE TABLE more (a)")
""",
}
NEVER_READY = """

def ready(status=""):
    pass
"""
DEAF = """
class Deaf:
    def __init__(self, opened):
        self.close = opened.close


def listen_tls(hub, opened, *_, **__):
    return Deaf(opened)
"""


def state(hub):
    """What a roll-back leaves as it was."""
    names = ("/etc/appliance/appliance.toml", "/etc/systemd/system/appliance.service")
    return [hub.read(name) for name in names], hub.run("readlink", f"{HOME}/current")


def unwell(hub, version):
    """Give the name of a release that was taken back."""
    (line,) = [line for line in hub.run(f"{HOME}/releases.py", "list").splitlines() if version in line]
    assert line.endswith(" (was not well)")
    return line.split()[0]


def test_a_release_that_cannot_read_the_configuration_stops_nothing(hub, control, wheel):
    before, life = state(hub), hub.shown("appliance.service", "InvocationID")
    played = control.play("site.yml", good=False, release_source=str(wheel("0.9.1", NO_CONFIG)))
    assert played.code != 0
    assert "this part is missing" in played.said
    assert (state(hub), hub.shown("appliance.service", "InvocationID")) == (before, life)


def test_a_release_that_does_not_start_is_taken_back_with_what_it_made_of_the_database(hub, control, wheel, tmp_path):
    before = state(hub)
    broken = wheel("0.9.2", NO_PAGE, NEW_FORM)
    with Caller(hub, tmp_path / "calls") as caller:
        played = control.play("site.yml", good=False, release_source=str(broken), appliance_settings={})
    assert played.code != 0
    assert "ended while it started" in played.said
    assert "this part is missing" in played.said
    assert "Rolled back to" in played.said
    assert state(hub) == before
    assert hub.shown("appliance.service", "ActiveState") == "active"
    assert "21.4" in hub.run("appliance", "history", "home/attic/temperature", "--json")
    assert hub.result("ls", "/var/lib/appliance/before-release.db").returncode != 0
    print(f"no answer for {caller.longest_s():.1f} s")
    assert caller.longest_s() < DOWN_S


def test_a_release_that_starts_and_does_not_answer_is_taken_back(hub, control, wheel, tmp_path):
    before = state(hub)
    deaf = wheel("0.9.3", {}, {"appliance/net/tls.py": DEAF})
    with Caller(hub, tmp_path / "calls") as caller:
        played = control.play("site.yml", good=False, release_source=str(deaf))
    assert played.code != 0
    assert "the health check of appliance.service failed for" in " ".join(played.said.split())
    assert "Rolled back to" in played.said
    assert state(hub)[1] == before[1]
    print(f"no answer for {caller.longest_s():.1f} s")
    assert caller.longest_s() < DOWN_S


def test_a_trial_that_a_power_cut_ends_is_taken_back_after_the_boot(hub):
    before = state(hub)
    deaf = unwell(hub, "0.9.3")
    with subprocess.Popen(hub.into(*ACTIVATE, deaf), stdout=subprocess.DEVNULL) as trial:
        wait_for(lambda: hub.result("readlink", f"{HOME}/current").stdout.strip().endswith(deaf), "the trial runs")
        hub.power_cut()
        trial.wait()
    hub.boot()
    wait_for(lambda: state(hub) == before, "the release before is back", 120)
    wait_for(lambda: hub.result(CHECK, f"{HOME}/current").returncode == 0, "the hub answers", 60)
    assert hub.result("test", "-e", f"{HOME}/trial.json").returncode == 1


def test_a_release_that_is_never_ready_is_judged_whenever_the_power_goes(hub, control, wheel):
    """In the midst of its trial, and on the way back, while the database is put back."""
    before = state(hub)
    added = {**NEW_FORM, "appliance/notify.py": NEVER_READY}
    played = control.play("site.yml", good=False, release_source=str(wheel("0.9.5", {}, added)), appliance_ready_s=10)
    assert "was not ready after 10 s" in " ".join(played.said.split())
    assert state(hub) == before
    late = unwell(hub, "0.9.5")
    trial = hub.root / HOME.strip("/") / "trial.json"
    for moment in ("false", "true"):  # whether it is on the way back
        with subprocess.Popen(hub.into(*ACTIVATE, late), stdout=subprocess.DEVNULL) as activation:
            sign = f'"back": {moment}'
            wait_for(lambda sign=sign: trial.exists() and sign in trial.read_text(), f"it is noted: {sign}", 60)
            hub.power_cut()
            activation.wait()
        hub.boot()
        wait_for(lambda: not trial.exists(), "the trial is over", 60)
        assert state(hub) == before
        assert hub.result(CHECK, f"{HOME}/current").returncode == 0
        assert "21.4" in hub.run("appliance", "history", "home/attic/temperature", "--json")
        assert hub.result("ls", "/var/lib/appliance/before-release.db").returncode != 0


def test_a_newer_release_that_is_well_stays_and_the_one_before_is_kept(hub, control, wheel, tmp_path):
    (before,) = {hub.run("readlink", f"{HOME}/current").strip().rpartition("/")[2]}
    newer = wheel("0.9.4", {})
    with Caller(hub, tmp_path / "calls") as caller:
        control.play("site.yml", release_source=str(newer))
    assert hub.run("appliance", "--version").split()[1] == "0.9.4"
    listed = hub.run(f"{HOME}/releases.py", "list").splitlines()
    assert [line[0] for line in listed] == ["*", " "]
    assert listed[1].strip() == before
    print(f"no answer for {caller.longest_s():.1f} s")
    assert caller.longest_s() < DOWN_S


@pytest.mark.usefixtures("hub")
def test_everything_is_verified_and_a_port_too_many_is_found(control):
    control.play("verify.yml")
    played = control.play("verify.yml", good=False, appliance_listeners=[])
    assert played.code != 0
    assert "are open beyond this computer" in played.said


def test_the_certificate_and_the_page_have_the_names_that_the_hub_is_given(hub, control):
    named = {"appliance_names": ["hub.lan"], "appliance_address": "house.example"}
    control.play("site.yml", **named)
    assert 'names = ["hub.lan", "house.example"]' in hub.read("/etc/appliance/appliance.toml")
    told = hub.run("openssl", "x509", "-noout", "-text", "-in", "/var/lib/appliance/tls/server.pem")
    assert {"DNS:hub.lan", "DNS:house.example"} <= set(told.replace(",", "").split())
    assert control.play("site.yml", **named).changed == 0


def test_what_is_switched_off_is_taken_back(hub, control):
    files = ("/etc/apt/apt.conf.d/52home-sensor-appliance", "/etc/chrony/conf.d/home-sensor-appliance.conf")
    for file in files:
        hub.run("test", "-e", file)
    off = {"computer_unattended_upgrades": False, "computer_time": False}
    control.play("site.yml", **off)
    for file in (*files, "/usr/bin/unattended-upgrade"):
        assert hub.result("test", "-e", file).returncode == 1
    assert hub.shown("chrony.service", "ActiveState") == "active"
    assert control.play("site.yml", **off).changed == 0
