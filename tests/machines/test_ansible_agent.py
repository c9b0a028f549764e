"""One command makes a hub and an agent of two blank machines, each with an account of its own; a card does it alone."""

from types import SimpleNamespace

import pytest
from machines.machine import wait_for

SECRET = "/etc/appliance/sensors.password"
CONFIG = "/etc/appliance/sensors.toml"
ACCOUNTS = "/var/lib/appliance/accounts.json"
BOOT = "/boot/firmware/config.txt"
SENSORS = [
    {
        "name": "air",
        "kind": "simulated",
        "room": "kitchen",
        "interval_s": 1,
        "title": "Küche",
        "humidity": {"median": 3},
    },
    {"name": "lamp", "kind": "simulated", "model": "lamp", "room": "kitchen"},
]


SAYING_ALL = ("-vvv", "--diff")


@pytest.fixture(scope="module")
def made(machines, control):
    """A hub and an agent, made by the playbook of blank machines, and what it said. The agent has the file of a Pi's
    firmware.
    """
    hub, agent = machines("home-hub", blank=True), machines("kitchen", blank=True)
    for machine in (hub, agent):
        control.admit(machine)
    agent.write(BOOT, "dtparam=audio=on\n")
    control.add("hubs", hub)
    control.add("agents", agent, sensors_list=SENSORS, sensors_name="Küche", release_extras=[])
    told = control.play("site.yml", "--check", "--diff")  # of blank ones, too, it can be asked what it would do
    for machine in (hub, agent):
        assert f"{machine.name} has no release yet" in told.said
        assert machine.result("ls", "/opt/home-sensor-appliance").returncode != 0
    return hub, agent, control.play("site.yml", *SAYING_ALL)


@pytest.fixture(scope="module")
def house(made):
    """The hub and the agent."""
    return made[:2]


def history(hub, topic):
    told = hub.result("appliance", "history", topic, "--json")
    return told.stdout if told.returncode == 0 else ""


def test_a_reading_arrives_over_tls_in_the_hubs_history(house):
    hub, agent = house
    wait_for(lambda: history(hub, "home/kitchen/temperature").strip(), "a reading is in the history", 60)
    config = agent.read(CONFIG)
    assert f'host = "{hub.address}"' in config
    assert 'ca_file = "/etc/appliance/ca.pem"' in config
    remote = agent.run("ss", "-Htn", "state", "established", "dport", "=", "8883")
    assert f"{hub.address}:8883" in remote.replace("[::ffff:", "").replace("]", "")


@pytest.fixture(scope="module")
def again(house, control):
    """A second run, which says all that it can, and what had to stay as it is, before and after."""
    hub, agent = house

    def state():
        return agent.read(SECRET), hub.read(ACCOUNTS), agent.shown("sensors.service", "InvocationID")

    before = state()
    played = control.play("site.yml", *SAYING_ALL)
    return SimpleNamespace(played=played, before=before, after=state())


def test_a_second_run_changes_nothing_and_the_secret_stays(again):
    assert again.played.changed == 0, again.played.said
    assert again.after == again.before


def assert_nobody_else_knows(secret, house, control, *played):
    """Look for the secret of the agent's computer in what runs said and wherever they may have left it."""
    hub, agent = house
    assert len(secret) == 43
    assert agent.run("stat", "-c", "%a %U", SECRET).split() == ["600", "root"]
    for path in control.folder.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path
    for one in played:
        assert "task path: " in one.said  # it did say all that it can
        assert secret not in one.said
    for machine in (hub, agent):
        machine.sh("journalctl --sync; journalctl --no-pager --all --output=export > /run/told; test -s /run/told")
        assert machine.result("grep", "-qaF", secret, "/run/told").returncode == 1  # not all of it is text
        machine.run("rm", "/run/told")
    assert hub.result("grep", "-rqF", secret, "/etc", "/var", "/root", "/opt").returncode == 1


def test_the_secret_is_known_to_nobody_but_the_agents_computer(made, control, again):
    hub, agent, first = made
    assert_nobody_else_knows(agent.read(SECRET).strip(), (hub, agent), control, first, again.played)


def test_the_agent_may_publish_what_the_inventory_lists_for_it_and_nothing_else(house):
    hub, agent = house
    words = f"-h {hub.address} -p 8883 --cafile /etc/appliance/ca.pem -u kitchen --pw-file {SECRET} -q 1 -V 5"
    agent.sh(f"appliance pub {words} -t home/kitchen/temperature -m 20")
    agent.sh(f"! appliance pub {words} -t home/bath/temperature -m 20")
    agent.sh(f"! appliance pub {words} -t home/devices/bath/availability -m offline")


