"""Whether a database is damaged: what its bytes, SQLite and an error tell."""

import logging
import os
import sqlite3
import struct
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from appliance.store.dbpages import HEADER_BYTES, MAGIC, SIZES
from appliance.store.harms import CHANGED, CUT, EMPTY, GONE, LOG_BROKEN, LOG_FOREIGN, OVERWRITTEN, UNREADABLE
from appliance.store.log import Log, read_log
from appliance.store.notes import Notes, read_steps, read_texts
from appliance.store.reading_rows import prepare
from appliance.store.sealed import find_broken

LOG: Final = logging.getLogger(__name__)
SUM_BYTES: Final = 8 * 1024 * 1024  # of a larger file rows are judged only when they are read
CHECK_BYTES: Final = 64 * 1024 * 1024  # of a larger file only the small tables are looked through at a start
MARK: Final = b"HSA1"  # the application id, as it stands in the header
TRACE: Final = b"CREATE TABLE series"  # stands in the first page, or near it, of every file of ours
TRACE_BYTES: Final = 256 * 1024
DAMAGE_CODES: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
NONSENSE: Final = (  # what tells of damage without a code of its own; our statements fit our schema
    "Could not decode to UTF-8",
    "no such column",
    "no such table",
)
READ_CODES: Final = {sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS}
HEADER: Final = (
    (18, (b"\x02\x02", b"\x01\x01")),  # with a log; new, and not yet
    (20, (b"\x00\x40\x20\x20",)),
    (44, (b"\x00\x00\x00\x04", bytes(4))),  # format of the schema; 0 before there is one
    (52, (bytes(4),)),
    (56, (b"\x00\x00\x00\x01", bytes(4))),  # UTF-8, likewise
)
"""What may stand in the header of a file of ours, from each byte on."""


class MisfitError(sqlite3.DatabaseError):
    """The file is whole for SQLite, but what it says of itself cannot be."""


def is_damage(error: sqlite3.Error) -> bool:
    """Tell whether an error of SQLite's speaks of the file's content."""
    if isinstance(error, MisfitError):
        return True
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in DAMAGE_CODES or code in READ_CODES or str(error).startswith(NONSENSE)


def log_of(path: Path) -> Path:
    """Give the place of a database's write-ahead log."""
    return path.with_name(f"{path.name}-wal")


class Lack(NamedTuple):
    """What shows that the end of a whole file is missing. is_kept: no usual thing, which is told until it was read."""

    text: str
    is_kept: bool


class Seen(NamedTuple):
    """What a look at the bytes shows. why: it is damaged; lack, remark: it is not, but there is something to tell."""

    is_ours: bool
    why: str | None = None
    lack: Lack | None = None
    remark: str | None = None


def examine(path: Path, notes: Notes | None) -> Seen:
    """Look at a file that nobody has open, without SQLite.

    SQLite itself takes no notice of a broken log, and of an empty file it throws the log away.
    """
    with ExitStack() as files:
        file, log = open_both(path, notes, files)
        head = b"" if file is None else _head(file)
        if file is None or not head:
            if log is not None and (log.frames or log.damaged):
                return Seen(is_ours=True, why=EMPTY if file is not None else GONE)
            if notes is not None and file is not None:
                return Seen(is_ours=True, why=EMPTY)
            if file is not None:
                return Seen(is_ours=False, remark=f"{path} was there and empty: a new history begins in it")
            if notes is not None:
                return Seen(is_ours=False, lack=Lack(f"{path} is gone, a new history begins", is_kept=True))
            return Seen(is_ours=False)
        has_trace = TRACE in head or _has_trace(log)
        if not head.startswith(MAGIC):
            if has_trace or not any(head) or notes is not None:  # of the lock file: the place is ours
                return Seen(is_ours=True, why=OVERWRITTEN)
            return Seen(is_ours=False)
        first = log.page(1) if log is not None else None
        first = head[:HEADER_BYTES].ljust(HEADER_BYTES, b"\0") if first is None else first
        if first[68:72] != MARK and not has_trace:
            return Seen(is_ours=False)
        if why := _harm(first, os.fstat(file).st_size, log):
            return Seen(is_ours=True, why=why)
        if log is None and notes is not None and notes.is_open and not log_of(path).exists():
            return Seen(is_ours=True, lack=Lack(f"{log_of(path)} is gone", is_kept=True))
        if log is not None and log.torn:
            return Seen(is_ours=True, lack=Lack(f"the end of {log_of(path)} is torn, as by a power cut", is_kept=False))
        return Seen(is_ours=True)


