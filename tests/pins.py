"""A header whose pins are moved and measured from outside: gpiozero's mock, or a chip that a kernel simulates.

Tests take the fixture `pins` and run on both: on the mock everywhere, and on the chip in the machine of `tests/vm`,
through lgpio, where SIMULATED_LINES names the folder in which the kernel shows the lines of the header's chip.
"""

import fcntl
import os
from pathlib import Path
from threading import Event
from typing import NamedTuple

from gpiozero.pins.mock import MockFactory

from sensors.hw.gpio import GpiozeroGpio
from sensors.hw.gpiochips import GET_LINE_INFO, LINE_INFO, OUTPUT
from sensors.hw.header_pin import header_factory

LINES = Path(lines) if (lines := os.environ.get("SIMULATED_LINES")) else None
HEADER = "/dev/gpiochip1"  # as on some Pi 5; `tests/vm/init` makes another chip first
RESISTORS = (2, 3)  # pins that the board draws up, for its I²C bus
COUNT = 28
SPARE = 22  # that no test uses
PATIENCE_S = 20

if LINES is not None:
    import lgpio  # its thread is there before the first test is


class MockPins:
    """gpiozero's own mock."""

    def __init__(self):
        self._factory = MockFactory()
        self.gpio = GpiozeroGpio(self._factory)

    def pin(self, number):
        return self._factory.pin(number)

    def settle(self):
        """Its edges are told at once."""

    def close(self):
        self._factory.close()


class State(NamedTuple):
    state: bool


class ChipPin:
    """A line of the simulated chip, in the words of gpiozero's mock pins."""

    def __init__(self, number):
        self._number = number
        self._folder = LINES / f"sim_gpio{number}"
        self.states = [State(self.state)]  # as far as lgpio was asked for a change

    def drive_high(self):
        (self._folder / "pull").write_text("pull-up")

    def drive_low(self):
        (self._folder / "pull").write_text("pull-down")

    @property
    def state(self):
        return (self._folder / "value").read_text().strip() == "1"

    @property
    def function(self):
        info = bytearray(LINE_INFO.pack(b"", b"", self._number, 0, 0, b"", b""))
        with Path(HEADER).open("rb") as chip:
            fcntl.ioctl(chip, GET_LINE_INFO, info)
        return "output" if LINE_INFO.unpack(info)[4] & OUTPUT else "input"

    def look(self):
        if self.state is not self.states[-1].state:
            self.states.append(State(self.state))


class ChipPins:
    """The kernel's simulated chip, with nothing claimed and nothing connected when a test begins."""

    def __init__(self):
        self._pins = {number: ChipPin(number) for number in range(COUNT)}
        for number, pin in self._pins.items():
            pin.drive_high() if number in RESISTORS else pin.drive_low()
            pin.states = [State(pin.state)]
        self._factory = header_factory(int(HEADER.removeprefix("/dev/gpiochip")))
        self.gpio = GpiozeroGpio(self._factory)
        self._library = {}
        for name in ("gpio_claim_input", "gpio_claim_output", "gpio_free", "gpio_write"):
            self._library[name] = getattr(lgpio, name)
            setattr(lgpio, name, self._seen(self._library[name]))

    def pin(self, number):
        return self._pins[number]

    def settle(self):
        """Wait until all edges so far have been told: lgpio tells those of all lines in order."""
        told = Event()
        line = self.gpio.open_input(SPARE, "none")
        line.on_edge(lambda _level, _at: told.set())
        self._pins[SPARE].drive_low() if line.level() else self._pins[SPARE].drive_high()
        assert told.wait(PATIENCE_S)
        line.close()

    def close(self):
        for name, call in self._library.items():
            setattr(lgpio, name, call)
        self._factory.close()  # the kernel lets go of all its lines
        self._factory._reservations.clear()  # of outputs that were given back, and stay driven

    def _seen(self, call):
        def seen(handle, number, *values):
            result = call(handle, number, *values)
            self._pins[number].look()
            return result

        return seen
