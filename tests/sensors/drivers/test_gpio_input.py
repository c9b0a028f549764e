import queue
import threading
import time
from itertools import pairwise

import msgspec
import pytest
from edges import play
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from processes import eventually

from sensors.debounce import Debounce
from sensors.driver import DriverContext, DriverUnavailable, SensorError
from sensors.drivers import gpio_input
from sensors.drivers.gpio_input import WIRINGS, Button, GpioInput, Presses
from sensors.hw.gpio import FakeGpio

bursts = st.lists(st.tuples(st.floats(min_value=0, max_value=0.4), st.booleans()), max_size=60)

DOWN, UP = True, False
GESTURES = [
    ([(1.0, DOWN), (1.1, UP)], [(1.4, "press")]),
    ([(1.0, DOWN), (1.1, UP), (1.2, DOWN), (1.3, UP)], [(1.2, "double")]),
    ([(1.0, DOWN), (1.1, UP), (1.2, DOWN), (9.0, UP)], [(1.2, "double")]),  # the second one is not held as well
    ([(1.0, DOWN), (3.0, UP)], [(1.8, "hold")]),
    ([(1.0, DOWN), (1.1, UP), (1.5, DOWN), (1.6, UP)], [(1.4, "press"), (1.9, "press")]),
    (
        [(1.0, DOWN), (1.1, UP), (1.2, DOWN), (1.3, UP), (1.4, DOWN), (1.5, UP)],
        [(1.2, "double"), (1.8, "press")],
    ),
]


@pytest.mark.parametrize(("edges", "events"), GESTURES)
def test_gestures(edges, events):
    assert play(Presses(pressed=False, hold_s=0.8, double_s=0.3), edges, UP) == events


def test_without_double_a_press_is_told_at_once():
    presses = Presses(pressed=False, hold_s=0.8, double_s=0)
    assert play(presses, [(1.0, DOWN), (1.1, UP), (1.2, DOWN), (1.3, UP)], UP) == [(1.1, "press"), (1.3, "press")]


def test_a_button_stuck_from_the_start_says_nothing_until_it_was_released():
    presses = Presses(pressed=True, hold_s=0.8, double_s=0.3)
    assert play(presses, [(5.0, UP), (6.0, DOWN), (6.1, UP)], DOWN) == [(6.4, "press")]


@given(bursts)
def test_no_gesture_leaves_a_button_waiting(steps):
    now, edges = 100.0, []
    for wait, pressed in steps:
        now += wait
        edges.append((now, pressed))
    presses = Presses(pressed=False, hold_s=0.8, double_s=0.3)
    events = play(presses, edges, UP)
    assert presses.deadline is None
    assert len(events) <= sum(pressed for _, pressed in edges)


def button():
    return Button(Debounce(level=True, settle_s=0.02), active_level=False, hold_s=0.8, double_s=0.3)


HIGH, LOW = True, False  # LOW is pressed
TOLD_LATE = [  # edges and looks in the order in which they are judged: time, level -> events
    ([(1.0, LOW), (1.1, HIGH), (5.0, HIGH)], ["press"]),  # both were told after four seconds, and then it was looked
    ([(1.0, LOW), (1.1, HIGH), (1.3, LOW), (1.4, HIGH), (5.0, HIGH)], ["double"]),
    ([(1.0, LOW), (5.0, HIGH), (1.1, HIGH), (5.0, HIGH)], ["press"]),  # one, a look at the pin, and then the other
    ([(1.0, LOW), (1.02, LOW), (1.8, HIGH), (1.7, HIGH), (1.81, HIGH), (2.0, HIGH)], ["press"]),  # let go before hold
    ([(1.0, LOW), (1.02, LOW), (1.79, HIGH), (1.792, LOW), (1.812, LOW)], ["hold"]),  # that was a bounce
    ([(1.0, LOW), (1.01, HIGH), (5.0, HIGH)], []),  # and so was that
]