def _head(file: int) -> bytes:
    try:
        return os.pread(file, TRACE_BYTES, 0)
    except OSError:  # a bad block: zeros are no first page of anybody's
        return bytes(HEADER_BYTES)


def open_both(path: Path, notes: Notes | None, files: ExitStack) -> tuple[int | None, Log | None]:
    """Open a database and its log to read their bytes; what cannot be read is None, and SQLite will say why."""
    opened: list[int] = []
    for one in (path, log_of(path)):
        try:
            opened.append(os.open(one, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            opened.append(-1)
            continue
        files.callback(os.close, opened[-1])
    log = None
    if opened[1] >= 0:
        try:
            log = read_log(opened[1], page_size=None if notes is None else notes.page_size)
        except OSError:  # a bad block
            log = Log(opened[1], 1024, damaged=True)
    return (None if opened[0] < 0 else opened[0]), log


def _harm(first: bytes, size: int, log: Log | None) -> str | None:
    """Say what is wrong with a file of ours whose header stands in `first`."""
    if log is not None and log.damaged:
        return LOG_BROKEN
    page_size = struct.unpack_from(">H", first, 16)[0]
    if (
        first[68:72] != MARK
        or page_size not in SIZES
        or any(first[at : at + len(may[0])] not in may for at, may in HEADER)
    ):
        return OVERWRITTEN
    if log is not None and log.page_size != page_size:
        return LOG_FOREIGN
    counted, changed, valid_for = (struct.unpack_from(">I", first, at)[0] for at in (28, 24, 92))
    wanted = counted if changed == valid_for else 0
    here = size // page_size
    if log is None:
        return CUT if wanted > here else None
    missing = any(number not in log.frames for number in range(here + 1, (log.pages or wanted) + 1))
    return CUT if missing else None


def check(
    path: Path,
    bulk: Iterable[str],
    sums: Mapping[str, str],
    notes: Notes | None = None,
    *,
    steps: AbstractSet[str] = frozenset(),
) -> str | None:
    """Have SQLite look through a file that nobody has open, without changing it: why it is damaged, None if it is not.

    Of a large file the tables named `bulk` are left out, and `sums`: what is true of each whole row, of some tables.
    Sums are held in a file that has all `steps` of the schema; the power may fail between two of them.
    """
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error:
        return None  # it will be said where it is opened for good
    try:
        if path.stat().st_size <= CHECK_BYTES:
            tables = [""]
        else:
            names = connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB 'sqlite_*'"
            )
            tables = [f"('{name}')" for (name,) in names if name not in bulk]
        if notes is not None and _has_other_texts(connection, notes):
            LOG.debug("%s: its schema is another than was noted", path)
            return UNREADABLE
        for table in tables:
            (said,) = connection.execute(f"PRAGMA quick_check{table}").fetchone()
            if said != "ok":
                LOG.debug("%s: %s", path, said)
                return UNREADABLE
        is_sealed = steps <= _applied(connection)
        if broken := find_broken(connection, is_sealed=is_sealed):
            LOG.debug("%s: %s", path, broken)
            return CHANGED
        if not is_sealed:
            return None
        if path.stat().st_size <= SUM_BYTES:
            return _check_sums(connection, sums)
    except sqlite3.Error as error:
        LOG.debug("%s: %s", path, error)
        return UNREADABLE if is_damage(error) else None
    except UnicodeDecodeError:  # of a message of SQLite's that quotes the damaged schema
        return UNREADABLE
    except OSError:
        return None
    finally:
        connection.close()
    return None


def _applied(connection: sqlite3.Connection) -> set[str]:
    """Names of the steps of the schema that the file has."""
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = '_sqlite_migrations'").fetchone()
    return read_steps(connection) if found else set()


def _has_other_texts(connection: sqlite3.Connection, notes: Notes) -> bool:
    """Tell whether a statement of the schema is another than when the file was last opened, at the same steps."""
    if read_steps(connection) != set(notes.steps):
        return False  # another version's file was put here
    texts = read_texts(connection)
    return any(texts.get(name) != text for name, text in notes.texts.items())


def _check_sums(connection: sqlite3.Connection, sums: Mapping[str, str]) -> str | None:
    prepare(connection)
    for table, is_whole in sums.items():
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone():
            asked = f"SELECT count(*) FROM {table} WHERE ({is_whole}) IS NOT TRUE"  # noqa: S608 our own names
            (count,) = connection.execute(asked).fetchone()
            if count:
                LOG.debug("%d rows of %s are not what was written", count, table)
                return CHANGED
    return None


def _has_trace(log: Log | None) -> bool:
    first = None if log is None else log.page(1)
    return first is not None and (TRACE in first or first[68:72] == MARK)
