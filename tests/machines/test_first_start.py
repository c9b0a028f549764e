"""A hub for the whole home, from its first start on: closed until it has what it needs to be open."""

import pytest
from machines.machine import wait_for

HUB = "appliance.service"
LOOPBACK = {"127.0.0.1:1883", "127.0.0.1:8080"}
CONFIG = """
site = "home"

[accounts]
managed_file = "/var/lib/appliance/accounts.json"

[[listener]]
address = "::"
certificate = "/var/lib/appliance/tls/server.pem"
key = "/var/lib/appliance/tls/server.key"

[[listener]]
serve = "web"
address = "::"
certificate = "/var/lib/appliance/tls/server.pem"
key = "/var/lib/appliance/tls/server.key"
"""
SAYS_HELLO = """
import socket, ssl, sys
trust = ssl.create_default_context(cafile="/srv/ca.pem")
for port in (8883, 8443):
    with trust.wrap_socket(socket.create_connection((sys.argv[1], port), 5), server_hostname=sys.argv[1]) as it:
        print(port, it.version())
"""


@pytest.fixture(scope="module")
def machine(machines):
    made = machines("fresh")
    made.write("/etc/appliance/appliance.toml", CONFIG)
    return made


def listening(machine):
    found = {line.split()[3] for line in machine.run("ss", "-Hltn").splitlines()}
    return {place for place in found if not place.endswith(":22")}  # sshd's


def test_before_there_are_credentials_nothing_listens(machine):
    machine.write("/run/systemd/system/appliance.service.d/unset.conf", "[Service]\nExecStartPre=\n")
    machine.systemctl("daemon-reload")
    machine.systemctl("start", "--no-block", HUB)
    wait_for(lambda: int(machine.shown(HUB, "NRestarts")) > 1, "it tries", 30.0, machine.status_of, HUB)
    assert listening(machine) == set()
    assert any("status=78" in text for text in machine.messages(f"UNIT={HUB}"))
    assert any("appliance setup" in text for text in machine.messages(unit=HUB))
    machine.systemctl("stop", HUB)
    machine.run("rm", "/run/systemd/system/appliance.service.d/unset.conf")
    machine.systemctl("daemon-reload")


def test_the_first_start_makes_them_and_opens_what_is_encrypted(machine):
    machine.systemctl("enable", "--now", HUB)
    took_s = (
        int(machine.shown(HUB, "ActiveEnterTimestampMonotonic"))
        - int(machine.shown(HUB, "InactiveExitTimestampMonotonic"))
    ) / 1_000_000
    print(f"the first start took {took_s:.2f} s, with keys, certificates and the first account")
    assert listening(machine) == LOOPBACK | {"*:8883", "*:8443"}
    machine.run("cp", "/var/lib/appliance/tls/ca.pem", "/srv/ca.pem")
    assert machine.python(SAYS_HELLO, machine.address).splitlines() == ["8883 TLSv1.3", "8443 TLSv1.3"]


def test_what_was_made_is_the_service_s_alone_and_the_journal_has_no_secret(machine):
    modes = {}
    for line in machine.run("find", "/var/lib/appliance", "-printf", "%u %m %P\\n").splitlines():
        owner, mode, name = line.split(" ", 2)
        assert owner == "appliance", name
        modes[name] = mode
    assert modes[""] == modes["tls"] == "700"
    private = {name for name in modes if not name.endswith(".pem")} - {"", "tls"}
    assert {"accounts.json", "admin-secret", "appliance.db", "tls/ca.key", "tls/server.key"} <= private
    assert {modes[name] for name in private} == {"600"}
    secret = machine.read("/var/lib/appliance/admin-secret").strip()
    assert secret
    assert not [text for text in machine.messages() if secret in str(text)]


def test_a_reload_keeps_the_process(machine):
    before = machine.shown(HUB, "MainPID")
    machine.systemctl("reload", HUB)
    wait_for(
        lambda: any("again" in str(text) for text in machine.messages(unit=HUB)),
        "it reloads",
        10.0,
        machine.status_of,
        HUB,
    )
    assert machine.shown(HUB, "MainPID") == before


def test_a_second_start_makes_nothing_anew(machine):
    prints = (
        "sha256sum",
        "/var/lib/appliance/tls/server.pem",
        "/var/lib/appliance/tls/ca.pem",
        "/var/lib/appliance/accounts.json",
    )
    before = machine.run(*prints)
    machine.systemctl("restart", HUB)
    assert machine.run(*prints) == before