@pytest.mark.parametrize(("judged", "events"), TOLD_LATE)
def test_presses_that_are_told_late_are_judged_by_their_own_times(judged, events):
    judge = button()
    assert [event for now, level in judged for event in judge.seen(now, level)] == events


@given(bursts)
def test_a_button_that_bounces_comes_to_rest(steps):
    now, edges = 100.0, []
    for wait, level in steps:
        now += wait
        edges.append((now, level))
    judge, events = button(), []
    for at, level in [*edges, (now, HIGH)]:
        while judge.deadline is not None and judge.deadline < at:
            due = judge.deadline
            events += judge.seen(due, level)
            assert judge.deadline is None or judge.deadline > due  # else it would look without end
        events += judge.seen(at, level)
    while judge.deadline is not None:
        events += judge.seen(judge.deadline, HIGH)
    assert set(events) <= {"press", "double", "hold"}
    assert judge.seen(now + 100, HIGH) == []


@pytest.fixture
def wired(pins):
    """Build a sensor on the pins; give it and its pin."""
    sensors = []

    def build(pin=17, clock=time.monotonic, **keys):
        keys.setdefault("debounce_s", 0.002)
        options = msgspec.convert({"pin": pin, **keys}, GpioInput.Options)
        sensor = GpioInput.build(options, DriverContext(name="hall", gpio=pins.gpio, clock=clock))
        sensors.append(sensor)
        return sensor, pins.pin(pin)

    yield build
    for sensor in sensors:
        sensor.close()
        sensor.close()


class Heard(queue.SimpleQueue):
    """What a sensor reported; `next` waits for it."""

    def next(self):
        return self.get(timeout=10).value


STATES = [  # input, other keys, what the untouched pin means
    ("motion", {}, False),
    ("door", {}, True),  # the contact is not closed: open, or its wire is cut
    ("window", {}, True),
    ("leak", {}, False),
    ("smoke", {}, False),
    ("motion", {"active": "low"}, True),
    ("motion", {"pull": "up"}, True),
    ("door", {"active": "low"}, False),
    ("leak", {"pull": "none", "active": "high"}, False),
]


@pytest.mark.parametrize(("input_", "keys", "state"), STATES)
def test_the_state_is_told_at_once_and_when_it_changes(wired, input_, keys, state):
    sensor, pin = wired(input=input_, **keys)
    heard = Heard()
    sensor.watch(heard.put)
    assert heard.next() is state
    move = [pin.drive_low, pin.drive_high] if pin.state else [pin.drive_high, pin.drive_low]
    move[0]()
    assert heard.next() is not state
    move[1]()
    assert heard.next() is state
    (channel,) = sensor.channels
    assert (channel.measurement, channel.role) == (input_, "binary_sensor")


@pytest.mark.parametrize("input_", WIRINGS)
def test_every_input_has_a_wiring(wired, input_):
    sensor, _pin = wired(input=input_)
    assert sensor.channels[0].role == ("event" if input_ == "button" else "binary_sensor")


def test_a_bouncing_contact_from_another_thread_is_told_once(wired, pins):
    now = [100.0]  # stands still while it bounces, however long this computer takes
    sensor, pin = wired(input="door", debounce_s=0.03, clock=lambda: now[0])
    heard = Heard()
    sensor.watch(heard.put)
    assert heard.next() is True

    def slam():
        for _ in range(25):
            pin.drive_low()
            pin.drive_high()
        pin.drive_low()

    thread = threading.Thread(target=slam)
    thread.start()
    thread.join()
    pins.settle()
    now[0] += 0.03
    assert heard.next() is False
    sensor.close()
    assert heard.empty()


def test_what_changed_between_building_and_watching_is_told(wired, monkeypatch):
    monkeypatch.setattr(gpio_input, "LOOK_AGAIN_S", 3_600)
    sensor, pin = wired(input="motion")
    pin.drive_high()
    heard = Heard()
    sensor.watch(heard.put)
    states = [heard.next()]
    if states == [False]:
        states.append(heard.next())
    assert states[-1] is True


