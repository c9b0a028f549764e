"""What a salvage had no time or no room for: the rest of the history of damaged files, copied while nobody waits."""

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic
from typing import Final

import msgspec

from appliance.store.aside import Damage, damages, tell, wanted_bytes
from appliance.store.breaks import write_breaks
from appliance.store.rescue import SPARE_BYTES, has_mark, look
from appliance.store.salvage import READINGS, Salvage

LOG: Final = logging.getLogger(__name__)
RETRY_S: Final = 50.0  # until it is seen again whether there is room; an idle store asks once a minute


class Remainder:
    """History of damaged files that is still to be copied; made where there is some, stepped while nobody waits."""

    def __init__(self, path: Path, connection: sqlite3.Connection, *, clock: Callable[[], float] = monotonic) -> None:
        self._path = path
        self._connection = connection
        self._left = [damage for damage in damages(path) if not damage.is_finished]
        self._files = ExitStack()
        self._steps: Iterator[int] | None = None
        self._salvage: Salvage | None = None
        self._clock = clock
        self._next_try = 0.0  # there was no room

    def step(self) -> bool:
        """Copy some rows in a transaction of their own; False when nothing is left, or no room. sqlite3.Error."""
        if not self._left or self._clock() < self._next_try:
            return False
        damage = self._left[0]
        if not Path(damage.aside).exists():  # its owner has deleted it
            self.close()
            self._left.pop(0)
            return bool(self._left)
        if not has_mark(self._connection, damage):
            self._leave(damage)
            return bool(self._left)
        if not self._has_room(damage):
            self._next_try = self._clock() + RETRY_S
            return False
        try:
            if self._steps is None:
                self._steps = self._begin(damage)
            next(self._steps)
        except StopIteration:
            self._end(damage)
        except sqlite3.Error:
            self.close()
            raise
        return bool(self._left)

    def close(self) -> None:
        """Let go of the old file; may be called twice."""
        self._files.close()
        self._steps = None

    def _begin(self, damage: Damage) -> Iterator[int]:
        aside = Path(damage.aside)
        pages, _, _ = look(aside, None, self._files)
        if pages is None:
            return iter(())
        self._salvage = Salvage(pages, damage.roots, self._connection, damage.most)
        return self._salvage.bulk()

    def _has_room(self, damage: Damage) -> bool:
        """Tell whether all that is left fits, or, when it is under way already, the next piece of it."""
        try:
            wanted = wanted_bytes(self._path, damage)
            free = os.statvfs(self._path.parent)
        except OSError:
            return False
        if wanted and self._steps is not None and free.f_bavail * free.f_frsize >= SPARE_BYTES:
            return True
        if wanted and not self._next_try:
            LOG.warning("the rest of %s is copied when there are %d MB more", damage.aside, -(-wanted // 1_000_000))
        return not wanted

    def _leave(self, damage: Damage) -> None:
        """Copy nothing into a database that does not come of that salvage: its numbers stand for other series."""
        self._left.pop(0)
        apart = msgspec.structs.replace(damage, is_finished=True, is_apart=True)
        with suppress(OSError):  # the next time, then
            tell(apart)
        LOG.warning("%s", apart.line())

    def _end(self, damage: Damage) -> None:
        self.close()
        self._left.pop(0)
        finished = msgspec.structs.replace(damage, is_finished=True)
        if (salvage := self._salvage) is not None:
            self._salvage = None
            lost = write_breaks(self._connection, salvage.breaks[READINGS], damage.why)
            finished = msgspec.structs.replace(
                finished,
                kept=damage.kept + salvage.kept.total(),
                lost=damage.lost + salvage.lost.total(),
                lost_pages=damage.lost_pages + salvage.lost_pages,
            ).with_lost(lost)
        with suppress(OSError):  # then it is copied once more after the next start, which changes nothing
            tell(finished)
        LOG.warning("%s", finished.line())
