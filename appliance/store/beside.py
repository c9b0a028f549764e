"""What is whole of a damaged database where nothing can be written beside it: salvaged in memory, for reading only.

The file stays as it is. It is salvaged for good when it can be written again.
"""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from appliance.store.database import StoreError
from appliance.store.loading import Loaded
from appliance.store.notes import read_notes
from appliance.store.rescue import rescue

IN_MEMORY: Final = Path("/dev/shm")  # noqa: S108 a directory of our own is made in it


def read_beside(path: Path, now: float, why: str, read: Callable[[Path, float], Loaded]) -> Loaded:
    """Give the state that a salvage keeps, as `read` finds it in what it makes; sqlite3.Error, OSError.

    StoreError says that the file is not damaged but of a newer version.
    """
    parent = IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="appliance-", dir=parent) as directory:
        beside = Path(directory, path.name)
        for more in ("", "-wal"):
            if Path(f"{path}{more}").exists():
                Path(f"{beside}{more}").symlink_to(Path(f"{path}{more}").absolute())
        try:
            shutil.copyfile(f"{path}.lock", f"{beside}.lock")
            lock = os.open(f"{beside}.lock", os.O_RDONLY | os.O_CLOEXEC)
            try:
                notes = read_notes(lock)
            finally:
                os.close(lock)
        except FileNotFoundError:
            notes = None
        try:
            rescue(beside, notes, why, bulk_s=0.0)
        except StoreError as error:
            if isinstance(error.__cause__, (sqlite3.Error, OSError)):
                raise error.__cause__ from error
            raise
        return read(beside, now)