def test_a_button_is_an_event_of_its_own_name(wired):
    sensor, pin = wired(input="button", measurement="doorbell", double_s=0, hold_s=60)
    heard = Heard()
    sensor.watch(heard.put)
    pin.drive_low()
    debounce = sensor._debounce
    waiting = threading.Event()
    for _ in range(1000):  # until the press is through the debouncing
        if debounce.state is False:
            break
        waiting.wait(0.01)
    pin.drive_high()
    reading = heard.get(timeout=10)
    assert (reading.measurement, reading.value) == ("doorbell", "press")
    assert sensor.channels[0].role == "event"


def test_a_press_of_which_a_busy_computer_tells_late_is_a_press():
    fake = FakeGpio()
    sensor = GpioInput.build(
        GpioInput.Options(pin=4, input="button", double_s=0), DriverContext(name="bell", gpio=fake)
    )
    heard = Heard()
    sensor.watch(heard.put)
    now = time.monotonic()
    with sensor._wake:  # both come at once
        fake.lines[4].drive(LOW, at=now - 1.0)
        fake.lines[4].drive(HIGH, at=now - 0.9)
    assert heard.next() == "press"
    sensor.close()
    assert heard.empty()


def test_a_button_held_says_so_while_it_is_held(wired):
    sensor, pin = wired(input="button", hold_s=0.02)
    heard = Heard()
    sensor.watch(heard.put)
    pin.drive_low()
    assert heard.next() == "hold"


def test_a_lost_edge_is_found_by_looking_again(monkeypatch):
    monkeypatch.setattr(gpio_input, "LOOK_AGAIN_S", 0.01)
    fake = FakeGpio()
    sensor = GpioInput.build(
        GpioInput.Options(pin=4, input="leak", debounce_s=0.002), DriverContext(name="cellar", gpio=fake)
    )
    heard = Heard()
    sensor.watch(heard.put)
    assert heard.next() is False
    fake.lines[4].drive(False, lose_edge=True)
    assert heard.next() is True
    sensor.close()
    assert fake.lines[4].closed


def test_a_button_of_which_the_release_is_lost_is_not_waited_for_until_it_would_be_held(monkeypatch):
    monkeypatch.setattr(gpio_input, "LOOK_AGAIN_S", 0.01)
    fake = FakeGpio()
    sensor = GpioInput.build(
        GpioInput.Options(pin=4, input="button", debounce_s=0.002, hold_s=3_600, double_s=0),
        DriverContext(name="bell", gpio=fake),
    )
    heard = Heard()
    sensor.watch(heard.put)
    fake.lines[4].drive(LOW)
    eventually(lambda: sensor._debounce.state is LOW)
    fake.lines[4].drive(HIGH, lose_edge=True)
    assert heard.next() == "press"
    sensor.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_whatever_edges_are_lost_the_last_level_is_told(monkeypatch, burst):
    """Each: the level, and whether the kernel loses its edge."""
    monkeypatch.setattr(gpio_input, "LOOK_AGAIN_S", 0.005)
    fake, heard = FakeGpio(), Heard()
    sensor = GpioInput.build(
        GpioInput.Options(pin=4, input="door", debounce_s=0.001), DriverContext(name="hall", gpio=fake)
    )
    sensor.watch(heard.put)
    for level, is_lost in burst:
        fake.lines[4].drive(level, lose_edge=is_lost)
    told = [heard.next()]
    pause = threading.Event()
    for _ in range(1000):
        if told[-1] is burst[-1][0]:
            break
        pause.wait(0.001)
        while not heard.empty():
            told.append(heard.next())
    pause.wait(0.02)
    sensor.close()
    while not heard.empty():
        told.append(heard.next())
    assert told[-1] is burst[-1][0]
    assert all(earlier is not later for earlier, later in pairwise(told))


