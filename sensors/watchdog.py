"""Speaks to systemd's watchdog, also for an agent whose thread waits for a disk that does not answer.

A new start would wait for it too, and would let go of every output and lose what is in memory.
"""

import math
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from appliance import notify
from appliance.thread_state import WAITS_FOR_DISK, thread_state

LOOKS: Final = 4  # within the time after which the agent itself would speak again


class Watchdog:
    """Held as a context by the thread that it watches over, which calls `turned` as often as it gets round."""

    def __init__(
        self,
        interval_s: float | None,
        *,
        state: Callable[[int], str] = thread_state,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`interval_s`: between two words to the watchdog, half of what it allows; None: there is none."""
        self._interval_s = interval_s
        self._state = state
        self._clock = clock
        self._watched = 0
        self._turned_at = self._spoke_at = clock()
        self._next_at = -math.inf
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._turned_at = self._spoke_at = self._clock()
        if self._interval_s is not None:
            self._watched = threading.get_native_id()
            self._thread = threading.Thread(target=self._watch, args=(self._interval_s,), name="watchdog", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def turned(self, now: float, status: Callable[[], str]) -> None:
        """Know that the thread gets on; the watchdog hears of it, and `status`, when that is due."""
        self._turned_at = self._clock()
        if self._interval_s is not None and now >= self._next_at:
            self._next_at = now + self._interval_s
            self._spoke_at = self._turned_at
            notify.watchdog(status())

    def next_deadline(self) -> float | None:
        """When `turned` has something to say."""
        return None if self._interval_s is None else self._next_at

    def _watch(self, interval_s: float) -> None:
        while not self._ended.wait(interval_s / LOOKS):
            self._look(interval_s)

    def _look(self, interval_s: float) -> None:
        """Speak for the thread where its own word is due: the time since it got round may be short by then."""
        now = self._clock()
        if now - self._spoke_at > interval_s and self._state(self._watched) == WAITS_FOR_DISK:
            cure = "wait, or check the disk or card and its power supply"
            notify.watchdog(f"the disk has not answered for {now - self._turned_at:.0f} s: {cure}")
