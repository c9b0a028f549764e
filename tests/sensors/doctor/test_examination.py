import errno
import os

import pytest
from gpio_kernel import FakeChip
from i2c_chips import Bme280, Clock, Wire
from processes import free_port

from sensors.config import load_config
from sensors.doctor.examination import Examination, World
from sensors.doctor.premises import RELEASED_S
from sensors.driver import DriverUnavailable
from sensors.drivers.host import THROTTLED
from sensors.hw.gpiochips import KernelChips, Program
from sensors.hw.permissions import nodes
from sensors.hw.sysfs import SysfsTree

GPIO = """
[[sensor]]
name = "pir"
kind = "gpio_input"
room = "hall"
pin = 27
input = "motion"
[[sensor]]
name = "door"
kind = "gpio_input"
room = "hall"
pin = 17
input = "door"
[[sensor]]
name = "pump"
kind = "gpio_output"
room = "cellar"
pin = 22
output = "relay"
"""
DHT = """
[[sensor]]
name = "damp"
kind = "dht"
room = "cellar"
pin = 4
model = "DHT22"
"""
AIR = """
[[sensor]]
name = "air"
kind = "bme280"
room = "hall"
"""
BOILER = """
[[sensor]]
name = "boiler"
kind = "ds18b20"
room = "cellar"
"""
LABEL = 'label = "boiler"\n'


class Pi:
    """A tree that looks like a Pi 5, a chip, a bus and pins: what the doctor may look at."""

    def __init__(self, root):
        self.root = root
        self.write("proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")
        self.write("boot/firmware/config.txt", "dtparam=i2c_arm=on\ndtoverlay=w1-gpio\n")
        self.write(THROTTLED, "0\n")
        self.write("dev/gpiochip0")
        self.write("dev/i2c-1")
        self.chip = FakeChip()
        self.wire = Wire({})
        self.agent = None
        self.slept = []

    def write(self, path, text=""):
        whole = self.root / path
        whole.parent.mkdir(parents=True, exist_ok=True)
        whole.write_text(text)

    def holder(self, _path):
        if isinstance(self.agent, Exception):
            raise self.agent
        return self.agent

    def look(self, toml, **world):
        """The findings about hardware: the broker is away in all of these."""
        config = self.root / "sensors.toml"
        config.write_text(f'data_dir = "{self.root / "data"}"\n[broker]\nport = {free_port()}\n{toml}')
        seen = World(
            **{
                "root": self.root,
                "sysfs": SysfsTree(self.root),
                "chips": KernelChips(self.root, self.chip.ioctl),
                "i2c": lambda _number: self.wire.bus,
                "nodes": lambda: nodes(self.root),
                "programs": lambda: (Program(812, "octorelay"),),
                "library": lambda: "there",
                "has_library": lambda _name: True,
                "holder": self.holder,
                "now": lambda: RELEASED_S + 1,
                "clock_quality": lambda: "synced",
                "sleep": self.slept.append,
                **world,
            }
        )
        findings = list(Examination(load_config(config), seen).findings())
        assert [finding.level for finding in findings if finding.about == "broker"] == ["wrong"]
        return [finding for finding in findings if finding.about != "broker"]


@pytest.fixture
def pi(tmp_path):
    computer = Pi(tmp_path)
    yield computer
    computer.chip.close()


def said(findings):
    return {finding.about: (finding.level, finding.what) for finding in findings}


def test_pins_that_nothing_drives_are_told_by_kind_and_an_output_is_left_alone(pi):
    found = said(pi.look(GPIO))
    assert found == {
        "GPIO27 (pir)": ("wrong", "it floats: nothing drives it"),
        "GPIO17 (door)": ("note", "it floats: the contact is open, or nothing is connected"),
    }
    assert pi.chip.taken == [27, 27, 17, 17]


@pytest.mark.parametrize("level", [False, True])
def test_driven_pins_have_no_findings(pi, level):
    pi.chip.driven = {27: level, 17: level}
    assert pi.look(GPIO) == []


def test_claimed_lines_say_by_whom_and_are_not_drawn(pi):
    pi.chip.held = {27: "lg", 17: "onewire@0", 22: "lg"}
    found = said(pi.look(GPIO))
    assert found["GPIO27 (pir)"] == ("wrong", 'it is claimed by "lg", it may be octorelay (process 812)')
    assert found["GPIO17 (door)"] == ("wrong", 'it is claimed by the kernel, as "onewire@0"')
    assert found["GPIO22 (pump)"][0] == "wrong"
    assert pi.chip.taken == []


