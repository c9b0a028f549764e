import math

import pytest
from i2c_chips import Aht20 as Chip
from i2c_chips import Clock, Wire, build, values

from sensors.driver import BadFrame, TimedOut
from sensors.drivers.aht20 import Aht20

CLOCK = Clock()
WORKING = Chip  # goes through the faults that every chip must survive, in test_i2c.py
RAW = "18 80 00 06 00 00"  # what it sends for a reading


@pytest.mark.parametrize("old_command", [True, False])
@pytest.mark.parametrize(
    ("t", "h", "temperature", "humidity"),
    [(0x60000, 0x80000, 25.0, 50.0), (0x40000, 0xFFFFF, 0.0, 100.0), (0x1999A, 0x20000, -30.0, 12.5)],
)
def test_temperature_and_humidity_are_what_the_data_sheet_says(monkeypatch, old_command, t, h, temperature, humidity):
    sensor = build(Aht20, Wire({0x38: Chip(CLOCK, t=t, h=h, old_command=old_command)}), CLOCK, monkeypatch)
    assert values(sensor) == {
        "temperature": pytest.approx(temperature, abs=0.005),
        "humidity": pytest.approx(humidity, abs=0.005),
    }


def test_a_chip_that_stays_busy_is_given_up(monkeypatch):
    """Adafruit's driver would wait for ever."""
    chip = Chip(CLOCK)
    sensor = build(Aht20, Wire({0x38: chip}), CLOCK, monkeypatch)
    chip.busy_until = math.inf
    begin = CLOCK.now
    with pytest.raises(TimedOut, match="stays busy and was given up"):
        sensor.read()
    assert CLOCK.now - begin < sensor.timeout_s
    chip.busy_until = 0.0
    assert values(sensor)["humidity"] == pytest.approx(50.0)


def test_a_chip_that_does_not_calibrate_is_told(monkeypatch):
    chip = Chip(CLOCK)
    chip.calibrates = False
    sensor = build(Aht20, Wire({0x38: chip}), CLOCK, monkeypatch)
    with pytest.raises(BadFrame, match=r"does not get ready \(Could not calibrate\); power it off and on"):
        sensor.read()


def test_a_chip_that_lost_its_power_between_two_reads_is_set_up_again(monkeypatch):
    """Without its calibration it measures on, and wrongly."""
    chip = Chip(CLOCK)
    sensor = build(Aht20, Wire({0x38: chip}), CLOCK, monkeypatch)
    chip.power_on()
    with pytest.raises(BadFrame, match="it has lost its calibration; its power dips"):
        sensor.read()
    assert values(sensor)["humidity"] == pytest.approx(50.0)
    assert chip.calibrated
