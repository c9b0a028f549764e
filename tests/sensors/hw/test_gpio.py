import gc
import subprocess
import sys
import threading
from importlib import import_module
from queue import SimpleQueue
from textwrap import dedent
from types import ModuleType

import pytest
from gpiozero.pins.mock import MockFactory

from sensors.driver import DriverUnavailable
from sensors.hw import gpio as hw_gpio
from sensors.hw.gpio import FakeGpio, GpiozeroGpio, open_gpio


class Bench:
    """Pins of one kind, and the hand that moves them."""

    def __init__(self, gpio, drive):
        self.gpio = gpio
        self.drive = drive


@pytest.fixture(params=["fake", "gpiozero"])
def bench(request):
    if request.param == "fake":
        fake = FakeGpio()
        yield Bench(fake, lambda pin, level: fake.lines[pin].drive(level))
        return
    factory = MockFactory()

    def drive(pin, level):
        mock = factory.pin(pin)
        mock.drive_high() if level else mock.drive_low()

    yield Bench(GpiozeroGpio(factory), drive)
    factory.close()


@pytest.mark.parametrize("level", [True, False])
def test_an_output_has_its_level_at_once_and_keeps_it_when_it_is_given_back(bench, level):
    line = bench.gpio.open_output(17, level, not level)
    assert line.level() is level
    line.set(not level)
    assert line.level() is not level
    line.close()
    line.close()
    again = bench.gpio.open_output(17, not level, not level)
    assert again.level() is not level
    again.close()


def edges_of(line):
    """What a line tells of its edges, as they come."""
    edges = SimpleQueue()
    line.on_edge(lambda level, _at: edges.put(level))
    return edges


def test_an_input_that_was_given_back_is_heard_again(pins):
    pin = pins.pin(17)
    for _ in range(3):
        line = pins.gpio.open_input(17, "down")
        edges = edges_of(line)
        pin.drive_high()
        assert edges.get(timeout=10) is True
        pin.drive_low()
        assert edges.get(timeout=10) is False
        line.close()
        assert edges.empty()
    output = pins.gpio.open_output(17, True, False)
    assert pin.state is True
    output.set(False)
    assert pin.state is False
    output.close()


def test_the_other_inputs_are_heard_while_one_is_given_back(pins):
    lines = [pins.gpio.open_input(number, "up") for number in (4, 17, 27)]
    edges = [edges_of(line) for line in lines]
    while lines:
        lines.pop().close()
        edges.pop()
        for heard, number in zip(edges, (4, 17), strict=False):
            pins.pin(number).drive_low()
            assert heard.get(timeout=10) is False
            pins.pin(number).drive_high()
            assert heard.get(timeout=10) is True


def test_an_output_belongs_to_one_sensor(bench):
    line = bench.gpio.open_output(4, False, False)
    for take in (lambda: bench.gpio.open_output(4, False, False), lambda: bench.gpio.open_input(4, "down")):
        with pytest.raises(DriverUnavailable, match="GPIO4 is used by another sensor of this agent"):
            take()
    line.close()


def test_what_is_left_of_a_failed_output_does_not_hang_the_next():
    """Python may collect it at any moment; here it does while gpiozero reserves a pin."""

    class CollectedFactory(MockFactory):
        reserves = False

        def reserve_pins(self, *devices_and_names):
            self.reserves = True
            super().reserve_pins(*devices_and_names)
            self.reserves = False

        def _get_board_info(self):
            if self.reserves:
                gc.collect()
            return super()._get_board_info()

    factory = CollectedFactory()
    gpio = GpiozeroGpio(factory)
    factory.pin(17).output_with_state = lambda _state: 1 / 0
    with pytest.raises(DriverUnavailable) as caught:
        gpio.open_output(17, False, False)
    leftover = [caught.value]
    leftover.append(leftover)  # as an outcome that stands in the traceback of its own error
    del caught, leftover
    lines = []
    opening = threading.Thread(target=lambda: lines.append(gpio.open_output(18, True, True)), daemon=True)
    opening.start()
    opening.join(10)
    assert lines
    assert lines[0].level() is True
    lines[0].close()
    factory.close()


