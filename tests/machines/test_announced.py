"""Two machines in one network: the hub is found, in its sandbox; what it and an agent log has fields in the journal."""

import json

import pytest
from machines.machine import wait_for

HUB = """
site = "cabin"

[accounts]
managed_file = "/var/lib/appliance/accounts.json"

[[listener]]
address = "0.0.0.0"
certificate = "/var/lib/appliance/tls/server.pem"
key = "/var/lib/appliance/tls/server.key"

[[listener]]
serve = "web"
address = "0.0.0.0"
certificate = "/var/lib/appliance/tls/server.pem"
key = "/var/lib/appliance/tls/server.key"
"""
VERBOSE = """
[Service]
ExecStart=
ExecStart=/opt/home-sensor-appliance/current/bin/appliance run --config /etc/appliance/appliance.toml --verbose
"""
AGENT = """
site = "cabin"
agent = "attic"

[[sensor]]
name = "roof"
kind = "ds18b20"
room = "attic"
"""


@pytest.fixture(scope="module")
def hub(machines):
    machine = machines("hub")
    machine.write("/etc/appliance/appliance.toml", HUB)
    machine.write("/etc/systemd/system/appliance.service.d/verbose.conf", VERBOSE)
    machine.run("install", "-d", "-o", "appliance", "-g", "appliance", "-m", "700", "/var/lib/appliance")
    machine.run("runuser", "-u", "appliance", "--", "appliance", "setup", "--data", "/var/lib/appliance")
    machine.systemctl("daemon-reload")
    started = machine.result("systemctl", "enable", "--now", "appliance")
    assert started.returncode == 0, "\n".join(map(str, machine.messages()[-20:]))
    return machine


@pytest.fixture(scope="module")
def other(machines):
    return machines("attic")


def looked_for(machine, service, site):
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


def test_an_agent_s_sensor_that_fails_is_an_entry_with_its_name(other):
    other.write("/etc/appliance/sensors.toml", AGENT)
    other.run("systemd-run", "--unit=agent", "sensors", "run")
    wait_for(lambda: other.journal("SENSOR=roof", unit="agent"), "a line of it", why=lambda: other.status_of("agent"))
    entry = other.journal("SENSOR=roof", unit="agent")[0]
    assert entry["PRIORITY"] == "4"
    assert entry["CAUSE"]
    assert entry["MESSAGE"].startswith("sensor roof (ds18b20): ")
    other.systemctl("stop", "agent")


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
