"""One reading, as a driver made it."""

from dataclasses import dataclass

Value = float | bool | str


@dataclass(frozen=True, slots=True)
class Reading:
    """What one channel of a sensor said: a number, on or off (bool), or the name of an event (str)."""

    measurement: str
    value: Value
    quality: str = "ok"
    raw: str = ""  # what the hardware sent, for people who look for a fault
