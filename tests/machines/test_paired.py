"""Pairing as people do it, with the real units: a code between two machines, readings over TLS, and the end of it."""

import json
import subprocess
import time

import pytest
from machines.cabin import hub_config
from machines.machine import wait_for

AGENT = """
site = "cabin"
agent = "attic"

[[sensor]]
name = "air"
kind = "simulated"
room = "attic"
interval_s = 1
"""
TOPIC = "cabin/attic/temperature"
KEPT = "/var/lib/sensors/cabin-attic.credential"
ACTS_S = 1.0


@pytest.fixture(scope="module")
def hub(machines):
    machine = machines("hub")
    machine.write("/etc/appliance/appliance.toml", hub_config(page_port=9443))
    machine.systemctl("enable", "--now", "appliance")
    return machine


@pytest.fixture(scope="module")
def attic(machines):
    machine = machines("attic")
    machine.write("/etc/appliance/sensors.toml", AGENT)
    return machine


def paired(hub, attic, *command):
    """Have a person carry a code from one machine to the other; gives what both commands said."""
    words = hub.into("sudo", "appliance", "pair", "--json")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as opened:
        told = json.loads(opened.stdout.readline())
        said = attic.run("sudo", *command, stdin=f"{told['code'].lower()}\n")
        *_, last = opened.stdout.read().splitlines()
    assert (opened.returncode, json.loads(last)) == (0, {"state": "paired"})
    return told, said


def word(hub):
    return json.loads(hub.run("appliance", "status", "--json"))["agents"].get("attic")


def comes(hub, attic):
    wait_for(lambda: word(hub) == "online", "the agent is online", why=lambda: attic.status_of("sensors"))


def measured(hub):
    """When the readings in the history were, in seconds since the epoch."""
    told = hub.result("appliance", "history", TOPIC, "--since", "1h", "--json")
    return [row["at"] for row in json.loads(told.stdout or "[]") if "at" in row]


def process(attic):
    return attic.shown("sensors", "MainPID"), attic.shown("sensors", "NRestarts")


def told_at(machine, unit, text):
    """Seconds since the epoch when the newest entry of a unit's journal that holds the text was written."""
    found = [one for one in machine.journal(unit=unit) if text in str(one.get("MESSAGE"))]
    return int(found[-1]["__REALTIME_TIMESTAMP"]) / 1_000_000 if found else None


def test_root_pairs_it_before_the_unit_was_ever_started(hub, attic):
    looks = ("/opt/home-sensor-appliance/current/bin/python", "-m", "sensors.discovery", "_https._tcp", "cabin")
    wait_for(lambda: json.loads(attic.run(*looks)), "the hub is announced", why=lambda: hub.status_of("appliance"))
    told, said = paired(hub, attic, "sensors", "pair")
    assert told["where"] == "hub.local:9443"
    assert said.startswith("the hub is hub.local:9443, as mDNS says\npaired as attic with hub.local; ")
    found = attic.run("find", "/var/lib/sensors", "-printf", "%u:%g %m %P\\n").splitlines()
    assert sorted(found) == [
        "sensors:sensors 600 cabin-attic.ca.pem",
        "sensors:sensors 600 cabin-attic.credential",
        "sensors:sensors 700 ",
    ]


def test_its_readings_come_over_tls(hub, attic):
    attic.systemctl("enable", "--now", "sensors")
    comes(hub, attic)
    wait_for(lambda: measured(hub), "its history")
    assert attic.run("ss", "-Htn", "state", "established", "dport", "=", ":8883")
    outer = {line.split()[3] for line in hub.run("ss", "-Hltn").splitlines()}
    assert not {place for place in outer if place.endswith((":1883", ":8080")) and not place.startswith("127.0.0.1:")}


def test_the_end_of_its_account_ends_its_connection_at_once_and_pairing_anew_is_the_way_back(hub, attic):
    before = process(attic)
    hub.run("sudo", "appliance", "devices", "remove", "attic")
    removed_at = time.time()
    wait_for(
        lambda: told_at(attic, "sensors", "closed the connection"), "it is out", why=lambda: attic.status_of("sensors")
    )
    took_s = told_at(attic, "sensors", "closed the connection") - removed_at
    print(f"the connection ended {took_s:.3f} s after the command that removed the account")
    assert took_s < ACTS_S
    wait_for(
        lambda: told_at(attic, "sensors", "pair this agent anew with `sensors pair`"),
        "it says what to do",
        why=lambda: attic.status_of("sensors"),
    )
    assert word(hub) != "online"
    _, said = paired(hub, attic, "-u", "sensors", "sensors", "pair", f"{hub.address}:9443")
    assert said.startswith("paired as attic with ")
    assert attic.run("stat", "-c", "%U %a", KEPT) == "sensors 600\n"
    comes(hub, attic)
    assert process(attic) == before


def test_without_its_credential_it_reads_on_until_it_is_paired_anew(hub, attic):
    attic.write(KEPT, "half a fi", mode="600", owner="sensors", group="sensors")
    attic.systemctl("stop", "sensors")
    began_at = time.time()
    attic.systemctl("start", "--no-block", "sensors")
    wait_for(
        lambda: "holds no credential; pair anew" in attic.shown("sensors", "StatusText"),
        "it says so",
        why=lambda: attic.status_of("sensors"),
    )
    before = process(attic)
    time.sleep(2)  # some readings
    paired_at = time.time()
    paired(hub, attic, "sensors", "pair", f"{hub.address}:9443")
    comes(hub, attic)
    assert process(attic) == before
    wait_for(lambda: [at for at in measured(hub) if began_at < at < paired_at], "what was read meanwhile")


def test_a_hub_that_is_renamed_knows_it_and_keeps_its_agents(hub, attic):
    hub.sh("echo 127.0.1.1 house >> /etc/hosts && hostnamectl set-hostname house")
    seen = hub.run("nsenter", "--target", hub.shown("appliance", "MainPID"), "--uts", "hostname")
    assert seen == "house\n"
    hub.systemctl("restart", "appliance")  # else it takes a minute
    attic.systemctl("restart", "sensors")  # likewise
    comes(hub, attic)
    told, _ = paired(hub, attic, "sensors", "pair", f"{hub.address}:9443")
    assert told["where"] == "house.local:9443"
