"""Two people who live in the house: where they are, and what follows from it at doors, windows and lamps. Pure."""

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from sensors.house.chance import DAY_S, Span, chance
from sensors.house.weather import Weather

PERSONS = 2
AWAY = "away"
HALL = "hall"
PLACES = ("kitchen", "livingroom", "bedroom", "bathroom", HALL)
HOUR_S = 3600.0
WALK_S = 12.0  # through the hall
LEAVING_S = 90.0  # shoes, coat, keys
MOVES_EVERY_S = 75.0  # so often a motion sensor notices somebody who sits
STANDS_EVERY_S = 20.0  # and somebody who stands in the hall
DARK_LX = 1500.0  # outdoors; indoors a lamp is switched on then


@dataclass(frozen=True, slots=True)
class Stay:
    """One person in one place."""

    place: str
    start: float
    end: float
    awake: bool = True


def place_of(room: str) -> str:
    """Which place of the house a room is: by its name, else one of them that follows from the name."""
    bare = room.replace("-", "").replace("_", "")
    return next((place for place in PLACES if place in bare), PLACES[int(chance(0, room, "place") * len(PLACES))])


@lru_cache(maxsize=4096)
def day_of(seed: int, person: int, day: int) -> tuple[Stay, ...]:
    """Give one person's day without a gap, from midnight to midnight; days count from 1970."""
    return tuple(_Day(seed, person, day).stays)


class _Day:
    """Puts a day together, stay after stay."""

    def __init__(self, seed: int, person: int, day: int) -> None:
        self._seed, self._name, self._day = seed, f"person {person}", day
        self._midnight = float(day * DAY_S)
        self._at = self._midnight
        self.stays: list[Stay] = []
        works = (day + 3) % 7 < 5 and self._draw("home", 0, 1) > 0.15  # 1970 began on a Thursday
        self._go("bedroom", self._hours("wake", 6.1, 7.2) if works else self._hours("wake", 7.6, 9.2), awake=False)
        self._go("bathroom", self._later("shower", 8, 18))
        self._go("kitchen", self._later("breakfast", 15, 30))
        if works:
            self._out(self._hours("home again", 16.2, 18.0))
        else:
            self._settle(self._hours("lunch", 12.0, 12.8))
            self._go("kitchen", self._later("lunch takes", 30, 50))
            if self._draw("goes out", 0, 1) < 0.7:
                self._out(self._later("out for", 60, 200))
            self._settle(self._hours("hungry", 17.8, 18.6))
        self._go("kitchen", self._later("supper", 30, 60))
        self._settle(self._hours("tired", 21.6, 22.8))
        self._go("bathroom", self._later("teeth", 6, 14))
        self._go("bedroom", self._later("book", 5, 25))
        self._go("bedroom", self._midnight + DAY_S, awake=False)

    def _draw(self, what: str, low: float, high: float) -> float:
        return low + (high - low) * chance(self._seed, self._name, what, self._day, len(self.stays))

    def _hours(self, what: str, low: float, high: float) -> float:
        return self._midnight + HOUR_S * self._draw(what, low, high)

    def _later(self, what: str, low_minutes: float, high_minutes: float) -> float:
        return self._at + 60 * self._draw(what, low_minutes, high_minutes)

    def _go(self, place: str, until: float, *, awake: bool = True) -> None:
        if self.stays and place not in {HALL, AWAY} and self.stays[-1].place not in {HALL, place}:
            self._stay(HALL, self._at + WALK_S)
        self._stay(place, until, awake=awake)

    def _stay(self, place: str, until: float, *, awake: bool = True) -> None:
        if until > self._at:
            self.stays.append(Stay(place, self._at, until, awake))
            self._at = until

    def _out(self, until: float) -> None:
        self._go(HALL, self._at + LEAVING_S)
        self._go(AWAY, until)
        self._go(HALL, self._at + LEAVING_S / 2)

    def _settle(self, until: float) -> None:
        """Sit in the living room; now and then go and fetch something."""
        while self._at < until:
            self._go("livingroom", min(self._later("sits", 25, 80), until))
            if self._at + 600 < until:
                errand = PLACES[int(self._draw("errand", 0, 4)) % 4]
                self._go(errand, self._later("errand takes", 2, 6))


