import math
import signal
import subprocess
import sys
import threading
import time
from textwrap import dedent

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.store.rollup import Reading as Recorded
from appliance.store.rollup import is_counter, roll
from sensors.driver import DriverContext, DriverUnavailable, Polled
from sensors.drivers.pulse_counter import METERS, PulseCounter, Pulses, Rate
from sensors.hw.gpio import FakeGpio
from sensors.keepsakes import RETRY_S, WRITE_EVERY_S, Keepsakes
from sensors.keys import SensorKeys
from sensors.sensor import Sensor
from sensors.sensor_table import SensorConfig
from sensors.topics import AgentTopics

ON, OFF = True, False
KERNEL = 1_700_000_000.0  # its clock need not be ours


def counted(edges, settle_s=0.003, *, until=None):
    """How many pulses a list of edges (time, active) is, looked at again a good while after the last."""
    pulses = Pulses(active=OFF, settle_s=settle_s)
    for at, active in edges:
        pulses.seen(at, active)
    if edges:
        pulses.seen(edges[-1][0] + 10 if until is None else until, edges[-1][1])
    return pulses.count


def train(count, *, period_s=0.02, on_s=0.01, begin=1.0):
    """Edges of clean pulses."""
    return [
        edge
        for number in range(count)
        for edge in ((begin + number * period_s, ON), (begin + number * period_s + on_s, OFF))
    ]


COUNTS = [
    ([], 0),
    (train(1), 1),
    (train(1)[:1], 1),  # a magnet that stays at the contact
    (train(3000), 3000),  # a minute at 50 Hz
    (train(10, on_s=0.0029), 0),  # shorter than a pulse can be: noise on a long wire
    (train(10, on_s=0.018), 1),  # pauses that are none
    ([(1.0, ON), (1.001, OFF), (1.002, ON), (1.2, OFF), (1.201, ON), (1.202, OFF)], 1),  # bounces at both ends
    ([(1.0, ON), (1.1, ON), (1.2, OFF)], 1),  # a glitch that the kernel saw from one side only
]


@pytest.mark.parametrize(("edges", "count"), COUNTS)
def test_what_is_a_pulse(edges, count):
    assert counted(edges) == count


def test_a_pulse_that_is_under_way_at_the_start_has_been_counted_before():
    pulses = Pulses(active=ON, settle_s=0.003)
    assert [pulses.seen(at, active) for at, active in [(5.0, OFF), (6.0, ON), (7.0, OFF)]] == [False, False, True]
    assert (pulses.count, pulses.last_at) == (1, 6.0)


@given(st.lists(st.tuples(st.floats(0.004, 1), st.floats(0.004, 1), st.integers(0, 4), st.integers(0, 4)), max_size=40))
def test_every_pulse_counts_once_however_it_bounces(pulses):
    """Each: seconds on, seconds off, bounces at its begin and at its end, all of a tenth of a millisecond."""
    now, edges = 1.0, []
    for on_s, off_s, begins, ends in pulses:
        for level, bounces in ((ON, begins), (OFF, ends)):
            for _ in range(bounces):
                edges += [(now, level), (now + 0.0001, not level)]
                now += 0.0002
            edges.append((now, level))
            now += on_s if level is ON else off_s
    assert counted(edges) == len(pulses)


RATES = [  # when it is asked, and the pulses that began since it was asked before -> rate
    ([(10, [])], [None]),
    ([(10, [9]), (20, [])], [None, None]),
    ([(10, [9]), (20, [19])], [None, 0.1]),
    ([(10, [7, 8, 9])], [1.0]),
    ([(10, [9]), (20, [14, 16, 18, 20])], [None, 0.5]),
    ([(10, [8, 9]), (13, []), (19, [])], [1.0, 0.25, 0.1]),  # it has stopped
    ([(10, [8, 9]), (69, []), (500, [497, 499])], [1.0, 0.0, 0.5]),  # the pause before does not count
    ([(59, []), (60, []), (70, [65])], [None, 0.0, 0.0]),
    ([(10, [9, 9])], [None]),  # by a clock that is too coarse
]


@pytest.mark.parametrize(("looks", "rates"), RATES)
def test_the_rate_is_that_between_pulses(looks, rates):
    rate, told = Rate(0.0, zero_s=60), []
    for now, pulses in looks:
        for at in pulses:
            rate.pulse(at)
        told.append(rate.at(now))
    assert told == [None if wanted is None else pytest.approx(wanted) for wanted in rates]


