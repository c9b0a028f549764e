import threading
from itertools import pairwise
from typing import get_args

import pytest

from sensors.driver import BadFrame, Disconnected, DriverContext, Implausible, Polled, SensorError, Switched, Watched
from sensors.drivers.gpio_input import WIRINGS, GpioInput
from sensors.drivers.simulated import (
    BUSY,
    CHATTER_S,
    CONTACTS,
    FAULTS,
    INSTRUMENTS,
    Model,
    Simulated,
    SimulatedLine,
    SimulatedRelay,
    _house,
)
from sensors.house.chance import Comings, Daily
from sensors.house.people import People
from sensors.house.rooms import Room
from sensors.house.rounds import Rounds
from sensors.keys import SensorKeys
from sensors.sensor import Sensor
from sensors.sensor_table import SensorConfig
from sensors.topics import AgentTopics

NOVEMBER = 1_795_000_000.0
MODELS = get_args(Model)


@pytest.fixture(autouse=True)
def house_in_greenwich(monkeypatch):
    """The house's own time is that of the tests."""
    monkeypatch.setattr("sensors.drivers.simulated.time.timezone", 0)


def options(model="room", **keys):
    return Simulated.Options(model=model, **keys)


def build(model="room", name="kitchen", wall_clock=lambda: NOVEMBER, room="", **keys):
    return Simulated.build(
        options(model, seed=keys.pop("seed", 7), **keys), DriverContext(name=name, room=room, wall_clock=wall_clock)
    )


def values(readings):
    return {reading.measurement: reading.value for reading in readings}


class Stage:
    """A contact's pin without a thread: the test says what time it is."""

    def __init__(self, model="door", **keys):
        self.at = 0.0
        context = DriverContext(name="hall-door", room="hall", wall_clock=lambda: NOVEMBER + self.at)
        house = _house(options(model, seed=7, **keys), context)
        self.happening = Comings(7, "hall-door", *BUSY[model])
        self.rounds = Rounds(clock=lambda: 0.0)
        self.line = SimulatedLine(model, house, self.happening, lambda: self.at, self.rounds)
        self.edges = []
        self.line._call = lambda level, at: self.edges.append((round(at, 4), level))

    def run(self, seconds):
        """Look as often as the line asks for it."""
        ends = self.at + seconds
        while self.at < ends:
            wait_s = self.line.look()
            assert 0 < wait_s <= 1
            self.at += wait_s


@pytest.mark.parametrize("model", MODELS)
def test_every_model_keeps_the_contract(model):
    driver = build(model, model)
    try:
        assert driver.model == f"simulated {model}"
        assert driver.serial_number is None
        assert isinstance(driver, Polled if model in INSTRUMENTS else Watched)
        assert isinstance(driver, Switched) is (model in {"relay", "lamp"})
        assert driver.channels == Simulated.channels_of(options(model))
    finally:
        driver.close()
        driver.close()


def test_every_model_has_its_faults():
    assert set(FAULTS) == set(MODELS)
    assert set(CONTACTS) <= set(WIRINGS)


def test_a_room_reads_its_air_at_the_wall_time():
    room = Room(7, "kitchen-air", "kitchen")
    assert values(build(name="kitchen-air", room="kitchen").read()) == {
        "temperature": room.temperature(NOVEMBER),
        "humidity": room.humidity(NOVEMBER),
    }


@pytest.mark.parametrize("model", INSTRUMENTS)
def test_what_is_measured_is_believed(model):
    at = NOVEMBER
    config = SensorConfig(
        keys=SensorKeys(name="x", kind="simulated", room="kitchen"), driver=Simulated, options=options()
    )
    judge = Sensor(config, AgentTopics("home", "house"))
    driver = build(model, wall_clock=lambda: at)
    judge.built(driver)
    for _ in range(300):
        readings = driver.read()
        passed, refusals = judge.outgoing(readings, at)
        assert (len(passed), refusals) == (len(driver.channels), [])
        at += 300


def test_sensors_of_one_seed_share_the_weather_and_those_of_another_do_not():
    assert values(build("outdoor", "garden").read()) == values(build("outdoor", "roof").read())
    assert values(build("outdoor", "garden").read()) != values(build("outdoor", "garden", seed=8).read())


