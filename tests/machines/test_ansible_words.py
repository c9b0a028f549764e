"""What the playbooks decide before they touch a computer, and what they say: all hosts are this computer, the programs
on them are played, and the roles that would change anything are left out.
"""

import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml
from machines.playbooks import PLAYBOOKS, Played, program

LEFT_OUT = ("computer", "appliance", "sensors")
SYSTEMCTL = "#!/bin/sh\nexit 0\n"
SENSORS = """#!/bin/sh
# Reads what it is to check from its input; `list` knows one sensor.
echo "$*" >> "$PLAY/told"
cat > "$PLAY/described" 2> /dev/null || :
[ "$1" != list ] || echo '[{"topics": ["home/kitchen/temperature"]}]'
"""
APPLIANCE = """#!/bin/sh
echo "$*" >> "$PLAY/told"
case "$1 $2" in
"status "*) cat "$PLAY/status" ;;
"devices list") cat "$PLAY/accounts" ;;
"devices add") cat > "$PLAY/added"; echo '{"changed": true}' ;;
esac
"""
SETPRIV = """#!/bin/sh
# Runs the program that follows its options, as nobody else than who calls it.
while [ "$1" != "${1#--}" ]; do shift; done
exec "$@"
"""
RELEASES = """#!/bin/sh
echo '{"due": true}'
"""
SYSTEMD_RUN = """#!/bin/sh
echo "Unit home-sensor-appliance-activate.service was already loaded." >&2
exit 1
"""
ACCOUNT = """
- hosts: agents
  gather_facts: false
  tasks:
    - include_role: { name: sensors, tasks_from: check }
    - include_role: { name: sensors, tasks_from: account }
"""
ACTIVATION = """
- hosts: hubs
  gather_facts: false
  vars:
    release_id: "1"
    release_service: { name: appliance, unit: appliance.service }
  tasks:
    - include_role:
        name: release
        tasks_from: activate
"""
ACCOUNTS = [
    {"name": "admin", "role": "admin", "publish": []},
    {"name": "kitchen", "role": "device", "publish": ["home/kitchen/pressure", "home/kitchen/temperature"]},
    {"name": "bath", "role": "device", "publish": ["home/bath/temperature"]},
]
HEALTH = {"name": "Say", "ansible.builtin.debug": {"msg": "<{{ appliance_health_options | join(' ') }}>"}}
BROKEN = [HEALTH, {"name": "Fail", "ansible.builtin.fail": {"msg": "broken"}, "when": "inventory_hostname in broken"}]
CLOCK = [
    {"name": "Say", "ansible.builtin.debug": {"msg": "{{ inventory_hostname }} follows <{{ computer_time_source }}>"}}
]
MADE = [{"name": "Make it", "ansible.builtin.debug": {"msg": "{{ inventory_hostname }} is made"}}]


class Stage:
    """The playbooks beside roles that do nothing, and an inventory of this computer under many names."""

    def __init__(self, folder):
        self.folder = folder
        shutil.copytree(PLAYBOOKS, folder / "ansible")
        for role in LEFT_OUT:
            self._task(role, "main", {"appliance": BROKEN, "computer": CLOCK}.get(role, MADE))
        self._task("release", "beginning", [])
        self._fix(
            sensors_program=str(folder / "bin" / "sensors"),
            sensors_hub_program=str(folder / "bin" / "appliance"),
            sensors_secret_file=str(folder / "secret"),
            sensors_ca_file=str(folder / "agents-ca.pem"),
        )
        (folder / "bin").mkdir()
        programs = {"systemctl": SYSTEMCTL, "setpriv": SETPRIV, "sensors": SENSORS, "appliance": APPLIANCE}
        for name, text in programs.items():
            path = folder / "bin" / name
            path.write_text(text)
            path.chmod(0o755)
        (folder / "told").touch()
        (folder / "ca.pem").write_text("a certificate\n")
        (folder / "secret").write_text("a secret\n")
        (folder / "secret").chmod(0o600)
        (folder / "accounts").write_text(json.dumps(ACCOUNTS))
        self.status(kitchen="online")

    def _task(self, role, name, tasks):
        (self.folder / "ansible" / "roles" / role / "tasks" / f"{name}.yml").write_text(json.dumps(tasks))

    def _fix(self, **places):
        """Let the role for agents have other places, which are not to be set."""
        path = self.folder / "ansible" / "roles" / "sensors" / "vars" / "main.yml"
        path.write_text(json.dumps({**yaml.safe_load(path.read_text()), **places}))

    def status(self, **agents):
        """Let the hub say this of its agents."""
        (self.folder / "status").write_text(json.dumps({"agents": agents}))

    def told(self):
        """What the programs were asked."""
        return (self.folder / "told").read_text().splitlines()

    def play(self, playbook, inventory, *words, broken=()):
        variables = {
            "ansible_connection": "local",
            "ansible_become": False,
            "ansible_python_interpreter": sys.executable,
            "broken": list(broken),
            "appliance_ca_file": str(self.folder / "ca.pem"),
            "sensors_verify_s": 5,
        }
        told = {"all": {"children": {group: {"hosts": hosts} for group, hosts in inventory.items()}}}
        (self.folder / "inventory.yml").write_text(json.dumps(told))
        done = subprocess.run(
            [
                *(program("ansible-playbook"), "-i", self.folder / "inventory.yml", "-e", json.dumps(variables)),
                *(self.folder / "ansible" / playbook, *words),
            ],
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(PLAYBOOKS.parent / "ansible.cfg"),
                "ANSIBLE_HOME": str(self.folder / "home"),
                "NO_COLOR": "1",
                "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
                "PLAY": str(self.folder),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        print(done.stdout)
        return Played(done.returncode, done.stdout)


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path)