@given(st.floats(0.01, 20), st.lists(st.floats(0.5, 100), min_size=1, max_size=20))
def test_a_steady_flow_has_a_steady_rate(period_s, waits):
    rate, now, number, told = Rate(0.0, zero_s=1e6), 0.0, 1, []
    for wait in waits:
        now += wait
        while number * period_s <= now:
            rate.pulse(number * period_s)
            number += 1
        told.append(rate.at(now))
    known = [value for value in told if value is not None]
    assert all(value == pytest.approx(1 / period_s, rel=1e-6) for value in known)
    assert told == [None] * (len(told) - len(known)) + known


class Meter:
    """A counter on fake pins; edges carry the kernel's times, and our clock is where the test puts it."""

    def __init__(self, keepsakes=None, **keys):
        keys = {"pin": 17, "counts": "energy", "per_pulse": 0.001, **keys}
        self.now = 100.0
        self.gpio = FakeGpio()
        self.keepsakes = keepsakes or Keepsakes()
        context = DriverContext(name="meter", gpio=self.gpio, keepsakes=self.keepsakes, clock=lambda: self.now)
        self.sensor = PulseCounter.build(msgspec.convert(keys, PulseCounter.Options), context)
        self.line = self.gpio.lines[17]

    def pulse(self, count=1, *, period_s=0.02):
        for _ in range(count):
            self.line.drive(False, at=KERNEL + self.now)
            self.now += period_s / 2
            self.line.drive(True, at=KERNEL + self.now)
            self.now += period_s / 2

    def read(self):
        self.now += 10
        return {reading.measurement: reading.value for reading in self.sensor.read()}


def test_the_total_grows_by_what_a_pulse_is():
    meter = Meter(start=4711.5)
    assert isinstance(meter.sensor, Polled)
    assert meter.read() == {"energy": 4711.5}
    meter.pulse(250)
    assert meter.read() == {"energy": 4711.75}
    meter.sensor.close()
    assert meter.line.closed


@pytest.mark.parametrize("counts", METERS)
def test_every_meter_has_units_and_a_rate(counts):
    meter = Meter(counts=counts, rate=True)
    total, rate = meter.sensor.channels
    assert (total.measurement, total.unit) == (counts, next(iter(METERS[counts].units)))
    assert rate.measurement == METERS[counts].rate
    assert is_counter("number", total.measurement, total.unit)
    assert not is_counter("number", rate.measurement, rate.unit)


POWERS = [  # a pulse a second
    ({"counts": "energy", "per_pulse": 0.001}, "power", 3600.0),
    ({"counts": "energy", "per_pulse": 1, "unit": "Wh"}, "power", 3600.0),
    ({"counts": "water", "per_pulse": 0.5}, "flow", 30.0),
    ({"counts": "gas", "per_pulse": 0.01}, "gas_flow", 36.0),
    ({"counts": "rain", "per_pulse": 0.2794}, "rain_rate", 1005.84),
    ({"counts": "pulses", "per_pulse": 1}, "frequency", 1.0),
]


@pytest.mark.parametrize(("keys", "rate", "value"), POWERS)
def test_the_rate_is_in_the_unit_that_people_use(keys, rate, value):
    meter = Meter(rate=True, **keys)
    assert rate not in meter.read()
    meter.pulse(1)
    assert rate not in meter.read()
    meter.pulse(5, period_s=1.0)
    meter.now -= 10
    assert meter.read()[rate] == pytest.approx(value)
    meter.now += 10_000
    assert meter.read()[rate] == 0


@pytest.mark.parametrize(
    ("per_pulse", "digits"), [(1, 0), (10, 0), (0.001, 3), (0.2794, 4), (1 / 3, 6), (0.0000001, 6), (0.1 + 0.2, 1)]
)
def test_a_pulse_is_seen_in_the_digits(per_pulse, digits):
    assert Meter(per_pulse=per_pulse).sensor.channels[0].decimals == digits


def test_the_total_is_known_again_after_a_restart(tmp_path):
    first = Meter(Keepsakes(tmp_path / "kept"), start=10)
    first.pulse(7)
    assert first.read() == {"energy": 10.007}
    first.pulse(1)
    first.line.drive(False, at=KERNEL + first.now)  # nobody reads it any more: the next edge settles the pulse before
    first.sensor.close()
    first.keepsakes.write(0.0)
    again = Meter(Keepsakes(tmp_path / "kept"), start=10)
    assert again.read() == {"energy": 10.008}
    again.pulse(2)
    assert again.read() == {"energy": 10.01}


