"""What is due when, in the caller's clock."""

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Generic, TypeVar

What = TypeVar("What")


class Deadlines(Generic[What]):
    """Things with a moment each. One that no longer matters stays until its moment; who takes it looks again."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, What]] = []
        self._number = 0  # things of the same moment keep their order

    def set(self, at: float, what: What) -> None:
        """Have `what` come up at `at`."""
        self._number += 1
        heappush(self._heap, (at, self._number, what))

    def next(self) -> float | None:
        """Give the earliest moment; None when there is none."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[tuple[float, What]]:
        """Take out everything up to `now`, with the moment it was set for."""
        while self._heap and self._heap[0][0] <= now:
            at, _, what = heappop(self._heap)
            yield at, what
