import logging
import queue
import random
import threading

import msgspec
import pytest
from mosquitto_peer import eventually

from appliance.config import ConfigError
from sensors.config import load_config
from sensors.driver import Disconnected, DriverContext, DriverUnavailable, Linked, SensorError, Switched, TimedOut
from sensors.drivers import gpio_output
from sensors.drivers.gpio_output import LOOK_EVERY_S, RETRY_S, GpioOutput
from sensors.hw.gpio import FakeGpio
from sensors.interlock import Interlocks
from sensors.keepsakes import Keepsakes

ON, OFF = True, False


class Heard(queue.SimpleQueue):
    """What an output reported."""

    def next(self):
        return self.get(timeout=10).value

    def all(self):
        values = []
        while not self.empty():
            values.append(self.next())
        return values


class House:
    """Outputs on the pins of a test, and the test's own time."""

    def __init__(self, gpio):
        self.gpio = gpio
        self.now = 1000.0
        self.interlocks = Interlocks()
        self.keepsakes = Keepsakes()
        self.outputs = []

    def build(self, name="pump", pin=17, **keys):
        options = msgspec.convert({"pin": pin, "output": "relay", **keys}, GpioOutput.Options)
        assert options.mistake() is None
        context = DriverContext(
            name=name,
            gpio=self.gpio,
            interlocks=self.interlocks,
            keepsakes=self.keepsakes,
            clock=lambda: self.now,
        )
        output = GpioOutput.build(options, context)
        self.outputs.append(output)
        return output

    def watched(self, name="pump", pin=17, **keys):
        output = self.build(name, pin, **keys)
        output.heard = Heard()
        output.watch(output.heard.put)
        return output

    def pass_time(self, seconds=0.0):
        """Let time go by, and every output see it."""
        self.now += seconds
        for output in self.outputs:
            self.turn(output)

    def turn(self, output):
        for _ in range(2):  # a second one begins when the first is over
            output._stir()
            eventually(lambda: output._closed or not output._stirred)

    def close(self, output):
        self.outputs.remove(output)
        output.close()


@pytest.fixture
def house():
    house = House(FakeGpio())
    yield house
    for line in house.gpio.outputs.values():
        line.fails = line.tied_to = None
    for output in house.outputs:
        output.close()
        output.close()


@pytest.fixture
def wired(pins):
    """A house on pins, and how their levels were since the start."""
    house = House(pins.gpio)
    house.history = lambda pin: [state.state for state in pins.pin(pin).states]
    house.function = lambda pin: pins.pin(pin).function
    yield house
    for output in house.outputs:
        output.close()


def levels(house, pin=17):
    return house.gpio.outputs[pin].levels


def is_on(output):
    return output._switching.on


# Levels, commands and states


def test_it_takes_commands_and_says_what_became_of_them(wired):
    relay = wired.watched()
    assert isinstance(relay, Switched)
    assert isinstance(relay, Linked)
    (channel,) = relay.channels
    assert (channel.measurement, channel.role) == ("relay", "switch")
    assert relay.heard.next() is OFF
    relay.switch("relay", ON)
    assert wired.history(17)[-1] is True
    relay.switch("relay", OFF)
    relay.switch("relay", OFF)  # already so: said again, for who thinks otherwise
    assert wired.history(17) == [False, True, False]
    assert relay.heard.all()[-1] is OFF


@pytest.mark.parametrize("output", ["relay", "lamp", "siren", "valve"])
def test_the_topic_is_what_is_connected_or_what_it_is_called(house, output):
    assert house.build(output=output).channels[0].measurement == output
    assert house.build("b", 18, output=output, measurement="pump").channels[0].measurement == "pump"


def test_a_foreign_measurement_is_refused(house):
    relay = house.watched()
    with pytest.raises(SensorError, match='there is no "lamp" to switch here, only "relay"'):
        relay.switch("lamp", ON)


# No click at the start, and what is left at the end

