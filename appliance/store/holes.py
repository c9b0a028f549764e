"""Which parts of a gap are really empty: readings that an agent kept and sent later fill it. Pure."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

USUAL_DISTANCES: Final = 3.0  # readings further apart than so many usual distances leave a hole


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A stretch of which nothing was recorded. Times are Unix seconds; `until_at` is None while it lasts.

    `scope` is series, agent or hub, `name` the topic or the agent.
    """

    since_at: float
    until_at: float | None
    cause: str
    detail: str
    scope: str
    name: str

    def told(self) -> dict[str, object]:
        """Give it as the API and the command line show it."""
        return {
            "since": self.since_at,
            "until": self.until_at,
            "cause": self.cause,
            "detail": self.detail,
            "scope": self.scope,
            "name": self.name,
        }


def holes(gaps: Iterable[Gap], at: Sequence[float], since_at: float, until_at: float) -> list[Gap]:
    """Cut gaps to a stretch of time and to what its readings leave empty; in order of time.

    `at` are the times of the readings, in order. A gap that lasts keeps its open end where nothing came after it began.
    """
    from statistics import median  # noqa: PLC0415 a sixth of a megabyte, for who asks for the history

    steps = [after - before for before, after in pairwise(at)]
    usual_s = USUAL_DISTANCES * median(steps) if len(steps) >= 2 else 0.0
    found: list[Gap] = []
    for gap in gaps:
        begins, ends = max(gap.since_at, since_at), until_at if gap.until_at is None else min(gap.until_at, until_at)
        if ends <= begins:
            continue
        inside = at[bisect_right(at, begins) : bisect_left(at, ends)]
        if not inside:
            found.append(replace(gap, since_at=begins, until_at=None if gap.until_at is None else ends))
            continue
        for before, after in pairwise((begins, *inside, ends)):
            if after - before > usual_s:
                lasts = gap.until_at is None and after == ends
                found.append(replace(gap, since_at=before, until_at=None if lasts else after))
    return sorted(found, key=lambda gap: (gap.since_at, gap.cause))
