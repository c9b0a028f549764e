"""When it is said that all is well again: the oftener the disk failed of late, the longer that waits.

A disk that is nearly full takes a small commit and fails with the next; every failure closes clients, and each that is
let in again in between sends what cannot be kept.
"""

from typing import Final

MOST: Final = 8.0  # units that a recovery waits at most
MEMORY: Final = 60.0  # units after a recovery for which a failure counts as the same trouble
ALARM: Final = 10.0  # units after a recovery for which a trouble that came again is told of still


class Calm:
    """Failures and recoveries; `now` is monotonic, `unit_s` the time between two tries."""

    def __init__(self, unit_s: float) -> None:
        self.until = 0.0
        """Before this no recovery is believed."""
        self._unit_s = unit_s
        self._wait = 0.0
        self._recovered_at: float | None = None

    def failed(self, now: float, *, is_new: bool) -> None:
        """Take note of a failure; is_new: until now all was well."""
        if is_new:
            recent = self._recovered_at is not None and now - self._recovered_at < MEMORY * self._unit_s
            self._wait = min(max(2.0 * self._wait, 2.0), MOST) if recent else 0.0
        self.until = now + self._wait * self._unit_s

    def recovered(self, now: float) -> None:
        """Take note that all is well."""
        self._recovered_at = now

    def is_restless(self, now: float) -> bool:
        """Whether the trouble came again and was there a moment ago."""
        at = self._recovered_at
        return bool(self._wait) and at is not None and now - at < ALARM * self._unit_s
