from functools import partial

import pytest
from i2c_chips import Bme280 as Chip  # without its humidity the same
from i2c_chips import Clock, Wire, build, values

from sensors.driver import BadFrame, DriverUnavailable
from sensors.drivers.bmp280 import Bmp280

CLOCK = Clock()
WORKING = partial(Chip, chip_id=0x58)  # goes through the faults that every chip must survive, in test_i2c.py
RAW = "7e ed 00 | 65 5a c0"  # what it sends for a reading


def test_the_worked_example_of_the_data_sheet(monkeypatch):
    sensor = build(Bmp280, Wire({0x77: Chip(CLOCK, chip_id=0x58)}), CLOCK, monkeypatch)
    assert values(sensor) == {
        "temperature": pytest.approx(25.08, abs=0.005),
        "pressure": pytest.approx(1006.53, abs=0.005),
    }


def test_a_bme280_is_told(monkeypatch):
    with pytest.raises(DriverUnavailable, match='is a BME280, not a BMP280; set kind = "bme280"'):
        build(Bmp280, Wire({0x76: Chip(CLOCK, chip_id=0x60)}), CLOCK, monkeypatch)


def test_what_was_not_measured_is_refused(monkeypatch):
    sensor = build(Bmp280, Wire({0x76: Chip(CLOCK, chip_id=0x58, p=0x80000)}), CLOCK, monkeypatch)
    with pytest.raises(BadFrame, match="80 00 00: nothing was measured"):
        sensor.read()
