"""How much water air can hold. Pure.

The saturation vapour pressure over water is Magnus's formula with the constants of WMO-No. 8, Guide to Instruments and
Methods of Observation, annex 4.B (after Sonntag, 1990); it holds from -45 to 60 °C.
"""

import math
from typing import Final

COLDEST: Final = -45.0
WARMEST: Final = 60.0
AT_ZERO_HPA: Final = 6.112
FACTOR: Final = 17.62  # of Magnus's exponent
SHIFT: Final = 243.12  # of it, in °C


def exponent(temperature: float) -> float:
    """Give Magnus's exponent at a temperature in °C."""
    return FACTOR * temperature / (SHIFT + temperature)


def saturation_hpa(temperature: float) -> float:
    """Give the pressure of water vapour in air that can hold no more, in hPa, at a temperature in °C."""
    return AT_ZERO_HPA * math.exp(exponent(temperature))
