"""A card for a new agent: cloud-init reads the file at the first boot, and nobody does anything more.

`python -m tests.machines ansible_card -m soak`.
"""

import pytest
from machines.machine import wait_for

pytestmark = pytest.mark.soak

SECRET = "/etc/appliance/sensors.password"
ACCOUNTS = "/var/lib/appliance/accounts.json"
SEED = "/var/lib/cloud/seed/nocloud"
SENSORS = [{"name": "air", "kind": "simulated", "room": "attic", "interval_s": 1}]
FIRST_BOOT_S = 300.0


@pytest.fixture(scope="module")
def hub(machines, control):
    machine = machines("card-hub", blank=True)
    control.admit(machine)
    control.add("hubs", machine)
    control.play("site.yml")
    return machine


@pytest.fixture(scope="module")
def blank(machines, given):
    """A computer with cloud-init and no settings, as of a fresh card, and Ansible, which the distribution has."""
    machine = machines("attic", blank=True, binds={"/srv/ansible": given.ansible})
    machine.run("apt-get", "-q", "-y", "--no-download", "install", "cloud-init", timeout=120)
    machine.sh(
        "python3 -m venv /opt/ansible\n"
        "/opt/ansible/bin/pip install -q --no-index --find-links /srv/ansible ansible-core\n"
        "ln -s /opt/ansible/bin/ansible-playbook /usr/local/bin/",
        timeout=120,
    )
    return machine


@pytest.fixture(scope="module")
def card(control, hub, blank):
    """The file, for the computer that is not there yet."""
    assert hub.shown("appliance.service", "ActiveState") == "active"
    folder = control.folder / "cards"
    control.add(
        "agents",
        blank,
        sensors_list=SENSORS,
        release_extras=[],
        sensors_card_dir=str(folder),
        sensors_card_wheelhouse="/srv/wheels",
        sensors_card_config={"runcmd": [["touch", "/root/ours-came-too"]]},
    )
    played = control.play("user-data.yml", "--limit", blank.name)
    assert "It is good until card-hub gives attic another secret" in played.said
    return folder / blank.name / "user-data"


def test_the_file_is_its_makers_alone_and_stays_the_same(control, hub, card):
    assert card.stat().st_mode & 0o777 == 0o600
    before = card.read_bytes(), hub.read(ACCOUNTS)
    assert before[0].startswith(b"#cloud-config\n")
    assert control.play("user-data.yml", "--limit", "attic").changed == 0
    assert (card.read_bytes(), hub.read(ACCOUNTS)) == before


def test_the_agent_comes_by_itself(hub, blank, card):
    blank.write(f"{SEED}/user-data", card.read_text(), mode="600")
    blank.write(f"{SEED}/meta-data", "instance-id: card\n")
    blank.run("cloud-init", "clean")
    blank.result("systemctl", "reboot")  # its boot is over only when the agent is made
    wait_for(
        lambda: hub.result("appliance", "history", "home/attic/temperature", "--json").stdout.count("value"),
        "a reading of the new agent is in the hub's history",
        FIRST_BOOT_S,
        lambda: blank.status_of("home-sensor-appliance-first-boot.service") + blank.status_of("cloud-final.service"),
    )
    assert blank.result("test", "-e", "/root/ours-came-too").returncode == 0
    assert blank.run("hostname").strip() == "attic"


def test_the_secret_stays_in_its_place_alone(blank):
    secret = blank.read(SECRET).strip()
    found = blank.result("grep", "-rlF", secret, "/etc", "/var", "/root", "/opt", "/boot").stdout.split()
    assert found == [SECRET]


def test_a_control_machine_that_comes_later_finds_everything_done(control, blank):
    control.admit(blank)
    secret = blank.read(SECRET)
    assert control.play("site.yml").changed == 0
    assert blank.read(SECRET) == secret
