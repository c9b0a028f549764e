import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors.driver import DriverContext, SensorError
from sensors.drivers.simulated import (
    COMINGS,
    DAY_S,
    Climate,
    Comings,
    Simulated,
    SimulatedPresence,
    chance,
    drift,
)

NOVEMBER = 1_795_000_000.0
ROOMS = ["kitchen", "livingroom", "bedroom", "hall"]
times = st.floats(min_value=0, max_value=4e9)
names = st.sampled_from(ROOMS)
seeds = st.integers(min_value=0, max_value=2**32)
comings = st.builds(
    lambda seed, name, model: Comings(seed, name, *COMINGS[model]), seeds, names, st.sampled_from(sorted(COMINGS))
)


def build(model="room", name="kitchen", seed=7, wall_clock=lambda: NOVEMBER):
    return Simulated.build(Simulated.Options(model=model), DriverContext(name=name, seed=seed, wall_clock=wall_clock))


def test_chance_is_the_same_in_every_process():
    assert chance(1, "kitchen", "x") == pytest.approx(0.52407518, abs=1e-8)


@given(seeds, names, times)
def test_a_room_is_a_room(seed, name, at):
    climate = Climate(seed, name)
    assert 15 < climate.temperature(at) < 26
    assert 25 < climate.humidity(at) < 75


@given(seeds, names, times)
def test_air_changes_slowly(seed, name, at):
    climate = Climate(seed, name)
    assert abs(climate.temperature(at + 2) - climate.temperature(at)) < 0.1
    assert abs(climate.humidity(at + 2) - climate.humidity(at)) < 0.6


@given(seeds, times)
def test_drift_has_no_jump_where_it_turns(seed, at):
    here, there = drift(seed, "hall", "people", at, 90), drift(seed, "hall", "people", at + 0.001, 90)
    assert abs(here) <= 1
    assert abs(there - here) < 1e-3


def test_a_day_has_a_warm_and_a_cold_end():
    climate = Climate(7, "kitchen")
    midnight = NOVEMBER - NOVEMBER % DAY_S

    def mean(hour):
        return sum(climate.temperature(midnight + hour * 3600 + minute * 60) for minute in range(60)) / 60

    assert mean(16) - mean(4) > 0.8


def test_temperature_changes_every_two_seconds():
    climate = Climate(7, "kitchen")
    seen = [round(climate.temperature(NOVEMBER + 2 * i), 2) for i in range(60)]
    assert sum(a != b for a, b in pairwise(seen)) > 40


def test_rooms_differ_and_seeds_differ():
    assert len({Climate(seed, name).temperature(NOVEMBER) for seed in (1, 2) for name in ROOMS}) == 8


def test_a_room_reads_its_air_at_the_wall_time():
    room = build()
    assert [(reading.measurement, reading.value) for reading in room.read()] == [
        ("temperature", Climate(7, "kitchen").temperature(NOVEMBER)),
        ("humidity", Climate(7, "kitchen").humidity(NOVEMBER)),
    ]
    for channel, reading in zip(room.channels, room.read(), strict=True):
        assert channel.low < reading.value < channel.high
    room.close()


@given(comings, st.floats(min_value=1e9, max_value=4e9))
def test_something_happens_within_half_a_minute(visits, at):
    changes = []
    while not changes or changes[-1] < at + 120:
        changes.append(visits.next_change(changes[-1] if changes else at))
    assert all(later > earlier for earlier, later in pairwise([at, *changes]))
    assert changes[0] - at < 60
    for earlier, later in pairwise(changes):
        middle = (earlier + later) / 2
        assert visits.is_on(middle) is visits.is_on(earlier)
        assert visits.is_on(middle) is not visits.is_on(later)
        assert 0.9 < later - earlier < 60


def test_presence_reports_the_state_once_and_every_change():
    at = NOVEMBER
    door = build("door", "hall", wall_clock=lambda: at)
    assert isinstance(door, SimulatedPresence)
    seen = []
    delays = []
    for _ in range(600):
        delays.append(door._look(seen.append))
        at += 0.25
    values = [reading.value for reading in seen]
    assert len(values) >= 9  # two changes in each of the five slots of 150 s
    assert all(a is not b for a, b in pairwise(values))
    assert {reading.measurement for reading in seen} == {"door"}
    assert all(0 < delay <= 1 for delay in delays)


@pytest.mark.parametrize("model", ["motion", "door", "window"])
def test_presence_speaks_from_its_own_thread_until_closed(model):
    sensor = build(model, "hall")
    heard = threading.Event()
    speakers = []

    def report(reading):
        speakers.append((reading.measurement, threading.current_thread()))
        heard.set()

    sensor.watch(report)
    assert heard.wait(10)
    sensor.close()
    sensor.close()
    measurement, thread = speakers[0]
    assert measurement == model
    assert thread is not threading.current_thread()
    assert not thread.is_alive()


def test_presence_can_be_closed_from_its_report():
    sensor = build("motion", "hall")
    closed = threading.Event()

    def report(_reading):
        sensor.close()
        closed.set()

    sensor.watch(report)
    assert closed.wait(10)
    sensor.close()
    assert not sensor._thread.is_alive()


def test_a_relay_is_off_switches_and_says_so():
    relay = build("relay")
    seen = []
    relay.watch(seen.append)
    relay.switch("relay", True)
    relay.switch("relay", True)  # somebody asked again, and hears the state again
    relay.switch("relay", False)
    assert [(reading.measurement, reading.value) for reading in seen] == [
        ("relay", False),
        ("relay", True),
        ("relay", True),
        ("relay", False),
    ]


def test_a_relay_knows_only_itself():
    relay = build("relay")
    with pytest.raises(SensorError, match='no "lamp"'):
        relay.switch("lamp", True)
    relay.switch("relay", True)  # before anybody listens
    seen = []
    relay.watch(seen.append)
    assert seen[0].value is True
    relay.close()
    relay.switch("relay", False)
    assert len(seen) == 1


def test_what_it_plays_stands_in_about():
    assert [build(model).model for model in ("room", "door", "relay")] == [
        "simulated room",
        "simulated door",
        "simulated relay",
    ]
