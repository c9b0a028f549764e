"""The pins of a Raspberry Pi's header, as inputs and outputs.

gpiozero on lgpio, and on nothing else: left to itself gpiozero falls back to other libraries without a word, and takes
the chip by its number, which kernels have changed (0, then 4, then 0 again on a Pi 5). The chip is found by its label.
"""

import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, RLock
from typing import Any, Literal, Protocol

from sensors.driver import DriverUnavailable
from sensors.hw.header_pin import header_factory
from sensors.library import cure

Pull = Literal["up", "down", "none"]

# What the kernel calls the chip that drives the header: Pi 5, Pi 4, and all before.
HEADER_LABELS = ("pinctrl-rp1", "pinctrl-bcm2711", "pinctrl-bcm2835")


class InputLine(Protocol):
    """One pin, taken as an input."""

    def level(self) -> bool:
        """Look at the pin: True is 3.3 V. Raises whatever the library raises."""

    def on_edge(self, call: Callable[[bool, float], None]) -> None:
        """Call with the new level and the time of every edge that the kernel saw, from a thread of the library.

        The time is that of the edge itself, however late it is told, in seconds of a clock of the kernel's own: what
        counts is how much lies between two of them.
        """

    def close(self) -> None:
        """Tell nobody any more, so that another may have the pin; may be called twice."""


class OutputLine(Protocol):
    """One pin, driven by us."""

    def level(self) -> bool:
        """Look at the pin, not at what it was told: True is 3.3 V. Raises whatever the library raises."""

    def set(self, level: bool) -> None:  # noqa: FBT001 level is the value
        """Drive the pin to 3.3 V (True) or 0 V. Raises whatever the library raises."""

    def close(self) -> None:
        """Give the pin back as it is: it stays driven while the process lives; may be called twice."""


class Gpio(Protocol):
    """The pins of one computer."""

    def open_input(self, pin: int, pull: Pull) -> InputLine:
        """Take a pin by its GPIO number (17 is GPIO17). Raises DriverUnavailable."""

    def open_output(self, pin: int, level: bool, rest: bool) -> OutputLine:  # noqa: FBT001 both are levels
        """Take a pin and drive it to `level` at once; `rest` is where it is drawn when nobody drives it any more.

        It never has another level in between. Raises DriverUnavailable.
        """


class GpiozeroInput:
    """A gpiozero device in the terms of InputLine."""

    def __init__(self, device: Any) -> None:
        self._device = device
        self._told: Callable[[float, Any], None] | None = None  # gpiozero's own reference to it is a weak one

    def level(self) -> bool:
        """See InputLine."""
        return bool(self._device.pin.state)

    def on_edge(self, call: Callable[[bool, float], None]) -> None:
        """See InputLine."""
        self._told = lambda ticks, state: call(bool(state), float(ticks))
        self._device.pin.when_changed = self._told

    def close(self) -> None:
        """See InputLine."""
        self._device.close()


class GpiozeroOutput:
    """A gpiozero device in the terms of OutputLine."""

    def __init__(self, device: Any, put_back: Callable[[], None]) -> None:
        self._device = device
        self._put_back = put_back

    def level(self) -> bool:
        """See OutputLine."""
        return bool(self._device.pin.state)

    def set(self, level: bool) -> None:  # noqa: FBT001 level is the value
        """See OutputLine."""
        self._device.pin.state = level

    def close(self) -> None:
        """See OutputLine. gpiozero's own `close` would make an input of the pin, and its relay would float."""
        self._put_back()


