"""The I²C buses of this computer, for Adafruit's CircuitPython drivers, which decode what the chips say.

A driver of theirs gets a port in place of `busio.I2C`. Ports of one bus share its lock, so that chips never talk at
once; a port keeps what passed, and ends what takes too long: some of those drivers wait for a busy chip for ever.
"""

import errno
import os
import re
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from sensors.driver import BadFrame, Disconnected, DriverUnavailable, SensorError, TimedOut
from sensors.library import cure

CHIP_IDS = {0x55: "BMP180", 0x56: "BMP280", 0x57: "BMP280", 0x58: "BMP280", 0x60: "BME280", 0x61: "BME680"}
NOT_TAKEN = (errno.EREMOTEIO, errno.ENXIO, errno.EIO, errno.ENODEV)  # nobody acknowledged
STUCK = "the line is stuck, or nobody drives it; check power, SDA and SCL"
KINDS = {"BMP280": "bmp280", "BME280": "bme280"}  # chips that another kind of sensor reads


class Wire(Protocol):
    """What of `busio.I2C` is used; a transfer that fails raises OSError."""

    def writeto(self, address: int, buffer: Any, *, start: int = 0, end: int | None = None) -> None:
        """Send bytes to a chip."""

    def readfrom_into(self, address: int, buffer: Any, *, start: int = 0, end: int | None = None) -> None:
        """Fill the buffer with bytes of a chip."""

    def writeto_then_readfrom(
        self,
        address: int,
        buffer_out: Any,
        buffer_in: Any,
        *,
        out_start: int = 0,
        out_end: int | None = None,
        in_start: int = 0,
        in_end: int | None = None,
    ) -> None:
        """Do both, without letting go of the bus between."""


class I2cBus:
    """One bus and who reads which of its chips."""

    def __init__(self, wire: Wire, name: str = "/dev/i2c-1") -> None:
        self.wire = wire
        self.name = name
        self.lock = Lock()
        self._claims = Lock()
        self._users: dict[int, str] = {}  # address -> sensor

    def claim(self, address: int, sensor: str) -> None:
        """Note who reads a chip. Raises DriverUnavailable when somebody does already."""
        with self._claims:
            user = self._users.setdefault(address, sensor)
        if user != sensor:
            raise DriverUnavailable(
                f'the chip at {address:#04x} on {self.name} is read by sensor "{user}"; give each its own address'
            )

    def release(self, sensor: str) -> None:
        """Note that a sensor reads no more."""
        with self._claims:
            self._users = {address: user for address, user in self._users.items() if user != sensor}

    def is_free(self, address: int, sensor: str) -> bool:
        """Whether no other sensor reads the chip at this address."""
        with self._claims:
            return self._users.get(address, sensor) == sensor


