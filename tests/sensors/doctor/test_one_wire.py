import pytest

from sensors.doctor.boot import BootConfig
from sensors.doctor.computer import Computer
from sensors.doctor.one_wire import OneWire, one_wire_findings
from sensors.doctor.wants import Want

BOOT = BootConfig("/boot/config.txt", ("dtoverlay=w1-gpio",))
PI = Computer(model="Raspberry Pi Zero W Rev 1.1", boot=BOOT)
ANY = Want(sensor="boiler", kind="ds18b20", one_wire="")
ONE, OTHER = "28-000803702e49", "28-0000075a1b2c"


def look(devices=(), wants=(ANY,), masters=("w1_bus_master1",), computer=PI):
    return one_wire_findings(OneWire(tuple(masters), tuple(devices)), computer, wants)


def test_a_bus_in_order_has_no_findings():
    assert look([ONE]) == []


def test_nobody_asks_for_a_bus_that_no_sensor_needs():
    assert look(masters=(), wants=()) == []


def test_an_overlay_that_is_missing_is_told():
    (found,) = look(masters=(), computer=Computer(model=PI.model, boot=BootConfig(BOOT.path)))
    assert "its overlay is missing in config.txt" in found.what
    assert found.cure.startswith("add the line dtoverlay=w1-gpio to /boot/config.txt and restart")


def test_an_overlay_in_the_section_of_another_pi_is_told():
    boot = BootConfig("/boot/firmware/config.txt", elsewhere=BOOT.lines, section="cm4")
    (found,) = look(masters=(), computer=Computer(model=PI.model, boot=boot))
    assert "its overlay stands in a section of config.txt that this Pi skips" in found.what
    assert found.cure.startswith("add the lines [all] and dtoverlay=w1-gpio to the end of /boot/firmware/config.txt")


def test_an_overlay_that_did_nothing_is_told():
    (found,) = look(masters=())
    assert "though config.txt has its overlay" in found.what
    assert "restart" in found.cure


def test_off_a_pi_a_missing_bus_is_a_note():
    (found,) = look(masters=(), computer=Computer())
    assert found.level == "note"


def test_in_a_container_a_missing_bus_is_wrong_as_the_other_buses_are():
    (found,) = look(masters=(), computer=Computer(is_container=True))
    assert found.level == "wrong"
    assert "dtoverlay=w1-gpio" in found.cure


@pytest.mark.parametrize("devices", [["00-800000000000"], ["00-800000000000", "00-400000000000", ONE]])
def test_phantoms_are_a_missing_pull_up(devices):
    (found,) = look(devices)
    assert found.level == "wrong"
    assert "00-800000000000" in found.what
    assert "noise that looks like a device" in found.what
    assert "4.7 kΩ" in found.cure


def test_an_empty_bus_is_told():
    (found,) = look([])
    assert found.what == "no temperature sensor is on the bus"


def test_a_device_that_is_away_is_told_with_those_that_are_there():
    (missing, spare) = look([ONE], [Want(sensor="boiler", kind="ds18b20", one_wire=OTHER)])
    assert (missing.level, missing.about) == ("wrong", "sensor boiler")
    assert missing.what == f"{OTHER} is not on the 1-Wire bus"
    assert missing.cure.endswith(ONE)
    assert (spare.level, spare.what) == ("note", f"no sensor of the configuration reads {ONE}")


def test_several_devices_want_a_name():
    (found,) = look([ONE, OTHER])
    assert found.cure == f"name one with `id`: {ONE}, {OTHER}"
    (found,) = look([ONE, OTHER], [ANY, Want(sensor="attic", kind="ds18b20", one_wire=ONE)])
    assert found.about == "sensor boiler"  # which may mean the other
