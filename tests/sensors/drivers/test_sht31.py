import pytest
from i2c_chips import Clock, Wire, build, values
from i2c_chips import Sht31 as Chip

from sensors.drivers.sht31 import Sht31

CLOCK = Clock()
WORKING = Chip  # goes through the faults that every chip must survive, in test_i2c.py
RAW = "66 66 93 80 00 a2"  # what it sends for a reading


@pytest.mark.parametrize(
    ("t", "h", "temperature", "humidity"),
    [(0x6666, 0x8000, 25.0, 50.0), (0x41D4, 0xFFFF, 0.0, 100.0), (0, 0, -45.0, 0.0)],
)
def test_temperature_and_humidity_are_what_the_data_sheet_says(monkeypatch, t, h, temperature, humidity):
    sensor = build(Sht31, Wire({0x44: Chip(CLOCK, t=t, h=h)}), CLOCK, monkeypatch)
    assert values(sensor) == {
        "temperature": pytest.approx(temperature, abs=0.005),
        "humidity": pytest.approx(humidity, abs=0.005),
    }


def test_it_tells_its_serial_number(monkeypatch):
    assert build(Sht31, Wire({0x45: Chip(CLOCK)}), CLOCK, monkeypatch).serial_number == "0badcafe"


class Imitation(Chip):
    """Takes the command for the serial number and has none."""

    def write(self, sent):
        if sent == b"\x37\x80":
            self.answer = b"\xff" * 6
        else:
            super().write(sent)


@pytest.mark.parametrize("chip", [Chip(CLOCK, serial=None), Imitation(CLOCK)])
def test_an_imitation_without_a_serial_number_measures_too(monkeypatch, chip):
    sensor = build(Sht31, Wire({0x44: chip}), CLOCK, monkeypatch)
    assert sensor.serial_number is None
    assert values(sensor)["temperature"] == pytest.approx(25.0, abs=0.005)
