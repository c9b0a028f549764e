import pytest
from i2c_chips import Bme280 as Chip
from i2c_chips import Clock, Wire, bosch_humidity, build, values

from sensors.driver import BadFrame, DriverUnavailable
from sensors.drivers.bme280 import Bme280

CLOCK = Clock()
WORKING = Chip  # goes through the faults that every chip must survive, in test_i2c.py
RAW = "7e ed 00 | 75 30 | 65 5a c0"  # what it sends for a reading
T_FINE = 128_422  # of the data sheet's worked example


def test_the_worked_example_of_the_data_sheet(monkeypatch):
    sensor = build(Bme280, Wire({0x76: Chip(CLOCK)}), CLOCK, monkeypatch)
    assert values(sensor) == {
        "temperature": pytest.approx(25.08, abs=0.005),
        "humidity": pytest.approx(bosch_humidity(T_FINE, 30_000), abs=0.02),
        "pressure": pytest.approx(1006.53, abs=0.005),
    }


@pytest.mark.parametrize("raw", [20_000, 25_000, 33_000, 60_000])
def test_humidity_is_what_the_data_sheet_computes(monkeypatch, raw):
    sensor = build(Bme280, Wire({0x77: Chip(CLOCK, h=raw)}), CLOCK, monkeypatch)
    assert values(sensor)["humidity"] == pytest.approx(bosch_humidity(T_FINE, raw), abs=0.02)


def test_a_chip_whose_power_dipped_measures_on(monkeypatch):
    chip = Chip(CLOCK)
    sensor = build(Bme280, Wire({0x76: chip}), CLOCK, monkeypatch)
    chip.power_on()
    assert values(sensor)["humidity"] == pytest.approx(bosch_humidity(T_FINE, 30_000), abs=0.02)


@pytest.mark.parametrize("unmeasured", [{"h": 0x8000}, {"t": 0x80000}, {"p": 0x80000}])
def test_what_was_not_measured_is_refused(monkeypatch, unmeasured):
    """It would pass for 25 °C, 47 % and 707 hPa."""
    sensor = build(Bme280, Wire({0x76: Chip(CLOCK, **unmeasured)}), CLOCK, monkeypatch)
    with pytest.raises(BadFrame, match=r"80 00.*: nothing was measured; its power dips"):
        sensor.read()


def test_a_bmp280_sold_as_a_bme280_is_told(monkeypatch):
    words = r'0x76 on /dev/i2c-1 is a BMP280, which measures no humidity .* not a BME280; set kind = "bmp280"'
    with pytest.raises(DriverUnavailable, match=words):
        build(Bme280, Wire({0x76: Chip(CLOCK, chip_id=0x58)}), CLOCK, monkeypatch)


@pytest.mark.parametrize(
    ("chip_id", "words"),
    [(0x61, "is a BME680, not a BME280; no kind of sensor reads it"), (0x12, "is no BME280: it says 0x12 of itself")],
)
def test_other_chips_are_told(monkeypatch, chip_id, words):
    with pytest.raises(DriverUnavailable, match=words):
        build(Bme280, Wire({0x77: Chip(CLOCK, chip_id=chip_id)}), CLOCK, monkeypatch)


def test_beside_a_chip_of_another_kind_the_right_one_is_found(monkeypatch):
    wire = Wire({0x76: Chip(CLOCK, chip_id=0x58), 0x77: Chip(CLOCK)})
    sensor = build(Bme280, wire, CLOCK, monkeypatch)
    assert values(sensor)["pressure"] == pytest.approx(1006.53, abs=0.005)


def test_a_calibration_of_nothing_is_refused(monkeypatch):
    chip = Chip(CLOCK)
    chip.memory[0x88:0xA0] = bytes(24)
    sensor = build(Bme280, Wire({0x76: chip}), CLOCK, monkeypatch)
    with pytest.raises(BadFrame, match="the line is stuck"):
        sensor.read()


def test_a_calibration_that_divides_by_nothing_is_refused(monkeypatch):
    chip = Chip(CLOCK)
    chip.memory[0x8E:0x90] = bytes(2)  # dig_P1
    sensor = build(Bme280, Wire({0x76: chip}), CLOCK, monkeypatch)
    with pytest.raises(BadFrame, match="no sound calibration"):
        sensor.read()