STARTS = [  # keys, what the pin goes through from the moment it is taken
    ({"active": "low"}, [True]),
    ({"active": "low", "start": "on"}, [False]),
    ({}, [False]),
    ({"start": "on"}, [True]),
    ({"start": "last"}, [False]),  # nothing is known of it
    ({"active": "low", "start": "last"}, [True]),
]


@pytest.mark.parametrize(("keys", "seen"), STARTS)
@pytest.mark.parametrize("pin", [17, 2])  # GPIO2 is high before it is taken, by a resistor on the board
def test_the_pin_starts_at_its_level_and_at_no_other(wired, keys, seen, pin):
    wired.watched(pin=pin, **keys)
    before = pin == 2
    assert wired.history(pin) == ([before, *seen] if seen != [before] else [before])
    assert wired.function(pin) == "output"


ENDS = [  # stop, was on, level at the end
    ("off", ON, OFF),
    ("on", OFF, ON),
    ("last", ON, ON),
    ("last", OFF, OFF),
]


@pytest.mark.parametrize("active", ["high", "low"])
@pytest.mark.parametrize(("stop", "was", "end"), ENDS)
def test_the_pin_is_left_driven_in_the_state_for_the_end(wired, stop, was, end, active):
    relay = wired.watched(active=active, stop=stop)
    relay.switch("relay", was)
    before = wired.history(17)
    wired.close(relay)
    relay.close()
    assert wired.function(17) == "output"
    assert wired.history(17) == (before if end is was else [*before, not before[-1]])
    assert relay.heard.all()[-1] is end
    with pytest.raises(SensorError, match="not at work"):
        relay.switch("relay", ON)


def test_a_pin_that_was_left_on_is_taken_over_without_a_gap(wired):
    relay = wired.watched(start="last", stop="last", active="low")
    relay.switch("relay", ON)
    before = wired.history(17)
    wired.close(relay)
    again = wired.watched(start="last", stop="last", active="low")
    assert again.heard.next() is ON
    assert wired.history(17) == before


def test_closing_before_watching_leaves_the_state_for_the_end(house):
    relay = house.build(start="on")
    house.close(relay)
    assert levels(house) == [True, False]
    assert house.gpio.outputs[17].closed


# What was last


def test_the_last_state_is_known_after_a_restart_and_the_one_for_the_end_is_not_taken_for_it(house):
    relay = house.watched(start="last")
    relay.switch("relay", ON)
    assert house.keepsakes.get("pump", "on") is True
    house.close(relay)
    assert levels(house)[-1] is False
    assert house.watched(start="last").heard.next() is ON


def test_the_last_state_is_written_at_once(house, tmp_path):
    house.keepsakes = Keepsakes(tmp_path / "kept")
    relay = house.watched(start="last")
    relay.switch("relay", ON)
    assert house.keepsakes.next_deadline() == 0.0
    house.keepsakes.tick(0.0)
    assert Keepsakes(tmp_path / "kept").get("pump", "on") is True


def test_off_while_the_last_state_waits_to_be_so_again_is_the_last_state(house):
    house.keepsakes.put("pump", "on", True)
    relay = house.watched(start="last", min_off_s=60)
    assert relay.heard.next() is OFF
    relay.switch("relay", OFF)
    assert house.keepsakes.get("pump", "on") is False
    house.pass_time(100)
    assert levels(house) == [False]


def test_on_while_the_last_state_waits_to_be_so_again_does_not_make_it_off(house):
    house.keepsakes.put("pump", "on", True)
    relay = house.watched(start="last", min_off_s=60)
    relay.switch("relay", ON)
    assert house.keepsakes.get("pump", "on") is True


def test_off_that_waits_for_the_shortest_time_is_not_turned_round_by_a_restart(house):
    relay = house.watched(start="last", min_on_s=60)
    relay.switch("relay", ON)
    relay.switch("relay", OFF)
    house.close(relay)
    assert house.watched(start="last").heard.next() is OFF