HOUSE = {"hubs": {"home-hub": {"ansible_host": "home-hub.local"}}, "agents": {"kitchen": {}}}
TWO_SITES = {
    "hubs": {"home-hub": {"ansible_host": "home-hub.local"}, "cabin-hub": {"ansible_host": "cabin-hub.local"}},
    "agents": {"kitchen": {"sensors_hub": "home-hub"}, "stove": {"sensors_hub": "cabin-hub"}},
}


def told_together(played):
    return " ".join(played.said.split())


def test_agents_whose_hub_fails_wait_for_it_and_those_of_others_do_not(stage):
    played = stage.play("site.yml", TWO_SITES, broken=["cabin-hub"])
    assert played.code != 0
    assert "stove waits for its hub cabin-hub, which failed in this run" in told_together(played)
    assert "kitchen is made" in played.said
    assert "stove is made" not in played.said
    played = stage.play("site.yml", TWO_SITES, "--limit", "stove")
    assert played.code == 0
    assert "stove is made" in played.said


def test_an_agent_that_its_hub_does_not_hear_is_not_verified(stage):
    played = stage.play("verify.yml", HOUSE, "--limit", "kitchen")
    assert played.code == 0, played.said
    for agents in ({"kitchen": "offline"}, {}):
        stage.status(**agents)
        played = stage.play("verify.yml", HOUSE, "--limit", "kitchen")
        assert played.code != 0
        assert "kitchen: its hub home-hub does not hear the agent kitchen" in told_together(played)
        assert "looks for the hub at home-hub.local" in told_together(played)


def test_cards_are_made_for_those_that_are_named_alone(stage):
    played = stage.play("user-data.yml", HOUSE)
    assert played.code != 0
    assert "Say with --limit whose cards these are" in told_together(played)
    assert stage.told() == []


def test_the_hub_reads_all_that_it_can_of_a_description(stage):
    stage.play("site.yml", {**HOUSE, "agents": {"kitchen": {"sensors_broker": {"keepalive": 20, "key_file": "/k"}}}})
    assert stage.told()[0].startswith("check ")
    broker = (stage.folder / "described").read_text().partition("[broker]\n")[2]
    assert broker.split("\n") == ['host = "home-hub.local"', 'username = "kitchen"', "keepalive = 20", "", ""]


def test_an_agent_that_would_look_for_its_hub_on_its_own_computer_is_told_so(stage):
    hubs = {"home-hub": {"ansible_host": "127.0.0.1"}}
    agents = {"kitchen": {}, "home-hub": {}}
    played = stage.play("site.yml", {"hubs": hubs, "agents": agents})
    assert "kitchen would look for its hub at 127.0.0.1, which is itself" in told_together(played)
    assert played.counts["home-hub"]["failed"] == 0


def test_an_agent_may_publish_what_it_did_until_the_change_is_proved(stage):
    (stage.folder / "ansible" / "account.yml").write_text(ACCOUNT)
    played = stage.play("account.yml", HOUSE)
    assert played.code == 0, played.said
    account = json.loads((stage.folder / "added").read_text())
    assert account["publish"] == ["home/kitchen/temperature", "home/kitchen/pressure"]
    assert account["secret"] == "a secret"
    assert "a secret" not in played.said


