"""What follows from two values of one sensor: dew point and absolute humidity. Pure.

Hygrometers measure relative humidity over water below 0 °C too.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sensors.driver import Channel
from sensors.vapour import COLDEST, FACTOR, SHIFT, WARMEST, exponent, saturation_hpa

GRAMS_KELVIN = 216.7  # g·K/(m³·hPa): 100 Pa/hPa · 1000 g/kg / 461.5 J/(kg·K), the gas constant of water vapour
ZERO_KELVIN = 273.15


def dew_point(temperature: float, humidity: float) -> float | None:
    """Give in °C where this air (°C, %) begins to wet what is colder; None where the formula does not hold."""
    if not COLDEST <= temperature <= WARMEST or not 0 < humidity <= 100:
        return None
    power = math.log(humidity / 100) + exponent(temperature)
    return SHIFT * power / (FACTOR - power)


def absolute_humidity(temperature: float, humidity: float) -> float | None:
    """Give the water in this air (°C, %) in g/m³; None where the formula does not hold."""
    if not COLDEST <= temperature <= WARMEST or not 0 <= humidity <= 100:
        return None
    return GRAMS_KELVIN * humidity / 100 * saturation_hpa(temperature) / (ZERO_KELVIN + temperature)


@dataclass(frozen=True, slots=True)
class Derived:
    """A measurement that is computed from others of the same read."""

    channel: Channel
    inputs: tuple[str, ...]
    compute: Callable[..., float | None]

    def value(self, believed: Mapping[str, float]) -> float | None:
        """Compute it; None where an input is missing or the formula does not hold."""
        if not all(name in believed for name in self.inputs):
            return None
        return self.compute(*(believed[name] for name in self.inputs))


AIR = ("temperature", "humidity")
DERIVED = {
    "dew_point": Derived(Channel(measurement="dew_point", unit="°C", decimals=1), AIR, dew_point),
    "absolute_humidity": Derived(
        Channel(measurement="absolute_humidity", unit="g/m³", decimals=1), AIR, absolute_humidity
    ),
}
