"""The units at work in a booted system: start, watchdog, restarts, stop, power cut."""

import json
import re
import subprocess

import pytest
from machines.machine import wait_for

HUB = "appliance.service"
AGENT = "sensors.service"
TOPIC = "home/attic/temperature"
READY_S = 10.0
STOP_S = 5.0
AGENT_CONFIG = """
site = "home"
agent = "attic"

[[sensor]]
name = "air"
kind = "simulated"
room = "attic"
interval_s = 1

[[sensor]]
name = "computer"
kind = "host"
room = "attic"
label = "pi"
interval_s = 1
"""


@pytest.fixture(scope="module")
def machine(machines):
    made = machines("pi", lan=False)
    made.write("/etc/appliance/appliance.toml", 'site = "home"\n')
    made.write("/etc/appliance/sensors.toml", AGENT_CONFIG)
    made.systemctl("enable", "--now", HUB, AGENT)
    return made


def moment(machine, unit, name):
    """Seconds since the boot."""
    return int(machine.shown(unit, f"{name}Monotonic")) / 1_000_000


def pid(machine, unit):
    return int(machine.shown(unit, "MainPID"))


def restarted(machine, unit, cause):
    """Wait until the process is another one, ready; gives its number."""
    before, count = pid(machine, unit), int(machine.shown(unit, "NRestarts"))
    cause()
    wait_for(
        lambda: int(machine.shown(unit, "NRestarts")) > count, f"{unit} starts again", 60.0, machine.status_of, unit
    )
    machine.wait(unit, ActiveState="active", SubState="running")
    assert pid(machine, unit) != before


def listening(machine):
    """Addresses that are listened on, as ss says."""
    found = {line.split()[3] for line in machine.run("ss", "-Hltn").splitlines()}
    return {place for place in found if not place.endswith(":22")}  # sshd's


def rows(machine, topic):
    told = machine.result("appliance", "history", topic, "--since", "1h", "--limit", "100000", "--json")
    return [] if told.returncode == 1 else json.loads(told.stdout)


def numbers(machine):
    """Which readings are in the history, as the agent numbers them."""
    return [(row["run"], row["seq"]) for row in rows(machine, TOPIC) if "seq" in row]


def test_both_are_ready_in_time_the_hub_first(machine):
    for unit in (HUB, AGENT):
        machine.wait(unit, ActiveState="active", SubState="running")
        took_s = moment(machine, unit, "ActiveEnterTimestamp") - moment(machine, unit, "ExecMainStartTimestamp")
        print(f"{unit} is ready after {took_s:.2f} s")
        assert took_s < READY_S
    assert moment(machine, HUB, "ActiveEnterTimestamp") <= moment(machine, AGENT, "ExecMainStartTimestamp")


def test_nothing_listens_beyond_loopback(machine):
    assert listening(machine) == {"127.0.0.1:1883", "127.0.0.1:8080"}


def hasten(machine):
    """Have the watchdogs wait for 2 s instead of 20, which nobody wants to sit through."""
    assert {machine.shown(unit, "WatchdogUSec") for unit in (HUB, AGENT)} <= {"20s", "2s"}
    for unit in (HUB, AGENT):
        machine.write(f"/etc/systemd/system/{unit}.d/watchdog.conf", "[Service]\nWatchdogSec=2\n")
    machine.systemctl("daemon-reload")
    machine.systemctl("restart", HUB, AGENT)


def test_systemctl_status_says_how_they_are(machine):
    hasten(machine)
    wanted = r"\d+ clients, 1 of 1 agents online, \d+ messages; MQTT on port 1883, page on port 8080"
    wait_for(
        lambda: re.fullmatch(wanted, machine.shown(HUB, "StatusText")), "the hub counts", 30.0, machine.status_of, HUB
    )
    wanted = r"connected to 127\.0\.0\.1:1883; 2 of 2 sensors online, \d+ readings wait"
    wait_for(
        lambda: re.fullmatch(wanted, machine.shown(AGENT, "StatusText")),
        "the agent too",
        30.0,
        machine.status_of,
        AGENT,
    )


def test_readings_are_recorded(machine):
    for topic in (TOPIC, "home/attic/pi/load"):
        wait_for(lambda topic=topic: rows(machine, topic), f"history of {topic}", 30.0)