@pytest.mark.parametrize("kept", ["on", 1, 0.5])
def test_nonsense_for_a_last_state_is_off(house, kept):
    house.keepsakes.put("pump", "on", kept)
    assert house.watched(start="last").heard.next() is OFF


def test_without_last_nothing_is_kept(house):
    house.watched().switch("relay", ON)
    assert house.keepsakes.get("pump", "on") is None


# Times


def test_a_command_that_comes_too_early_waits_and_the_state_is_told_when_it_changed(house, caplog):
    caplog.set_level(logging.INFO, "sensors")
    relay = house.watched(min_on_s=10, min_off_s=60)
    relay.switch("relay", ON)
    assert relay.heard.all() == [OFF, OFF]
    assert "pump waits 60.0 s before it is switched" in caplog.text
    house.pass_time(59)
    assert relay.heard.empty()
    house.pass_time(1)
    assert relay.heard.next() is ON
    relay.switch("relay", OFF)
    assert relay.heard.next() is ON  # still
    house.pass_time(9.5)
    relay.switch("relay", ON)  # taken back
    house.pass_time(100)
    assert levels(house) == [False, True]


def test_a_compressor_that_is_to_start_on_waits_for_its_time_off(house):
    relay = house.watched(start="on", min_off_s=300)
    assert relay.heard.next() is OFF
    house.pass_time(300)
    assert relay.heard.next() is ON


def test_the_end_does_not_wait_for_the_shortest_time(house):
    relay = house.watched(min_on_s=3600)
    relay.switch("relay", ON)
    house.close(relay)
    assert levels(house) == [False, True, False]


def test_a_pulse_ends_by_itself(house):
    door = house.watched(pulse_s=0.5)
    door.switch("relay", ON)
    house.pass_time(0.4)
    door.switch("relay", ON)  # one push is one pulse
    house.pass_time(0.1)
    assert door.heard.all()[-1] is OFF
    assert levels(house) == [False, True, False]


def test_a_pulse_is_ended_by_off_and_begun_again_by_on(house):
    door = house.watched(pulse_s=0.5)
    door.switch("relay", ON)
    house.pass_time(0.25)
    door.switch("relay", OFF)
    door.switch("relay", ON)
    house.pass_time(0.25)
    assert is_on(door)
    house.pass_time(0.25)
    assert not is_on(door)


def test_a_pulse_in_real_time(wired):
    wired.build = lambda *_, **__: None
    options = GpioOutput.Options(pin=17, output="relay", pulse_s=0.05)
    door = GpioOutput.build(options, DriverContext(name="door", gpio=wired.gpio))
    heard = Heard()
    door.watch(heard.put)
    door.switch("relay", ON)
    while heard.next() is not ON:
        pass
    states = [heard.next(), heard.next()]
    door.close()
    assert states[-1] is OFF
    assert wired.history(17) == [False, True, False]


def test_a_siren_falls_silent(house, caplog):
    siren = house.watched(output="siren", max_on_s=180)
    siren.switch("siren", ON)
    house.pass_time(179)
    siren.switch("siren", ON)
    assert is_on(siren)
    house.pass_time(1)
    assert not is_on(siren)
    assert "pump goes off by itself" in caplog.text


# Without the broker


def test_without_the_broker_it_goes_to_the_safe_state_and_stays_until_a_command(house, caplog):
    heater = house.watched(safe_after_s=30, stop="last")
    heater.link(up=True)
    heater.switch("relay", ON)
    heater.link(up=False)
    house.pass_time(29)
    assert is_on(heater)
    heater.heard.all()
    house.pass_time(1)
    assert heater.heard.next() is OFF
    assert "pump goes off by itself" in caplog.text
    heater.link(up=True)
    house.pass_time(100)
    assert not is_on(heater)
    heater.switch("relay", ON)
    house.pass_time(100)
    assert is_on(heater)


