from statistics import mean

from hypothesis import given
from hypothesis import strategies as st

from sensors.house.chance import DAY_S
from sensors.house.weather import Weather

YEAR_2026 = 1_767_225_600
JANUARY, JULY = YEAR_2026 + 15 * DAY_S, YEAR_2026 + 200 * DAY_S
seeds = st.integers(min_value=0, max_value=2**32)
times = st.floats(min_value=1e9, max_value=4e9)


@given(seeds, times)
def test_it_is_weather(seed, at):
    weather = Weather(seed)
    assert -20 < weather.temperature(at) < 40
    assert 15 <= weather.humidity(at) <= 99.9
    assert 995 < weather.pressure(at) < 1035
    assert 0 <= weather.clouds(at) <= 1
    assert 0 <= weather.illuminance(at) < 110_000


@given(seeds, times)
def test_it_changes_slowly(seed, at):
    here, there = Weather(seed).temperature(at), Weather(seed).temperature(at + 10)
    assert abs(here - there) < 0.1
    assert abs(Weather(seed).pressure(at) - Weather(seed).pressure(at + 10)) < 0.1


def test_summer_is_warm_and_winter_is_cold():
    def month(start):
        return mean(Weather(seed).temperature(start + i * 7 * 3600) for seed in range(5) for i in range(60))

    assert month(JULY) - month(JANUARY) > 12


def test_the_night_is_dark_and_a_summer_day_is_long():
    weather = Weather(3)
    assert weather.illuminance(JULY - JULY % DAY_S) == 0
    assert weather.illuminance(JULY - JULY % DAY_S + 12 * 3600) > 15_000

    def light_hours(day):
        return sum(weather.illuminance(day - day % DAY_S + i * 600) > 1000 for i in range(144)) / 6

    assert light_hours(JULY) > light_hours(JANUARY) + 5


def test_a_low_brings_clouds():
    weather = Weather(1)
    times = [JANUARY + i * 3 * 3600 for i in range(400)]
    low = [weather.clouds(at) for at in times if weather.pressure(at) < 1010]
    high = [weather.clouds(at) for at in times if weather.pressure(at) > 1020]
    assert mean(low) > mean(high) + 0.4
