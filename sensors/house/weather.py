"""The weather around the house: seasons, fronts that bring clouds, the sun above them. Pure."""

import math
from dataclasses import dataclass

from sensors.house.chance import DAY_S, drift
from sensors.vapour import saturation_hpa

YEAR_S = 365.2425 * DAY_S
WARMEST_DAY_S = 200 * DAY_S  # of a year: in the second half of July
SOLSTICE_S = 172 * DAY_S
WARMEST_AT_S = 15 * 3600.0
LATITUDE = math.radians(48)
FRONT_S = 2.5 * DAY_S
CLEAR_NOON_LX = 105_000.0
TWILIGHT = 0.105  # sine of 6°: so far below the horizon the sun still gives light


@dataclass(frozen=True, slots=True)
class Weather:
    """What is outdoors, at seconds of the house's own time: its noon is the sun's."""

    seed: int

    def pressure(self, at: float) -> float:
        """Pressure at sea level in hPa: low while a front passes."""
        return 1015 + 13 * self._front(at) + 3 * self._drift("air", at, 0.6 * DAY_S)

    def clouds(self, at: float) -> float:
        """Give the share of the sky that is covered, 0 to 1."""
        return min(max(0.5 - 0.6 * self._front(at) + 0.35 * self._drift("clouds", at, 5400), 0.0), 1.0)

    def temperature(self, at: float) -> float:
        """°C: the season, the mass of air that a front brought, the day (a small one under clouds), gusts."""
        season = 10 + 9.5 * math.cos(2 * math.pi * (at - WARMEST_DAY_S) / YEAR_S)
        air = 4.5 * self._drift("mass", at, 3 * DAY_S)
        swing = 3.2 + 2.2 * self._front(at)
        day = swing * math.cos(2 * math.pi * (at - WARMEST_AT_S) / DAY_S)
        return season + air + day + 0.5 * self._drift("gusts", at, 1500)

    def humidity(self, at: float) -> float:
        """Relative humidity in percent."""
        return min(max(100 * saturation_hpa(self.dew_point(at)) / saturation_hpa(self.temperature(at)), 15.0), 99.9)

    def dew_point(self, at: float) -> float:
        """°C: what the air holds changes with the air, not with the hour, and clouds mean that it is much."""
        season = 5 + 8 * math.cos(2 * math.pi * (at - WARMEST_DAY_S) / YEAR_S)
        return season + 4 * self._drift("mass", at, 3 * DAY_S) - 2 * self._front(at)

    def illuminance(self, at: float) -> float:
        """Lux on open ground."""
        height = self._sun(at)
        dusk = min(max((height + TWILIGHT) / TWILIGHT, 0.0), 1.0)
        twilight = 600 * dusk * dusk
        clear = twilight + CLEAR_NOON_LX * math.pow(max(height, 0.0), 1.15)
        return clear * (1 - 0.78 * self.clouds(at))

    def _sun(self, at: float) -> float:
        """Sine of the sun's height over the horizon."""
        tilt = math.radians(23.44) * math.cos(2 * math.pi * (at - SOLSTICE_S) / YEAR_S)
        hour = 2 * math.pi * (at % DAY_S / DAY_S - 0.5)
        return math.sin(LATITUDE) * math.sin(tilt) + math.cos(LATITUDE) * math.cos(tilt) * math.cos(hour)

    def _front(self, at: float) -> float:
        """1 under a high, -1 while a low passes."""
        return self._drift("front", at, FRONT_S)

    def _drift(self, what: str, at: float, period_s: float) -> float:
        return drift(self.seed, "weather", what, at, period_s)
