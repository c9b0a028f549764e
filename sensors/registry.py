"""Which kinds of sensors there are; a kind's module is imported when a configuration names it."""

from difflib import get_close_matches
from importlib import import_module
from typing import cast

from sensors.driver import DriverKind

KINDS: dict[str, str] = {
    "dht": "sensors.drivers.dht:Dht",
    "gpio_input": "sensors.drivers.gpio_input:GpioInput",
    "gpio_output": "sensors.drivers.gpio_output:GpioOutput",
    "host": "sensors.drivers.host:Host",
    "simulated": "sensors.drivers.simulated:Simulated",
}


class UnknownKind(LookupError):
    """No driver goes by this name; the text says which there are."""


def driver_class(kind: str) -> DriverKind:
    """Give the class of a kind of sensor; imports its module, and no hardware library. Raises UnknownKind."""
    try:
        module, _, name = KINDS[kind].partition(":")
    except KeyError:
        near = get_close_matches(kind, KINDS, n=1)
        meant = f'; "{near[0]}"?' if near else ""
        raise UnknownKind(f'there is no kind "{kind}" of sensor{meant} (there are {", ".join(KINDS)})') from None
    return cast("DriverKind", getattr(import_module(module), name))