def test_a_silence_that_was_noticed_late_counts_from_its_begin(house):
    heater = house.watched(safe_after_s=30)
    heater.link(up=True)
    heater.switch("relay", ON)
    house.pass_time(25)
    heater.link(up=False, silent_s=20)
    house.pass_time(9)
    assert is_on(heater)
    house.pass_time(1)
    assert not is_on(heater)


def test_a_short_outage_changes_nothing(house):
    heater = house.watched(safe_after_s=30)
    heater.link(up=True)
    heater.switch("relay", ON)
    for _ in range(5):
        heater.link(up=False)
        house.pass_time(20)
        heater.link(up=True)
        house.pass_time(20)
    assert levels(house) == [False, True]


def test_a_broker_that_never_came_is_gone_as_well(house):
    pump = house.watched(safe="on", safe_after_s=30)
    house.pass_time(30)
    assert levels(house) == [False, True]
    assert pump.heard.all() == [OFF, ON]


def test_without_a_safe_state_it_stays(house):
    lamp = house.watched()
    lamp.link(up=True)
    lamp.switch("relay", ON)
    lamp.link(up=False)
    house.pass_time(1e6)
    assert is_on(lamp)


# Groups


@pytest.fixture
def blind(house):
    keys = {"interlock": "blind", "interlock_wait_s": 0.5}
    return house, house.watched("up", 17, **keys), house.watched("down", 18, **keys)


def test_of_a_group_the_other_goes_off_first_and_the_pause_passes(blind):
    house, up, down = blind
    up.switch("relay", ON)
    assert is_on(up)
    down.switch("relay", ON)
    eventually(lambda: not is_on(up))
    house.pass_time(0.4)
    assert not is_on(down)
    assert down.heard.all()[-1] is OFF
    house.pass_time(0.1)
    eventually(lambda: is_on(down))
    assert up.heard.all()[-1] is OFF
    assert down.heard.all()[-1] is ON


def test_the_last_command_of_a_group_counts(blind):
    house, up, down = blind
    up.switch("relay", ON)
    down.switch("relay", ON)
    up.switch("relay", ON)
    house.pass_time(10)
    house.pass_time(10)
    assert (is_on(up), is_on(down)) == (True, False)


def test_who_waits_for_its_group_may_be_told_not_to(blind):
    house, up, down = blind
    up.switch("relay", ON)
    down.switch("relay", ON)
    down.switch("relay", OFF)
    house.pass_time(10)
    assert (is_on(up), is_on(down)) == (False, False)


def test_the_other_keeps_its_shortest_time_before_it_gives_way(house):
    heat = house.watched("heat", 17, interlock="air", min_on_s=60)
    cool = house.watched("cool", 18, interlock="air")
    heat.switch("relay", ON)
    cool.switch("relay", ON)
    house.pass_time(59)
    assert (is_on(heat), is_on(cool)) == (True, False)
    house.pass_time(1)
    eventually(lambda: is_on(cool))
    assert not is_on(heat)


def test_two_that_start_on_do_not_both(house, caplog):
    first = house.watched("a", 17, interlock="pump", start="on")
    second = house.watched("b", 18, interlock="pump", start="on")
    house.pass_time(10)
    assert (is_on(first), is_on(second)) == (True, False)
    assert levels(house, 18) == [False]
    assert "sensor b starts off: another of the group pump is on" in caplog.text


def test_one_that_cannot_go_off_keeps_the_others_off(blind):
    house, up, down = blind
    up.switch("relay", ON)
    house.gpio.outputs[17].tied_to = True
    down.switch("relay", ON)
    eventually(lambda: up.trouble is not None)
    house.pass_time(100)
    assert not is_on(down)
    house.gpio.outputs[17].tied_to = None
    house.pass_time(RETRY_S)
    house.pass_time(100)
    assert not is_on(down)  # the command is long forgotten
    down.switch("relay", ON)
    eventually(lambda: is_on(down))


