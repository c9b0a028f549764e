"""Two machines in one network: the hub is found, in its sandbox; what it and an agent log has fields in the journal."""

import json
import re

import pytest
from machines.cabin import hub_config
from machines.machine import wait_for

AGENT = """
site = "{site}"
agent = "attic"

[broker]
ca_file = "hub.pem"
username = "attic"
password_file = "secret"

[[sensor]]
name = "roof"
kind = "ds18b20"
room = "attic"
"""
CONNECT = """
import socket, ssl, sys
context = ssl.create_default_context(cafile="/etc/appliance/twin.pem")
with socket.create_connection((sys.argv[1], 8883), 10) as plain:
    context.wrap_socket(plain, server_hostname=sys.argv[2]).close()
"""
PAIR = """
from pathlib import Path
from appliance.control import ControlClient
control = ControlClient(Path("/run/appliance/control.sock"))
opened = control.post("/api/pairing/open", {"minutes": 1.0})
print(opened["where"])
control.post("/api/pairing/close", {"key": opened["key"]})
"""


def begin(machine):
    """Make a hub of it, as our roles do."""
    machine.write("/etc/appliance/appliance.toml", hub_config())
    machine.run("install", "-d", "-o", "appliance", "-g", "appliance", "-m", "700", "/var/lib/appliance")
    machine.run("runuser", "-u", "appliance", "--", "appliance", "setup", "--data", "/var/lib/appliance")
    machine.systemctl("daemon-reload")
    started = machine.result("systemctl", "enable", "--now", "appliance")
    assert started.returncode == 0, "\n".join(map(str, machine.messages()[-20:]))


@pytest.fixture(scope="module")
def hub(machines):
    machine = machines("hub")
    begin(machine)
    return machine


@pytest.fixture(scope="module")
def other(machines):
    return machines("attic")


def looked_for(machine, service, site, *, every=False):
    """What an agent finds; `every`: also that of other sites."""
    if every:  # it does not end with the first of the site
        script = "import json, sys; from sensors.discovery import browse; from dataclasses import asdict; "
        script += "print(json.dumps([asdict(one) for one in browse(*sys.argv[1:3], 4.0, '')]))"
        return json.loads(machine.python(script, service, site))
    interpreter = "/opt/home-sensor-appliance/current/bin/python"
    return json.loads(machine.run(interpreter, "-m", "sensors.discovery", service, site))


def test_the_hub_in_its_sandbox_is_found_from_another_machine(hub, other):
    found = []

    def there():
        found[:] = looked_for(other, "_secure-mqtt._tcp", "cabin")
        return found

    wait_for(there, "the hub is found", why=lambda: hub.status_of("appliance"))
    expected = {"name": "hub.local", "port": 8883, "addresses": [str(hub.address)], "site": "cabin"}
    assert found == [expected]
    assert looked_for(other, "_mqtt._tcp", "cabin") == []  # which is of loopback alone


def test_it_is_gone_before_the_service_is(hub, other):
    hub.systemctl("stop", "appliance")
    assert looked_for(other, "_secure-mqtt._tcp", "cabin") == []
    hub.systemctl("start", "appliance")


def test_a_client_that_is_turned_away_is_an_entry_with_its_id_and_address(hub):
    words = ("-h", "127.0.0.1", "-i", "probe", "-u", "nobody", "-P", "guess", "-t", "cabin/x/y", "-m", "1")
    assert hub.result("appliance", "pub", *words).returncode != 0
    entry = hub.journal("MQTT_CLIENT_ID=probe", unit="appliance")[0]
    assert entry["PRIORITY"] == "6"
    assert entry["SYSLOG_IDENTIFIER"] == "appliance"
    assert entry["LOGGER"] == "appliance.net.hub"
    assert entry["PEER"].startswith("127.0.0.1:")
    assert "guess" not in json.dumps(hub.journal(unit="appliance"))


@pytest.fixture(scope="module")
def account(hub, other):
    """An account of the agent, in its hands together with the authority of the hub."""
    topics = ("--publish", "cabin/attic/#")
    words = ("devices", "add", "attic", "--role", "device", "--agent", "attic", *topics, "--secret", "-")
    hub.run("appliance", *words, stdin="a secret of the attic\n")
    other.write("/etc/appliance/secret", "a secret of the attic\n", mode="600")
    other.write("/etc/appliance/hub.pem", hub.read("/var/lib/appliance/tls/ca.pem"))


