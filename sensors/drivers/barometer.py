"""What the drivers of chips that measure air pressure have in common: the height at which they stand."""

from typing import Annotated

from msgspec import Meta

from sensors.drivers.i2c import Keys


class BarometerKeys(Keys, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys of a chip that measures air pressure."""

    altitude_m: Annotated[
        Annotated[float, Meta(ge=-450, le=9000)] | None,
        Meta(
            description="Metres above the sea; the pressure is told as at sea level then, as weather reports do; "
            "without it, that of the place."
        ),
    ] = None


def at_sea_level(pressure: float, altitude_m: float | None) -> float:
    """Give the pressure in hPa as it were at sea level, in the standard atmosphere (ISO 2533); None leaves it as is."""
    return pressure if altitude_m is None else pressure / (1 - 0.0065 * altitude_m / 288.15) ** 5.25588
