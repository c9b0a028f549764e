"""Whose password is checked next. Checking one costs time on purpose; this sees that a guesser pays with its own."""

from collections import deque
from typing import Generic, TypeVar

WAITING = 16  # from one address; more are not even lined up
FREE = 5  # wrong passwords of an address before it has to wait
FIRST_WAIT_S = 0.25  # after one more; each further one doubles it
LONGEST_WAIT_S = 2.0  # short enough for an honest neighbour of the guesser to be let in before it gives up
FORGIVEN_S = 600.0  # after the last wrong password
ADDRESSES = 1_024  # that are remembered

Item = TypeVar("Item")


class Turns(Generic[Item]):
    """Lines of those who wait, one for each address; the addresses take turns.

    Whoever is at the same address as a guesser waits with it; nobody else does.
    """

    def __init__(self) -> None:
        self._lines: dict[str, deque[Item]] = {}  # whose turn is next first
        self._wrong: dict[str, tuple[int, float]] = {}  # address -> wrong passwords, when the last; that one last

    def join(self, address: str, item: Item) -> bool:
        """Line up; False when too many from this address wait already."""
        line = self._lines.setdefault(address, deque())
        if len(line) >= WAITING:
            return False
        line.append(item)
        return True

    def leave(self, address: str, item: Item) -> None:
        """Wait no longer, if it still does."""
        line = self._lines.get(address)
        if line is not None and item in line:
            line.remove(item)
            if not line:
                del self._lines[address]

    def take(self, now: float) -> tuple[str, Item] | None:
        """Give who is next, with its address; None while nobody may be."""
        for address, line in self._lines.items():
            if self._free_at(address) <= now:
                item = line.popleft()
                del self._lines[address]
                if line:
                    self._lines[address] = line  # behind all others
                return address, item
        return None

    def due(self) -> float | None:
        """When `take` gives somebody; None while nobody waits."""
        return min(map(self._free_at, self._lines), default=None)

    def wrong(self, address: str, now: float) -> None:
        """The password from there was wrong."""
        count, last = self._wrong.pop(address, (0, now))
        self._wrong[address] = (1 if now - last > FORGIVEN_S else count + 1), now
        if len(self._wrong) > ADDRESSES:
            del self._wrong[next(iter(self._wrong))]

    def _free_at(self, address: str) -> float:
        count, last = self._wrong.get(address, (0, 0.0))
        if count < FREE:
            return 0.0
        return last + min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(count - FREE, 10))
