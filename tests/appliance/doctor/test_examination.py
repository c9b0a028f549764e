"""Everything is looked at, by the service's real files; what one look stumbles over hides nothing."""

from dataclasses import replace

import pytest
from accounts import write_accounts
from authority import Authority
from processes import free_port

from appliance import __version__
from appliance.clock import SYNCED
from appliance.doctor.examination import FIRST_SECRET, Examination, World
from appliance.doctor.unit import Unit
from appliance.exits import CommandError, Exit
from appliance.hostname import local_name
from appliance.interfaces import Computer, Interface
from appliance.settings import Accounts, Listener, Mdns, Mqtt, Settings, Web

ETH0 = Interface("eth0", ("192.168.1.5", "fd00::5"))
SERVICE = {"version": __version__, "site": "home", "pid": 7, "clients_now": 0, "agents": {}}


@pytest.fixture
def world():
    return World(
        status=lambda: SERVICE,
        interfaces=lambda: Computer((ETH0,), (ETH0,)),
        unit=lambda: Unit("loaded", "active", "enabled", "success", "20s"),
        clock_quality=lambda: SYNCED,
    )


@pytest.fixture
def settings(tmp_path):
    write_accounts(tmp_path, users=["ann", "esp-kitchen", "home/#", "+"])
    authority = Authority(tmp_path)
    certificate, key = authority.issue("hub", local_name(), "192.168.1.5")
    key.chmod(0o600)
    return Settings(
        mqtt=Mqtt(port=0),
        web=Web(port=0),
        accounts=Accounts(password_file=str(tmp_path / "passwords"), rules_file=str(tmp_path / "rules.toml")),
        listener=(Listener(address="0.0.0.0", certificate=str(certificate), key=str(key)),),
    )


def found(settings, world, folder):
    config = folder / "appliance.toml"
    config.touch(0o644)
    return [str(finding) for finding in Examination(settings, config, folder, world).findings()]


def wrong(lines):
    return [line for line in lines if line.startswith("wrong")]


def test_a_good_hub_has_nothing_wrong(settings, world, tmp_path):
    lines = found(settings, world, tmp_path)
    assert wrong(lines) == []
    assert "note: service: it runs, as process 7, with 0 clients" in lines
    assert f", for {local_name()}, 192.168.1.5" in " ".join(lines)  # of fd00::5 nothing: IPv4 alone is served


def test_without_a_configuration_and_service_that_is_told(world, tmp_path):
    nobody = replace(world, status=lambda: None)
    usual = Settings(mqtt=Mqtt(port=free_port()), web=Web(port=free_port()))  # 1883 may be a broker's here
    lines = [str(one) for one in Examination(usual, None, tmp_path / "none", nobody).findings()]
    assert wrong(lines) == []
    assert "note: configuration: there is none: this computer alone is served, anonymously" in lines
    assert f"note: data: there is no {tmp_path / 'none'} yet: the first start makes it" in lines


def test_a_port_that_another_program_has_is_told_while_none_runs(world, tmp_path):
    import socket

    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        lines = found(Settings(mqtt=Mqtt(port=port), web=Web(port=0)), replace(world, status=lambda: None), tmp_path)
    assert wrong(lines) == [
        f"wrong: ports: port {port} on 127.0.0.1 is taken by another program; stop it, or choose another port"
    ]
    assert any("serves this computer alone" in line for line in lines)


def test_secrets_that_anybody_reads_are_told(settings, world, tmp_path):
    for folder in (tmp_path, *tmp_path.parents):
        if folder.name.startswith("pytest-"):
            folder.chmod(0o755)
    tmp_path.chmod(0o755)
    (tmp_path / "passwords").chmod(0o644)
    (tmp_path / FIRST_SECRET).write_text("x")
    (tmp_path / FIRST_SECRET).chmod(0o600)
    lines = found(settings, world, tmp_path)
    assert [line.partition(" (")[0] for line in wrong(lines)] == [
        f"wrong: {tmp_path / 'passwords'}: everybody may read this secret"
    ]
    cure = f"`appliance setup --config {tmp_path}/appliance.toml --show-secret`"
    assert any(line.endswith(f"the admin's first secret still lies there; {cure}") for line in lines)


def test_a_certificate_without_the_announced_name_is_told(settings, world, tmp_path):
    certificate, key = Authority(tmp_path / "other").issue("other", "elsewhere.local")
    listener = Listener(address="::", certificate=str(certificate), key=str(key))
    other = Settings(accounts=settings.accounts, listener=(listener,), mqtt=Mqtt(port=0), web=Web(port=0))
    lines = found(other, world, tmp_path)
    assert any(f"it does not name {local_name()}" in line for line in wrong(lines))
    assert any("who connects to 192.168.1.5, fd00::5 by address" in line for line in lines)
    silent = Settings(accounts=settings.accounts, listener=(listener,), mdns=Mdns(enabled=False))
    assert not any(f"it does not name {local_name()}" in line for line in found(silent, world, tmp_path))


def test_what_may_not_be_looked_at_says_so(settings, world, tmp_path):
    def refuse():
        raise PermissionError(13, "Permission denied", "/var/lib/appliance")

    lines = found(settings, replace(world, interfaces=refuse), tmp_path)
    words = "wrong: certificates: this user may not look at /var/lib/appliance; `sudo appliance doctor`"
    assert wrong(lines) == [words]


def test_a_step_that_fails_is_a_finding_itself(settings, world, tmp_path):
    def fail():
        raise ZeroDivisionError("a\nb")

    lines = found(settings, replace(world, unit=fail), tmp_path)
    assert wrong(lines) == ["wrong: systemd: it could not be looked at (ZeroDivisionError: a b); report this"]


def test_a_service_that_refuses_is_told_once(settings, world, tmp_path):
    def refuse():
        raise CommandError("only its owner may ask; ask as that user", Exit.UNAVAILABLE)

    lines = found(settings, replace(world, status=refuse), tmp_path)
    assert wrong(lines) == ["wrong: service: only its owner may ask; ask as that user"]
