import sys
from importlib import import_module
from types import ModuleType

import pytest

from sensors.hw.gpio import GpiozeroGpio
from sensors.hw.header_pin import header_factory


class FakeLgpio(ModuleType):
    """The few functions of lgpio that gpiozero calls; what the kernel would have been asked for is in `claims`."""

    SET_PULL_NONE, SET_PULL_UP, SET_PULL_DOWN = 128, 32, 64
    RISING_EDGE, FALLING_EDGE, BOTH_EDGES = 1, 2, 3

    class error(Exception):  # noqa: N801 lgpio's own name
        pass

    def __init__(self):
        super().__init__("lgpio")
        self.claims = []
        self.levels = {}
        self.modes = {}
        self.told = {}

    def gpiochip_open(self, number):
        return number

    def gpio_claim_input(self, _handle, pin, flags=0):
        self.claims.append(("input", pin, flags))
        self.modes[pin] = flags & 0xE0

    def gpio_claim_output(self, _handle, pin, level=0, flags=0):
        self.claims.append(("output", pin, level, flags))
        self.levels[pin] = [level]
        self.modes[pin] = 2

    def gpiochip_close(self, _handle):
        pass

    def gpio_free(self, _handle, pin):
        self.claims.append(("free", pin))

    def gpio_get_mode(self, _handle, pin):
        return self.modes[pin]

    def gpio_read(self, _handle, pin):
        return self.levels[pin][-1] if pin in self.levels else 1

    def gpio_write(self, _handle, pin, level):
        self.levels[pin].append(int(level))

    def gpio_set_debounce_micros(self, _handle, _pin, _micros):
        pass

    def gpio_claim_alert(self, _handle, pin, edges, flags=0):
        self.claims.append(("alert", pin, edges, flags))

    def callback(self, _handle, pin, _edges, func):
        self.told[pin] = func
        told = self.told

        class Callback:
            def cancel(self):
                del told[pin]

        return Callback()


@pytest.fixture
def lgpio(monkeypatch):
    fake = FakeLgpio()
    monkeypatch.setitem(sys.modules, "lgpio", fake)
    monkeypatch.delitem(sys.modules, "gpiozero.pins.lgpio", raising=False)
    monkeypatch.setattr("gpiozero.pins.local.get_pi_revision", lambda: 0xC04170)
    yield fake
    sys.modules.pop("gpiozero.pins.lgpio", None)
    local = import_module("gpiozero.pins.local").LocalPiFactory
    local.pins.clear()
    local._reservations.clear()


@pytest.fixture
def gpio(lgpio):
    assert lgpio.claims == []
    return GpiozeroGpio(header_factory(0))


@pytest.mark.parametrize("level", [True, False])
@pytest.mark.parametrize(("rest", "bias"), [(True, FakeLgpio.SET_PULL_UP), (False, FakeLgpio.SET_PULL_DOWN)])
def test_an_output_is_claimed_once_with_its_level(lgpio, gpio, level, rest, bias):
    line = gpio.open_output(17, level, rest)
    assert lgpio.claims == [("output", 17, int(level), bias)]
    assert line.level() is level
    line.set(not level)
    assert lgpio.levels[17] == [level, not level]
    assert len(lgpio.claims) == 1


def test_gpiozero_s_own_pin_would_click(lgpio):
    """Why the class is there: when this fails, gpiozero has learned it."""
    from gpiozero import OutputDevice
    from gpiozero.pins.lgpio import LGPIOFactory

    relay = OutputDevice(17, active_high=False, initial_value=False, pin_factory=LGPIOFactory(chip=0))
    assert lgpio.claims == [("input", 17, FakeLgpio.SET_PULL_NONE), ("output", 17, 0, 0)]
    assert lgpio.levels[17] == [0, 1]
    relay.close()
    assert lgpio.claims[-1][0] == "input"


def test_an_output_given_back_stays_driven_and_can_be_taken_again(lgpio, gpio):
    line = gpio.open_output(17, True, True)
    line.close()
    line.close()
    again = gpio.open_output(17, True, True)
    again.set(False)
    again.close()
    del line, again
    gpio._resting.clear()  # what the end of the process does
    assert [claim[0] for claim in lgpio.claims] == ["output"]
    assert lgpio.levels[17] == [1, 1, 0]


def test_an_input_is_claimed_as_gpiozero_does_and_keeps_its_edges(lgpio, gpio):
    line = gpio.open_input(17, "up")
    assert [claim[0] for claim in lgpio.claims] == ["input", "input", "free", "input", "alert"]
    assert lgpio.claims[0] == ("input", 17, FakeLgpio.SET_PULL_NONE)
    assert lgpio.claims[3] == ("input", 17, FakeLgpio.SET_PULL_UP)
    line.close()
    assert lgpio.told == {}
    again = gpio.open_input(17, "up")
    assert len(lgpio.claims) == 5
    seen = []
    again.on_edge(lambda level, _at: seen.append(level))
    lgpio.told[17](0, 17, 1, 0)
    assert seen == [True]
    again.close()
    again.close()
    assert len(lgpio.claims) == 5


def test_an_input_that_is_drawn_another_way_is_claimed_anew(lgpio, gpio):
    gpio.open_input(17, "up").close()
    del lgpio.claims[:]
    line = gpio.open_input(17, "down")
    assert lgpio.claims == [("free", 17), ("input", 17, FakeLgpio.SET_PULL_DOWN), ("alert", 17, 3, 64)]
    line.close()
    gpio.open_output(17, True, False)
    assert lgpio.claims[-1] == ("output", 17, 1, FakeLgpio.SET_PULL_DOWN)


def test_an_output_that_cannot_be_claimed_leaves_nothing_behind(lgpio, gpio, monkeypatch):
    def busy(*_):
        raise FakeLgpio.error("GPIO busy")

    with monkeypatch.context() as patch:
        patch.setattr(lgpio, "gpio_claim_output", busy)
        with pytest.raises(Exception, match="GPIO17 is held by another program"):
            gpio.open_output(17, False, False)
    assert lgpio.claims == []
    assert gpio.open_output(17, False, False).level() is False


def test_an_edge_comes_with_the_kernels_time(gpio, lgpio):
    line = gpio.open_input(17, "up")
    seen = []
    line.on_edge(lambda level, at: seen.append((level, at)))
    lgpio.told[17](0, 17, 0, 1_700_000_000_250_000_000)  # chip, line, level, nanoseconds
    lgpio.told[17](0, 17, 1, 1_700_000_000_260_000_000)
    assert seen == [(False, pytest.approx(1_700_000_000.25)), (True, pytest.approx(1_700_000_000.26))]
    line.close()
