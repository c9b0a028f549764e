import pytest
from i2c_chips import Clock, Wire, build, values
from i2c_chips import Sht4x as Chip

from sensors.drivers.sht4x import Sht4x

CLOCK = Clock()
WORKING = Chip  # goes through the faults that every chip must survive, in test_i2c.py
RAW = "66 66 93 80 00 a2"  # what it sends for a reading


@pytest.mark.parametrize(
    ("t", "h", "temperature", "humidity"),
    [(0x6666, 0x8000, 25.0, 56.5), (0x41D4, 0xFFFF, 0.0, 100.0), (0, 0x0800, -45.0, 0.0)],
)
def test_temperature_and_humidity_are_what_the_data_sheet_says(monkeypatch, t, h, temperature, humidity):
    sensor = build(Sht4x, Wire({0x44: Chip(CLOCK, t=t, h=h)}), CLOCK, monkeypatch)
    assert values(sensor) == {
        "temperature": pytest.approx(temperature, abs=0.005),
        "humidity": pytest.approx(humidity, abs=0.005),
    }


def test_it_tells_its_serial_number(monkeypatch):
    assert build(Sht4x, Wire({0x45: Chip(CLOCK)}), CLOCK, monkeypatch).serial_number == "0f1e2d3c"
