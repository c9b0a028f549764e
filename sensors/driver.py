"""The contract between the agent and a driver, and what may go wrong with a sensor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from appliance.devices import Role
from sensors.reading import Reading


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


class Driver(Protocol):
    """What every driver has, whichever way its readings come about."""

    channels: tuple[Channel, ...]
    model: str | None
    serial_number: str | None

    def close(self) -> None:
        """Let go of pins and files; may be called twice."""


class Polled(Driver, Protocol):
    """A sensor that is asked."""

    interval_s: float  # default of the kind; the configuration may ask for more, not for less than min_interval_s
    min_interval_s: float  # below this the hardware lies or wears

    def read(self) -> Sequence[Reading]:
        """Ask once; blocks, so the agent calls it in a thread of its own. Raises SensorError."""


class Watched(Driver, Protocol):
    """A sensor that speaks up by itself."""

    def watch(self, report: Callable[[Reading], None]) -> None:
        """Report the present state once and every change after it, from any thread."""


class Switched(Watched, Protocol):
    """An actuator: takes commands, and reports its state when it really changed."""

    def switch(self, measurement: str, on: bool) -> None:  # noqa: FBT001 on is the value
        """Switch; the new state comes through `report`. Raises SensorError. Called from one thread at a time."""


class SensorError(Exception):
    """A sensor could not be read; the text is for people, `cause` for counters and health."""

    cause = "failed"


class Disconnected(SensorError):
    """Nothing answers: wiring, power or the wrong pin."""

    cause = "disconnected"


class BadFrame(SensorError):
    """Something answered and the answer is damaged; trying again may help."""

    cause = "bad_frame"


class Implausible(SensorError):
    """A well-formed answer that cannot be true."""

    cause = "implausible"


class DriverUnavailable(SensorError):
    """The driver cannot work on this computer as configured: library, device, permission or pin. Says the cure."""

    cause = "unavailable"
