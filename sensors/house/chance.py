"""What looks random and is the same every time: numbers, curves, and what is ON for a while now and then. Pure."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

DAY_S = 86_400

Span = tuple[float, float]
"""From when until when something is ON."""


def chance(seed: int, name: str, *salt: object) -> float:
    """Give a number 0 ≤ x < 1 that looks random and is the same every time."""
    digest = blake2b(repr((seed, name, *salt)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def drift(seed: int, name: str, what: str, at: float, period_s: float) -> float:
    """Wander smoothly between -1 and 1; a new direction every `period_s`."""
    step, part = divmod(at / period_s, 1.0)
    here, there = (2 * chance(seed, name, what, int(step) + i) - 1 for i in (0, 1))
    return here + (there - here) * part * part * (3 - 2 * part)


def noise(seed: int, name: str, what: str, at: float) -> float:
    """Give the last digit of a sensor, between -1 and 1: another one each millisecond."""
    return 2 * chance(seed, name, what, round(at, 3)) - 1


class Happening(Protocol):
    """Something that is ON or OFF at any time."""

    def is_on(self, at: float) -> bool:
        """Whether it is ON at a time."""

    def next_change(self, at: float) -> float:
        """When to look again, later than `at`: not after its next change."""


@dataclass(frozen=True, slots=True)
class Comings:
    """Something that is ON for a while once in every slot of time: somebody moving, a door standing open."""

    seed: int
    name: str
    slot_s: float
    shortest_s: float
    longest_s: float

    def is_on(self, at: float) -> bool:
        """See Happening."""
        start, end = self._visit(self._slot(at))
        return start <= at < end

    def next_change(self, at: float) -> float:
        """See Happening."""
        slot = self._slot(at)
        return next(edge for i in (slot, slot + 1) for edge in self._visit(i) if edge > at)

    def _slot(self, at: float) -> int:
        return math.floor(at / self.slot_s - chance(self.seed, self.name, "phase"))

    def _visit(self, slot: int) -> Span:
        """Start and end within one slot; OFF stays at least a second on both sides."""
        opens = (slot + chance(self.seed, self.name, "phase")) * self.slot_s
        length = self.shortest_s + (self.longest_s - self.shortest_s) * chance(self.seed, self.name, "length", slot)
        start = opens + 1 + (self.slot_s - length - 2) * chance(self.seed, self.name, "start", slot)
        return start, start + length


class Remembered:
    """A happening that is asked often: what was found holds until its next change. The time may be set meanwhile."""

    def __init__(self, happening: Happening) -> None:
        self._happening = happening
        self._from = self._until = 0.0
        self._on = False

    def is_on(self, at: float) -> bool:
        """See Happening."""
        self._look(at)
        return self._on

    def next_change(self, at: float) -> float:
        """See Happening."""
        self._look(at)
        return self._until

    def _look(self, at: float) -> None:
        if not self._from <= at < self._until:
            self._on, self._from, self._until = self._happening.is_on(at), at, self._happening.next_change(at)


@dataclass(frozen=True, slots=True)
class Daily:
    """Something that is ON in the spans that begin on each day; a span may reach into the day after."""

    spans: Callable[[int], tuple[Span, ...]]  # of one day, counted from 1970; may overlap

    def is_on(self, at: float) -> bool:
        """See Happening."""
        day = math.floor(at / DAY_S)
        return any(start <= at < end for each in (day - 1, day) for start, end in self.spans(each))

    def next_change(self, at: float) -> float:
        """See Happening."""
        day = math.floor(at / DAY_S)
        edges = (edge for each in (day - 1, day, day + 1) for span in self.spans(each) for edge in span if edge > at)
        return min(edges, default=at + DAY_S)
