"""The contract between the agent and a driver, and what may go wrong with a sensor.

A driver can neither hang nor kill the agent, because each side keeps its half of this:

- The driver waits for nothing without a limit of its own: `read` returns or raises within `timeout_s`; `watch`,
  `switch` and `close` within seconds. A library that may hang, or that replaces signal handlers, runs in a child
  process, which is killed when its time is up.
- The agent makes every call to a driver in a thread kept for that one sensor (a daemon thread: a read stuck in the
  kernel blocks its own sensor and nothing else, not even the agent's end), and turns whatever comes out of it,
  `Exception` of any class and `SystemExit`, into the failure of that sensor with `as_sensor_error`.
- What a driver runs in threads of its own survives an exception there and shows it in `trouble`; `report` neither
  blocks nor raises.
- Importing a driver's module imports no hardware library; `build` does, and says what is missing.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from appliance.devices import Role
from sensors.interlock import Interlocks
from sensors.keepsakes import Keepsakes
from sensors.reading import Reading

if TYPE_CHECKING:  # hw modules raise the errors below, so they import this one
    import msgspec

    from sensors.hw.gpio import Gpio
    from sensors.hw.i2c import I2cBus


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One thing that a sensor measures or an actuator switches; becomes one topic."""

    measurement: str  # last level of the topic: temperature, motion, relay …
    role: Role = "sensor"
    unit: str | None = None
    low: float | None = None  # readings outside low … high cannot be true
    high: float | None = None
    max_step: float | None = None  # largest believable change between two readings
    decimals: int | None = None  # what the sensor can really tell apart
    comes_late: bool = False  # it may be unknown for long and nothing is wrong: no `timeout_s` waits for it


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverContext:
    """What the world around a driver is; tests hand in another one."""

    name: str  # of the sensor, as configured
    room: str = ""  # where it is, as configured
    seed: int = 0  # what is simulated follows from it and the name alone
    gpio: "Gpio | None" = None  # None: the pins of this computer
    i2c: "Callable[[int], I2cBus] | None" = None  # bus by number; None: those of this computer
    sysfs_root: Path = Path("/")  # where sys/, proc/ and dev/ are found
    keepsakes: Keepsakes = field(default_factory=Keepsakes)  # what is to be known again after a restart
    interlocks: Interlocks = field(default_factory=Interlocks)  # which outputs of the agent exclude each other
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time


class Driver(Protocol):
    """What every driver has, whichever way its readings come about."""

    channels: tuple[Channel, ...]
    model: str | None
    serial_number: str | None

    def close(self) -> None:
        """Let go of pins, threads and children, end a `read` under way; may be called twice and from any thread."""


@runtime_checkable
class Polled(Driver, Protocol):
    """A sensor that is asked."""

    interval_s: float  # default of the kind; the configuration may ask for more, not for less than min_interval_s
    min_interval_s: float  # below this the hardware lies or wears
    timeout_s: float  # a read that takes longer than this is stuck

    def read(self) -> Sequence[Reading]:
        """Ask once; blocks, so the agent calls it in a thread of its own. Raises SensorError."""


@runtime_checkable
class Retrying(Protocol):
    """A sensor that tries again by itself before it calls a read failed."""

    retried: Mapping[str, int]  # failures after which it did, by cause; replaced, never changed


@runtime_checkable
class Watched(Driver, Protocol):
    """A sensor that speaks up by itself."""

    trouble: "SensorError | None"  # set while it cannot see; the agent looks at it now and then

    def watch(self, report: Callable[[Reading], None]) -> None:
        """Report the present state once and every change after it, from any thread; an event has no present state."""


@runtime_checkable
class Switched(Watched, Protocol):
    """An actuator: takes commands, and reports its state when it really changed, also by `close`.

    A command that has to wait, for a shortest time or for another actuator, is no failure.
    """

    def switch(self, measurement: str, on: bool) -> None:  # noqa: FBT001 on is the value
        """Switch; the new state comes through `report`. Raises SensorError. Called from one thread at a time."""


@runtime_checkable
class Linked(Protocol):
    """An actuator that must know whether anybody can command it."""

    def link(self, *, up: bool, silent_s: float = 0.0) -> None:
        """Know that the broker came, or went `silent_s` ago; it is taken for absent until it came.

        Neither blocks nor raises.
        """


class DriverKind(Protocol):
    """A driver's class, as the registry hands it out: its keys in the configuration, and how to make one of it.

    A kind whose sensors all have the same `channels` has them in the class; one whose options decide has a class method
    `channels_of(options)`; one that can only tell what numbers there may be names them as `measures`. Then keys that
    do not go with what is measured, and topics that two sensors would share, are found before there is hardware, and
    commands to what could not be taken yet are heard, and told to be refused.
    """

    Options: "type[msgspec.Struct]"

    def build(self, options: "msgspec.Struct", context: DriverContext) -> Driver:
        """Take hold of the hardware. Raises DriverUnavailable."""


def channels_of(kind: object, options: "msgspec.Struct") -> tuple[Channel, ...]:
    """Give what a sensor surely tells, as its kind and options say; nothing where only the driver, once built, can."""
    tell = getattr(kind, "channels_of", None)
    return tuple(getattr(kind, "channels", ()) if tell is None else tell(options))


def numbers_of(kind: object, options: "msgspec.Struct") -> tuple[str, ...] | None:
    """Give the numbers that a sensor may measure; None where only the driver, once built, can tell."""
    if measures := getattr(kind, "measures", ()):
        return tuple(measures)
    channels = channels_of(kind, options)
    return tuple(channel.measurement for channel in channels if channel.role == "sensor") if channels else None


MOST_WORDS = 300  # characters of a foreign error: it travels in each health message


class SensorError(Exception):
    """A sensor could not be read; the text is for people, `cause` for counters and health.

    `raw` is what the hardware sent, if anything came, for people who look for a fault.
    """

    cause = "failed"
    raw = ""


class Disconnected(SensorError):
    """Nothing answers: wiring, power or the wrong pin."""

    cause = "disconnected"


class BadFrame(SensorError):
    """Something answered and the answer is damaged; trying again may help."""

    cause = "bad_frame"


class WrongChecksum(BadFrame):
    """All of an answer came, and it was changed on the way."""

    cause = "checksum"


class CutShort(BadFrame):
    """An answer began and did not come to its end."""

    cause = "cut_short"


class Implausible(SensorError):
    """A well-formed answer that cannot be true."""

    cause = "implausible"


class TimedOut(SensorError):
    """The reading did not end in its time and was given up."""

    cause = "timeout"


class DriverUnavailable(SensorError):
    """The driver cannot work on this computer as configured: library, device, permission or pin. Says the cure."""

    cause = "unavailable"


def as_sensor_error(error: Exception | SystemExit) -> SensorError:
    """Make a failure of the sensor of whatever a driver raised, on one line; a bug in a driver is one too."""
    if isinstance(error, SensorError):
        return error
    words = " ".join(str(error).split())[:MOST_WORDS]
    failure = SensorError(f"{type(error).__name__}: {words}" if words else type(error).__name__)
    failure.__cause__ = error
    return failure
