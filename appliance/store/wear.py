"""What writing costs the card: the kernel's own counts, held against a budget that accrues evenly over the day.

While the budget lasts, a commit group closes after `WINDOW_S`. Beyond it the window stretches with what is owed, up to
`MOST_S`: fewer, larger commits write less. The ceiling wins over the budget; what is written beyond is only shown.

What a start is given, and what may be owed before the window is long enough, come out of the same day: a twentieth of
the budget is held back for them, so that a day with a start in it stays within it too.
"""

import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Final

MB: Final = 1_000_000
DAY_S: Final = 86_400
WINDOW_S: Final = 0.005
MOST_S: Final = 1.0
ACCRUES: Final = 0.95  # of the budget; the rest is for a start and for what is owed
START_S: Final = 3_600  # of the budget's time that a start begins with
RAMP_S: Final = 600  # of the budget's time owed, at which the window is as long as it gets
PART_S: Final = 600  # the last 24 hours are counted in parts of this length
LOOK_S: Final = 0.1  # the kernel is not asked more often than this
SECTOR_BYTES: Final = 512  # of /sys/dev/block, whatever the device's own are


class Budget:
    """Bytes that may be written, in the caller's clock. One thread spends, others may ask for the window."""

    def __init__(self, mb_per_day: float, now: float) -> None:
        self.bytes_per_day = mb_per_day * MB
        self._bytes_per_s = self.bytes_per_day * ACCRUES / DAY_S
        self._state = (self._bytes_per_s * START_S, now)  # what is left, and when; one tuple, so never half changed

    def left_bytes(self, now: float) -> float:
        """Give what may be written now, below zero what is owed; a day's worth at most, either way."""
        left, at = self._state
        return min(self.bytes_per_day, left + (now - at) * self._bytes_per_s)

    def spend(self, written_bytes: int, now: float) -> None:
        """Take off what was written."""
        self._state = (max(-self.bytes_per_day, self.left_bytes(now) - written_bytes), now)

    def window_s(self, now: float) -> float:
        """Give how long a commit group may stay open."""
        left = self.left_bytes(now)
        if left >= 0:
            return WINDOW_S
        owed = min(1.0, -left / (self._bytes_per_s * RAMP_S))
        return float(WINDOW_S * (MOST_S / WINDOW_S) ** owed)


class Day:
    """A count over the last 24 hours, or since it began where that is shorter."""

    def __init__(self, now: float) -> None:
        self._began = now
        self._parts: deque[tuple[float, int]] = deque()  # end of the part, count in it

    def add(self, count: int, now: float) -> None:
        """Count."""
        if self._parts and now < self._parts[-1][0]:
            ends, so_far = self._parts[-1]
            self._parts[-1] = (ends, so_far + count)
        else:
            self._parts.append((now + PART_S, count))
        while self._parts[0][0] <= now - DAY_S:
            self._parts.popleft()

    def total(self, now: float) -> int:
        """Give the count."""
        return sum(count for ends, count in self._parts if ends > now - DAY_S)

    def length_s(self, now: float) -> float:
        """Give what time it covers."""
        return min(now - self._began, float(DAY_S))


Counter = Callable[[], int | None]
"""Bytes written since some start that does not matter; None where nobody counts them."""


class Wear:
    """Bytes written by this process and by everybody to the device, and what they leave of the budget.

    `look` is called by the thread that writes, everything else by any.
    """

    def __init__(
        self, mb_per_day: float, process: Counter, device: Counter, clock: Callable[[], float] = monotonic
    ) -> None:
        now = clock()
        self.budget = Budget(mb_per_day, now)
        self.process = Meter(process, now)
        self.device = Meter(device, now)
        self._clock = clock
        self._looked = now

    def look(self, *, at_once: bool = False) -> None:
        """See what was written since the last look, if that is a while ago."""
        now = self._clock()
        if at_once or now - self._looked >= LOOK_S:
            self._looked = now
            self.budget.spend(self.process.read(now), now)
            self.device.read(now)

    def status(self) -> dict[str, object]:
        """Say what was written and what is left; bytes, milliseconds, hours."""
        now = self._clock()
        return {
            "written_bytes": self.process.total,
            "written_day_bytes": self.process.day.total(now),
            "device_written_bytes": self.device.total,
            "device_written_day_bytes": None if self.device.total is None else self.device.day.total(now),
            "day_hours": round(self.process.day.length_s(now) / 3600, 2),
            "budget_day_bytes": round(self.budget.bytes_per_day),
            "budget_left_bytes": round(self.budget.left_bytes(now)),
            "window_ms": round(self.budget.window_s(now) * 1000, 1),
        }


class Meter:
    """One counter of the kernel: what it has grown by since the start and over the last day."""

    def __init__(self, counter: Counter, now: float) -> None:
        self._counter = counter
        self._last = counter()
        self.total = None if self._last is None else 0
        self.day = Day(now)

    def read(self, now: float) -> int:
        """Give what was added since the last time."""
        count = self._counter()
        if count is None or self._last is None or self.total is None:
            return 0
        grown = max(0, count - self._last)  # a device that was taken out and put back begins anew
        self._last = count
        self.total += grown
        if grown:
            self.day.add(grown, now)
        return grown


def process_counter() -> Counter:
    """Count what this process has the kernel write to storage."""
    return lambda: _process_bytes(Path("/proc/self/io"))


def device_counter(directory: Path) -> Counter:
    """Count what everybody writes to the device that the directory is on."""
    try:
        device = directory.stat().st_dev
    except OSError:
        return lambda: None
    path = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")
    return lambda: _device_bytes(path)


def _process_bytes(path: Path) -> int | None:
    try:
        for line in path.read_text(encoding="ascii").splitlines():
            name, _, count = line.partition(":")
            if name == "write_bytes":
                return int(count)
    except OSError:
        pass
    return None


def _device_bytes(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii").split()[6]) * SECTOR_BYTES
    except (OSError, IndexError):  # a file system without one device, such as tmpfs or overlay
        return None