@pytest.mark.parametrize("agent", [4711, PermissionError(13, "Permission denied")])
def test_nothing_of_a_running_agent_is_touched(pi, agent):
    pi.agent = agent
    pi.chip.held = {27: "lg", 17: "lg"}
    findings = pi.look(GPIO + AIR + DHT)
    assert (pi.wire.transfers, pi.chip.taken) == (0, [])
    about_bus = next(finding for finding in findings if finding.about == "/dev/i2c-1")
    assert (about_bus.level, "not scanned" in about_bus.what) == ("note", True)
    if agent == 4711:
        assert said(findings)["GPIO27 (pir)"][0] == "note"


def test_a_dht_is_asked_three_times_when_it_does_not_answer(pi):
    pi.chip.driven = {4: True}
    (found,) = pi.look(DHT, chips=Quiet(pi))
    assert (found.level, found.about) == ("wrong", "GPIO4 (damp)")
    assert "no power, or the wrong pin" in found.what
    assert pi.slept == [2.1, 2.1]


KERNEL_DHT = "sys/bus/iio/devices/iio:device0"


class Failing(SysfsTree):
    """Files of a device that the kernel cannot read."""

    def __init__(self, root, number):
        super().__init__(root)
        self.number = number

    def read_bytes(self, path):
        if path.endswith("in_temp_input"):
            raise OSError(self.number, os.strerror(self.number))
        return super().read_bytes(path)


def test_a_dht_of_the_kernel_is_asked_through_its_driver(pi):
    pi.chip.held = {4: "dht11@4"}
    pi.write(f"{KERNEL_DHT}/name", "dht11@4\n")
    pi.write(f"{KERNEL_DHT}/in_temp_input", "21000\n")
    pi.write(f"{KERNEL_DHT}/in_humidityrelative_input", "48000\n")
    (found,) = pi.look(DHT)
    assert (found.level, found.what) == ("note", 'the kernel\'s driver reads the sensor, as "dht11@4"')
    (found, _) = pi.look(DHT, sysfs=Failing(pi.root, errno.ETIMEDOUT))
    assert (found.level, found.about) == ("wrong", "GPIO4 (damp)")
    assert "no whole answer on GPIO4: check power, wiring, pin number and pull-up" in found.what
    assert len(pi.slept) == 2
    (found, _) = pi.look(DHT, sysfs=Failing(pi.root, errno.EIO))
    assert "wrong checksum or timing" in found.what
    assert "kΩ" in found.cure
    pi.agent = 4711
    found = pi.look(DHT, sysfs=Failing(pi.root, errno.EIO))
    assert {finding.level for finding in found} == {"note"}  # the agent tells it


def test_an_overlay_that_a_dht_of_the_kernel_misses_is_told(pi):
    pi.chip.held = {4: "kept from being asked"}
    found = pi.look(DHT.replace('"DHT22"', '"DHT22"\npulses = "kernel"'))[0]
    assert (found.level, found.about) == ("wrong", "GPIO4 (damp)")
    assert found.what == "the kernel reads no DHT sensor there: its overlay is missing in config.txt"
    assert found.cure.startswith("add the line dtoverlay=dht11,gpiopin=4 to /boot/firmware/config.txt and restart; or")
    for line in ("dtoverlay=dht11", "dtoverlay=dht11,gpiopin=4"):
        pi.write("boot/firmware/config.txt", f"{line}\n")
        found = pi.look(DHT.replace('"DHT22"', '"DHT22"\npulses = "kernel"'))[0]
        assert "though config.txt has its overlay" in found.what
    assert [finding.level for finding in pi.look(DHT)] == ["wrong"]  # of the claimed line, and nothing of the overlay


def test_several_dhts_of_the_kernel_that_cannot_be_told_apart_are_told(pi):
    pi.chip.held = {4: "dht11@0"}
    for number in (0, 1):
        pi.write(f"sys/bus/iio/devices/iio:device{number}/name", "dht11@0\n")
    found = pi.look(DHT)[0]
    assert (found.level, "does not tell which is on GPIO4" in found.what) == ("wrong", True)


def test_a_dht_that_cannot_be_asked_is_told(pi):
    class Taken(Quiet):
        def edges(self, *_, **__):
            raise OSError(16, "Device or resource busy")

    pi.chip.driven = {4: True}
    (found,) = pi.look(DHT, chips=Taken(pi))
    assert found.what == "the sensor could not be asked (Device or resource busy)"


