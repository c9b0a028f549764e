"""What the drivers of chips that measure air pressure have in common: the height at which they stand."""

import math
from typing import Annotated

from msgspec import Meta

from sensors.drivers.i2c import Keys


class BarometerKeys(Keys, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys of a chip that measures air pressure."""

    altitude_m: Annotated[
        float,
        Meta(
            ge=-450,
            le=9000,
            description="Metres above the sea, for the pressure as at sea level, which weather reports tell; "
            "0 tells that of the place.",
        ),
    ] = 0.0


def at_sea_level(pressure: float, altitude_m: float) -> float:
    """Give the pressure in hPa as it were at sea level, in the standard atmosphere (ISO 2533)."""
    return pressure / math.pow(1 - 0.0065 * altitude_m / 288.15, 5.25588)