class I2cPort:
    """One sensor's way to its bus, in the terms of `busio.I2C`.

    `fault_of` says what is wrong with a frame, if anything is; such a frame is refused before anybody decodes it.
    """

    def __init__(
        self, bus: I2cBus, fault_of: Callable[[bytes], str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._bus = bus
        self._fault_of = fault_of
        self._clock = clock
        self._deadline = 0.0
        self._closed = False
        self._answered: set[int] = set()  # addresses that took or gave something since `allow`
        self.failure: OSError | None = None  # of the last transfer
        self.frames: list[bytes] = []  # what the chip sent since `allow`

    @property
    def raw(self) -> str:
        """What the chip sent, in hexadecimal: each frame once, and no bytes of status."""
        return " | ".join(frame.hex(" ") for frame in dict.fromkeys(self.frames) if len(frame) > 1)

    def allow(self, seconds: float) -> None:
        """Let transfers pass for so long; later ones raise TimedOut."""
        self._deadline = self._clock() + seconds
        self.failure = None
        self._answered.clear()
        self.frames.clear()

    def close(self) -> None:
        """Let nothing pass any more, from any thread."""
        self._closed = True

    def try_lock(self) -> bool:
        """Wait for the bus; True, or TimedOut is raised."""
        if not self._bus.lock.acquire(timeout=max(self._deadline - self._clock(), 0.0)):
            raise TimedOut(f"other chips keep {self._bus.name} busy")
        return True

    def unlock(self) -> None:
        """Give the bus to the next."""
        self._bus.lock.release()

    def writeto(self, address: int, buffer: Any, *, start: int = 0, end: int | None = None) -> None:
        """See Wire."""
        self._transfer(address, lambda: self._bus.wire.writeto(address, buffer, start=start, end=end))

    def readfrom_into(self, address: int, buffer: Any, *, start: int = 0, end: int | None = None) -> None:
        """See Wire."""
        self._transfer(address, lambda: self._bus.wire.readfrom_into(address, buffer, start=start, end=end))
        self._judge(bytes(buffer[start:end]))

    def writeto_then_readfrom(
        self,
        address: int,
        buffer_out: Any,
        buffer_in: Any,
        *,
        out_start: int = 0,
        out_end: int | None = None,
        in_start: int = 0,
        in_end: int | None = None,
    ) -> None:
        """See Wire."""
        self._transfer(
            address,
            lambda: self._bus.wire.writeto_then_readfrom(
                address,
                buffer_out,
                buffer_in,
                out_start=out_start,
                out_end=out_end,
                in_start=in_start,
                in_end=in_end,
            ),
        )
        self._judge(bytes(buffer_in[in_start:in_end]))

    def explain(self, error: Exception, model: str, address: int, *, is_known: bool = True) -> SensorError:
        """Tell in our terms what a driver of Adafruit's raised; `is_known`: the chip was what it should be before."""
        if isinstance(error, SensorError):
            return error
        words = " ".join(str(error).split())
        place = f"at {address:#04x} on {self._bus.name}"
        if self.failure is not None and self.failure.errno in NOT_TAKEN and address in self._answered and not is_known:
            return BadFrame(
                f"the chip {place} does not take what a {model} does; is `kind` what is printed on it? "
                "else check power and wiring"
            )
        if self.failure is not None:
            return _transfer_failed(self.failure, model, place)
        if "crc" in words.lower():
            return BadFrame(f"the answer of the {model} {place} is damaged: its checksum is wrong")
        if wrong := re.search(r"[Cc]hip ID 0x([0-9A-Fa-f]+)", words):
            return _wrong_chip(int(wrong[1], 16), model, place)
        if isinstance(error, ArithmeticError):
            return BadFrame(f"the {model} {place} gave no sound calibration; is the cable too long?")
        if "calibrat" in words.lower():
            return BadFrame(f"the {model} {place} does not get ready ({words}); power it off and on")
        return SensorError(f"the {model} {place} could not be read: {type(error).__name__}: {words}")

    def _transfer(self, address: int, transfer: Callable[[], None]) -> None:
        if self._closed:
            raise SensorError("the sensor is closed")
        if self._clock() >= self._deadline:
            raise TimedOut(f"the chip on {self._bus.name} stays busy and was given up")
        try:
            transfer()
        except OSError as error:
            self.failure = error
            raise
        self.failure = None
        self._answered.add(address)

    def _judge(self, frame: bytes) -> None:
        self.frames.append(frame)
        if fault := self._fault_of(frame):
            raise BadFrame(f"the chip sent {frame.hex(' ')}: {fault}")


def line_fault(frame: bytes) -> str:
    """Say what several bytes of all zeros or all ones mean; empty for others."""
    if len(frame) > 1 and frame in {bytes(len(frame)), b"\xff" * len(frame)}:
        return STUCK
    return ""


def open_bus(number: int, root: Path = Path("/")) -> I2cBus:
    """Open a bus by its number, once for the whole process. Raises DriverUnavailable."""
    with _opening:
        if number not in _opened:
            _opened[number] = _open(number, root)
        return _opened[number]


def load(library: str) -> Any:
    """Import a chip's driver, given as module:class. Raises DriverUnavailable."""
    # Blinka would ask at the terminal whether to install what it misses.
    os.environ.setdefault("BLINKA_SKIP_DEPENDENCY_CHECK", "1")
    module, _, name = library.partition(":")
    try:
        return getattr(import_module(module), name)
    except ImportError as error:
        raise DriverUnavailable(f"the library {error.name} is missing; {cure(error.name or module)}") from error
    except (LookupError, NotImplementedError, RuntimeError) as error:
        raise DriverUnavailable(f"Blinka does not know this computer ({' '.join(str(error).split())})") from error


_opening = Lock()
_opened: dict[int, I2cBus] = {}


def _open(number: int, root: Path) -> I2cBus:
    path = f"/dev/i2c-{number}"
    if not (root / path[1:]).exists():
        others = sorted(found.name for found in root.glob("dev/i2c-*"))
        raise DriverUnavailable(
            f"this computer has no {path}; switch it on with `sudo raspi-config nonint do_i2c 0` (dtparam=i2c_arm=on "
            "and the module i2c-dev)" + (f", or set `bus`: there is {', '.join(others)}" if others else "")
        )
    if not os.access(root / path[1:], os.R_OK | os.W_OK):
        raise DriverUnavailable(f"not allowed to open {path}; add the agent's user to the group that owns it (i2c)")
    bus_class = load("adafruit_extended_bus:ExtendedI2C")
    try:
        return I2cBus(bus_class(number, frequency=None), path)  # the speed is the kernel's matter
    except Exception as error:
        words = " ".join(str(error).split()) or type(error).__name__
        raise DriverUnavailable(f"{path} cannot be opened: {words}") from error


def absent(model: str, place: str) -> Disconnected:
    """Say that nobody is at a place, given as "at 0x76 or 0x77 on /dev/i2c-1"."""
    bus = place.rpartition("-")[2]
    return Disconnected(f"no {model} answers {place}: check power, wiring and address (`i2cdetect -y {bus}`)")


def _transfer_failed(error: OSError, model: str, place: str) -> SensorError:
    match error.errno:
        case number if number in NOT_TAKEN:
            return absent(model, place)
        case errno.ETIMEDOUT | errno.EAGAIN:
            return BadFrame(f"the bus hangs or is disturbed {place}: a wire is loose or a chip holds SDA or SCL down")
        case errno.EBUSY:
            return DriverUnavailable(
                f"the chip {place} is held by the kernel; take its overlay (dtoverlay=i2c-sensor …) out of config.txt"
            )
        case errno.EACCES | errno.EPERM:
            return DriverUnavailable(f"not allowed to talk {place}; add the agent's user to the group i2c")
        case _:
            return SensorError(f"the {model} {place} could not be read: {error}")


def _wrong_chip(found: int, model: str, place: str) -> SensorError:
    name = CHIP_IDS.get(found)
    if found in (0x00, 0xFF):
        return BadFrame(f"the chip {place} says {found:#04x} of itself: {STUCK}")
    if name is None:
        return DriverUnavailable(f"the chip {place} is no {model}: it says {found:#04x} of itself; is `address` right?")
    cure = f'set kind = "{KINDS[name]}"' if name in KINDS else "no kind of sensor reads it"
    missing = ", which measures no humidity and is often sold as the other" if name == "BMP280" else ""
    return DriverUnavailable(f"the chip {place} is a {name}{missing}, not a {model}; {cure}")
