"""The units as systemd's own tools see them."""

import pytest

UNITS = ("appliance.service", "sensors.service")
MOST = {"appliance.service": 15, "sensors.service": 18}  # tenths of what systemd-analyze gives an open one: 96


@pytest.fixture(scope="module")
def machine(machines):
    return machines("units", lan=False)


def test_systemd_finds_nothing_to_say_of_them(machine):
    told = machine.result("systemd-analyze", "verify", "--recursive-errors=yes", *UNITS)
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


@pytest.mark.parametrize("unit", UNITS)
def test_they_are_as_closed_as_they_can_be(machine, unit):
    path = f"/etc/systemd/system/{unit}"
    told = machine.result("systemd-analyze", "security", "--offline=true", f"--threshold={MOST[unit]}", path)
    print(told.stdout.splitlines()[-1])
    assert told.returncode == 0, told.stdout


def test_users_and_groups_are_made_once(machine):
    before = machine.read("/etc/passwd"), machine.read("/etc/group")
    machine.run("systemd-sysusers")
    assert (machine.read("/etc/passwd"), machine.read("/etc/group")) == before
    for user in ("appliance", "sensors"):
        name, _, number, _, _, _, shell = machine.run("getent", "passwd", user).strip().split(":")
        assert (name, shell) == (user, "/usr/sbin/nologin")
        assert 0 < int(number) < 1000