class GpiozeroGpio:
    """Pins through gpiozero and one of its pin factories: lgpio's on a Pi, the mock's in tests."""

    def __init__(self, factory: Any) -> None:
        # gpiozero closes a device that failed half-way when Python collects it; where that happens while it reserves
        # the next pin, a plain lock, which is its own, is waited for by the thread that holds it, for ever.
        factory._res_lock = RLock()  # noqa: SLF001
        self._factory = factory
        self._lock = Lock()
        self._resting: dict[int, Any] = {}  # outputs that were given back and are still driven, by pin

    def open_input(self, pin: int, pull: Pull) -> GpiozeroInput:
        """See Gpio."""
        import gpiozero  # noqa: PLC0415 hardware libraries are imported when a device is built

        pull_up = {"up": True, "down": False, "none": None}[pull]
        with _explained(pin):
            device = gpiozero.DigitalInputDevice(
                pin,
                pull_up=pull_up,
                active_state=True if pull_up is None else None,
                pin_factory=self._factory,
            )
        return GpiozeroInput(device)

    def open_output(self, pin: int, level: bool, rest: bool) -> GpiozeroOutput:  # noqa: FBT001 both are levels
        """See Gpio."""
        import gpiozero  # noqa: PLC0415 hardware libraries are imported when a device is built

        with _explained(pin), self._lock:
            device = self._resting.pop(pin, None)
            if device is None:
                found = self._factory.pin(pin)
                if hasattr(found, "rests_high"):
                    found.rests_high = rest
                device = gpiozero.OutputDevice(pin, initial_value=level, pin_factory=self._factory)
            else:
                device.pin.state = level
        return GpiozeroOutput(device, lambda: self._rest(pin, device))

    def _rest(self, pin: int, device: Any) -> None:
        with self._lock:
            self._resting[pin] = device


@contextmanager
def _explained(pin: int) -> Generator[None]:
    """Make DriverUnavailable of what gpiozero raises when a pin is taken."""
    import gpiozero  # noqa: PLC0415 hardware libraries are imported when a device is built

    try:
        yield
    except gpiozero.GPIOPinInUse:
        raise DriverUnavailable(f"GPIO{pin} is used by another sensor of this agent; give each its own pin") from None
    except gpiozero.PinInvalidPin:
        raise DriverUnavailable(
            f"this Raspberry Pi has no GPIO{pin} on its header; "
            "`pin` is the GPIO number (17 for GPIO17), not the position"
        ) from None
    except gpiozero.PinFixedPull:
        raise DriverUnavailable(
            f'GPIO{pin} has a pull-up resistor on the board; set pull = "up" or take another pin'
        ) from None
    except gpiozero.PinUnknownPi:
        raise DriverUnavailable("this computer is not a Raspberry Pi; its pins cannot be told") from None
    except Exception as error:
        raise _unavailable(f"GPIO{pin}", error) from error


def open_gpio(root: Path = Path("/")) -> Gpio:
    """Open the header's pins, once for the whole process. Raises DriverUnavailable.

    gpiozero keeps its pins per process; closing one factory would close the pins of all, so this one stays open.
    """
    global _opened  # noqa: PLW0603 gpiozero's own pins are global
    with _opening:
        if _opened is None:
            _opened = _open_header(root)
        return _opened


_opening = Lock()
_opened: Gpio | None = None


def _open_header(root: Path) -> Gpio:
    paths = sorted(root.glob("dev/gpiochip*"), key=_chip_number)
    if not paths:
        raise DriverUnavailable("this computer has no GPIO pins (no /dev/gpiochip*); they need a Raspberry Pi")
    lgpio = _library()
    forbidden, labels = [], dict[str, int]()
    for path in paths:
        if not os.access(path, os.R_OK | os.W_OK):
            forbidden.append(f"/dev/{path.name}")
            continue
        try:
            labels.setdefault(_chip_label(lgpio, _chip_number(path)), _chip_number(path))
        except lgpio.error:
            continue  # a chip that vanished meanwhile, or one that is of no interest
    for label in HEADER_LABELS:
        if label in labels:
            try:
                return GpiozeroGpio(header_factory(labels[label]))
            except ImportError as error:
                raise DriverUnavailable(
                    f"the library {error.name} is missing; {cure(error.name or 'gpiozero')}"
                ) from error
            except Exception as error:
                raise _unavailable(f"/dev/gpiochip{labels[label]}", error) from error
    if forbidden:
        raise DriverUnavailable(
            f"not allowed to open {', '.join(forbidden)}; add the agent's user to the group that owns it (gpio)"
        )
    raise DriverUnavailable(
        f"no GPIO chip of a Raspberry Pi's header ({', '.join(HEADER_LABELS)}) "
        f"among {', '.join(labels) or 'those that can be opened'}"
    )


