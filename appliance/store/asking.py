"""A question to the database: a read-only connection of its own that ends in time, so that it cannot pin the log."""

import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from appliance.store.database import StoreError, explain, open_reader
from appliance.store.reading_rows import prepare

READER_TIMEOUT_S: Final = 5.0  # a reader that stays longer pins the write-ahead log
STEPS_BETWEEN_LOOKS: Final = 20_000  # of SQLite's machine, some milliseconds


@contextmanager
def asking(path: Path, timeout_s: float = READER_TIMEOUT_S) -> Generator[sqlite3.Connection]:
    """Give a connection with one state of the file; what runs longer is interrupted. StoreError says what was wrong."""
    connection = open_reader(path)
    prepare(connection)
    ends = time.monotonic() + timeout_s
    connection.set_progress_handler(lambda: time.monotonic() > ends, STEPS_BETWEEN_LOOKS)
    try:
        connection.execute("BEGIN")
        yield connection
    except sqlite3.Error as error:
        raise StoreError(explain(path, error)) from error
    finally:
        connection.close()