def test_a_hub_that_is_an_agent_of_another_follows_the_same_clock_in_both_plays(stage):
    agents = {name: {"sensors_hub": "home-hub"} for name in ("kitchen", "cabin-hub", "home-hub")}
    played = stage.play("site.yml", {**TWO_SITES, "agents": agents})
    assert "kitchen follows <home-hub.local>" in played.said
    assert played.said.count("home-hub follows <>") == 2
    assert played.said.count("cabin-hub follows <>") == 2


def test_a_hub_for_its_own_computer_alone_needs_no_certificate(stage):
    (stage.folder / "ca.pem").unlink()
    (stage.folder / "ansible" / "account.yml").write_text(ACCOUNT)
    alone = {"hubs": {"home-hub": {"appliance_listeners": []}}, "agents": {"home-hub": {}}}
    played = stage.play("account.yml", alone)
    assert played.code == 0, played.said
    assert not (stage.folder / "agents-ca.pem").exists()
    assert "<-h localhost -p 1883>" in stage.play("site.yml", alone).said
    assert f"<-h localhost -p 8883 --cafile {stage.folder}/ca.pem>" in stage.play("site.yml", HOUSE).said


ELSEWHERE = [{"serve": "mqtt", "address": "::", "certificate": "/etc/ssl/hub.pem", "key": "/etc/ssl/hub.key"}]
AUTHORITY = """
- hosts: hubs
  gather_facts: false
  tasks:
    - include_role: { name: appliance, tasks_from: authority }
"""


def test_a_hub_whose_certificate_comes_from_elsewhere_names_its_authority(stage):
    (stage.folder / "ansible" / "authority.yml").write_text(AUTHORITY)
    theirs = {**HOUSE, "hubs": {"home-hub": {"ansible_host": "hub.lan", "appliance_listeners": ELSEWHERE}}}
    assert stage.play("authority.yml", theirs).code == 0
    said = told_together(stage.play("site.yml", theirs))
    assert f"<-h localhost -p 8883 --cafile {stage.folder}/ca.pem --insecure>" in said
    (stage.folder / "ca.pem").unlink()
    said = told_together(stage.play("authority.yml", theirs))
    assert f"home-hub: there is no {stage.folder}/ca.pem here" in said
    assert "appliance_listeners name others (/etc/ssl/hub.pem): set appliance_ca_file to the file" in said
    own = {"hubs": {"home-hub": {}}}
    usual = ("-e", "appliance_ca_file=/var/lib/appliance/tls/ca.pem")
    assert stage.play("authority.yml", own, *usual).code == 0  # the first configuration makes it
    (stage.folder / "ansible" / "account.yml").write_text(ACCOUNT)
    said = told_together(stage.play("account.yml", theirs))
    assert f"kitchen: home-hub has no {stage.folder}/ca.pem, by which the agent would know it" in said


def test_a_secret_is_written_whole_or_not_at_all(stage):
    (stage.folder / "ansible" / "account.yml").write_text(ACCOUNT)
    (stage.folder / "secret").unlink()
    failing = stage.folder / "bin" / "sync"
    failing.write_text("#!/bin/sh\nexit 1\n")
    failing.chmod(0o755)
    assert stage.play("account.yml", HOUSE).code != 0
    assert not (stage.folder / "secret").exists()
    failing.unlink()
    played = stage.play("account.yml", HOUSE)
    assert played.code == 0, played.said
    secret = (stage.folder / "secret").read_text().strip()
    assert len(secret) == 43
    assert (stage.folder / "secret").stat().st_mode & 0o777 == 0o600
    assert not (stage.folder / "secret.new").exists()
    assert json.loads((stage.folder / "added").read_text())["secret"] == secret
    assert secret not in played.said


@pytest.mark.parametrize(
    ("playbook", "inventory"),
    [("site.yml", {"hubs": {}, "others": {"somebody": {}}}), ("verify.yml", {}), ("user-data.yml", {})],
)
def test_a_run_without_computers_is_told_what_it_lacks(stage, playbook, inventory):
    played = stage.play(playbook, inventory)
    assert played.code != 0
    said = told_together(played)
    assert f"The inventory ({stage.folder}/inventory.yml) names nobody in the groups hubs and agents" in said
    assert "Copy ansible/inventory.example.yml to inventory.yml" in said


