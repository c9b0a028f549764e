"""`appliance forget` at a running service; what becomes of a real agent's topics is in tests/test_ghosts.py."""

import pytest
from processes import appliance, free_port, running

from appliance.exits import Exit


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """Home and port of a service that knows four devices, one of them online."""
    home, port = tmp_path_factory.mktemp("home"), free_port()
    with running(home, "run", "--data", home / "d", "--mqtt-port", port, "--http-port", "0") as service:
        service.line()
        for device in ("pi-hall", "pi-bath", "shed"):
            publish(home, port, f"home/devices/{device}/availability", "offline")
        publish(home, port, "home/devices/pi-hall/about", "{}")
        publish(home, port, "home/devices/attic/availability", "online")
        yield home, port


def publish(home, port, topic, text):
    assert appliance(home, "pub", "-p", port, "-t", topic, "-m", text, "-r", "-q", "1").returncode == 0


def forget(service, *arguments):
    home, _ = service
    return appliance(home, "forget", "--data", home / "d", *arguments)


def test_devices_leave_the_status(service):
    done = forget(service, "pi-hall", "attic", "shed", "pi-bad")
    assert done.stdout == (
        "pi-hall is forgotten: 2 topics cleared; its history stays\n"
        "shed is forgotten: 1 topic cleared; its history stays\n"
    )
    assert done.stderr == (
        "appliance: attic is online; stop its agent first (`systemctl stop sensors` there), then forget it\n"
        "appliance: no device of home is called 'pi-bad'; did you mean pi-bath?\n"
    )
    assert done.returncode == Exit.UNAVAILABLE
    home, _ = service
    status = appliance(home, "status", "--data", home / "d").stdout
    assert "agents    attic online, pi-bath offline\n" in status


def test_an_unknown_one_is_1(service):
    assert forget(service, "nobody").returncode == Exit.NOTHING
    assert forget(service, "attic", "--site", "away").returncode == Exit.NOTHING


def test_without_a_service(tmp_path):
    done = appliance(tmp_path, "forget", "pi", "--data", tmp_path / "none")
    assert done.returncode == Exit.UNAVAILABLE
    assert done.stderr.startswith("appliance: no appliance answers at ")
    assert "start it with `appliance run`" in done.stderr
