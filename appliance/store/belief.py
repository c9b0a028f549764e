"""Whether the clock may decide what is old: one jump ahead must not throw a history away, nor make anything expire.

Pure. A trusted clock that goes on evenly is believed, and so is one that goes back, which makes nothing older. One that
is suddenly more than a day ahead (a wrong time server, or only a week without power) is believed when the service has
run with it for another day; until then nothing is thrown away for its age. Time without power is known by nothing but
the clock, so more than a day of it never counts for the age of the service, by which sessions and messages expire.
"""

from typing import Final, NamedTuple

DAY_MS: Final = 86_400_000
STEP_MS: Final = DAY_MS
DOUBT_MS: Final = DAY_MS  # of running time


def believed_off_ms(from_ms: int, to_ms: int) -> int:
    """Give how much of the time without power counts, between two Unix times of a clock that was trusted at both."""
    off_ms = to_ms - from_ms
    return off_ms if 0 <= off_ms <= STEP_MS else 0


class Belief(NamedTuple):
    """The last believed time, Unix ms; and while it is doubted, the age of the service when the doubt began."""

    at_ms: int | None = None
    doubted_age_ms: int | None = None

    @property
    def is_sure(self) -> bool:
        """Whether something may be thrown away for its age."""
        return self.at_ms is not None and self.doubted_age_ms is None


def believe(belief: Belief, unix_ms: int, age_ms: int) -> Belief:
    """Give what is believed when a trusted clock shows `unix_ms` and the service has run for `age_ms` in all."""
    if belief.at_ms is None or unix_ms - belief.at_ms <= STEP_MS:
        return Belief(unix_ms)
    if belief.doubted_age_ms is None:
        return Belief(belief.at_ms, age_ms)
    return Belief(unix_ms) if age_ms - belief.doubted_age_ms >= DOUBT_MS else belief