def test_one_that_is_left_on_keeps_the_others_off(house):
    first = house.watched("a", 17, interlock="pump", stop="last")
    second = house.watched("b", 18, interlock="pump")
    first.switch("relay", ON)
    house.close(first)
    second.switch("relay", ON)
    house.pass_time(1000)
    assert not is_on(second)


def test_one_that_could_not_be_switched_off_at_its_end_keeps_the_others_off(blind):
    house, up, down = blind
    house.gpio.outputs[17].tied_to = True
    with pytest.raises(Disconnected):
        house.close(up)
    with pytest.raises(SensorError, match="up of the group blind cannot be seen to be off"):
        down.switch("relay", ON)
    house.pass_time(100)
    assert not is_on(down)


def test_one_that_was_switched_off_at_its_end_lets_go(house):
    first = house.watched("a", 17, interlock="pump")
    second = house.watched("b", 18, interlock="pump")
    first.switch("relay", ON)
    house.close(first)
    second.switch("relay", ON)
    assert is_on(second)


def test_a_pin_that_goes_on_by_itself_keeps_the_others_off_and_switches_them_off(blind):
    house, up, down = blind
    down.switch("relay", ON)
    house.gpio.outputs[17].tied_to = True
    house.pass_time(LOOK_EVERY_S)
    assert isinstance(up.trouble, Disconnected)
    eventually(lambda: not is_on(down))
    with pytest.raises(SensorError, match="up of the group blind cannot be seen to be off"):
        down.switch("relay", ON)
    assert down.trouble is None
    house.gpio.outputs[17].tied_to = None
    house.pass_time(RETRY_S)
    assert not is_on(down)  # what was refused is not made up for
    down.switch("relay", ON)
    house.pass_time(0.5)
    assert is_on(down)


def test_nobody_comes_on_beside_one_that_the_agent_has_not_taken_yet(house):
    """A pin outlasts an agent that was killed: the other may be on still."""
    for name in ("up", "down"):
        house.interlocks.group("blind").expect(name)
    keys = {"interlock": "blind", "interlock_wait_s": 0.5}
    down = house.watched("down", 18, **keys)
    with pytest.raises(SensorError, match="up of the group blind cannot be seen to be off"):
        down.switch("relay", ON)
    house.pass_time(10)
    house.watched("up", 17, **keys)
    down.switch("relay", ON)
    house.pass_time(0.4)
    assert not is_on(down)  # the pause after what may have ended just now
    house.pass_time(0.1)
    assert is_on(down)


def test_a_start_on_waits_for_the_group_and_one_that_was_on_does_not(house):
    for name in ("a", "b"):
        house.interlocks.group("pump").expect(name)
        house.interlocks.group("fan").expect(name)
    pump = house.watched("a", 17, interlock="pump", interlock_wait_s=3, start="on")
    assert pump.heard.next() is OFF
    house.watched("b", 18, interlock="pump")
    house.pass_time(2)
    assert not is_on(pump)
    house.pass_time(1)
    assert pump.heard.next() is ON
    assert levels(house) == [False, True]
    house.keepsakes.put("a", "on", True)
    fan = house.watched("a", 22, interlock="fan", start="last")
    assert fan.heard.next() is ON
    house.pass_time(10)
    assert levels(house, 22) == [True]


def test_after_a_failure_the_safe_state_on_takes_the_group_again(house):
    spare = house.watched("spare", 17, interlock="pump", safe="on")
    house.watched("main", 18, interlock="pump")
    house.gpio.outputs[17].fails = OSError(5, "Input/output error")
    house.pass_time(LOOK_EVERY_S)
    assert spare.trouble is not None
    house.gpio.outputs[17].fails = None
    house.pass_time(RETRY_S)
    assert is_on(spare)


def test_a_pin_that_could_not_be_taken_does_not_keep_the_group(house):
    house.build("a", 17)
    with pytest.raises(DriverUnavailable):
        house.build("b", 17, interlock="pump", start="on")
    assert house.build("c", 18, interlock="pump", start="on")._switching.on


