import pytest
from i2c_chips import Bh1750 as Chip
from i2c_chips import Clock, Wire, build, values

from sensors.driver import BadFrame
from sensors.drivers.bh1750 import Bh1750

CLOCK = Clock()
WORKING = Chip  # goes through the faults that every chip must survive, in test_i2c.py
RAW = "03 e8"  # what it sends for a reading


@pytest.mark.parametrize(("raw", "lux"), [(1000, 416.7), (1, 0.4), (0xFFFE, 27305.8), (0x1FFFC, 54611.7)])
def test_light_is_what_the_data_sheet_says(monkeypatch, raw, lux):
    sensor = build(Bh1750, Wire({0x23: Chip(CLOCK, raw=raw)}), CLOCK, monkeypatch)
    assert values(sensor) == {"illuminance": pytest.approx(lux, abs=0.05)}


def test_darkness_is_a_true_zero(monkeypatch):
    sensor = build(Bh1750, Wire({0x5C: Chip(CLOCK, raw=0)}), CLOCK, monkeypatch)
    assert values(sensor) == {"illuminance": 0.0}


def test_a_chip_that_lost_its_power_between_two_reads_is_not_taken_for_darkness(monkeypatch):
    chip = Chip(CLOCK, raw=1000)
    sensor = build(Bh1750, Wire({0x23: chip}), CLOCK, monkeypatch)
    chip.power_on()
    assert chip.read(2) == b"\0\0"
    assert values(sensor) == {"illuminance": pytest.approx(416.7, abs=0.05)}


def test_after_glare_it_measures_in_fine_steps_again(monkeypatch):
    chip = Chip(CLOCK, raw=0x10000)
    sensor = build(Bh1750, Wire({0x23: chip}), CLOCK, monkeypatch)
    assert values(sensor) == {"illuminance": pytest.approx(27306.7, abs=0.05)}
    chip.raw = 1
    assert values(sensor) == {"illuminance": pytest.approx(0.4, abs=0.05)}


def test_more_light_than_it_can_tell_is_no_value(monkeypatch):
    chip = Chip(CLOCK, raw=0x20000)
    sensor = build(Bh1750, Wire({0x23: chip}), CLOCK, monkeypatch)
    with pytest.raises(BadFrame, match="ff ff: more light than it can tell"):
        sensor.read()
    chip.raw = 1000
    assert values(sensor) == {"illuminance": pytest.approx(416.7, abs=0.05)}
