"""One computer that is all there is: the hub, its own agent, and the control machine, without SSH."""

import json

import pytest
from machines.machine import wait_for
from machines.playbooks import PLAY_S, ROOT, Played, admit

INVENTORY = "/home/pi/inventory.yml"
BOOT = "/boot/firmware/config.txt"
SENSORS = [{"name": "air", "kind": "simulated", "room": "hall", "interval_s": 1}]


@pytest.fixture(scope="module")
def alone(machines, given):
    """The computer, with a checkout, and Ansible in an environment of the user's own."""
    binds = {"/srv/checkout": ROOT, "/srv/ansible": given.ansible}
    machine = machines("alone", blank=True, lan=False, binds=binds)
    admit(machine)
    machine.write(BOOT, "dtparam=audio=on\n")
    machine.sh(
        "install -d -o pi -g pi /home/pi\n"
        "runuser -u pi -- python3 -m venv /home/pi/.venv\n"
        "runuser -u pi -- /home/pi/.venv/bin/pip install -q --no-index --find-links /srv/ansible ansible-core\n",
        timeout=120,
    )
    (wheel,) = given.wheels.glob("home_sensor_appliance-*.whl")
    here = {
        "release_update_apt": False,
        "release_wheelhouse": "/srv/wheels",
        "release_source": f"/srv/wheels/{wheel.name}",
        "release_extras": [],
    }
    groups = {
        "hubs": {"hosts": {"alone": {"appliance_listeners": []}}},
        "agents": {"hosts": {"alone": {"sensors_list": SENSORS, "computer_boot_lines": ["dtparam=i2c_arm=on"]}}},
    }
    machine.write(INVENTORY, json.dumps({"all": {"vars": here, "children": groups}}), owner="pi", group="pi")
    return machine


def play(machine, playbook, *words):
    """Run a playbook in it, as its user; gives a Played, of a run that went well."""
    settings = ("ANSIBLE_CONFIG=/srv/checkout/ansible.cfg", "HOME=/home/pi", "NO_COLOR=1")
    command = ("/home/pi/.venv/bin/ansible-playbook", "-i", INVENTORY, f"/srv/checkout/ansible/{playbook}", *words)
    done = machine.result("runuser", "-u", "pi", "--", "env", *settings, *command, timeout=PLAY_S)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    return Played(done.returncode, done.stdout)


@pytest.fixture(scope="module")
def made(alone):
    """The first run, and what the computer was before it."""
    before = alone.leader()
    return play(alone, "site.yml", "-e", "ansible_connection=local"), before


def test_a_reading_of_its_own_sensor_is_in_its_history(alone, made):
    played, _ = made
    assert played.counts["alone"]["failed"] == 0
    wait_for(
        lambda: alone.result("appliance", "history", "home/hall/temperature", "--json").stdout.count("value"),
        "a reading is in the history",
    )
    assert 'host = "127.0.0.1"' in alone.read("/etc/appliance/sensors.toml")


def test_it_does_not_restart_itself_and_says_that_a_restart_is_due(alone, made):
    played, before = made
    assert "Restart alone, so that its sensors can be read" in played.said
    assert "dtparam=i2c_arm=on" in alone.read(BOOT)
    assert alone.leader() == before


@pytest.mark.usefixtures("made")
def test_nobody_else_reaches_it(alone):
    lines = [line for line in alone.run("ss", "-Hltnp").splitlines() if '"appliance"' in line]
    assert {line.split()[3].rpartition(":")[0] for line in lines} == {"127.0.0.1"}


@pytest.mark.usefixtures("made")
def test_a_second_run_changes_nothing_and_all_is_verified(alone):
    assert play(alone, "site.yml", "--connection", "local").changed == 0
    play(alone, "verify.yml", "--connection", "local")


@pytest.mark.usefixtures("made")
def test_the_door_to_devices_that_are_gone_is_closed(alone):
    loaded = "/etc/modules-load.d/home-sensor-appliance.conf"
    assert "i2c-dev" in alone.read(loaded)
    play(alone, "site.yml", "--connection", "local", "-e", '{"computer_boot_lines": []}')
    assert alone.result("test", "-e", loaded).returncode == 1