def test_a_pin_that_was_taken_meanwhile_is_told(pi):
    class Taken(Quiet):
        def drawn(self, *_, **__):
            raise OSError(16, "Device or resource busy")

    found = said(pi.look(GPIO, chips=Taken(pi)))
    assert found["GPIO27 (pir)"] == ("wrong", "it could not be looked at (Device or resource busy)")


class Quiet:
    """Chips of which nobody waits for the edges."""

    def __init__(self, pi):
        self.real = KernelChips(pi.root, pi.chip.ioctl)

    def label(self, path):
        return self.real.label(path)

    def line(self, path, offset):
        return self.real.line(path, offset)

    def drawn(self, path, offset, *, up, settle_s):
        return self.real.drawn(path, offset, up=up, settle_s=settle_s)

    def edges(self, path, offset, *, low_s, listen_s):
        assert low_s >= 0.018
        assert listen_s > 0.005
        return self.real.edges(path, offset, low_s=0, listen_s=0)


def test_a_dht_without_anything_connected_is_told_without_asking(pi):
    (found,) = pi.look(DHT)
    assert found.what == "it floats: neither a sensor nor its pull-up is connected"
    assert pi.chip.taken == [4, 4]


def test_a_chip_that_was_sold_as_another_is_told(pi):
    pi.wire.chips[0x76] = Bme280(Clock(), chip_id=0x58)
    (found,) = pi.look(AIR)
    assert found.what.startswith("the chip at 0x76 is a BMP280")
    assert found.cure == 'set kind = "bmp280"'


def test_a_bus_that_cannot_be_opened_is_told(pi):
    def refuse(_number):
        raise DriverUnavailable("the library adafruit_extended_bus is missing; pip install it")

    (found,) = pi.look(AIR, i2c=refuse)
    assert (found.what, found.cure) == ("the library adafruit_extended_bus is missing", "pip install it")


def test_libraries_that_are_not_installed_are_told_with_who_needs_them(pi):
    found = [
        finding for finding in pi.look(GPIO + DHT + AIR + BOILER + LABEL, has_library=lambda _: False) if finding.cure
    ]
    assert [
        (each.about, each.what) for each in found if " install " in each.cure and each.what.startswith("the library")
    ] == [
        ("gpiozero", "the library gpiozero, which pir, door, pump needs, is not installed"),
        ("adafruit_dht", "the library adafruit_dht, which damp needs, is not installed"),
        ("adafruit_bme280", "the library adafruit_bme280, which air needs, is not installed"),
    ]
    pi.write(f"{KERNEL_DHT}/name", "dht11@4\n")
    assert "adafruit_dht" not in said(pi.look(DHT, has_library=lambda _: False))


def test_the_tree_tells_of_the_one_wire_bus_the_overlay_and_the_supply(pi):
    pi.write("boot/firmware/config.txt", "#dtoverlay=w1-gpio\n")
    pi.write(THROTTLED, "50005\n")
    found = said(pi.look(BOILER))
    assert "overlay is missing in config.txt" in found["1-Wire"][1]
    assert "below 4.63 V now" in found["power"][1]
    for name in ("w1_bus_master1", "00-800000000000"):
        (pi.root / "sys/bus/w1/devices" / name).mkdir(parents=True)
    assert "noise that looks like a device" in said(pi.look(BOILER))["1-Wire"][1]


def test_a_step_that_fails_is_told_and_does_not_hide_the_others(pi):
    class Broken(Quiet):
        def drawn(self, *_, **__):
            raise ValueError("what nobody thought of")

    found = said(pi.look(GPIO + BOILER, chips=Broken(pi)))
    assert found["GPIO"] == ("wrong", "it could not be looked at (ValueError: what nobody thought of)")
    assert "1-Wire" in found


def test_an_outbox_that_cannot_be_written_is_told(pi, monkeypatch):
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "dev" in str(path) and real(path, mode))
    assert said(pi.look(""))["outbox"][0] == "wrong"


def test_a_file_where_the_outbox_wants_its_directory_is_told(pi):
    data = pi.root / "data"
    data.touch()
    assert said(pi.look("")) == {"outbox": ("wrong", f"{data} is in its way")}
    data.unlink()
    assert pi.look("") == []
    data.mkdir()
    assert pi.look("") == []
    outbox = load_config(pi.root / "sensors.toml").outbox_path
    outbox.mkdir()
    assert said(pi.look("")) == {"outbox": ("wrong", f"{outbox} is in its way")}


def test_a_line_that_the_chip_does_not_have_is_left_out(pi):
    class Short(Quiet):
        def line(self, _path, _offset):
            raise OSError(22, "Invalid argument")

    assert pi.look(GPIO, chips=Short(pi)) == []
    assert pi.chip.taken == []
