"""What instruments in the house show: the air of a room, its light, the meter of the whole house. Pure."""

import math
from dataclasses import dataclass
from functools import lru_cache

from sensors.house.chance import DAY_S, Daily, chance, drift, noise
from sensors.house.people import PERSONS, People, day_of
from sensors.house.weather import Weather

WARMEST_AT_S = 16.5 * 3600  # a heated room lags behind the sun
HEATING_CYCLE_S = 1500.0
METER_SINCE_DAY = 15_000  # when the meter was put in: January 2011
KWH_A_DAY = 7.0
LOAD_W = {"kitchen": 480.0, "livingroom": 170.0, "bathroom": 300.0}  # of one person who is awake there
BASE_LOAD_W = 140.0  # fridge, router and all that waits


@dataclass(frozen=True, slots=True)
class Room:
    """Air and light of one heated room; times are the house's own."""

    seed: int
    name: str  # no other room has its curves
    place: str  # who is in it, as in people.PLACES

    def temperature(self, at: float) -> float:
        """°C: the day's curve, the heating's saw-tooth, cold from outside, people and draughts, the sensor's noise."""
        usual = 19.2 + 2.6 * chance(self.seed, self.name, "usual temperature")
        day = 0.7 * math.cos(2 * math.pi * (at - WARMEST_AT_S) / DAY_S)
        phase = at / HEATING_CYCLE_S + chance(self.seed, self.name, "heating")
        heating = 0.25 * (4 * abs(phase % 1 - 0.5) - 1)
        outside = 0.035 * (Weather(self.seed).temperature(at) - 10)
        people = 0.45 * self._people(at, 2400) + 0.08 * self._drift("draught", at, 90)
        return usual + day + heating + outside + people + 0.03 * self._noise("temperature", at)

    def humidity(self, at: float) -> float:
        """Relative humidity in percent: falls as the room warms up, rises with the air outside, breath and showers."""
        usual = 44 + 9 * chance(self.seed, self.name, "usual humidity")
        dried = -2.4 * (self.temperature(at) - 20.5)
        outside = 0.5 * (Weather(self.seed).dew_point(at) - 5)
        steam = (14 if self.place == "bathroom" else 3) * self._people(at, 900)
        air = outside + steam + 1.5 * self._drift("air", at, 2700) + 0.6 * self._drift("breath", at, 120)
        return min(max(usual + dried + air + 0.1 * self._noise("humidity", at), 15.0), 95.0)

    def co2(self, at: float) -> float:
        """Ppm: what people breathe out, and slowly leaves through gaps."""
        outdoors = 425 + 8 * self._drift("co2 outdoors", at, DAY_S)
        return outdoors + 420 * self._people(at, 3600) + 4 * self._noise("co2", at)

    def illuminance(self, at: float) -> float:
        """Lux at the wall: daylight through a window, and the lamp."""
        lamp = 160.0 if self.lamp.is_on(at) else 0.0
        return lamp + 0.006 * Weather(self.seed).illuminance(at) * (1 + 0.02 * self._noise("light", at))

    @property
    def lamp(self) -> Daily:
        """The lamp that people switch here."""
        return Daily(lambda day: lamp_spans(self.seed, self.place, day))

    def _people(self, at: float, decay_s: float) -> float:
        return People(self.seed).linger(self.place, at, decay_s)

    def _drift(self, what: str, at: float, period_s: float) -> float:
        return drift(self.seed, self.name, what, at, period_s)

    def _noise(self, what: str, at: float) -> float:
        return noise(self.seed, self.name, what, at)


@lru_cache(maxsize=2048)
def lamp_spans(seed: int, place: str, day: int) -> tuple[tuple[float, float], ...]:
    """See People.lamp; kept, since finding sunset takes a while."""
    return People(seed).lamp(place, day)


@dataclass(frozen=True, slots=True)
class Meter:
    """The electricity meter: power, and the energy that is its integral."""

    seed: int

    def power(self, at: float) -> float:
        """Watts that the house takes."""
        day = math.floor(at / DAY_S)
        watts = BASE_LOAD_W
        for person in range(PERSONS):
            stay = People(self.seed).where(person, at)
            watts += LOAD_W.get(stay.place, 0.0) if stay.awake else 0.0
        return watts * self._of_day(day) / day_load_kwh(self.seed, day)

    def energy(self, at: float) -> float:
        """KWh since the meter was put in; never falls."""
        day = math.floor(at / DAY_S)
        joules = BASE_LOAD_W * (at - day * DAY_S) + sum(_used(self.seed, person, day, at) for person in range(PERSONS))
        return max(self._until(day) + self._of_day(day) * joules / 3.6e6 / day_load_kwh(self.seed, day), 0.0)

    def _until(self, day: int) -> float:
        """What it shows at the beginning of a day."""
        return KWH_A_DAY * (day - METER_SINCE_DAY) + 2.5 * chance(self.seed, "meter", day)

    def _of_day(self, day: int) -> float:
        return self._until(day + 1) - self._until(day)


def _used(seed: int, person: int, day: int, until: float) -> float:
    """Joules that go with one person's day up to a time."""
    return sum(
        LOAD_W.get(stay.place, 0.0) * (min(stay.end, until) - stay.start)
        for stay in day_of(seed, person, day)
        if stay.awake and stay.start < until
    )


@lru_cache(maxsize=1024)
def day_load_kwh(seed: int, day: int) -> float:
    """What a day takes by what people do; the meter's day is this one scaled."""
    end = (day + 1) * DAY_S
    return (BASE_LOAD_W * DAY_S + sum(_used(seed, person, day, end) for person in range(PERSONS))) / 3.6e6
