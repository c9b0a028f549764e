import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors.derived import DERIVED, absolute_humidity, dew_point
from sensors.vapour import saturation_hpa

AIRS = [  # °C, %, dew point in °C, g/m³: of psychrometric tables
    (20.0, 50.0, 9.3, 8.6),
    (25.0, 60.0, 16.7, 13.8),
    (30.0, 80.0, 26.2, 24.3),
    (20.0, 100.0, 20.0, 17.3),
    (0.0, 100.0, 0.0, 4.85),
    (-10.0, 80.0, -12.8, 1.9),
]


@pytest.mark.parametrize(("temperature", "humidity", "dew", "grams"), AIRS)
def test_known_air(temperature, humidity, dew, grams):
    assert dew_point(temperature, humidity) == pytest.approx(dew, abs=0.1)
    assert absolute_humidity(temperature, humidity) == pytest.approx(grams, rel=0.015)


NOTHING = [(20.0, 100.1), (20.0, -0.1), (60.1, 50.0), (-45.1, 50.0), (float("nan"), 50.0), (20.0, float("nan"))]


@pytest.mark.parametrize(("temperature", "humidity"), NOTHING)
def test_where_the_formula_does_not_hold_there_is_nothing(temperature, humidity):
    assert dew_point(temperature, humidity) is None
    assert absolute_humidity(temperature, humidity) is None


def test_dry_air_holds_no_water_and_has_no_dew_point():
    assert absolute_humidity(20.0, 0.0) == 0.0
    assert dew_point(20.0, 0.0) is None


temperatures = st.floats(-45, 60)


@given(temperatures, st.floats(0.1, 100))
def test_dew_falls_below_the_temperature_and_holds_the_same_water(temperature, humidity):
    dew = dew_point(temperature, humidity)
    assert dew <= temperature + 1e-9
    assert saturation_hpa(dew) == pytest.approx(saturation_hpa(temperature) * humidity / 100, rel=1e-9)


@given(temperatures, st.floats(0, 100), st.floats(0, 100))
def test_damper_air_holds_more_water(temperature, one, other):
    drier, damper = sorted((one, other))
    assert absolute_humidity(temperature, drier) <= absolute_humidity(temperature, damper)


@pytest.mark.parametrize("name", DERIVED)
def test_what_misses_an_input_is_not_computed(name):
    derived = DERIVED[name]
    assert derived.channel.measurement == name
    assert derived.channel.unit
    assert derived.value({"temperature": 20.0, "humidity": 50.0, "pressure": 1000.0}) is not None
    assert derived.value({"temperature": 20.0}) is None
    assert derived.value({}) is None
