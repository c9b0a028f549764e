"""A card for a new agent: cloud-init reads the file at the first boot, and nobody does anything more, also where the
internet is not there yet and the power fails.

`python -m tests.machines ansible_card -m soak`.
"""

import subprocess
import sys
from contextlib import contextmanager

import pytest
from machines.machine import wait_for
from machines.playbooks import CLOCKLESS
from machines.premises import HERE

pytestmark = pytest.mark.soak

SECRET = "/etc/appliance/sensors.password"
ACCOUNTS = "/var/lib/appliance/accounts.json"
BOOT = "/boot/firmware"
TOLD = f"{BOOT}/first-boot-failed.txt"
PLACE = "/var/lib/home-sensor-appliance-first-boot"
UNIT = "home-sensor-appliance-first-boot.service"
SENSORS = [{"name": "air", "kind": "simulated", "room": "attic", "interval_s": 1}]
FIRST_BOOT_S = 300.0
INDEX_PORT = 8100

# What Raspberry Pi OS has of its own, as the stage 2 of pi-gen makes it: there its own network stays as it is where
# network-config says nothing.
CLOUD = f"""
datasource_list: [NoCloud, None]
datasource: {{NoCloud: {{seedfrom: "file://{BOOT}/"}}}}
network: {{config: disabled}}
ssh_deletekeys: false
ssh_genkeytypes: []
locale: C.UTF-8
"""
META = """
dsmode: local
instance_id: rpios-image
"""
ASKS_FOR_A_USER = """
[Unit]
After=systemd-user-sessions.service cloud-config.service

[Service]
Type=oneshot
ExecStart=sleep infinity

[Install]
WantedBy=multi-user.target
"""
INTERNET = f"""
[install]
no-index = true
find-links = http://{HERE.ip}:{INDEX_PORT}/
trusted-host = {HERE.ip}
"""


@pytest.fixture(scope="module")
def hub(machines, control):
    machine = machines("card-hub", blank=True)
    control.admit(machine)
    control.add("hubs", machine)
    control.play("site.yml")
    return machine


@pytest.fixture(scope="module")
def blank(machines, given):
    """A computer as of a fresh card with Raspberry Pi OS, which takes packages of Python from this one, when it can."""
    machine = machines("attic", blank=True, binds={"/srv/ansible": given.ansible})
    machine.run("apt-get", "-q", "-y", "--no-download", "install", "cloud-init", timeout=120)
    machine.write("/etc/cloud/cloud.cfg.d/99_raspberry-pi.cfg", CLOUD)
    machine.write("/etc/systemd/system/userconfig.service", ASKS_FOR_A_USER)
    machine.run("systemctl", "enable", "userconfig.service")
    machine.write("/etc/systemd/system/chrony.service.d/container.conf", CLOCKLESS)
    machine.write(f"{BOOT}/config.txt", "dtparam=audio=on\n")
    machine.sh(
        "python3 -m venv /opt/ansible\n"
        "/opt/ansible/bin/pip install -q --no-index --find-links /srv/ansible ansible-core\n"
        "ln -s /opt/ansible/bin/ansible-playbook /usr/local/bin/",
        timeout=120,
    )
    machine.write("/etc/pip.conf", INTERNET)
    return machine


@pytest.fixture(scope="module")
def card(control, hub, blank):
    """The file, for the computer that is not there yet."""
    assert hub.shown("appliance.service", "ActiveState") == "active"
    folder = control.folder / "cards"
    control.add(
        "agents",
        blank,
        release_wheelhouse="",
        release_extras=[],
        computer_boot_lines=["dtparam=i2c_arm=on"],
        sensors_list=SENSORS,
        sensors_card_dir=str(folder),
        sensors_card_config={"runcmd": [["touch", "/root/ours-came-too"]]},
    )
    played = control.play("user-data.yml", "--limit", blank.name)
    said = " ".join(played.said.split())
    assert "It is good until card-hub gives attic another secret" in said
    assert "Nobody can log in to it" in said
    return folder / blank.name / "user-data"


@contextmanager
def internet(wheels):
    """For as long as that, the packages are there."""
    command = (sys.executable, "-m", "http.server", str(INDEX_PORT), "--bind", str(HERE.ip), "--directory", str(wheels))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            yield
        finally:
            server.kill()


def is_there(machine, path):
    return machine.result("test", "-e", path).returncode == 0


def assert_all_is_well(machine):
    assert machine.settled() == "running", machine.run("systemctl", "--failed", "--no-pager")


