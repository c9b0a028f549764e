import errno
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module

import i2c_chips
import msgspec
import pytest
from i2c_chips import Clock, Wire, build, values

from appliance.config import ConfigError
from sensors.config import config_of
from sensors.driver import BadFrame, Disconnected, DriverContext, DriverUnavailable, Polled, SensorError
from sensors.registry import KINDS, driver_class

CLOCK = Clock()
TESTS = {
    kind: import_module(f"tests.sensors.drivers.test_{kind}")
    for kind in KINDS
    if hasattr(driver_class(kind), "addresses")
}
CHIPS = {kind: partial(test.WORKING, CLOCK) for kind, test in TESTS.items()}


class StrictWire(Wire):
    """Nobody talks who does not hold the bus."""

    def _chip(self, address):
        assert self.bus.lock.locked()
        return super()._chip(address)


@pytest.fixture(params=CHIPS)
def kind(request):
    return driver_class(request.param)


@pytest.fixture
def chip(kind):
    return CHIPS[kind.__name__.lower()]()


@pytest.fixture
def wire(kind, chip):
    return StrictWire({kind.addresses[0]: chip})


@pytest.fixture
def sensor(kind, wire, monkeypatch):
    return build(kind, wire, CLOCK, monkeypatch)


def test_it_measures_what_it_announces_within_its_bounds(sensor):
    assert isinstance(sensor, Polled)
    readings = values(sensor)
    assert list(readings) == [channel.measurement for channel in sensor.channels]
    for channel in sensor.channels:
        assert channel.low <= readings[channel.measurement] <= channel.high
        assert channel.unit


def test_a_measurement_has_the_same_unit_whichever_chip_tells_it():
    units = {(channel.measurement, channel.unit) for kind in CHIPS for channel in driver_class(kind).channels}
    assert len(units) == len(dict(units))


def test_what_the_chip_sent_comes_along(kind, sensor):
    sensor.read()  # the first also holds what the chip was set up with
    for reading in sensor.read():
        assert reading.raw == TESTS[kind.__name__.lower()].RAW


def test_a_chip_that_was_unplugged_comes_back(sensor, wire):
    expected = values(sensor)
    gone = dict(wire.chips)
    wire.chips.clear()
    for _ in range(2):
        with pytest.raises(Disconnected, match=rf"no {sensor.model} answers at 0x.. on /dev/i2c-1: check power"):
            sensor.read()
    for chip in gone.values():
        if hasattr(chip, "power_on"):
            chip.power_on()
    wire.chips.update(gone)
    assert values(sensor) == expected


def test_a_chip_may_be_absent_at_the_start(kind, chip, monkeypatch):
    wire = Wire({})
    sensor = build(kind, wire, CLOCK, monkeypatch)
    places = " or ".join(f"{address:#04x}" for address in kind.addresses)
    with pytest.raises(Disconnected, match=f"no {sensor.model} answers at {places} on /dev/i2c-1: check power"):
        sensor.read()
    wire.chips[kind.addresses[-1]] = chip
    assert len(values(sensor)) == len(sensor.channels)


@pytest.mark.parametrize("byte", [b"\0", b"\xff"])
def test_a_line_that_is_stuck_is_no_value(sensor, chip, byte):
    chip.says = byte
    if sensor.model == "BH1750" and byte == b"\0":
        assert values(sensor) == {"illuminance": 0.0}  # which nobody can tell from darkness
        return
    with pytest.raises(BadFrame):
        sensor.read()
    chip.says = None
    assert len(values(sensor)) == len(sensor.channels)


def test_the_checksum_of_these_chips_is_that_of_their_data_sheets():
    assert i2c_chips.crc8(b"\xbe\xef") == 0x92


@pytest.mark.parametrize("kind", [driver_class(kind) for kind in ("scd4x", "sht31", "sht4x")])
@pytest.mark.parametrize("damage", [b"\x01", b"\0\0\x80", b"\0\0\0\x10", b"\0\0\0\0\0\xff"])
def test_a_damaged_answer_is_refused_and_the_next_is_sound(sensor, chip, damage):
    expected = values(sensor)
    chip.damage = damage
    with pytest.raises(BadFrame, match=f"the answer of the {sensor.model} at 0x.. on /dev/i2c-1 is damaged"):
        sensor.read()
    chip.damage = b""
    assert values(sensor) == expected


TROUBLES = [
    (errno.ETIMEDOUT, BadFrame, "the bus hangs or is disturbed at 0x"),
    (errno.EAGAIN, BadFrame, "the bus hangs or is disturbed at 0x"),
    (errno.ENXIO, Disconnected, "check power, wiring and address"),
    (errno.EBUSY, DriverUnavailable, "is held by the kernel; take its overlay"),
    (errno.EACCES, DriverUnavailable, "add the agent's user to the group i2c"),
    (errno.EOPNOTSUPP, SensorError, "could not be read"),
]


@pytest.mark.parametrize(("number", "failure", "words"), TROUBLES)
def test_what_the_bus_says_is_told(sensor, wire, number, failure, words):
    wire.trouble = number
    with pytest.raises(failure, match=words):
        sensor.read()
    wire.trouble = None
    assert len(values(sensor)) == len(sensor.channels)


def test_a_library_that_is_missing_is_told(kind, wire, monkeypatch):
    module = kind.library.partition(":")[0]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DriverUnavailable, match=r"the library adafruit_\w+.* is missing; `.*pip install adafruit-"):
        kind.build(kind.Options(), DriverContext(name="chip", i2c=lambda _number: wire.bus))