def test_an_unknown_output_is_named(bench):
    with pytest.raises(DriverUnavailable, match="this Raspberry Pi has no GPIO99 on its header"):
        bench.gpio.open_output(99, False, False)


def test_the_fake_output_fails_or_is_tied_when_told_to():
    line = FakeGpio().open_output(4, False, False)
    line.tied_to = False
    line.set(True)
    assert line.level() is False
    line.fails = OSError(5, "Input/output error")
    with pytest.raises(OSError, match="Input/output"):
        line.level()
    with pytest.raises(OSError, match="Input/output"):
        line.set(True)


@pytest.mark.parametrize(("pull", "level"), [("up", True), ("down", False), ("none", False)])
def test_an_open_pin_follows_its_pull(bench, pull, level):
    line = bench.gpio.open_input(17, pull)
    assert line.level() is level
    line.close()


@pytest.mark.parametrize("pull", ["up", "down", "none"])
def test_every_edge_is_told_with_its_level(bench, pull):
    line = bench.gpio.open_input(17, pull)
    seen = []
    line.on_edge(lambda level, _at: seen.append(level))
    levels = [False, True, False] if line.level() else [True, False, True]
    for level in levels:
        bench.drive(17, level)
        assert line.level() is level
    assert seen == levels
    line.close()


@pytest.mark.parametrize("pull", ["up", "down", "none"])
def test_every_edge_is_told_with_its_time(bench, pull):
    line = bench.gpio.open_input(17, pull)
    seen = []
    line.on_edge(lambda level, at: seen.append((level, at)))
    levels = [False, True, False] if line.level() else [True, False, True]
    gc.collect()  # gpiozero holds what it calls by a weak reference
    for level in levels:
        bench.drive(17, level)
    assert [level for level, _ in seen] == levels
    times = [at for _, at in seen]
    assert times == sorted(times)
    line.close()


def test_edges_may_come_from_another_thread(bench):
    line = bench.gpio.open_input(4, "down")
    seen = []
    line.on_edge(lambda level, _at: seen.append((level, threading.current_thread())))
    thread = threading.Thread(target=bench.drive, args=(4, True))
    thread.start()
    thread.join()
    assert seen == [(True, thread)]
    line.close()


def test_a_closed_pin_can_be_taken_again(bench):
    line = bench.gpio.open_input(4, "down")
    line.close()
    line.close()
    bench.gpio.open_input(4, "up").close()


def test_a_pin_belongs_to_one_sensor(bench):
    line = bench.gpio.open_input(4, "down")
    with pytest.raises(DriverUnavailable, match="GPIO4 is used by another sensor of this agent; give each its own pin"):
        bench.gpio.open_input(4, "down")
    line.close()


def test_an_unknown_pin_is_named(bench):
    with pytest.raises(DriverUnavailable, match="this Raspberry Pi has no GPIO99 on its header"):
        bench.gpio.open_input(99, "down")


def test_a_pin_with_its_own_resistor_keeps_it():
    factory = MockFactory()
    with pytest.raises(DriverUnavailable, match=r'GPIO2 has a pull-up resistor on the board; set pull = "up"'):
        GpiozeroGpio(factory).open_input(2, "down")
    factory.close()


def test_the_fake_loses_an_edge_when_told_to():
    fake = FakeGpio()
    line = fake.open_input(4, "down")
    seen = []
    line.on_edge(lambda level, _at: seen.append(level))
    line.drive(True, lose_edge=True)
    assert line.level() is True
    assert seen == []


class LgpioError(Exception):
    """lgpio.error: a text in `value`, no number."""


