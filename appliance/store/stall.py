"""Whether a thread makes progress, seen from another one."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import get_native_id
from time import monotonic
from types import TracebackType
from typing import Final

from appliance.thread_state import WAITS_FOR_DISK, thread_state

STUCK_S: Final = 60.0  # at one piece of work; the slowest card that still works takes some seconds


class StallDetector:
    """Held by the thread, as a context, while it does a piece of work that takes seconds at the most."""

    def __init__(self, clock: Callable[[], float] = monotonic, *, state: Callable[[int], str] | None = None) -> None:
        self._clock = clock
        self._state = state or thread_state
        self._begun: tuple[float, int] | None = None  # when, and by which thread
        self._is_dead = False

    def __enter__(self) -> None:
        self._begun = self._clock(), get_native_id()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._begun = None

    @contextmanager
    def life(self) -> Generator[None]:
        """Held by the thread from its beginning to its end; an error that ends it is not expected."""
        try:
            yield
        except BaseException:
            self._is_dead = True
            raise

    def is_stuck(self) -> bool:
        """Whether it is dead, or its piece takes too long and it is not the disk: that would hang a new process too.

        Messages that need no disk go on meanwhile, which a new start would end.
        """
        if self._is_dead:
            return True
        begun = self._begun
        if begun is None or self._clock() - begun[0] < STUCK_S:
            return False
        return self._state(begun[1]) != WAITS_FOR_DISK
