"""When an output may be what it was told to be: shortest and longest times, and life without the broker. Pure."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an output must keep to, in seconds."""

    min_on_s: float = 0.0
    min_off_s: float = 0.0
    longest_s: float = math.inf  # on at a time
    safe_after_s: float = math.inf  # without the broker
    safe: bool = False


class Switching:
    """Tells what an output is to be, now and later. Pure.

    What comes too early is done when its time has come, unless another command comes first. A start counts as a switch:
    nobody knows how long a compressor stood still before a power cut.
    """

    def __init__(self, limits: Limits, *, start: bool, now: float, waits: bool = False) -> None:
        """Begin as `start` says; where it `waits` for something outside of this, off."""
        self.on = start and not waits and limits.min_off_s == 0  # what the pin is
        self.target = start  # what it is to be
        self._limits = limits
        self._since = now  # when it became so
        self._alone_since: float | None = now  # when the broker went
        self._is_safe = False  # what was to be done about that was done

    def command(self, on: bool) -> None:  # noqa: FBT001 on is the value
        """Take a command; the last one counts."""
        self.target = on

    def link(self, now: float, *, up: bool) -> None:
        """Know that the broker came or went; the safe state stays when it comes back, until a command ends it."""
        if up:
            self._alone_since, self._is_safe = None, False
        elif self._alone_since is None:
            self._alone_since = now

    def wanted(self, now: float) -> bool:
        """Give what the output should be at this time."""
        if now >= self._safe_at:
            self.target, self._is_safe = self._limits.safe, True
        if now >= self._ends_at:
            self.target = False
        return self.on if now < self._may_at else self.target

    def changed(self, now: float, on: bool) -> None:  # noqa: FBT001 on is the value
        """Know that the pin really is so from now on."""
        if on is not self.on:
            self.on, self._since = on, now

    def failed(self) -> None:
        """Know that the pin did not follow: what was commanded is not done later, when nobody expects it any more."""
        self.target = self._limits.safe

    def waits_s(self, now: float) -> float:
        """Seconds until the target may be reached."""
        return max(self._may_at - now, 0.0)

    def deadline(self, now: float) -> float:
        """When `wanted` may give something else than it gave `now`; infinite where only a command can do that."""
        return min(self._safe_at, self._ends_at, self._may_at if self._may_at > now else math.inf)

    @property
    def _safe_at(self) -> float:
        if self._alone_since is None or self._is_safe:
            return math.inf
        return self._alone_since + self._limits.safe_after_s

    @property
    def _ends_at(self) -> float:
        return self._since + self._limits.longest_s if self.on and self.target else math.inf

    @property
    def _may_at(self) -> float:
        if self.target is self.on:
            return -math.inf
        return self._since + (self._limits.min_on_s if self.on else self._limits.min_off_s)