def test_the_house_keeps_this_computers_time(monkeypatch):
    here = values(build("outdoor").read())
    monkeypatch.setattr("sensors.drivers.simulated.time.timezone", -3600)
    assert values(build("outdoor").read()) != here
    assert values(build("outdoor", wall_clock=lambda: NOVEMBER - 3600).read()) == here


# What goes wrong with what is asked


def test_a_wrong_checksum_is_a_bad_frame():
    with pytest.raises(BadFrame, match="checksum"):
        build(faults=["checksum"]).read()


def test_an_unplugged_sensor_does_not_answer_and_comes_back():
    at = NOVEMBER - NOVEMBER % 86_400 + 2 * 3600
    sensor = build(faults=["unplugged@02:00-02:10"], wall_clock=lambda: at)
    with pytest.raises(Disconnected, match="power and wiring"):
        sensor.read()
    at += 600
    assert sensor.read()


def test_a_stuck_sensor_says_the_same_again_and_again():
    at = NOVEMBER - NOVEMBER % 600
    sensor = build(faults=["stuck@1m/10m"], wall_clock=lambda: at)
    seen = []
    for _ in range(150):
        seen.append(values(sensor.read()))
        at += 2
    first_minute, then = seen[:30], seen[30:]
    assert all(reading == first_minute[0] for reading in first_minute)
    assert sum(a != b for a, b in pairwise(then)) > 100


def test_85_degrees_are_told_from_a_measurement_by_the_real_driver():
    at = NOVEMBER
    sensor = build(faults=["85@4s/1m"], wall_clock=lambda: at)
    for second in range(0, 180, 2):
        at = NOVEMBER - NOVEMBER % 60 + second
        if second % 60 < 4:  # the first reading too, and several in a row
            with pytest.raises(Implausible, match="85 °C is what the chip says after its power dipped"):
                sensor.read()
        else:
            assert values(sensor.read())["temperature"] < 30


# Contacts: the real driver on a pin of the house


def test_a_contact_is_the_real_driver_on_a_simulated_pin():
    door = build("door", "hall", life="busy")
    assert isinstance(door, GpioInput)
    door.close()


@pytest.mark.parametrize("model", ["motion", "door", "window", "leak"])
def test_a_pin_follows_the_house_with_the_level_of_its_wiring(model):
    stage = Stage(model)
    stage.run(1300)
    assert len(stage.edges) >= 3
    for at, level in stage.edges:
        assert stage.happening.is_on(NOVEMBER + at + 0.001) is (level is (WIRINGS[model].active == "high"))
    assert all(a[1] is not b[1] for a, b in pairwise(stage.edges))


def test_a_contact_that_bounces_moves_often_and_ends_where_it_is():
    calm, bouncing = Stage(), Stage(faults=["bounce=0.1"])
    calm.run(100)
    bouncing.run(100)
    assert len(bouncing.edges) == len(calm.edges) * (2 * int(0.1 / CHATTER_S / 2) + 1)
    for at, level in calm.edges:
        assert [x[1] for x in bouncing.edges if at <= x[0] + 0.01 and x[0] <= at + 0.2][-1] is level


def test_a_cut_wire_is_what_the_resistor_makes_of_it():
    door, leak = Stage("door", faults=["unplugged"]), Stage("leak", faults=["unplugged"])
    assert door.line.level() is True  # open: somebody should look
    assert leak.line.level() is True  # active low: no alarm
    door.run(200)
    assert door.edges == []


def test_a_stuck_contact_does_not_move():
    stage = Stage(faults=["stuck"])
    stage.run(200)
    assert stage.edges == []


def test_bouncing_is_settled_by_the_real_debounce(monkeypatch):
    """Of all edges of a bouncing door, the driver reports one change each time it opens or closes."""
    monkeypatch.setattr("sensors.drivers.simulated.LONGEST_WAIT_S", 0.005)
    states, edges, heard = [], [], threading.Event()
    door = build("door", "hall", life="busy", faults=["bounce"], wall_clock=Quick())
    note = door._edge
    door._edge = lambda level, at: edges.append(level) or note(level, at)

    def report(reading):
        states.append(reading.value)
        if len(states) >= 4:
            heard.set()

    door.watch(report)
    try:
        assert heard.wait(20)
    finally:
        door.close()
    assert all(a is not b for a, b in pairwise(states))
    assert len(edges) > 5 * len(states)


