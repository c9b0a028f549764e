"""What the lock file says of the database beside it: enough to find its tables when its first page is gone.

Written once a start. It also tells that there was a database at all, and whether its log must still be there.
"""

import os
import sqlite3
import zlib
from pathlib import Path

import msgspec

from appliance.encoding import from_json, to_json

MAX_BYTES = 65_536
GENERATION = "generation"  # the mark of it


class Notes(msgspec.Struct, frozen=True, kw_only=True):
    """is_open: the file was not closed in order, so its log must be there. suspect: why to salvage it, or empty.

    texts: a checksum of each statement that made a table or view. began_ms: Unix time of the first that was recorded,
    0 where nobody knew. generation: of the log, or -1; see Database.begin_log.
    """

    page_size: int
    roots: dict[str, int]
    steps: list[str]
    is_open: bool
    suspect: str = ""
    texts: dict[str, int] = {}
    began_ms: int = 0
    generation: int = -1


def read_notes(lock: int) -> Notes | None:
    """Read an open lock file; None where it says nothing that makes sense."""
    try:
        return from_json(os.pread(lock, MAX_BYTES, 0), Notes)
    except (OSError, msgspec.DecodeError):
        return None


def is_noted(database: Path) -> bool:
    """Whether a lock file says that there was a database of ours."""
    try:
        return database.with_name(f"{database.name}.lock").stat().st_size > 0
    except OSError:
        return False


def write_notes(database: Path, notes: Notes) -> None:
    """Write them and have them on the disk; OSError."""
    text = to_json(notes)
    # Opened each time: a descriptor whose flush failed once proves nothing by the next.
    file = os.open(f"{database}.lock", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(file, text, 0)
        os.ftruncate(file, len(text))
        os.fdatasync(file)
    finally:
        os.close(file)


def take_notes(connection: sqlite3.Connection, steps: list[str]) -> Notes:
    """Look at an open database."""
    (page_size,) = connection.execute("PRAGMA page_size").fetchone()
    roots = connection.execute("SELECT name, rootpage FROM sqlite_master WHERE rootpage > 0").fetchall()
    return Notes(
        page_size=page_size,
        roots=dict(roots),
        steps=steps,
        is_open=True,
        texts=read_texts(connection),
        began_ms=read_began_ms(connection),
        generation=read_generation(connection),
    )


def read_generation(connection: sqlite3.Connection) -> int:
    """Give the number of the log's newest life that the file knows of, 0 before the first."""
    found = connection.execute("SELECT value FROM marks WHERE name = ?", (GENERATION,)).fetchone()
    return 0 if found is None else int(found[0])


def read_began_ms(connection: sqlite3.Connection) -> int:
    """Give the Unix time of the first that was recorded, in ms; 0 where nothing was, or nobody knew."""
    found = connection.execute(
        "SELECT first_tick / 16 + offset_ms FROM epochs WHERE first_tick > 0 ORDER BY id LIMIT 1"
    ).fetchone()
    return 0 if found is None else max(0, int(found[0]))


def read_steps(connection: sqlite3.Connection) -> set[str]:
    """Give the names of the schema's steps that the file has; sqlite3.OperationalError of a file that has none."""
    found = connection.execute("SELECT name FROM _sqlite_migrations WHERE migration_set = 'appliance'")
    return {name for (name,) in found}


def read_texts(connection: sqlite3.Connection) -> dict[str, int]:
    """Give a checksum of each statement of the schema."""
    found = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {name: zlib.crc32(statement.encode()) for name, statement in found}