def test_the_firmware_reads_what_the_sensors_need_after_one_restart(house, control):
    hub, agent = house
    dht = {"name": "wall", "kind": "dht", "room": "hall", "pin": 4, "model": "DHT22"}
    booted = agent.leader()
    played = control.play("site.yml", "--limit", "kitchen", sensors_list=[*SENSORS, dht])
    assert played.counts["kitchen"]["failed"] == 0
    text = agent.read(BOOT)
    assert text.startswith("dtparam=audio=on\n")
    assert text.count("[all]\ndtoverlay=dht11,gpiopin=4\n") == 1
    assert agent.leader() != booted
    assert "home/hall/" in hub.read(ACCOUNTS)
    assert control.play("site.yml", "--limit", "kitchen", sensors_list=[*SENSORS, dht]).changed == 0
    control.play("site.yml", "--limit", "kitchen", computer_restart=False)
    assert agent.read(BOOT) == "dtparam=audio=on\n"
    assert "home/hall/" not in hub.read(ACCOUNTS)  # what has no sensor any more may not be published


def test_a_restart_that_was_lost_is_made_up_for_by_the_next_run(house, control):
    _, agent = house
    booted = agent.leader()
    control.play("site.yml", "--limit", "kitchen")
    assert agent.leader() != booted
    assert agent.result("test", "-e", "/run/home-sensor-appliance-restart").returncode == 1


def test_a_mistake_in_the_inventory_is_named_before_anything_changes(house, control):
    _, agent = house
    before = agent.read(CONFIG), agent.shown("sensors.service", "InvocationID")
    wrong = [SENSORS[0], {**SENSORS[1], "modle": "lamp"}]
    mistaken = {"sensors_list": wrong, "computer_journal_max": "65M"}
    played = control.play("site.yml", "--limit", "kitchen", good=False, **mistaken)
    assert played.code != 0
    assert 'kitchen: sensor[2].modle of "lamp": unknown key; did you mean "model"?' in " ".join(played.said.split())
    assert played.counts["kitchen"]["changed"] == 0
    assert (agent.read(CONFIG), agent.shown("sensors.service", "InvocationID")) == before


def test_check_and_diff_say_what_would_change_and_change_nothing(house, control):
    _, agent = house
    before = agent.read(CONFIG), agent.shown("sensors.service", "InvocationID")
    played = control.play("site.yml", "--check", "--diff", sensors_list=[{**SENSORS[0], "interval_s": 2}])
    assert "+interval_s = 2" in played.said
    assert control.play("site.yml", "--check", "--diff").changed == 0
    assert (agent.read(CONFIG), agent.shown("sensors.service", "InvocationID")) == before


def test_an_agent_that_lost_its_card_has_a_new_secret_and_the_old_one_is_worth_nothing(house, control):
    hub, agent = house
    old = agent.read(SECRET)
    agent.run("rm", SECRET)
    played = control.play("site.yml", "--limit", "kitchen", *SAYING_ALL)
    assert agent.read(SECRET) != old
    assert old.strip() not in played.said
    assert_nobody_else_knows(agent.read(SECRET).strip(), house, control, played)
    agent.write("/root/old", old, mode="600")
    words = f"-h {hub.address} -p 8883 --cafile /etc/appliance/ca.pem -u kitchen --pw-file /root/old -q 1 -V 5"
    assert agent.result("bash", "-c", f"appliance pub {words} -t home/kitchen/temperature -m 20").returncode != 0
    assert control.play("site.yml").changed == 0


def test_the_house_shares_one_clock(house):
    hub, agent = house
    assert "local stratum 10" in hub.read("/etc/chrony/conf.d/home-sensor-appliance.conf")
    wait_for(
        lambda: f"^,*,{hub.address}," in agent.run("chronyc", "-c", "sources"),
        "the agent follows its hub's clock",
        90,
    )


def test_an_agent_that_its_hub_does_not_know_is_not_verified_until_the_playbook_has_run(house, control):
    hub, agent = house
    hub.run("appliance", "devices", "remove", "kitchen")
    played = control.play("verify.yml", good=False, sensors_verify_s=5)
    assert played.counts["kitchen"]["failed"] == 1
    assert "does not hear the agent kitchen" in " ".join(played.said.split())
    control.play("site.yml")
    agent.systemctl("restart", "sensors.service")  # it would try again by itself, later
    control.play("verify.yml")


def test_an_agent_that_is_down_is_not_verified(house, control):
    control.play("verify.yml")
    _, agent = house
    agent.systemctl("stop", "sensors.service")
    played = control.play("verify.yml", good=False)
    assert played.code != 0
    assert played.counts["kitchen"]["failed"] == 1
    agent.systemctl("start", "sensors.service")
