import math

import pytest

from sensors.vapour import saturation_hpa

# What physics says, not the formula: saturation pressures over water of the steam tables (IAPWS), in hPa.
PRESSURES = [(0.01, 6.117), (10.0, 12.28), (20.0, 23.39), (30.0, 42.47), (40.0, 73.85), (60.0, 199.5)]


@pytest.mark.parametrize(("temperature", "pressure"), PRESSURES)
def test_the_pressure_of_saturated_air_is_that_of_the_steam_tables(temperature, pressure):
    assert saturation_hpa(temperature) == pytest.approx(pressure, rel=0.004)


def test_water_boils_at_sea_level():
    assert math.isclose(saturation_hpa(0), 6.112)
    assert 1000 < saturation_hpa(100) < 1060
