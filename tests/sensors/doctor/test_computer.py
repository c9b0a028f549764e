import pytest

from sensors.doctor.boot import BootConfig
from sensors.doctor.computer import Computer, computer_findings
from sensors.doctor.wants import Want
from sensors.hw.permissions import Node

ON_PIN = Want(sensor="door", kind="gpio_input", pin=17)
ON_BUS = Want(sensor="air", kind="bme280", bus=1, addresses=(0x76, 0x77), model="BME280")
CHIP = Node("/dev/gpiochip0", "gpio", may_open=True)
BUS = Node("/dev/i2c-1", "i2c", may_open=True)
PI = {
    "model": "Raspberry Pi 4 Model B Rev 1.4",
    "user": "pi",
    "nodes": (CHIP, BUS),
    "labels": (("/dev/gpiochip0", "pinctrl-bcm2711"),),
    "boot": BootConfig("/boot/firmware/config.txt", ("dtparam=i2c_arm=on",)),
    "lgpio": "there",
    "throttled": 0,
    "under_voltage": False,
}


def look(*wants, **differs):
    return computer_findings(Computer(**{**PI, **differs}), wants)


def test_a_pi_in_order_has_no_findings():
    assert look(ON_PIN, ON_BUS) == []


@pytest.mark.parametrize(
    ("model", "chips", "header"),
    [
        ("Raspberry Pi 5 Model B Rev 1.0", {"/dev/gpiochip0": "pinctrl-rp1"}, "/dev/gpiochip0"),
        (
            "Raspberry Pi 5 Model B Rev 1.0",
            {"/dev/gpiochip0": "gpio-brcmstb@107d508500", "/dev/gpiochip4": "pinctrl-rp1"},
            "/dev/gpiochip4",
        ),
        (
            "Raspberry Pi 5 Model B Rev 1.0",
            {"/dev/gpiochip0": "pinctrl-rp1", "/dev/gpiochip4": "pinctrl-rp1"},  # the second for older programs
            "/dev/gpiochip0",
        ),
        (
            "Raspberry Pi 3 Model B Plus",
            {"/dev/gpiochip0": "pinctrl-bcm2835", "/dev/gpiochip1": "raspberrypi-exp-gpio"},
            "/dev/gpiochip0",
        ),
    ],
)
def test_the_header_is_found_by_its_label_on_every_pi(model, chips, header):
    nodes = tuple(Node(path, "gpio", may_open=True) for path in chips)
    computer = Computer(**{**PI, "model": model, "labels": tuple(chips.items()), "nodes": nodes})
    assert computer.header == header
    assert computer_findings(computer, [ON_PIN]) == []


def test_a_chip_of_another_name_is_told_with_what_is_there():
    (found,) = look(ON_PIN, labels=(("/dev/gpiochip0", "pinctrl-rp9"),))
    assert found.level == "wrong"
    assert "pinctrl-rp1" in found.what
    assert "/dev/gpiochip0 is pinctrl-rp9" in found.what


def test_a_pi_without_chips_needs_another_kernel():
    (found,) = look(ON_PIN, nodes=(), labels=())
    assert (found.level, found.what) == ("wrong", "there is no /dev/gpiochip*")


def test_off_a_pi_it_says_what_cannot_be_looked_at():
    found = look(ON_PIN, ON_BUS, model="", nodes=(), labels=(), throttled=None, under_voltage=None)
    assert {finding.level for finding in found} == {"note"}
    assert "this computer is no Raspberry Pi" in found[0].what
    assert {finding.about for finding in found} == {"computer", "GPIO", "/dev/i2c-1"}


