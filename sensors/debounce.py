"""Which level a bouncing contact means. Pure: times come in, in seconds of any one clock."""

import math

LONGEST_UNREST_S = 1.0  # a contact that chatters on and on is believed now and then, rather than never


class Debounce:
    """Tells which level a bouncing contact means: the one that stays for `settle_s`. Pure.

    Edges with the kernel's times may be judged late: what was decided between two of them is known at the second.
    """

    def __init__(self, *, level: bool, settle_s: float, longest_unrest_s: float = LONGEST_UNREST_S) -> None:
        self.state = level
        self.since = -math.inf  # when the contact went to where it then stayed
        self._settle_s = settle_s
        self._longest_unrest_s = longest_unrest_s
        self._raw = level
        self._since = 0.0  # when the contact last moved
        self._unrest_since: float | None = None  # when it began to move

    def seen(self, now: float, level: bool) -> bool | None:  # noqa: FBT001 level is the value
        """Take the level seen at an edge or at the deadline; give the new state when it is decided."""
        decided = self._decide(now)
        if level is not self._raw:
            self._raw, self._since = level, now
            if self._unrest_since is None:
                self._unrest_since = now
            if decided is None:
                decided = self._decide(now)
        elif now < self._since:  # the edge to the level that a look has found before it was told
            self._since = now
        return decided

    @property
    def deadline(self) -> float | None:
        """When to look at the level next, unless an edge comes first; None while the state is what is seen."""
        if self._raw is self.state or self._unrest_since is None:
            return None
        return min(self._since + self._settle_s, self._unrest_since + self._longest_unrest_s)

    def _decide(self, now: float) -> bool | None:
        calm = now >= self._since + self._settle_s
        tired = self._unrest_since is not None and now >= self._unrest_since + self._longest_unrest_s
        if calm:
            self._unrest_since = None
        if self._raw is self.state or not (calm or tired):
            return None
        if not calm:
            self._unrest_since = now
        self.state, self.since = self._raw, self._since
        return self.state
