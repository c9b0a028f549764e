"""How long to wait before the next attempt to reach the broker. Pure."""

from random import Random
from typing import Final

FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 60.0


class Backoff:
    """Twice as long each time, and never in step with others."""

    def __init__(self, random: Random, first_s: float = FIRST_WAIT_S, longest_s: float = LONGEST_WAIT_S) -> None:
        self._random = random
        self._first_s = first_s
        self._longest_s = longest_s
        self._attempts = 0

    def wait_s(self, at_least_s: float = 0.0) -> float:
        """Give the next wait: between half and all of the first, twice, four times … that, at most longest.

        Of `at_least_s` where that is more: then too between half and all of it.
        """
        whole = max(min(self._first_s * 2.0**self._attempts, self._longest_s), at_least_s)
        self._attempts = min(self._attempts + 1, 30)
        return whole * self._random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Begin again with the first wait."""
        self._attempts = 0