def test_an_inventory_of_hubs_or_of_agents_alone_is_one(stage):
    assert stage.play("site.yml", {"hubs": HOUSE["hubs"]}).code == 0
    played = stage.play("site.yml", {"agents": {"kitchen": {"sensors_broker": {"host": "broker.lan"}}}})
    assert played.code == 0, played.said
    assert "kitchen is made" in played.said


def test_two_agents_of_one_name_are_told_also_where_a_run_is_for_one_alone(stage):
    agents = {"kitchen.ground": {}, "kitchen.first": {"sensors_agent": "upper"}, "Kitchen.second": {}}
    played = stage.play("site.yml", {**HOUSE, "agents": agents}, "--limit", "Kitchen.second")
    assert played.code != 0
    assert 'sensors_agent is "kitchen", and so it is for kitchen.ground; give' in told_together(played)
    assert stage.told() == []
    apart = {"kitchen.ground": {"sensors_hub": "home-hub"}, "kitchen.second": {"sensors_hub": "cabin-hub"}}
    assert stage.play("site.yml", {**TWO_SITES, "agents": apart}).code == 0


@pytest.mark.parametrize("playbook", ["site.yml", "user-data.yml"])
def test_a_variable_that_there_is_not_is_told_and_keeps_nobody_else_waiting(stage, playbook):
    agents = {"kitchen": {"sensor_list": [], "sensors_lists": []}, "bath": {"owner": "somebody"}}
    played = stage.play(playbook, {**HOUSE, "agents": agents})
    said = told_together(played)
    assert "kitchen: there is no variable sensor_list, sensors_lists; README" in said
    assert "bath: there is" not in said
    if playbook == "site.yml":
        assert "bath is made" in said
        assert "kitchen is made" not in said


def test_what_would_count_for_nothing_is_told_with_the_cure(stage):
    hubs = {"home-hub": {"appliance_state_dir": "/srv/disk"}, "cabin-hub": {}}
    agents = {"kitchen": {"sensors_hub": "home-hub"}, "stove": {"sensors_hub": "cabin-hub"}}
    said = told_together(stage.play("site.yml", {"hubs": hubs, "agents": agents}))
    assert "home-hub: appliance_state_dir is not to be set" in said
    assert "mount another disk at /var/lib/appliance" in said
    assert "kitchen is made" not in said
    assert "stove is made" in said


def certificate(stage, *named):
    """Make one that is for those, and give its path."""
    words = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", stage.folder / "hub.key")
    told = ("-subj", "/CN=hub", "-addext", f"subjectAltName={','.join(named)}", "-out", stage.folder / "hub.pem")
    subprocess.run(["openssl", "req", "-x509", *words, *told], check=True, capture_output=True)
    return str(stage.folder / "hub.pem")


def test_an_agent_that_would_turn_back_from_its_hub_is_told_what_the_certificate_lacks(stage):
    theirs = [{"address": "::", "port": 8884, "certificate": certificate(stage, "DNS:hub.lan", "IP:10.0.0.2")}]
    for address, is_told in (("hub.lan", False), ("10.0.0.2", False), ("hub.local", True), ("10.0.0.3", True)):
        hub = {"ansible_host": "127.0.0.1", "appliance_address": address, "appliance_listeners": theirs}
        said = told_together(stage.play("site.yml", {**HOUSE, "hubs": {"home-hub": hub}}))
        assert (f"kitchen would look for its hub at {address}, which does not stand in the cert" in said) == is_told
        assert ("kitchen is made" in said) != is_told
    assert "port = 8884\n" in (stage.folder / "described").read_text()


def test_a_service_that_is_down_and_a_secret_that_is_open_are_told_with_the_cure(stage):
    (stage.folder / "secret").chmod(0o644)
    said = told_together(stage.play("verify.yml", HOUSE, "--limit", "kitchen"))
    assert f"kitchen: {stage.folder}/secret holds the agent's secret, and others than root may read it; site" in said
    (stage.folder / "bin" / "systemctl").write_text("#!/bin/sh\necho failed\nexit 3\n")
    for host, name in (("kitchen", "sensors"), ("home-hub", "appliance")):
        said = told_together(stage.play("verify.yml", HOUSE, "--limit", host))
        assert f"{host}: {name}.service is failed and failed, and should be active and enabled" in said
        assert f"There `sudo {name} doctor` and `journalctl -u {name}` say why" in said


