from itertools import pairwise
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors.house.chance import DAY_S
from sensors.house.people import PLACES
from sensors.house.rooms import METER_SINCE_DAY, Meter, Room, day_load_kwh, lamp_spans
from sensors.house.weather import Weather

NOVEMBER = 1_795_000_000.0
MIDNIGHT = NOVEMBER - NOVEMBER % DAY_S
ROOMS = ["kitchen", "livingroom", "bedroom", "bathroom", "hall"]
times = st.floats(min_value=1e9, max_value=4e9)
names = st.sampled_from(ROOMS)
seeds = st.integers(min_value=0, max_value=2**32)


@given(seeds, names, times)
def test_a_room_is_a_room(seed, name, at):
    room = Room(seed, name, name)
    assert 15 < room.temperature(at) < 27
    assert 15 <= room.humidity(at) <= 95
    assert 400 < room.co2(at) < 1400
    assert 0 <= room.illuminance(at) < 1200


@given(seeds, names, times)
def test_air_changes_slowly(seed, name, at):
    room = Room(seed, name, name)
    assert abs(room.temperature(at + 2) - room.temperature(at)) < 0.1
    assert abs(room.humidity(at + 2) - room.humidity(at)) < 0.8
    assert abs(room.co2(at + 2) - room.co2(at)) < 12


def test_a_day_has_a_warm_and_a_cold_end():
    room = Room(7, "hall", "hall")

    def around(hour):
        return mean(room.temperature(MIDNIGHT + hour * 3600 + minute * 60) for minute in range(60))

    assert around(16) - around(4) > 0.8


def test_temperature_changes_every_two_seconds():
    room = Room(7, "kitchen", "kitchen")
    seen = [round(room.temperature(NOVEMBER + 2 * i), 2) for i in range(60)]
    assert sum(a != b for a, b in pairwise(seen)) > 40


def test_rooms_differ_and_seeds_differ():
    assert len({Room(seed, name, name).temperature(NOVEMBER) for seed in (1, 2) for name in ROOMS}) == 10


def test_people_breathe():
    bedroom = Room(7, "bedroom", "bedroom")
    assert bedroom.co2(MIDNIGHT + 5 * 3600) > 1000
    assert bedroom.co2(MIDNIGHT + 16 * 3600) < 600


def test_rooms_feel_the_weather():
    """Of two years, the rooms are cooler at the same hour of the day where it is colder outside."""
    room, weather = Room(7, "hall", "hall"), Weather(7)
    noons = [MIDNIGHT + day * DAY_S + 12 * 3600 for day in range(0, 720, 5)]
    cold = [room.temperature(at) for at in noons if weather.temperature(at) < 5]
    warm = [room.temperature(at) for at in noons if weather.temperature(at) > 15]
    assert mean(warm) > mean(cold) + 0.3


def test_the_lamp_lights_the_room():
    room = Room(7, "livingroom", "livingroom")
    lit = next(start for start, _ in lamp_spans(7, "livingroom", int(MIDNIGHT // DAY_S)))
    assert room.lamp.is_on(lit + 0.1)
    assert room.illuminance(lit + 0.1) >= 160
    assert not room.lamp.is_on(MIDNIGHT + 4 * 3600)
    assert room.illuminance(MIDNIGHT + 4 * 3600) < 1


@given(seeds, st.floats(min_value=METER_SINCE_DAY * DAY_S, max_value=4e9), st.floats(min_value=0, max_value=90_000))
def test_a_meter_never_runs_backwards(seed, at, later_s):
    meter = Meter(seed)
    assert 50 < meter.power(at) < 4000
    assert meter.energy(at + later_s) >= meter.energy(at) - 1e-6


@given(seeds, st.integers(min_value=METER_SINCE_DAY + 1, max_value=40_000), st.sampled_from(range(0, 86_400, 3600)))
def test_energy_is_the_integral_of_power(seed, day, second):
    meter, start = Meter(seed), day * DAY_S + second
    steps = [meter.power(start + i + 0.5) / 3.6e6 for i in range(300)]
    assert meter.energy(start + 300) - meter.energy(start) == pytest.approx(sum(steps), abs=0.001)


def test_days_cost_about_what_days_cost():
    for day in range(20_000, 20_020):
        used = Meter(3).energy((day + 1) * DAY_S) - Meter(3).energy(day * DAY_S)
        assert 4 < used < 10
        assert 4 < day_load_kwh(3, day) < 16


def test_a_meter_that_was_not_there_yet_shows_nothing():
    assert Meter(3).energy(1e9) == 0


def test_every_place_has_air():
    assert set(ROOMS) == set(PLACES)