def test_a_pin_that_cannot_be_read_is_a_trouble_that_passes(monkeypatch):
    monkeypatch.setattr(gpio_input, "LOOK_AGAIN_S", 0.005)
    monkeypatch.setattr(gpio_input, "RETRY_S", 0.005)
    fake = FakeGpio()
    sensor = GpioInput.build(
        GpioInput.Options(pin=4, input="door", debounce_s=0), DriverContext(name="hall", gpio=fake)
    )
    line = fake.lines[4]
    heard = Heard()
    sensor.watch(heard.put)
    assert heard.next() is True
    failed, recovered = threading.Event(), threading.Event()

    def broken():
        failed.set()
        raise OSError(19, "No such device")

    def mended():
        if sensor.trouble is None:
            recovered.set()
        return False

    line.level = broken
    assert failed.wait(10)
    pause = threading.Event()
    for _ in range(1000):
        if sensor.trouble is not None:
            break
        pause.wait(0.005)
    assert isinstance(sensor.trouble, SensorError)
    line.level = mended
    assert recovered.wait(10)
    assert heard.next() is False
    sensor.close()


def test_a_report_that_raises_does_not_end_the_watch(wired, monkeypatch):
    monkeypatch.setattr(gpio_input, "RETRY_S", 0.005)
    sensor, pin = wired(input="motion")
    heard = Heard()

    def report(reading):
        heard.put(reading)
        if reading.value:
            raise RuntimeError("full")

    sensor.watch(report)
    assert heard.next() is False
    pin.drive_high()
    assert heard.next() is True
    pin.drive_low()
    assert heard.next() is False


def test_a_pin_that_fails_at_the_start_is_given_back(monkeypatch):
    fake = FakeGpio()
    monkeypatch.setattr("sensors.hw.gpio.FakeInput.level", lambda _line: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        GpioInput.build(GpioInput.Options(pin=4, input="door"), DriverContext(name="hall", gpio=fake))
    assert fake.lines[4].closed


def test_closing_frees_the_pin_and_ends_the_thread(wired):
    before = threading.active_count()
    sensor, _pin = wired(input="door")
    sensor.watch(lambda _reading: None)
    assert threading.active_count() == before + 1
    sensor.close()
    assert threading.active_count() == before
    again, _pin = wired(input="door")
    assert again is not sensor


def test_a_sensor_may_be_closed_from_its_report(wired):
    sensor, pin = wired(input="motion")
    done = threading.Event()

    def report(reading):
        if reading.value:
            sensor.close()
            done.set()

    sensor.watch(report)
    pin.drive_high()
    assert done.wait(10)
    sensor._thread.join(10)
    assert not sensor._thread.is_alive()


def test_a_taken_pin_is_unavailable(wired):
    wired(17, input="door")
    with pytest.raises(DriverUnavailable, match="GPIO17 is used by another sensor"):
        wired(17, input="window")


def test_without_pins_the_driver_is_unavailable(tmp_path, monkeypatch):
    monkeypatch.setattr("sensors.hw.gpio._opened", None)
    options = GpioInput.Options(pin=17, input="door")
    with pytest.raises(DriverUnavailable, match="no GPIO pins"):
        GpioInput.build(options, DriverContext(name="hall", sysfs_root=tmp_path))


@pytest.mark.parametrize(
    "keys",
    [
        {"input": "door"},
        {"pin": 17},
        {"pin": -1, "input": "door"},
        {"pin": 17, "input": "toaster"},
        {"pin": 17, "input": "door", "pull": "sideways"},
        {"pin": 17, "input": "door", "debounce_s": -1},
        {"pin": 17, "input": "button", "measurement": "Door Bell"},
    ],
)
def test_senseless_keys_are_refused(keys):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(keys, GpioInput.Options)
