"""The ledger as the writer has it open, or not: opened, looked after in its place, salvaged on suspicion, let go."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from appliance.store.database import StoreError
from appliance.store.ledger import Ledger
from appliance.store.still import is_harmless

Place = tuple[int, int]
"""Device and number of a file."""


class Opened:
    """What is open of one file. For the thread that writes; without a `ledger` the file must be opened first."""

    def __init__(
        self, path: Path, open_ledger: Callable[[], Ledger], reopen_ledger: Callable[[], Ledger] | None = None
    ) -> None:
        self.path = path
        self.ledger: Ledger | None = None
        self._open_ledger = open_ledger
        self._reopen_ledger = reopen_ledger or open_ledger  # without a look at whether it is whole
        self._is_whole = False  # it was, and nothing happened since that damages a file
        self._is_unsure = False  # whether everything that is in the log is on the disk
        self._log = path.with_name(f"{path.name}-wal")
        self._place: Place | None = None  # of the file that is in use
        self._log_place: Place | None = None  # of its log
        self.is_astray = False  # the file may hold something else than what was written
        self._suspected = False

    def open(self) -> Ledger:
        """Open the file; StoreError, sqlite3.Error and OSError say why not."""
        is_whole = self._is_whole and _place(self.path) == self._place
        self.ledger = ledger = self._reopen_ledger() if is_whole else self._open_ledger()
        if self._place is not None and _place(self.path) != self._place:
            self.is_astray = True  # it was salvaged
        return ledger

    def doubt(self, error: BaseException) -> None:
        """Take note of a failure. A disk that is full or read-only damages nothing and leaves nothing half flushed."""
        cause = error.__cause__ if isinstance(error, StoreError) else error
        if cause is None or not is_harmless(cause):
            self._is_whole = False
            self._is_unsure |= cause is not None

    def settle(self, ledger: Ledger, *, finds: bool) -> None:
        """Flush the log where a flush may have failed, or what was found in it would count as durable unflushed."""
        self._is_unsure |= finds
        if self._is_unsure:
            ledger.settle()
            self._is_unsure = False

    def let_go(self) -> None:
        """Close the ledger, whatever state it is in."""
        ledger, self.ledger = self.ledger, None
        if ledger is not None:
            with suppress(sqlite3.Error, OSError):  # what it held is written again, or was reported before
                ledger.close()

    def take_place(self, *, is_whole: bool = True) -> None:
        """Know from here on where the file is that is in use."""
        self._is_whole = is_whole
        self._place = _place(self.path)
        self._log_place = _place(self._log)

    def check_place(self) -> None:
        """StoreError where file or log is no longer where it was opened: what is written to it would be lost."""
        if self._place is None:
            return
        if _place(self.path) != self._place:
            raise StoreError(
                f"{self.path} was moved or deleted while it was in use: put it back,"
                " or restart the service to begin a new history"
            )
        log_place = _place(self._log)
        if log_place != self._log_place:
            if self._log_place is None:  # there was none yet
                self._log_place = log_place
                return
            self.is_astray = True
            if self.ledger is not None:
                with suppress(StoreError, sqlite3.Error, OSError):  # what is open can still be read
                    self.ledger.settle()
            raise StoreError(f"{self._log} was moved or deleted while it was in use: what it held is written anew")

    def suspect(self, error: Exception) -> bool:
        """Have the file salvaged where a broken rule of the schema may come of damage.

        Once: it may as well be a fault of ours, and that comes again in a file that is whole.
        """
        if self._suspected or self.ledger is None or not isinstance(error, sqlite3.IntegrityError):
            return False
        self._suspected = True
        self.ledger.suspect(str(error))
        return True


def _place(path: Path) -> Place | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