def test_the_file_is_its_makers_alone_and_stays_the_same(control, hub, card):
    assert card.stat().st_mode & 0o777 == 0o600
    before = card.read_bytes(), hub.read(ACCOUNTS)
    assert before[0].startswith(b"#cloud-config\n")
    assert control.play("user-data.yml", "--limit", "attic").changed == 0
    assert (card.read_bytes(), hub.read(ACCOUNTS)) == before


def test_without_internet_the_card_says_what_failed_and_the_boot_goes_on(blank, card):
    blank.run("cloud-init", "clean", "--logs")
    blank.write(f"{BOOT}/meta-data", META)
    blank.write(f"{BOOT}/user-data", card.read_text(), mode="755")
    blank.reboot()
    wait_for(lambda: is_there(blank, TOLD), "the first try has failed", FIRST_BOOT_S, blank.status_of, UNIT)
    told = blank.read(TOLD)
    assert told.startswith("attic is not made yet: the playbook failed.\nThe computer must reach the internet")
    assert "No matching distribution found" in told
    assert blank.shown(UNIT, "SubState") == "auto-restart"
    assert blank.shown("userconfig.service", "ActiveState") == "inactive"
    assert_all_is_well(blank)
    assert blank.run("hostname").strip() == "attic"


def test_after_a_power_cut_in_the_middle_the_agent_comes_by_itself(control, hub, blank, card, given):
    """And of the file that is on the card then."""
    releases = "/opt/home-sensor-appliance/releases"
    blank.run("rm", "-r", releases)
    blank.run("systemctl", "--no-block", "restart", UNIT)
    wait_for(lambda: blank.result("sh", "-c", f"ls {releases}/*/bin").returncode == 0, "a release is half made", 120)
    blank.sh("dpkg --unpack /var/cache/apt/archives/mosquitto-clients_*.deb")  # and a package
    blank.power_cut()
    # What a file system may make of what was written in the last half minute.
    for name in ("first-boot", "card.tar.gz"):
        (blank.root / PLACE.lstrip("/") / name).write_bytes(b"")
    other = {"sensors_name": "Under the roof", "computer_boot_lines": ["dtparam=i2c_arm=on", "dtparam=spi=on"]}
    control.inventory["all"]["children"]["agents"]["hosts"]["attic"] |= other
    control.play("user-data.yml", "--limit", "attic")
    (blank.root / BOOT.lstrip("/") / "user-data").write_bytes(card.read_bytes())
    with internet(given.wheels):
        blank.boot()
        first = blank.leader()
        wait_for(
            lambda: hub.result("appliance", "history", "home/attic/temperature", "--json").stdout.count("value"),
            "a reading of the new agent is in the hub's history",
            FIRST_BOOT_S,
            lambda: "\n".join(map(str, blank.messages(unit=UNIT)[-60:])),
        )
        wait_for(lambda: blank.leader() not in {first, None}, "it restarts, for config.txt has changed", 120)
    assert_all_is_well(blank)
    assert 'name = "Under the roof"' in blank.read("/etc/appliance/sensors.toml")


def test_nothing_is_left_of_the_first_boot(blank):
    assert not any(is_there(blank, path) for path in (PLACE, TOLD, f"/etc/systemd/system/{UNIT}"))
    assert is_there(blank, "/root/ours-came-too")
    assert "dtparam=i2c_arm=on\ndtparam=spi=on\n" in blank.read(f"{BOOT}/config.txt")
    assert blank.run("hostname").strip() == "attic"
    assert blank.run("dpkg", "--audit") == ""
    assert blank.result("systemctl", "is-enabled", "userconfig.service").stdout == "disabled\n"
    assert "done" in blank.run("cloud-init", "status")
    assert "WARNING" not in blank.run("cat", "/var/log/cloud-init.log").rpartition("init-local")[2]


def test_the_secret_stays_in_its_place_alone(blank):
    secret = blank.read(SECRET).strip()
    found = blank.result("grep", "-rlF", secret, "/etc", "/var", "/root", "/opt", "/boot", "/run").stdout.split()
    assert [path for path in found if not path.startswith("/run/credentials/")] == [SECRET]


def test_a_control_machine_that_comes_later_finds_everything_done(control, blank):
    control.admit(blank)
    secret = blank.read(SECRET)
    assert control.play("site.yml").changed == 0
    assert blank.read(SECRET) == secret