def _library() -> Any:
    """Import lgpio."""
    try:
        import lgpio  # noqa: PLC0415
    except ImportError as error:
        raise DriverUnavailable(f"the library {error.name} is missing; {cure(error.name or 'lgpio')}") from error
    except OSError as error:  # importing lgpio makes a FIFO where it stands
        raise DriverUnavailable(
            f"lgpio cannot write its .lgd-nfy file to {os.environ.get('LG_WD') or Path.cwd()}; "
            "set LG_WD to a folder that the agent may write"
        ) from error
    if not hasattr(lgpio, "gpiochip_open"):  # what pip finds for a Python without a wheel is an empty 0.0.0.2
        raise DriverUnavailable("the library lgpio is an empty shell; install python3-lgpio of Raspberry Pi OS instead")
    return lgpio


def _chip_label(lgpio: Any, number: int) -> str:
    handle = lgpio.gpiochip_open(number)
    try:
        _status, _lines, _name, label = lgpio.gpio_get_chip_info(handle)
    finally:
        lgpio.gpiochip_close(handle)
    return str(label)


def _chip_number(path: Path) -> int:
    digits = path.name.removeprefix("gpiochip")
    return int(digits) if digits.isdecimal() else 1_000_000


def _unavailable(what: str, error: Exception) -> DriverUnavailable:
    words = " ".join(str(error).split()) or type(error).__name__
    if "busy" in words.lower():  # lgpio.error carries a text and no number
        return DriverUnavailable(
            f"{what} is held by another program or by an overlay in config.txt; `gpioinfo` tells by which"
        )
    return DriverUnavailable(f"{what} cannot be opened: {words}")


class FakeInput:
    """A pin that a test moves with `drive`."""

    def __init__(self, *, level: bool) -> None:
        self._level = level
        self._calls: list[Callable[[bool, float], None]] = []
        self.closed = False

    def level(self) -> bool:
        """See InputLine."""
        return self._level

    def on_edge(self, call: Callable[[bool, float], None]) -> None:
        """See InputLine."""
        self._calls.append(call)

    def drive(self, level: bool, *, at: float | None = None, lose_edge: bool = False) -> None:  # noqa: FBT001 level is the value
        """Put a level on the pin, as of now or `at`; calls back in this thread, unless the edge is to be lost."""
        changed, self._level = level is not self._level, level
        if changed and not self.closed and not lose_edge:
            for call in self._calls:
                call(level, time.monotonic() if at is None else at)

    def close(self) -> None:
        """See InputLine."""
        self.closed = True


class FakeOutput:
    """A pin that a test looks at, breaks with `fails`, or ties to a level with `tied_to`."""

    def __init__(self, *, level: bool) -> None:
        self.levels = [level]  # all that it had, the present one last
        self.fails: Exception | None = None
        self.tied_to: bool | None = None
        self.closed = False

    def level(self) -> bool:
        """See OutputLine."""
        if self.fails is not None:
            raise self.fails
        return self.levels[-1] if self.tied_to is None else self.tied_to

    def set(self, level: bool) -> None:  # noqa: FBT001 level is the value
        """See OutputLine."""
        if self.fails is not None:
            raise self.fails
        self.levels.append(level)

    def close(self) -> None:
        """See OutputLine."""
        self.closed = True


class FakeGpio:
    """Pins 0 to 27 of a Pi that is not there; `lines` and `outputs` hold the ones taken."""

    def __init__(self) -> None:
        self.lines: dict[int, FakeInput] = {}
        self.outputs: dict[int, FakeOutput] = {}

    def open_input(self, pin: int, pull: Pull) -> FakeInput:
        """See Gpio."""
        self._check(pin)
        self.lines[pin] = FakeInput(level=pull == "up")
        return self.lines[pin]

    def open_output(self, pin: int, level: bool, rest: bool) -> FakeOutput:  # noqa: ARG002, FBT001 both are levels
        """See Gpio."""
        self._check(pin)
        self.outputs[pin] = FakeOutput(level=level)
        return self.outputs[pin]

    def _check(self, pin: int) -> None:
        if pin not in range(28):
            raise DriverUnavailable(f"this Raspberry Pi has no GPIO{pin} on its header")
        taken = (self.lines.get(pin), self.outputs.get(pin))
        if any(line is not None and not line.closed for line in taken):
            raise DriverUnavailable(f"GPIO{pin} is used by another sensor of this agent; give each its own pin")