def test_only_its_own_addresses_can_be_configured(kind, tmp_path):
    assert msgspec.convert({"bus": 3, "address": kind.addresses[-1]}, kind.Options).bus == 3
    places = " or ".join(f"{address:#04x}" for address in kind.addresses)
    table = f'[[sensor]]\nname = "chip"\nroom = "hall"\nkind = "{kind.__name__.lower()}"\n'
    for wrong in ("0x10", f'"{kind.addresses[0]:#04x}"'):
        with pytest.raises(ConfigError, match=f"will not do; give {places}, without quotation marks"):
            config_of(f"{table}address = {wrong}\n", tmp_path)


def test_after_closing_nothing_passes(sensor, wire):
    sensor.close()
    before = wire.transfers
    with pytest.raises(SensorError, match="closed"):
        sensor.read()
    assert wire.transfers == before


SHARED = [("sht31", "sht4x", 0x44), ("sht31", "sht4x", 0x45), ("sht4x", "sht31", 0x44)]


@pytest.mark.parametrize(("kind", "other", "address"), SHARED)
@pytest.mark.parametrize("keys", [{}, {"address"}])
def test_a_chip_of_another_kind_at_the_address_is_not_told_as_an_absent_one(monkeypatch, kind, other, address, keys):
    """These tell no id; the other one takes none of the commands."""
    driver = driver_class(kind)
    sensor = build(driver, Wire({address: CHIPS[other]()}), CLOCK, monkeypatch, **dict.fromkeys(keys, address))
    words = rf"the chip at {address:#x} .* does not take what a {driver.model} does; is `kind` what is printed on it\?"
    with pytest.raises(BadFrame, match=words):
        sensor.read()


def test_a_chip_of_another_kind_is_neither_taken_nor_kept_from_its_reader(monkeypatch):
    wire = Wire({0x44: CHIPS["sht31"]()})
    sensor = build(driver_class("sht4x"), wire, CLOCK, monkeypatch, name="second")
    assert values(build(driver_class("sht31"), wire, CLOCK, monkeypatch, name="first", address=0x44))
    wire.chips[0x45] = CHIPS["sht4x"]()
    assert values(sensor)["temperature"] == pytest.approx(25.0, abs=0.005)
    assert sensor.serial_number == "0f1e2d3c"


def test_the_command_that_shows_the_chips_is_for_the_bus_of_the_sensor(monkeypatch):
    wire = Wire({})
    wire.bus.name = "/dev/i2c-22"
    with pytest.raises(
        Disconnected, match=r"no BH1750 answers at 0x23 or 0x5c on /dev/i2c-22: .* \(`i2cdetect -y 22`\)"
    ):
        build(driver_class("bh1750"), wire, CLOCK, monkeypatch).read()


BME280 = driver_class("bme280")


def test_two_of_a_kind_need_their_addresses(monkeypatch):
    wire = Wire({0x76: i2c_chips.Bme280(CLOCK), 0x77: i2c_chips.Bme280(CLOCK, t=500_000)})
    with pytest.raises(DriverUnavailable, match="a BME280 at 0x76 and 0x77 of /dev/i2c-1; name one with `address`"):
        build(BME280, wire, CLOCK, monkeypatch)
    warm = build(BME280, wire, CLOCK, monkeypatch, name="in", address=0x76)
    cool = build(BME280, wire, CLOCK, monkeypatch, name="out")  # the one that is left
    assert values(warm)["temperature"] == pytest.approx(25.08, abs=0.005)
    assert values(cool)["temperature"] < 20
    with pytest.raises(DriverUnavailable, match="other sensors read all that a BME280 could be"):
        build(BME280, wire, CLOCK, monkeypatch, name="third").read()
    with pytest.raises(DriverUnavailable, match=r'the chip at 0x77 .* is read by sensor "out"'):
        build(BME280, wire, CLOCK, monkeypatch, name="fourth", address=0x77).read()
    cool.close()
    assert values(build(BME280, wire, CLOCK, monkeypatch, name="fourth", address=0x77))["temperature"] < 20


def test_a_damaged_answer_is_shown_as_it_came(monkeypatch):
    chip = i2c_chips.Sht4x(CLOCK)
    sensor = build(driver_class("sht4x"), Wire({0x44: chip}), CLOCK, monkeypatch)
    (sound, *_) = sensor.read()
    chip.damage = b"\x01"
    with pytest.raises(BadFrame) as told:
        sensor.read()
    first, _, rest = sound.raw.partition(" ")
    assert told.value.raw == f"{int(first, 16) ^ 1:02x} {rest}"


def test_what_one_sensor_reads_another_does_not_probe(monkeypatch):
    """Making Adafruit's object resets the chip, which would lose what its reader set."""
    wire = Wire({0x44: i2c_chips.Sht31(CLOCK), 0x45: i2c_chips.Sht4x(CLOCK)})
    build(driver_class("sht31"), wire, CLOCK, monkeypatch, name="first", address=0x44)
    monkeypatch.setattr(wire.chips[0x44], "write", None)  # to be called would be an error
    second = build(driver_class("sht4x"), wire, CLOCK, monkeypatch, name="second")
    assert values(second)["temperature"] == pytest.approx(25.0, abs=0.005)


def test_all_chips_of_one_bus_are_read_at_once(monkeypatch):
    """Each in a thread of its own, as the agent does it."""
    wire = StrictWire({})
    sensors = []
    for kind, chip in CHIPS.items():
        if free := [address for address in driver_class(kind).addresses if address not in wire.chips]:
            wire.chips[free[-1]] = chip()
            sensors.append(build(driver_class(kind), wire, CLOCK, monkeypatch, name=kind, address=free[-1]))
    assert len(sensors) > 5
    expected = [values(sensor) for sensor in sensors]
    with ThreadPoolExecutor(len(sensors)) as threads:
        for _ in range(20):
            for told, wanted in zip(threads.map(values, sensors), expected, strict=True):
                assert told == pytest.approx(wanted)
