"""The ledger as the writer has it open, or not: opened, looked after in its place, salvaged on suspicion, let go."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from appliance.store.database import StoreError
from appliance.store.ledger import Ledger


class Opened:
    """What is open of one file. For the thread that writes; without a `ledger` the file must be opened first."""

    def __init__(self, path: Path, open_ledger: Callable[[], Ledger]) -> None:
        self.path = path
        self.ledger: Ledger | None = None
        self._open_ledger = open_ledger
        self._place: tuple[int, int] | None = None  # device and number of the file that is in use
        self._suspected = False

    def open(self) -> Ledger:
        """Open the file; StoreError, sqlite3.Error and OSError say why not."""
        self.ledger = ledger = self._open_ledger()
        return ledger

    def let_go(self) -> None:
        """Close the ledger, whatever state it is in."""
        ledger, self.ledger = self.ledger, None
        if ledger is not None:
            with suppress(sqlite3.Error, OSError):  # what it held is written again, or was reported before
                ledger.close()

    def take_place(self) -> None:
        """Know from here on where the file is that is in use."""
        self._place = self._look()

    def check_place(self) -> None:
        """StoreError where the file is no longer where it was opened: what is written to it would be lost."""
        if self._place is not None and self._look() != self._place:
            raise StoreError(
                f"{self.path} was moved or deleted while it was in use: put it back,"
                " or restart the service to begin a new history"
            )

    def _look(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def suspect(self, error: Exception) -> bool:
        """Have the file salvaged where a broken rule of the schema may come of damage.

        Once: it may as well be a fault of ours, and that comes again in a file that is whole.
        """
        if self._suspected or self.ledger is None or not isinstance(error, sqlite3.IntegrityError):
            return False
        self._suspected = True
        self.ledger.suspect(str(error))
        return True