@pytest.mark.parametrize("unit", [HUB, AGENT])
def test_a_loop_that_stands_still_is_started_again(machine, unit):
    hung = pid(machine, unit)
    restarted(machine, unit, lambda: machine.run("kill", "-STOP", hung))
    assert any("Watchdog timeout" in text for text in machine.messages(f"UNIT={unit}"))


@pytest.mark.parametrize("unit", [HUB, AGENT])
def test_a_process_that_is_killed_is_started_again(machine, unit):
    restarted(machine, unit, lambda: machine.run("kill", "-KILL", pid(machine, unit)))


def test_an_agent_outlives_its_hub(machine):
    before = pid(machine, AGENT)
    machine.systemctl("restart", HUB)
    wait_for(lambda: "1 of 1 agents online" in machine.shown(HUB, "StatusText"), "the agent is back", 30.0)
    assert pid(machine, AGENT) == before


def test_a_restart_does_not_take_long(machine):
    """What clients see of one: how long the port refuses them. A socket unit would let them wait instead."""
    watches = """
import socket, sys, time
began = gone = None
print("watches", flush=True)
while True:
    try:
        socket.create_connection(("127.0.0.1", 1883), 5).close()
        if gone is not None:
            break
    except ConnectionRefusedError:
        gone = gone or time.monotonic()
    time.sleep(0.002)
print(f"{time.monotonic() - gone:.3f}")
"""
    with subprocess.Popen(machine.into("python3", "-c", watches), stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout.readline() == "watches\n"
        machine.systemctl("restart", HUB)
        refused_s = float(watching.stdout.readline())
    print(f"connections were refused for {refused_s:.2f} s")
    assert refused_s < READY_S


def test_the_stop_is_clean_and_quick_the_agent_first(machine):
    # Both in one transaction, as when the computer is switched off.
    target = "[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n"
    machine.write("/etc/systemd/system/quiet.target", target)
    machine.systemctl("daemon-reload")
    machine.systemctl("isolate", "quiet.target")
    for unit in (HUB, AGENT):
        machine.wait(unit, ActiveState="inactive")
    took_s = moment(machine, HUB, "InactiveEnterTimestamp") - moment(machine, AGENT, "ActiveExitTimestamp")
    print(f"both stopped within {took_s:.2f} s")
    assert took_s < STOP_S
    for unit in (HUB, AGENT):
        assert (machine.shown(unit, "Result"), machine.shown(unit, "ExecMainStatus")) == ("success", "0")
    assert moment(machine, AGENT, "InactiveEnterTimestamp") <= moment(machine, HUB, "ActiveExitTimestamp")
    # Its own goodbye reached the hub: where only the will speaks, the gap has another cause.
    machine.systemctl("start", HUB)
    assert machine.run("appliance", "sub", "-t", "home/devices/attic/availability", "-C", "1") == "offline\n"
    machine.systemctl("isolate", "multi-user.target")


def test_a_power_cut_takes_nothing_and_both_come_back_by_themselves(machine):
    machine.wait(AGENT, ActiveState="active")
    wait_for(lambda: len(numbers(machine)) > 2, "some readings", 30.0)
    before = numbers(machine)
    machine.power_cut()
    machine.boot()
    for unit in (HUB, AGENT):
        machine.wait(unit, ActiveState="active", SubState="running")
        assert machine.shown(unit, "NRestarts") == "0"
    wait_for(lambda: len(numbers(machine)) > len(before), "new readings", 30.0)
    after = numbers(machine)
    assert set(before) <= set(after)
    assert len(after) == len(set(after))
    causes = [row["detail"] for row in rows(machine, TOPIC) if row.get("gap") == "broker down"]
    assert causes[-1] == "not stopped: power cut or crash"


def test_what_root_puts_back_the_service_opens_and_root_does_not_run_in_its_place(machine):
    machine.run("appliance", "backup", "/root/copy.db")
    machine.systemctl("stop", HUB, AGENT)
    for command in ("appliance", "sensors"):
        refused = machine.result(command, "run")
        assert refused.returncode == 73
        assert f"run it as that user: `sudo -u {command} {command} run" in refused.stderr
    machine.run("appliance", "restore", "/root/copy.db")
    machine.systemctl("start", HUB, AGENT)
    assert machine.run("appliance", "history", "home/attic/temperature")