def test_the_safe_state_on_asks_the_group_as_well(house):
    spare = house.watched("spare", 17, interlock="pump", safe="on", safe_after_s=10)
    main = house.watched("main", 18, interlock="pump")
    spare.link(up=True)
    main.switch("relay", ON)
    spare.link(up=False)
    house.pass_time(10)
    eventually(lambda: is_on(spare))
    assert not is_on(main)


class Recorder(FakeGpio):
    """Writes down every level in the order in which the pins had them."""

    def __init__(self):
        super().__init__()
        self.order = []
        self.lock = threading.Lock()

    def open_output(self, pin, level, rest):
        line = super().open_output(pin, level, rest)
        original = line.set

        def set_and_note(level):
            with self.lock:
                self.order.append((pin, level))
                original(level)

        line.set = set_and_note
        return line


def test_never_two_of_a_group_are_on_whoever_commands_them():
    gpio, locks = Recorder(), Interlocks()
    outputs = []
    for pin in (5, 6, 13):
        options = GpioOutput.Options(pin=pin, output="valve", interlock="water")
        output = GpioOutput.build(options, DriverContext(name=f"v{pin}", gpio=gpio, interlocks=locks))
        output.watch(lambda _reading: None)
        outputs.append(output)

    def hammer(output, seed):
        choose = random.Random(seed)
        for _ in range(150):
            output.switch("valve", choose.random() < 0.7)

    threads = [threading.Thread(target=hammer, args=(output, seed)) for seed, output in enumerate(outputs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outputs[1].switch("valve", ON)
    eventually(lambda: is_on(outputs[1]))
    for output in outputs:
        output.close()
    on = set()
    for pin, level in gpio.order:
        (on.add if level else on.discard)(pin)
        assert len(on) <= 1
    assert len(gpio.order) > 20
    assert on == set()


# Pins that fail


def test_a_pin_that_does_not_follow_is_not_said_to_be_on(house):
    relay = house.watched()
    assert relay.heard.next() is OFF
    house.gpio.outputs[17].tied_to = False
    with pytest.raises(Disconnected, match=r"GPIO17 does not go to 3\.3 V: a short circuit, or another program"):
        relay.switch("relay", ON)
    assert relay.heard.empty()
    assert isinstance(relay.trouble, Disconnected)
    house.gpio.outputs[17].tied_to = None
    house.pass_time(RETRY_S)
    assert relay.trouble is None
    assert relay.heard.next() is OFF  # the command was refused: it is not done when nobody expects it any more
    assert levels(house)[-1] is False


def test_a_failed_off_is_tried_until_it_is_off(house):
    relay = house.watched()
    relay.switch("relay", ON)
    house.gpio.outputs[17].fails = OSError(5, "Input/output error")
    with pytest.raises(SensorError, match="Input/output error"):
        relay.switch("relay", OFF)
    relay.heard.all()
    for _ in range(3):
        house.pass_time(RETRY_S)
    assert relay.trouble is not None
    assert relay.heard.empty()
    house.gpio.outputs[17].fails = None
    house.pass_time(RETRY_S)
    assert relay.heard.next() is OFF
    assert levels(house) == [False, True, False]


def test_a_command_tries_a_failed_pin_at_once(house):
    relay = house.watched()
    house.gpio.outputs[17].fails = OSError(5, "Input/output error")
    with pytest.raises(SensorError):
        relay.switch("relay", ON)
    house.gpio.outputs[17].fails = None
    relay.switch("relay", ON)
    assert relay.trouble is None
    assert is_on(relay)


def test_a_pin_that_recovers_still_keeps_its_shortest_time_off(house):
    relay = house.watched(min_off_s=60)
    house.pass_time(60)
    relay.switch("relay", ON)
    house.pass_time(60)
    relay.switch("relay", OFF)
    house.gpio.outputs[17].fails = OSError(5, "Input/output error")
    house.pass_time(LOOK_EVERY_S)
    assert relay.trouble is not None
    house.gpio.outputs[17].fails = None
    relay.switch("relay", ON)
    assert relay.trouble is None
    assert not is_on(relay)
    house.pass_time(55)
    assert is_on(relay)


def test_a_pin_that_recovers_goes_off_without_its_shortest_time_on(house):
    relay = house.watched(min_on_s=1_000)
    relay.switch("relay", ON)
    house.gpio.outputs[17].tied_to = False
    house.pass_time(LOOK_EVERY_S)
    assert relay.trouble is not None
    house.gpio.outputs[17].tied_to = None
    house.pass_time(RETRY_S)
    assert relay.trouble is None
    assert not is_on(relay)
    assert levels(house)[-1] is False


@pytest.mark.parametrize("fails", [False, True])
def test_waiting_for_the_group_costs_nothing(house, fails):
    main = house.watched("main", 17, interlock="pump", min_on_s=1000)
    spare = house.watched("spare", 18, interlock="pump", safe="on")
    main.switch("relay", ON)
    if fails:
        house.gpio.outputs[18].fails = OSError(5, "Input/output error")
        with pytest.raises(SensorError):
            spare.switch("relay", OFF)
    else:
        spare.switch("relay", ON)
    turns = []
    original = spare._turn
    spare._turn = lambda: (turns.append(1), original())
    for _ in range(10):
        house.pass_time(LOOK_EVERY_S)
    assert 10 <= len(turns) <= 60
    assert not is_on(spare)


def test_a_pin_moved_by_somebody_else_is_said_and_put_right(house, caplog):
    relay = house.watched()
    relay.switch("relay", ON)
    relay.heard.all()
    levels(house).append(False)
    house.pass_time(LOOK_EVERY_S)
    assert relay.heard.all() == [OFF, ON]
    assert levels(house)[-1] is True
    assert "GPIO17 was moved by somebody else" in caplog.text


def test_a_pin_torn_away_for_good_is_in_trouble(house):
    relay = house.watched()
    relay.switch("relay", ON)
    house.gpio.outputs[17].tied_to = False
    house.pass_time(LOOK_EVERY_S)
    assert isinstance(relay.trouble, Disconnected)


def test_a_pin_that_fails_at_the_end_says_so(house):
    relay = house.watched(stop="on")
    house.gpio.outputs[17].tied_to = False
    house.outputs.remove(relay)
    with pytest.raises(Disconnected):
        relay.close()
    assert house.gpio.outputs[17].closed


def test_a_library_that_hangs_is_given_up(house, monkeypatch):
    monkeypatch.setattr(gpio_output, "SWITCH_S", 0.02)
    monkeypatch.setattr(gpio_output, "CLOSE_S", 0.02)
    relay = house.watched()
    hold = threading.Event()
    line = house.gpio.outputs[17]
    line.set = lambda _level: hold.wait(30)
    for on in (ON, OFF, ON):
        with pytest.raises(TimedOut, match=r"GPIO17 was not switched within 0\.02 s"):
            relay.switch("relay", on)
    assert isinstance(relay.trouble, TimedOut)
    assert relay._orders == []  # what waited would come too late
    with pytest.raises(TimedOut, match="GPIO17 does not come back"):
        relay.close()
    hold.set()
    del line.set
    relay._thread.join(10)
    assert not relay._thread.is_alive()
    house.outputs.remove(relay)


def test_a_library_that_comes_back_is_believed_again(house, monkeypatch):
    monkeypatch.setattr(gpio_output, "SWITCH_S", 0.02)
    relay = house.watched()
    line = house.gpio.outputs[17]
    hold, original = threading.Event(), line.set

    def slow(level):
        hold.wait(30)
        original(level)

    line.set = slow
    with pytest.raises(TimedOut):
        relay.switch("relay", ON)
    hold.set()
    eventually(lambda: is_on(relay))
    house.pass_time(LOOK_EVERY_S)
    assert relay.trouble is None
    assert relay.heard.all()[-1] is ON


def test_a_command_under_way_at_the_end_is_answered(house):
    relay = house.watched()
    hold, began = threading.Event(), threading.Event()

    def slow(_level):
        began.set()
        hold.wait(30)

    house.gpio.outputs[17].set = slow
    errors = queue.SimpleQueue()

    def command(on):
        try:
            relay.switch("relay", on)
        except SensorError as error:
            errors.put(str(error))
        else:
            errors.put("")

    threads = [threading.Thread(target=command, args=(ON,))]
    threads[0].start()
    assert began.wait(10)
    threads.append(threading.Thread(target=command, args=(OFF,)))
    threads[1].start()
    eventually(lambda: relay._orders)
    closing = threading.Thread(target=relay.close)
    closing.start()
    eventually(lambda: relay._closed)
    del house.gpio.outputs[17].set
    hold.set()
    for thread in (*threads, closing):
        thread.join(10)
    assert {errors.get(timeout=10), errors.get(timeout=10)} == {
        "pump was stopped before",
        "GPIO17 does not go to 3.3 V: a short circuit, or another program drives it",  # `slow` never moved it
    }


def test_closing_ends_the_thread_and_frees_the_pin(wired):
    before = threading.active_count()
    relay = wired.watched()
    assert threading.active_count() == before + 1
    wired.close(relay)
    assert threading.active_count() == before
    wired.watched()


def test_a_taken_pin_is_unavailable(wired):
    wired.watched()
    with pytest.raises(DriverUnavailable, match="GPIO17 is used by another sensor"):
        wired.build("lamp")


# The configuration

GOOD = {"pin": 17, "output": "relay"}


@pytest.mark.parametrize(
    "keys",
    [
        {"output": "relay"},
        {"pin": 17},
        {**GOOD, "output": "toaster"},
        {**GOOD, "measurement": "Pump 1"},
        {**GOOD, "start": "maybe"},
        {**GOOD, "safe": "last"},
        {**GOOD, "safe_after_s": 0},
        {**GOOD, "min_on_s": -1},
        {**GOOD, "pulse_s": 0},
        {**GOOD, "interlock": "a/b"},
        {**GOOD, "interlock_wait_s": -1},
    ],
)
def test_senseless_keys_are_refused(keys):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(keys, GpioOutput.Options)


MISTAKES = [  # keys, the one that is named
    ({"pulse_s": 1.0, "max_on_s": 2.0}, "max_on_s"),
    ({"pulse_s": 1.0, "start": "on"}, "start"),
    ({"pulse_s": 1.0, "start": "last"}, "start"),
    ({"pulse_s": 1.0, "stop": "last"}, "stop"),
    ({"pulse_s": 1.0, "safe": "on"}, "safe"),
    ({"max_on_s": 1.0, "stop": "on"}, "stop"),
    ({"max_on_s": 1.0, "stop": "last"}, "stop"),
    ({"max_on_s": 1.0, "safe": "on"}, "safe"),
    ({"interlock": "pump", "stop": "on"}, "stop"),
    ({"pulse_s": 1.0, "min_on_s": 2.0}, "min_on_s"),
    ({"max_on_s": 1.0, "min_on_s": 2.0}, "min_on_s"),
]


@pytest.mark.parametrize(("keys", "named"), MISTAKES)
def test_keys_that_do_not_go_together_are_told_with_their_line(tmp_path, keys, named):
    lines = [f"{key} = {msgspec.json.encode(value).decode()}" for key, value in keys.items()]
    head = ["[[sensor]]", 'name = "door"', 'kind = "gpio_output"', 'room = "yard"', "pin = 17", 'output = "relay"']
    path = tmp_path / "sensors.toml"
    path.write_text("\n".join([*head, *lines]))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.key == f"sensor[1].{named}"
    assert caught.value.line == len(head) + 1 + list(keys).index(named)
    assert caught.value.cure
