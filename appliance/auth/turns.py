"""Whose password is checked next. Checking one costs time on purpose; this sees that a guesser pays with its own."""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

WAITING = 16  # from one address; more are not even lined up
WAITING_OF_NETWORK = 256
FREE = 5  # wrong passwords of an address before it has to wait
FREE_OF_NETWORK = 20
FIRST_WAIT_S = 0.25  # after one more; each further one doubles it
LONGEST_WAIT_S = 2.0  # short enough for an honest neighbour of the guesser to be let in before it gives up
LONGEST_WAIT_OF_NETWORK_S = 0.5  # the neighbours in it are many
FORGIVEN_S = 600.0  # after the last wrong password
ADDRESSES = 1_024  # that are remembered

Item = TypeVar("Item")
Wrong = dict[str, tuple[int, float]]
"""Address or network -> wrong passwords, when the last; that one last."""


class Turns(Generic[Item]):
    """Lines of those who wait, one for each address; networks take turns, and in each the addresses.

    Whoever is at the same address as a guesser waits with it; nobody else does, but for a moment who is in the same
    network, where a host has as many addresses as it likes.
    """

    def __init__(self, network_of: Callable[[str], str] = str) -> None:
        """`network_of` gives the network of an address, or the address where a host has but that one."""
        self._network_of = network_of
        self._lines: dict[str, dict[str, deque[Item]]] = {}  # whose turn is next first
        self._wrong: Wrong = {}
        self._wrong_of_networks: Wrong = {}

    def join(self, address: str, item: Item) -> bool:
        """Line up; False when too many from this address wait already."""
        network = self._network_of(address)
        lines = self._lines.get(network, {})
        if len(lines.get(address, ())) >= WAITING or sum(map(len, lines.values())) >= WAITING_OF_NETWORK:
            return False
        self._lines.setdefault(network, lines).setdefault(address, deque()).append(item)
        return True

    def leave(self, address: str, item: Item) -> None:
        """Wait no longer, if it still does."""
        network = self._network_of(address)
        lines = self._lines.get(network, {})
        line = lines.get(address)
        if line is not None and item in line:
            line.remove(item)
            if not line:
                del lines[address]
            if not lines:
                del self._lines[network]

    def take(self, now: float) -> tuple[str, Item] | None:
        """Give who is next, with its address; None while nobody may be."""
        for network, lines in self._lines.items():
            if self._network_free_at(network) > now:
                continue
            for address, line in lines.items():
                if self._free_at(address) <= now:
                    item = line.popleft()
                    del lines[address]
                    if line:
                        lines[address] = line  # behind all others
                    del self._lines[network]
                    if lines:
                        self._lines[network] = lines
                    return address, item
        return None

    def due(self) -> float | None:
        """When `take` gives somebody; None while nobody waits."""
        return min(
            (
                max(self._network_free_at(network), min(map(self._free_at, lines)))
                for network, lines in self._lines.items()
            ),
            default=None,
        )

    def wrong(self, address: str, now: float) -> None:
        """The password from there was wrong."""
        _count(self._wrong, address, now)
        network = self._network_of(address)
        if network != address:
            _count(self._wrong_of_networks, network, now)

    def _free_at(self, address: str) -> float:
        return _after(self._wrong.get(address), FREE, LONGEST_WAIT_S)

    def _network_free_at(self, network: str) -> float:
        return _after(self._wrong_of_networks.get(network), FREE_OF_NETWORK, LONGEST_WAIT_OF_NETWORK_S)


def _count(wrong: Wrong, whose: str, now: float) -> None:
    count, last = wrong.pop(whose, (0, now))
    wrong[whose] = (1 if now - last > FORGIVEN_S else count + 1), now
    if len(wrong) > ADDRESSES:
        del wrong[next(iter(wrong))]


def _after(found: tuple[int, float] | None, free: int, longest_s: float) -> float:
    count, last = found or (0, 0.0)
    if count < free:
        return 0.0
    return last + min(longest_s, FIRST_WAIT_S * 2.0 ** min(count - free, 10))
