"""One thread that looks after everything in the house that moves by itself, however much it is."""

import heapq
import logging
import time
from collections.abc import Callable
from threading import Condition, Thread, current_thread

PATIENCE_S = 2.0  # for a look under way
FAILED_WAIT_S = 60.0

log = logging.getLogger("sensors")


class Rounds:
    """Calls each look when its time has come; a look gives the seconds until the next.

    One that raises is logged and comes again after FAILED_WAIT_S: the others, of every house, go on.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._state = Condition()
        self._looks: dict[int, Callable[[], float]] = {}
        self._due: list[tuple[float, int]] = []
        self._number = 0
        self._current: int | None = None
        self.thread: Thread | None = None  # None while there is nothing to look at

    def add(self, look: Callable[[], float]) -> int:
        """Look soon, and again and again until `drop` of the number that this gives."""
        with self._state:
            self._number += 1
            self._looks[self._number] = look
            heapq.heappush(self._due, (self._clock(), self._number))
            if self.thread is None:
                self.thread = Thread(target=self._run, name="house", daemon=True)
                self.thread.start()
            self._state.notify_all()
            return self._number

    def drop(self, number: int) -> None:
        """Look no more; after this no look of it is under way, unless it is the caller."""
        with self._state:
            self._looks.pop(number, None)
            self._state.notify_all()
            if current_thread() is not self.thread:
                self._state.wait_for(lambda: self._current != number, PATIENCE_S)

    def _run(self) -> None:
        while (number := self._wait()) is not None:
            look = self._looks.get(number)
            wait_s = 0.0 if look is None else _done(look)
            with self._state:
                self._current = None
                if number in self._looks:
                    heapq.heappush(self._due, (self._clock() + wait_s, number))
                self._state.notify_all()

    def _wait(self) -> int | None:
        """Wait until a look is due; gives its number, None when there are no more."""
        with self._state:
            while self._looks:
                wait_s = self._due[0][0] - self._clock() if self._due else PATIENCE_S
                if wait_s > 0:
                    self._state.wait(wait_s)
                    continue
                _, number = heapq.heappop(self._due)
                if number in self._looks:
                    self._current = number
                    return number
            self._due.clear()
            self.thread = None
            return None


def _done(look: Callable[[], float]) -> float:
    """Do it; gives the seconds until the next."""
    try:
        return look()
    except Exception:  # a bug in one is none of the others
        log.exception("something in the simulated house failed and is looked at again in %.0f s", FAILED_WAIT_S)
        return FAILED_WAIT_S


ROUNDS = Rounds()  # of this process
