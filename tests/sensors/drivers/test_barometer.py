import pytest
from i2c_chips import Bme280, Clock, Wire, build, values

from sensors.drivers.barometer import at_sea_level
from sensors.registry import driver_class

CLOCK = Clock()

# ISO 2533: the standard atmosphere at some heights.
STANDARD = [(0, 1013.25), (500, 954.61), (1000, 898.75), (3000, 701.09), (-300, 1049.81)]


@pytest.mark.parametrize(("altitude_m", "pressure"), STANDARD)
def test_the_standard_atmosphere_is_that_of_sea_level(altitude_m, pressure):
    assert at_sea_level(pressure, altitude_m) == pytest.approx(1013.25, abs=0.05)


def test_without_a_height_the_pressure_is_that_of_the_place():
    assert at_sea_level(954.61, 0.0) == 954.61


@pytest.mark.parametrize(("kind", "chip_id"), [("bme280", 0x60), ("bmp280", 0x58)])
def test_a_chip_tells_the_pressure_at_sea_level(monkeypatch, kind, chip_id):
    wire = Wire({0x76: Bme280(CLOCK, chip_id=chip_id)})
    sensor = build(driver_class(kind), wire, CLOCK, monkeypatch, altitude_m=58.0)
    assert values(sensor)["pressure"] == pytest.approx(1013.5, abs=0.1)