def test_agents_of_a_hub_that_sets_what_there_is_not_wait_for_it(stage):
    hubs = {"home-hub": {"appliance_listener": []}, "cabin-hub": TWO_SITES["hubs"]["cabin-hub"]}
    said = told_together(stage.play("site.yml", {**TWO_SITES, "hubs": hubs}))
    assert "home-hub: there is no variable appliance_listener; README" in said
    assert "kitchen waits for its hub home-hub" in said
    assert "kitchen is made" not in said
    assert "stove is made" in said


def test_a_secret_is_on_no_disk_of_the_control_machine_also_where_that_is_the_hub(stage, monkeypatch):
    monkeypatch.setenv("ANSIBLE_REMOTE_TMP", "/proc/nowhere")  # what is not sent through a pipe is written there
    (stage.folder / "ansible" / "account.yml").write_text(ACCOUNT)
    played = stage.play("account.yml", HOUSE, "-e", '{"sensors_is_beside_hub": true}')
    assert played.code == 0, played.said
    assert json.loads((stage.folder / "added").read_text())["secret"] == "a secret"


def test_a_sensor_at_a_pin_of_a_bus_is_named(stage):
    dht = {"name": "air", "kind": "dht", "pin": 4}
    for others, more, is_refused in (
        ([{"name": "flow", "kind": "ds18b20"}], {}, True),
        ([{"name": "flow", "kind": "ds18b20"}], {"computer_boot_lines": ["dtoverlay=w1-gpio,gpiopin=22"]}, False),
        ([{"name": "climate", "kind": "bme280"}], {}, False),
        ([{"name": "climate", "kind": "bme280"}, {"name": "door", "kind": "gpio_input", "pin": 3}], {}, True),
    ):
        house = {**HOUSE, "agents": {"kitchen": {"sensors_list": [dht, *others], **more}}}
        played = stage.play("site.yml", house)
        names = "door" if others[-1]["name"] == "door" else "air"
        assert (f"kitchen: {names} would be at a pin of a bus" in told_together(played)) == is_refused
        assert ("kitchen is made" in played.said) != is_refused


def test_both_playbooks_may_stand_in_one_command(stage):
    played = stage.play("site.yml", HOUSE, stage.folder / "ansible" / "verify.yml", "--limit", "kitchen")
    assert "PLAY [Verify agents]" in played.said
    assert played.code == 0, played.said
    strange = {**HOUSE, "agents": {"kitchen": {"sensor_list": []}}}
    played = stage.play("verify.yml", strange, stage.folder / "ansible" / "verify.yml")
    assert "kitchen: there is no variable sensor_list; README" in told_together(played)


def test_what_is_run_on_the_computer_itself_makes_no_more_of_it_than_one_of_them(stage):
    shutil.copy(PLAYBOOKS / "roles/release/tasks/beginning.yml", stage.folder / "ansible/roles/release/tasks")
    played = stage.play("site.yml", {**HOUSE, "agents": {"kitchen": {}, "home-hub": {}}})
    assert played.code != 0
    said = told_together(played)
    assert "kitchen and home-hub would both be made of this computer" in said
    assert "kitchen is made" not in said
    alone = {"hubs": {"home-hub": {"appliance_listeners": []}}, "agents": {"home-hub": {}}}
    played = stage.play("site.yml", alone)
    assert played.code == 0, played.said
    assert "home-hub is made" in played.said


def test_what_keeps_an_activation_from_beginning_is_told(stage):
    for path, text in {"root/releases.py": RELEASES, "bin/systemd-run": SYSTEMD_RUN}.items():
        program_file = stage.folder / path
        program_file.parent.mkdir(exist_ok=True)
        program_file.write_text(text)
        program_file.chmod(0o755)
    for name in ("services", "units"):
        (stage.folder / "root" / name).mkdir()
    shutil.copytree(PLAYBOOKS.parent / "systemd", stage.folder / "systemd")
    (stage.folder / "ansible" / "activation.yml").write_text(ACTIVATION)
    root = stage.folder / "root"
    played = stage.play("activation.yml", HOUSE, "-e", f"release_root={root} release_unit_dir={root}/units")
    assert played.code != 0
    assert "was already loaded" in played.said.rpartition("Say why the release was not kept")[2]