def test_what_a_sudden_end_loses_is_a_minute(tmp_path):
    """The agent has the file written every minute; what was counted since then is what kill -9 takes."""
    path = tmp_path / "kept"
    meter = Meter(Keepsakes(path))
    written = []
    for second in range(181):
        meter.pulse(1, period_s=1.0)
        meter.keepsakes.tick(float(second))
        on_disk = Keepsakes(path).get("meter", "total")
        written.append(meter.keepsakes.get("meter", "total") - on_disk)
    assert max(written) == pytest.approx(0.059)
    assert written[0] == written[60] == written[120] == 0
    assert RETRY_S < WRITE_EVERY_S == 60


KILLED = """
    import os, threading
    from dataclasses import replace
    from pathlib import Path
    import msgspec
    from sensors import keepsakes
    from sensors.agent import Agent
    from sensors.config import SensorsConfig
    from sensors.keys import Broker, OutboxBounds, SensorKeys
    from sensors.sensor_table import SensorConfig
    from sensors.drivers.pulse_counter import PulseCounter
    from sensors.hw.gpio import FakeGpio
    from sensors.outbox import Outbox

    keepsakes.WRITE_EVERY_S = 0.5
    gpio = FakeGpio()
    options = PulseCounter.Options(pin=17, counts="energy", per_pulse=1, unit="Wh")

    class Kind:
        Options = PulseCounter.Options
        def build(options, context):
            return PulseCounter.build(options, replace(context, gpio=gpio))

    keys = SensorKeys(name="meter", kind="pulse_counter", room="cellar", interval_s=1.0)
    config = SensorsConfig(
        site="home", agent="house", name="", data_dir=Path({folder!r}), broker=Broker(port=1), password=None,
        outbox=OutboxBounds(), sensors=(SensorConfig(keys=keys, driver=Kind, options=options),),
    )

    def on_disk():
        return keepsakes.Keepsakes(config.keepsakes_path).get("meter", "total") or 0

    def turn():
        pause, pulses, written = threading.Event(), 0, []
        while 17 not in gpio.lines:
            pause.wait(0.01)
        while len(set(written)) < 3:
            for level in (False, True):
                gpio.lines[17].drive(level, at=pulses * 0.02 + level * 0.01)
            pulses += 1
            written.append(on_disk())
            pause.wait(0.02)
        print(pulses, written[-1], flush=True)
        os.kill(os.getpid(), 9)

    threading.Thread(target=turn, daemon=True).start()
    Agent(config, Outbox(config.outbox_path)).run()
"""


