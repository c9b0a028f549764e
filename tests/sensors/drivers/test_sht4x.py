import pytest
from i2c_chips import Clock, Wire, build, crc8, values
from i2c_chips import Sht4x as Chip

from sensors.driver import BadFrame
from sensors.drivers.sht4x import Sht4x

CLOCK = Clock()


def test_the_checksum_is_that_of_the_data_sheet():
    assert crc8(b"\xbe\xef") == 0x92


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


@pytest.mark.parametrize("damage", [b"\x01", b"\0\0\x80", b"\0\0\0\x10", b"\0\0\0\0\0\xff"])
def test_a_damaged_answer_is_refused_and_the_next_is_sound(monkeypatch, damage):
    chip = Chip(CLOCK)
    sensor = build(Sht4x, Wire({0x44: chip}), CLOCK, monkeypatch)
    chip.damage = damage
    with pytest.raises(BadFrame, match="the answer of the SHT4x at 0x44 on /dev/i2c-1 is damaged"):
        sensor.read()
    chip.damage = b""
    assert values(sensor)["temperature"] == pytest.approx(25.0, abs=0.005)