@dataclass(frozen=True, slots=True)
class People:
    """Everybody at home, and what they move."""

    seed: int

    def where(self, person: int, at: float) -> Stay:
        """Where one of them is at a time."""
        stays = day_of(self.seed, person, math.floor(at / DAY_S))
        return stays[max(bisect_right(stays, at, key=lambda stay: stay.start) - 1, 0)]

    def linger(self, place: str, at: float, decay_s: float) -> float:
        """How many were in a place lately: what each leaves behind fades with the time constant `decay_s`.

        What fills a room with one person for ever is 1.
        """
        day = math.floor(at / DAY_S)
        total = 0.0
        for stay in (stay for each in (day - 1, day) for stay in self._stays(each)):
            if stay.place == place and stay.start < at:
                total += math.exp((min(stay.end, at) - at) / decay_s) - math.exp((stay.start - at) / decay_s)
        return total

    def motion(self, place: str, day: int) -> tuple[Span, ...]:
        """When something moves there: whoever comes or walks through, then now and then."""
        return _motion(self.seed, place, day)

    def front_door(self, day: int) -> tuple[Span, ...]:
        """When the front door is open: somebody leaves or comes home."""
        edges = (at for stay in self._stays(day) if stay.place == AWAY for at in (stay.start, stay.end))
        return tuple((at - 2.0, at + 4 + 6 * chance(self.seed, "front door", at)) for at in edges)

    def door(self, place: str, day: int) -> tuple[Span, ...]:
        """When the door of a room is open: somebody goes in or out."""
        spans = []
        for person in range(PERSONS):
            for before, after in pairwise(day_of(self.seed, person, day)):
                if before.place != after.place and place in {before.place, after.place}:
                    spans.append((after.start - 1.5, after.start + 2 + 3 * chance(self.seed, place, after.start)))
        return tuple(spans)

    def window(self, place: str, day: int) -> tuple[Span, ...]:
        """When a window is open: half of the time that somebody leaves the room after a while, it is aired."""
        return tuple(
            (stay.end - 20, stay.end + 240 + 700 * chance(self.seed, "airing", stay.end))
            for stay in self._stays(day)
            if stay.place == place and stay.end - stay.start > 600 and chance(self.seed, "airs", stay.end) < 0.5
        )

    def lamp(self, place: str, day: int) -> tuple[Span, ...]:
        """When a lamp is on: somebody is awake there and it is dark outside."""
        weather = Weather(self.seed)
        spans = []
        for stay in self._stays(day):
            if stay.place == place and stay.awake:
                looks = range(int(stay.start), int(stay.end) + 1, 300)
                dark = next((at for at in looks if weather.illuminance(at) < DARK_LX), None)
                if dark is not None and stay.end > (start := max(float(dark), stay.start) + 0.8):
                    spans.append((start, stay.end))
        return tuple(spans)

    def ringing(self, day: int) -> tuple[Span, ...]:
        """When a finger is on the bell: the post at noon, a key forgotten; an impatient one presses twice or long."""
        rings = [day * DAY_S + HOUR_S * (10.5 + 2 * chance(self.seed, "post", day))]
        rings += [
            stay.end - 30
            for stay in self._stays(day)
            if stay.place == AWAY and chance(self.seed, "forgot the key", stay.end) < 0.4
        ]
        spans = []
        for at in rings:
            manner = chance(self.seed, "manner", at)
            spans.append((at, at + (1.4 if manner > 0.85 else 0.15)))
            if manner < 0.2:
                spans.append((at + 0.3, at + 0.45))
        return tuple(spans)

    def _stays(self, day: int) -> Iterator[Stay]:
        for person in range(PERSONS):
            yield from day_of(self.seed, person, day)


@lru_cache(maxsize=4096)
def _motion(seed: int, place: str, day: int) -> tuple[Span, ...]:
    spans = []
    every_s = STANDS_EVERY_S if place == HALL else MOVES_EVERY_S
    for person in range(PERSONS):
        for stay in day_of(seed, person, day):
            if stay.place != place or not stay.awake:
                continue
            at = stay.start
            while at < stay.end:
                start = at if at == stay.start else at + 0.4 * every_s * chance(seed, place, "stirs", person, at)
                if start < stay.end:
                    length = 8 + 20 * chance(seed, place, "for", person, at)
                    spans.append((start, min(start + length, stay.end + 5)))
                at += every_s
    return tuple(spans)