def test_an_agent_that_is_killed_has_kept_the_total_of_before(tmp_path):
    """Its loop has the file written while it runs; here twice a second instead of once a minute."""
    program = dedent(KILLED).format(folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pulses, written = map(float, done.stdout.split())
    kept = Keepsakes(tmp_path / "home-house.kept")
    assert kept.problem == ""
    assert 0 < written <= pulses
    again = Meter(kept, per_pulse=1, unit="Wh")
    assert written <= again.read()["energy"] <= pulses
    again.pulse(1)
    assert again.read()["energy"] >= written + 1


def test_another_start_begins_anew_from_it():
    """How a total is set right: the meter shows another number."""
    keepsakes = Keepsakes()
    meter = Meter(keepsakes, start=10)
    meter.pulse(5)
    assert meter.read() == {"energy": 10.005}
    assert Meter(keepsakes, start=500).read() == {"energy": 500}
    meter = Meter(keepsakes, start=500)
    meter.pulse(1)
    assert meter.read() == {"energy": 500.001}


@pytest.mark.parametrize("kept", ["many", True, -1.0, math.inf, math.nan])
def test_a_kept_total_that_is_none_begins_at_the_start(kept):
    keepsakes = Keepsakes()
    keepsakes.put("meter", "start", 3.0)
    keepsakes.put("meter", "total", kept)
    assert Meter(keepsakes, start=3).read() == {"energy": 3.0}


def test_the_history_makes_up_for_a_total_that_is_gone(tmp_path):
    """Without its file the meter begins at `start`, and what was used is still summed up rightly."""
    path, totals = tmp_path / "kept", []
    for pulses in (0, 250, 250):
        meter = Meter(Keepsakes(path))
        if totals:
            totals.append(meter.read()["energy"])
        meter.pulse(pulses)
        totals.append(meter.read()["energy"])
        meter.keepsakes.write(0.0)
        if len(totals) == 3:
            path.unlink()
    assert totals == [0.0, 0.0, 0.25, 0.0, 0.25]
    recorded = [Recorded(at_ms=1000 * second, value=round(total * 1000)) for second, total in enumerate(totals)]
    (minute,) = roll(recorded, 60_000, before=None, hold_ms=None, counter=True)
    assert minute.increase == 500


def test_a_power_cut_is_no_second_meter_in_the_history(tmp_path):
    """It takes the pulses since the total was last written; the history has them, and adds up what comes after."""
    path, keys = tmp_path / "kept", {"start": 48211.4}
    meter = Meter(Keepsakes(path), **keys)
    totals = [meter.read()["energy"]]
    meter.keepsakes.write(0.0)
    meter.pulse(50)
    totals.append(meter.read()["energy"])
    meter = Meter(Keepsakes(path), **keys)
    totals.append(meter.read()["energy"])
    meter.pulse(30)
    totals.append(meter.read()["energy"])
    assert totals == [48211.4, 48211.45, 48211.4, 48211.43]
    recorded = [Recorded(at_ms=1000 * second, value=round(total * 1000)) for second, total in enumerate(totals)]
    (minute,) = roll(recorded, 60_000, before=None, hold_ms=None, counter=True)
    assert minute.increase == 80


def test_lost_edges_are_found_by_looking_twice():
    meter = Meter()
    meter.pulse(3)
    assert meter.read() == {"energy": 0.003}
    meter.line.drive(False, lose_edge=True)
    assert meter.read() == {"energy": 0.003}  # its edge may be on its way
    assert meter.read() == {"energy": 0.003}
    assert meter.read() == {"energy": 0.004}
    meter.line.drive(True, lose_edge=True)
    for _ in range(3):
        assert meter.read() == {"energy": 0.004}
    meter.pulse(1)
    assert meter.read() == {"energy": 0.005}


def test_edges_between_two_looks_begin_the_doubt_anew():
    meter = Meter()
    meter.line.drive(False, lose_edge=True)
    meter.read()
    meter.line.drive(True, at=KERNEL + meter.now)  # edges come after all
    meter.line.drive(False, lose_edge=True)
    meter.read()
    assert meter.sensor._level is True  # its edge may be on its way
    meter.read()
    assert meter.read() == {"energy": 0.001}


def test_an_edge_on_its_way_is_not_counted_twice():
    meter = Meter()
    meter.line.drive(False, lose_edge=True)
    assert meter.read() == {"energy": 0.0}
    meter.sensor._edge(False, KERNEL + meter.now)
    assert meter.read() == {"energy": 0.001}
    meter.line.drive(True, at=KERNEL + meter.now)
    assert meter.read() == {"energy": 0.001}


def test_edges_that_are_told_late_are_judged_by_their_own_times():
    """A busy computer tells a second of edges at once."""
    meter = Meter()
    for at, active in train(50, begin=KERNEL):
        meter.line.drive(not active, at=at)
    assert meter.read() == {"energy": 0.05}


def test_the_clock_of_the_edges_may_be_another_one_and_may_be_set():
    """As it is where the kernel's times are those of the day: pulses and rate are as they were."""
    meter = Meter(rate=True, rate_zero_s=60)
    powers = []
    for step in (0.0, 0.0, 7_000_000.0, 0.0, -9_000_000.0, 0.0):
        for _ in range(10):
            meter.line.drive(False, at=KERNEL + step + meter.now)
            meter.now += 0.5
            meter.line.drive(True, at=KERNEL + step + meter.now)
            meter.now += 0.5
        powers.append({reading.measurement: reading.value for reading in meter.sensor.read()})
    assert [read["energy"] for read in powers] == [0.01, 0.02, 0.03, 0.04, 0.05, 0.06]
    assert [read.get("power") for read in powers] == [pytest.approx(3600)] * 6


def test_before_the_first_pulse_there_is_no_rate():
    meter = Meter(rate=True, rate_zero_s=60)
    meter.line.drive(False, at=KERNEL)
    assert {reading.measurement for reading in meter.sensor.read()} == {"energy"}
    meter.now += 61
    assert meter.read() == {"energy": 0.001, "power": 0.0}


def test_a_rate_that_is_not_known_yet_is_no_silence():
    meter = Meter(rate=True, rate_zero_s=900)
    keys = SensorKeys(name="meter", kind="pulse_counter", room="cellar", timeout_s=600)
    options = PulseCounter.Options(pin=17, counts="energy", per_pulse=0.001, rate=True)
    sensor = Sensor(SensorConfig(keys=keys, driver=PulseCounter, options=options), AgentTopics("home", "house"))
    sensor.built(meter.sensor)
    for now in range(0, 1800, 60):
        sensor.outgoing(meter.sensor.read(), float(now))
        assert sensor.silence.trouble(float(now)) is None
    assert sensor.silence.trouble(1800.0 + 600) is not None  # the total is awaited


def test_what_was_read_is_shown_raw():
    meter = Meter()
    meter.pulse(2)
    meter.now += 5
    assert meter.sensor.read()[0].raw == "2 pulses since the start, 4 edges, level high"


def test_gpiozero_counts_without_a_loss_at_50_hz(pins):
    options = PulseCounter.Options(pin=17, counts="water", per_pulse=1, debounce_s=0)
    sensor = PulseCounter.build(options, DriverContext(name="meter", gpio=pins.gpio))
    pin, pause = pins.pin(17), threading.Event()

    def run():
        due = time.monotonic()
        for _ in range(25):
            pin.drive_low()
            pin.drive_high()
            due += 0.02
            pause.wait(max(0.0, due - time.monotonic()))

    thread = threading.Thread(target=run)
    thread.start()
    totals = []
    while thread.is_alive():
        totals.append(sensor.read()[0].value)
        pause.wait(0.02)
    thread.join()
    pins.settle()
    totals.append(sensor.read()[0].value)
    assert totals == sorted(totals)
    assert totals[-1] == 25
    sensor.close()
    sensor.close()
    again = PulseCounter.build(options, DriverContext(name="meter", gpio=pins.gpio))
    again.close()


@pytest.mark.parametrize(("keys", "active"), [({}, False), ({"pull": "down", "active": "high"}, True)])
def test_gpiozero_counts_either_level(pins, keys, active):
    options = msgspec.convert({"pin": 4, "counts": "rain", "per_pulse": 0.2794, **keys}, PulseCounter.Options)
    sensor = PulseCounter.build(
        msgspec.structs.replace(options, debounce_s=0), DriverContext(name="rain", gpio=pins.gpio)
    )
    pin = pins.pin(4)
    assert pin.state is not active
    for _ in range(4):
        pin.drive_high() if active else pin.drive_low()
        pin.drive_low() if active else pin.drive_high()
    pins.settle()
    assert sensor.read()[0].value == pytest.approx(4 * 0.2794)
    sensor.close()


def test_a_taken_pin_is_unavailable_and_a_failing_one_is_given_back(monkeypatch):
    gpio = FakeGpio()
    options = PulseCounter.Options(pin=4, counts="gas", per_pulse=0.01)
    first = PulseCounter.build(options, DriverContext(name="gas", gpio=gpio))
    with pytest.raises(DriverUnavailable, match="GPIO4 is used by another sensor"):
        PulseCounter.build(options, DriverContext(name="gas-2", gpio=gpio))
    first.close()
    monkeypatch.setattr("sensors.hw.gpio.FakeInput.level", lambda _line: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        PulseCounter.build(options, DriverContext(name="gas", gpio=gpio))
    assert gpio.lines[4].closed


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"pin": 4, "counts": "energy"},
        {"pin": 4, "counts": "energy", "per_pulse": 0},
        {"pin": 4, "counts": "sheep", "per_pulse": 1},
        {"pin": 4, "counts": "rain", "per_pulse": 1, "start": -1},
        {"pin": 4, "counts": "rain", "per_pulse": 1, "unit": "inch"},
        {"pin": 4, "counts": "rain", "per_pulse": 1, "measurement": "Rain Today"},
    ],
)
def test_senseless_keys_are_refused(keys):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(keys, PulseCounter.Options)


MISTAKES = [
    ({"counts": "energy", "unit": "L"}, ("unit", '"L" is no unit of energy', "give kWh or Wh")),
    (
        {"counts": "water", "rate": True, "measurement": "flow"},
        ("measurement", '"flow" already is the topic of the rate', "give it another name"),
    ),
    ({"counts": "water", "measurement": "flow"}, None),
    ({"counts": "gas", "unit": "m³"}, None),
]


@pytest.mark.parametrize(("keys", "mistake"), MISTAKES)
def test_keys_that_do_not_go_together_are_named(keys, mistake):
    assert PulseCounter.Options(pin=4, per_pulse=1, **keys).mistake() == mistake