@pytest.mark.usefixtures("account")
def test_an_agent_that_is_told_no_address_finds_its_hub_and_knows_it_again(hub, other):
    other.write("/etc/appliance/sensors.toml", AGENT.format(site="cabin"))
    other.run("chown", "sensors:", "/etc/appliance/secret")
    other.run("systemd-run", "--unit=agent", "--uid=sensors", "-p", "StateDirectory=sensors", "sensors", "run")

    def is_there():
        return json.loads(hub.run("appliance", "status", "--json"))["agents"].get("attic") == "online"

    wait_for(is_there, "the agent is online", why=lambda: other.status_of("agent"))
    assert f"connected to hub.local ({hub.address}:8883, found by mDNS) as agent attic" in other.messages(unit="agent")


@pytest.mark.usefixtures("account")
def test_an_agent_s_sensor_that_fails_is_an_entry_with_its_name(other):
    wait_for(lambda: other.journal("SENSOR=roof", unit="agent"), "a line of it", why=lambda: other.status_of("agent"))
    entry = other.journal("SENSOR=roof", unit="agent")[0]
    assert entry["PRIORITY"] == "4"
    assert entry["CAUSE"]
    assert entry["MESSAGE"].startswith("sensor roof (ds18b20): ")
    assert "a secret of the attic" not in json.dumps(other.journal(unit="agent"))
    other.systemctl("stop", "agent")


@pytest.mark.usefixtures("account")
def test_an_agent_of_another_site_does_not_take_the_hub_and_is_told_when_it_is_made_to(hub, other):
    other.write("/etc/appliance/sensors.toml", AGENT.format(site="attic-site"))
    assert "no broker for site attic-site is found by mDNS" in other.result("sensors", "doctor").stdout
    told = AGENT.format(site="attic-site").replace("[broker]", f'[broker]\nhost = "{hub.address}"')
    other.write("/etc/appliance/sensors.toml", told)
    said = other.result("sensors", "doctor").stdout
    assert "refuses the connection" in said  # a device of this hub has its topics on this hub's site alone
    assert "this is the hub of site cabin, not attic-site" in said


def test_two_hubs_of_one_name_are_two(hub, other, machines):
    """Both are called hub; the second leaves the name to the first, and its certificate has the other one too."""
    twin = machines("twin")
    twin.write("/etc/hostname", "hub\n")
    twin.run("hostname", "hub")
    begin(twin)
    found = []

    def both():
        found[:] = looked_for(other, "_secure-mqtt._tcp", "no-site-of-these", every=True)
        return len(found) == 2

    wait_for(both, "two hubs are found", why=lambda: f"{found}\n{twin.status_of('appliance')}")
    names = {one["addresses"][0]: one["name"] for one in found}
    assert names[str(hub.address)] == "hub.local"
    assert re.fullmatch(r"hub-[0-9a-f]{4}\.local", names[str(twin.address)])
    assert any("hub.local is also the computer at" in str(line) for line in twin.messages(unit="appliance"))
    assert twin.python(PAIR).strip() == names[str(twin.address)]  # where agents are sent
    other.write("/etc/appliance/twin.pem", twin.read("/var/lib/appliance/tls/ca.pem"))
    other.python(CONNECT, str(twin.address), names[str(twin.address)])


def test_the_doctor_finds_a_machine_that_is_well_and_one_that_is_not(hub):
    done = hub.result("appliance", "doctor", "--json")
    wrong = [one for one in json.loads(done.stdout) if one["level"] == "wrong"]
    assert [one for one in wrong if one["about"] != "clock"] == []
    hub.systemctl("disable", "--now", "appliance")
    done = hub.result("appliance", "doctor")
    assert done.returncode == 1
    assert (
        "wrong: appliance.service: it does not run (inactive); `sudo systemctl start appliance.service`" in done.stdout
    )
    assert "wrong: appliance.service: it does not start with the computer (disabled)" in done.stdout
    hub.systemctl("enable", "--now", "appliance")
