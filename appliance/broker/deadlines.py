"""What is due when, in the caller's clock."""

from collections.abc import Hashable, Iterator
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

What = TypeVar("What", bound=Hashable)

SPARE = 64  # entries without a thing that the heap may hold besides as many as there are things


class Deadlines(Generic[What]):
    """Things with one moment each. What is set again or cancelled is let go of at once."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []  # moments, and the numbers of things that may be gone
        self._things: dict[int, What] = {}
        self._numbers: dict[What, int] = {}
        self._number = 0  # things of the same moment keep their order

    def __len__(self) -> int:
        return len(self._things)

    def set(self, at: float, what: What) -> None:
        """Have `what` come up at `at`, and not when it was set to before."""
        self.cancel(what)
        if len(self._heap) > 2 * len(self._things) + SPARE:
            self._heap = [entry for entry in self._heap if entry[1] in self._things]
            heapify(self._heap)
        self._number = number = self._number + 1
        self._numbers[what] = number
        self._things[number] = what
        heappush(self._heap, (at, number))

    def cancel(self, what: What) -> None:
        """Have `what` not come up, if it was set."""
        number = self._numbers.pop(what, None)
        if number is not None:
            del self._things[number]

    def next(self) -> float | None:
        """Give the earliest moment; None when there is none."""
        heap = self._heap
        while heap and heap[0][1] not in self._things:
            heappop(heap)
        return heap[0][0] if heap else None

    def due(self, now: float) -> Iterator[What]:
        """Take out everything up to `now`."""
        while (at := self.next()) is not None and at <= now:
            what = self._things.pop(heappop(self._heap)[1])
            del self._numbers[what]
            yield what
