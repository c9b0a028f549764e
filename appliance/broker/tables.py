"""Through which topics a user publishes: for each rights a table of routes that they include.

A message that finds its route there needs no further question. A topic that its publisher may not use never stands
in its table, so that it takes the slow path, where it is denied.
"""

from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from appliance.broker.rights import ALL_RIGHTS, Rights

Route = TypeVar("Route")


class Tables(Generic[Route]):
    """The table of all rights holds every route that is kept, the others some of those."""

    def __init__(self, most: int) -> None:
        self.all: dict[bytes, Route] = {}
        self._others: WeakKeyDictionary[Rights, dict[bytes, Route]] = WeakKeyDictionary()  # as long as anybody has them
        self._most = most  # in `all`, and again in the others together
        self._in_others = 0  # those of rights that nobody has any more are counted until all are forgotten

    def of(self, rights: Rights) -> dict[bytes, Route]:
        """Give the table for these rights, the same one every time."""
        return self.all if rights is ALL_RIGHTS else self._others.setdefault(rights, {})

    def allow(self, rights: Rights, topic: bytes) -> None:
        """Note that these rights include publishing to the topic, if its route is kept."""
        route = self.all.get(topic)
        if route is None or rights is ALL_RIGHTS:
            return
        if self._in_others >= self._most:
            self._clear_others()
        self.of(rights)[topic] = route
        self._in_others += 1

    def drop(self, topic: bytes) -> None:
        """Forget one topic's route; costs next to nothing where it is forgotten already."""
        if self.all.pop(topic, None) is None:
            return
        for table in self._others.values():
            if table.pop(topic, None) is not None:
                self._in_others -= 1

    def full(self) -> bool:
        """Whether no further route may be kept."""
        return len(self.all) >= self._most

    def clear(self) -> None:
        """Forget all routes."""
        self.all.clear()
        self._clear_others()

    def _clear_others(self) -> None:
        if self._in_others:
            for table in self._others.values():
                table.clear()
            self._in_others = 0
