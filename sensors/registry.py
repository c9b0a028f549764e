"""Which kinds of sensors there are; a kind's module is imported when a configuration names it."""

from importlib import import_module
from typing import cast

from sensors.driver import DriverKind

KINDS: dict[str, str] = {
    "aht20": "sensors.drivers.aht20:Aht20",
    "bh1750": "sensors.drivers.bh1750:Bh1750",
    "bme280": "sensors.drivers.bme280:Bme280",
    "bmp280": "sensors.drivers.bmp280:Bmp280",
    "dht": "sensors.drivers.dht:Dht",
    "ds18b20": "sensors.drivers.ds18b20:Ds18b20",
    "gpio_input": "sensors.drivers.gpio_input:GpioInput",
    "gpio_output": "sensors.drivers.gpio_output:GpioOutput",
    "host": "sensors.drivers.host:Host",
    "pulse_counter": "sensors.drivers.pulse_counter:PulseCounter",
    "scd4x": "sensors.drivers.scd4x:Scd4x",
    "sht31": "sensors.drivers.sht31:Sht31",
    "sht4x": "sensors.drivers.sht4x:Sht4x",
    "simulated": "sensors.drivers.simulated:Simulated",
}


class UnknownKind(LookupError):
    """No driver goes by this name."""


def driver_class(kind: str) -> DriverKind:
    """Give the class of a kind of sensor; imports its module, and no hardware library. Raises UnknownKind."""
    try:
        module, _, name = KINDS[kind].partition(":")
    except KeyError:
        raise UnknownKind(f'there is no kind "{kind}" of sensor') from None
    return cast("DriverKind", getattr(import_module(module), name))
