"""What is whole of a damaged database where nothing can be written beside it: salvaged in memory, for reading only.

The file stays as it is. It is salvaged for good when it can be written again.
"""

import logging
import os
import shutil
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Final

from appliance.broker.image import Image
from appliance.store.damage import is_damage
from appliance.store.database import StoreError
from appliance.store.notes import read_notes
from appliance.store.opening import read_only
from appliance.store.rescue import rescue
from appliance.store.written import Loaded

LOG: Final = logging.getLogger(__name__)
IN_MEMORY: Final = Path("/dev/shm")  # noqa: S108 a directory of our own is made in it


def read_anyway(path: Path, now: float) -> Loaded:
    """Read a database that cannot be written, damaged or not; sqlite3.Error, OSError."""
    try:
        return _read(path, now)
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        why = str(error)
    LOG.error("%s is damaged (%s) and cannot be mended where nothing can be written", path, why)
    try:
        return read_beside(path, now, why)
    except (sqlite3.Error, OSError) as error:
        LOG.error("nothing of %s can be read (%s): nothing is known of before", path, error)  # noqa: TRY400
        # Numbers that nobody can have used, for when the file can be read again.
        return Loaded(Image(), time.time_ns() // 1000, time.time_ns() // 1000, is_all=False)


def read_beside(path: Path, now: float, why: str) -> Loaded:
    """Give the state that a salvage keeps; sqlite3.Error, OSError.

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
        return _read(beside, now)


def _read(path: Path, now: float) -> Loaded:
    found = read_only(path, now, on_damage=lambda text: LOG.error("%s: %s", path, text))
    return Loaded(found.image, found.next_number, found.next_key)