def test_in_a_container_it_says_what_was_not_handed_in():
    found = look(ON_PIN, ON_BUS, is_container=True, model="", nodes=(), labels=(), throttled=None, under_voltage=None)
    assert [(finding.level, finding.about, finding.cure) for finding in found] == [
        ("note", "computer", "start the container with `--device /dev/gpiochip0`"),
        ("wrong", "GPIO", "start the container with `--device /dev/gpiochip0`"),
        ("wrong", "/dev/i2c-1", "start the container with `--device /dev/i2c-1`"),
    ]
    assert "no Raspberry Pi" not in found[0].what
    (found,) = look(ON_BUS, is_container=True, nodes=(Node("/dev/i2c-1", "986", may_open=False),))
    assert found.cure == "start the container with `--group-add 986`"
    assert look(ON_PIN, ON_BUS, is_container=True) == []


@pytest.mark.parametrize(("lgpio", "words"), [("missing", "not installed"), ("stub", "empty shell (0.0.0.2)")])
def test_a_library_that_is_none_is_told(lgpio, words):
    (found,) = look(ON_PIN, lgpio=lgpio)
    assert (found.level, found.about) == ("wrong", "lgpio")
    assert words in found.what
    assert "install" in found.cure
    assert look(ON_BUS, lgpio=lgpio) == []  # who has no pins needs none


def test_a_missing_line_of_config_txt_is_told():
    (found,) = look(ON_BUS, nodes=(CHIP,), boot=BootConfig("/boot/config.txt", ("dtparam=spi=on",)))
    assert "I²C is switched off" in found.what
    assert found.cure == "add the line dtparam=i2c_arm=on to /boot/config.txt and restart"


@pytest.mark.parametrize("line", ["dtparam=i2c_arm=on", "dtparam=audio=on,i2c_arm=on", "dtparam=i2c1"])
def test_a_bus_that_is_on_and_not_there_lacks_its_module(line):
    (found,) = look(ON_BUS, nodes=(CHIP,), boot=BootConfig(lines=(line,)))
    assert "modprobe i2c-dev" in found.cure


def test_a_bus_of_another_number_is_told():
    (found,) = look(ON_BUS, nodes=(CHIP, Node("/dev/i2c-20", "i2c", may_open=True)))
    assert "but /dev/i2c-20" in found.what
    assert "set `bus`" in found.cure


def test_a_bus_beside_that_of_the_header_is_not_switched_on_by_its_line():
    (found,) = look(Want(sensor="air", kind="bme280", bus=3), boot=BootConfig(lines=("dtparam=spi=on",)))
    assert found.what == "there is no such bus, but /dev/i2c-1"


@pytest.mark.parametrize(
    ("group", "is_member", "cure"),
    [
        ("gpio", False, "`sudo usermod -aG gpio pi`, then log in again"),
        ("gpio", True, "log out and in again"),
        ("root", False, "install raspberrypi-sys-mods"),
    ],
)
def test_a_device_that_may_not_be_opened_names_the_group(group, is_member, cure):
    node = Node("/dev/gpiochip0", group, may_open=False, is_member=is_member)
    (found,) = look(ON_PIN, nodes=(node, BUS), labels=())
    assert found.what == f"pi may not open it; it belongs to the group {group}"
    assert found.cure.startswith(cure)


def test_a_bus_that_may_not_be_opened_names_its_group_only_where_it_is_needed():
    nodes = (CHIP, Node("/dev/i2c-1", "i2c", may_open=False))
    (found,) = look(ON_BUS, nodes=nodes)
    assert found.cure.startswith("`sudo usermod -aG i2c pi`")
    assert look(ON_PIN, nodes=nodes) == []


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"throttled": 0x5_0001}, "is below 4.63 V now"),
        ({"throttled": 0x1_0000, "under_voltage": True}, "was below 4.63 V"),
        ({"throttled": None, "under_voltage": True}, "is below 4.63 V now"),
    ],
)
def test_under_voltage_is_told(facts, words):
    (found,) = look(**facts)
    assert found.level == "wrong"
    assert words in found.what


def test_a_firmware_that_tells_nothing_is_a_note():
    (found,) = look(throttled=None, under_voltage=None)
    assert (found.level, found.about) == ("note", "power")