class FakeLgpio(ModuleType):
    """The few functions of lgpio that gpiozero and we call, with the constants they need."""

    error = LgpioError
    SET_PULL_NONE, SET_PULL_UP, SET_PULL_DOWN = 128, 32, 64
    RISING_EDGE, FALLING_EDGE, BOTH_EDGES = 1, 2, 3

    def __init__(self, chips, busy=()):
        super().__init__("lgpio")
        self.chips = chips  # number -> label
        self.busy = busy
        self.opened = {}
        self.claimed = []

    def gpiochip_open(self, number):
        if number not in self.chips:
            raise LgpioError("can not open gpiochip")
        self.opened[len(self.opened) + 1] = number
        return len(self.opened)

    def gpiochip_close(self, handle):
        self.opened[handle] = None

    def gpio_get_chip_info(self, handle):
        number = self.opened[handle]
        return [0, 54, f"gpiochip{number}", self.chips[number]]

    def gpio_claim_input(self, handle, pin, _flags=0):
        if pin in self.busy:
            raise LgpioError("GPIO busy")
        self.claimed.append((self.opened[handle], pin))

    def gpio_claim_output(self, _handle, _pin, _level=0):
        raise AssertionError("an input must never drive its pin")

    def gpio_get_mode(self, _handle, _pin):
        return 256

    def gpio_free(self, _handle, _pin):
        pass

    def gpio_read(self, _handle, _pin):
        return 1

    def gpio_set_debounce_micros(self, _handle, _pin, _micros):
        pass

    def gpio_claim_alert(self, _handle, _pin, _edges, _flags=0):
        pass

    def callback(self, _handle, _pin, _edges, _func):
        class Callback:
            def cancel(self):
                pass

        return Callback()


@pytest.fixture
def computer(monkeypatch, tmp_path):
    """A computer with these chips: number -> label; the library and /dev as they would be there."""
    monkeypatch.setattr(hw_gpio, "_opened", None)
    (tmp_path / "dev").mkdir()

    def make(chips, *, busy=(), unopenable=()):
        for number in (*chips, *unopenable):
            (tmp_path / "dev" / f"gpiochip{number}").touch()
        lgpio = FakeLgpio(chips, busy)
        monkeypatch.setitem(sys.modules, "lgpio", lgpio)
        monkeypatch.delitem(sys.modules, "gpiozero.pins.lgpio", raising=False)
        monkeypatch.setattr("gpiozero.pins.local.get_pi_revision", lambda: 0xC04170)  # Pi 5
        return lgpio

    yield make
    sys.modules.pop("gpiozero.pins.lgpio", None)
    if "gpiozero.pins.local" in sys.modules:
        local = import_module("gpiozero.pins.local").LocalPiFactory
        local.pins.clear()
        local._reservations.clear()


CHIPS = [
    ({0: "pinctrl-bcm2711", 1: "raspberrypi-exp-gpio"}, 0),
    ({0: "gpio-brcmstb@107d508500", 4: "pinctrl-rp1"}, 4),  # Pi 5, older kernels
    ({0: "pinctrl-rp1", 10: "gpio-brcmstb@107d508500"}, 0),  # Pi 5, newer kernels
    ({2: "gpio-brcmstb@107d508500", 11: "pinctrl-rp1"}, 11),
    ({0: "pinctrl-bcm2835", 1: "mcp23017"}, 0),
]


@pytest.mark.parametrize(("chips", "number"), CHIPS)
def test_the_chip_is_found_by_its_label(computer, tmp_path, chips, number):
    lgpio = computer(chips)
    line = open_gpio(tmp_path).open_input(17, "up")
    assert line.level() is True
    assert set(lgpio.claimed) == {(number, 17)}
    line.close()
    assert [chip for chip in lgpio.opened.values() if chip is not None] == [number]  # looked at the others, and let go