class Quick:
    """A wall clock that runs with every look."""

    def __init__(self):
        self.at = NOVEMBER

    def __call__(self):
        self.at += 0.1
        return self.at


def test_a_button_is_pressed():
    pressed = threading.Event()
    button = build("button", "hall", life="busy")
    line = button._line
    button.watch(lambda reading: reading.value == "press" and pressed.set())
    try:
        line._rounds.drop(line._look_number)  # nobody else presses
        for level in (not line._on_level, line._on_level, not line._on_level):
            line._move(0.0, level)
            threading.Event().wait(0.06)
        assert pressed.wait(10)
    finally:
        button.close()


def test_every_other_model_has_something_that_happens():
    for model in CONTACTS:
        for life in ("usual", "busy"):
            house = _house(options(model, life=life, seed=7), DriverContext(name="hall", room="hall"))
            assert house.happening(model, busy=life == "busy").next_change(NOVEMBER) > NOVEMBER


def test_people_move_what_stands_in_their_way():
    hall = _house(options("door"), DriverContext(name="door", room="hall")).happening("door", busy=False)
    bath = _house(options("door"), DriverContext(name="door", room="bathroom")).happening("door", busy=False)
    assert isinstance(hall, Daily)
    day = 20_780
    assert hall.spans(day) == People(0).front_door(day)
    assert bath.spans(day) == People(0).door("bathroom", day)


# Relay and lamp


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


def test_people_and_commands_switch_the_same_lamp():
    at = NOVEMBER
    happening = Comings(7, "lamp", *BUSY["lamp"])
    house = _house(options("lamp", seed=7), DriverContext(name="lamp", room="hall", wall_clock=lambda: at))
    lamp = SimulatedRelay("lamp", house, happening, Rounds())
    seen = []
    lamp._report = seen.append
    lamp.switch("lamp", not happening.is_on(at))
    by_command = seen.pop().value
    for _ in range(1200):
        lamp.look(happening)
        at += 0.25
    by_people = [reading.value for reading in seen]
    assert by_people[0] is not by_command  # the first time they wanted it as it was
    assert len(by_people) >= 3
    assert by_people[-1] is happening.is_on(at - 0.25)


def test_a_lamp_speaks_from_the_houses_thread_until_it_is_closed(monkeypatch):
    monkeypatch.setattr("sensors.drivers.simulated.LONGEST_WAIT_S", 0.005)
    lamp = build("lamp", "livingroom", life="busy", wall_clock=Quick())
    switched, seen = threading.Event(), []

    def report(reading):
        seen.append(reading)
        if len(seen) >= 3:
            switched.set()

    lamp.watch(report)
    assert switched.wait(20)
    lamp.close()
    count = len(seen)
    lamp.switch("lamp", True)
    assert len(seen) == count


# The configuration


@pytest.mark.parametrize(
    ("model", "faults", "words"),
    [
        ("room", ["chcksum"], 'there is no fault "chcksum"'),
        ("room", ["checksum", "bounce"], '"bounce" cannot happen to a room'),
        ("co2", ["85"], '"85" cannot happen to a co2'),
        ("door", ["checksum@5%"], '"checksum" cannot happen to a door'),
        ("relay", ["stuck"], '"stuck" cannot happen to a relay'),
    ],
)
def test_faults_that_cannot_be_are_mistakes(model, faults, words):
    key, problem, cure = options(model, faults=faults).mistake()
    assert key == "faults"
    assert words in problem
    assert cure


@pytest.mark.parametrize("model", MODELS)
def test_faults_that_can_be_are_none(model):
    assert options(model, faults=list(FAULTS[model])).mistake() is None


def test_the_clock_that_the_agent_sees_steps_and_the_house_goes_on():
    at = NOVEMBER - NOVEMBER % 600
    wanted = options(faults=["clock=-86400@1m/10m"])
    stepped = Simulated.wall_clock(wanted, lambda: at)
    assert stepped() == at - 86_400
    air = values(build(wall_clock=lambda: at, faults=wanted.faults).read())
    assert air == values(build(wall_clock=lambda: at).read())
    at += 60
    assert stepped() == at


def test_a_clock_without_fault_is_the_clock_itself():
    def clock():
        return 1.0

    assert Simulated.wall_clock(options(faults=["checksum"]), clock) is clock