def test_all_sensors_share_one_chip(computer, tmp_path):
    computer({0: "pinctrl-rp1"})
    assert open_gpio(tmp_path) is open_gpio(tmp_path)
    with pytest.raises(DriverUnavailable, match="used by another sensor"):
        _kept = [open_gpio(tmp_path).open_input(17, "up") for _ in range(2)]


def test_a_pin_that_the_kernel_has_given_away_is_busy(computer, tmp_path):
    computer({0: "pinctrl-rp1"}, busy={4})
    with pytest.raises(DriverUnavailable, match=r"^GPIO4 is held by another program or by an overlay .* `gpioinfo`"):
        open_gpio(tmp_path).open_input(4, "up")


def test_no_chip_at_all(computer, tmp_path):
    computer({})
    with pytest.raises(DriverUnavailable, match=r"no GPIO pins \(no /dev/gpiochip\*\); they need a Raspberry Pi"):
        open_gpio(tmp_path)


def test_a_foreign_chip_is_not_taken_for_a_header(computer, tmp_path):
    computer({0: "INTC1055:00"}, unopenable=[1])
    with pytest.raises(DriverUnavailable, match=r"no GPIO chip of a Raspberry Pi's header .* among INTC1055:00$"):
        open_gpio(tmp_path)


def test_a_chip_that_may_not_be_opened_names_the_group(computer, tmp_path, monkeypatch):
    computer({0: "pinctrl-rp1"})
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(
        DriverUnavailable, match="not allowed to open /dev/gpiochip0; add the agent's user to the group"
    ):
        open_gpio(tmp_path)


def test_a_missing_lgpio_names_the_package(computer, tmp_path, monkeypatch):
    computer({0: "pinctrl-rp1"})
    monkeypatch.setitem(sys.modules, "lgpio", None)
    with pytest.raises(DriverUnavailable, match=r"the library lgpio is missing; `.*lgpio"):
        open_gpio(tmp_path)


def test_an_empty_lgpio_is_seen_through(computer, tmp_path, monkeypatch):
    computer({0: "pinctrl-rp1"})
    monkeypatch.setitem(sys.modules, "lgpio", ModuleType("lgpio"))
    with pytest.raises(DriverUnavailable, match="empty shell; install python3-lgpio"):
        open_gpio(tmp_path)


def test_a_missing_gpiozero_names_the_package(computer, tmp_path, monkeypatch):
    computer({0: "pinctrl-rp1"})
    monkeypatch.setitem(sys.modules, "gpiozero.pins.lgpio", None)
    with pytest.raises(DriverUnavailable, match=r"the library gpiozero\S* is missing; `.*install \S*gpiozero`"):
        open_gpio(tmp_path)


def test_lgpio_needs_a_folder_to_write(computer, tmp_path, monkeypatch):
    computer({0: "pinctrl-rp1"})
    monkeypatch.delitem(sys.modules, "lgpio")
    library = tmp_path / "library"
    library.mkdir()
    (library / "lgpio.py").write_text("open('.lgd-nfy-3', 'rb')\n")  # what it does when the FIFO could not be made
    monkeypatch.syspath_prepend(library)
    monkeypatch.setenv("LG_WD", "/nonexistent")
    with pytest.raises(DriverUnavailable, match=r"cannot write its \.lgd-nfy file to /nonexistent; set LG_WD"):
        open_gpio(tmp_path)


def test_one_failure_does_not_spoil_the_next_try(computer, tmp_path, monkeypatch):
    computer({0: "pinctrl-rp1"})
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "lgpio", None)
        with pytest.raises(DriverUnavailable):
            open_gpio(tmp_path)
    assert open_gpio(tmp_path).open_input(17, "up").level() is True


def test_this_computer_answers_in_one_line_or_has_pins():
    program = """
        from sensors.driver import DriverUnavailable
        from sensors.hw.gpio import open_gpio
        try:
            open_gpio()
        except DriverUnavailable as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", dedent(program)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) <= 1
