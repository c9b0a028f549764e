"""Whether a database is damaged, and what was done about those that were: what the owner is told.

A damaged file is put aside as `<name>.corrupt-<UTC time>`, its log with it, and what happened stands beside it in a
file of that name and `.json`, for as long as the owner leaves it there.
"""

import logging
import os
import sqlite3
import struct
import time
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from appliance.store.breaks import Lost
from appliance.store.dbpages import HEADER_BYTES, MAGIC, SIZES
from appliance.store.harms import CHANGED, CUT, EMPTY, GONE, LOG_BROKEN, LOG_FOREIGN, OVERWRITTEN, UNREADABLE
from appliance.store.log import Log, read_log
from appliance.store.notes import Notes, read_steps, read_texts
from appliance.store.reading_rows import prepare
from appliance.store.sealed import find_broken
from appliance.store.suspicion import is_suspect

LOG: Final = logging.getLogger(__name__)
ASIDE: Final = ".corrupt-"
TOLD: Final = ".json"
LOG_BYTES: Final = 8 * 1024 * 1024  # that the log of a database takes while much is copied
KEPT: Final = 3  # damaged files, with all that belongs to them
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


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """One damaged file. `most`: see Salvage; `is_finished`: nothing of its history is still to be copied.

    since, until, topics: of which time, in Unix seconds, and of whom readings may be missing. salvage: a name at random
    that stands in the new file too, among its marks. is_apart: the file that is here now is not that one, so that what
    was not copied stays in the old one.
    """

    at: float
    why: str
    aside: str
    kept: int
    lost: int
    lost_pages: int
    is_finished: bool
    most: dict[str, int]
    roots: dict[str, int]
    since: float | None = None
    until: float | None = None
    topics: list[str] = []
    salvage: str = ""
    is_apart: bool = False

    def with_lost(self, lost: Lost | None) -> "Damage":
        """Give it with more readings that may be missing."""
        if lost is None:
            return self
        return msgspec.structs.replace(
            self,
            since=lost.since if self.since is None else min(self.since, lost.since),
            until=lost.until if self.until is None else max(self.until, lost.until),
            topics=sorted({*self.topics, *lost.topics}),
        )

    def line(self, wanted_mb: int = 0) -> str:
        """Say it in one line for people; wanted_mb: free space without which no more can be copied."""
        when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(self.at))
        lost = [f"{self.lost} {'was' if self.lost == 1 else 'were'} lost"] if self.lost else []
        if self.since is not None and self.until is not None:
            ends = [time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at)) for at in (self.since, self.until)]
            whose = f" of {self.topics[0]}" if len(self.topics) == 1 else ""
            lost.append(f"readings{whose} between {ends[0]} and {ends[1]} may be missing")
        elif self.lost_pages:
            lost.append("some could not be read")
        more = ", older history is still being copied"
        if self.is_apart:
            more = ", the rest of its history stays in it, as another database is here now"
        elif self.is_finished:
            more = ""
        elif wanted_mb:
            more = f", older history waits for {wanted_mb} MB of free space"
        kept = "1 record was kept" if self.kept == 1 else f"{self.kept} records were kept"
        became = f"{kept}, {' and '.join(lost) or 'none was seen to be lost'}"
        if not self.kept and not self.lost:
            became = "nothing could be saved of it, a new history began"
        return (
            f"the database was damaged ({self.why}): on {when} {became}{more}; the old file is {self.aside}"
            " (delete it to end this message)"
        )


class MisfitError(sqlite3.DatabaseError):
    """The file is whole for SQLite, but what it says of itself cannot be."""


def is_damage(error: sqlite3.Error) -> bool:
    """Tell whether an error of SQLite's speaks of the file's content."""
    if isinstance(error, MisfitError):
        return True
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in DAMAGE_CODES or code in READ_CODES or str(error).startswith(NONSENSE)


def damages(path: Path) -> list[Damage]:
    """Give what was put aside beside the database and is still there, the oldest first."""
    found = []
    for told in sorted(path.parent.glob(f"{path.name}{ASIDE}*{TOLD}")):
        try:
            damage = msgspec.json.decode(told.read_bytes(), type=Damage)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            continue
        if Path(damage.aside).exists():
            found.append(damage)
    return found


def last_aside(path: Path) -> Path | None:
    """Give the place that the newest account names."""
    told = sorted(path.parent.glob(f"{path.name}{ASIDE}*{TOLD}"))
    return told[-1].with_suffix("") if told else None


def last_told(path: Path) -> Damage | None:
    """Give the newest account, None where there is none."""
    if (aside := last_aside(path)) is None:
        return None
    try:
        return msgspec.json.decode(Path(f"{aside}{TOLD}").read_bytes(), type=Damage)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def forget_untrue(path: Path) -> None:
    """Remove accounts of files that are not there: the owner has deleted them, or they were never put aside."""
    for told in path.parent.glob(f"{path.name}{ASIDE}*{TOLD}"):
        if not (aside := told.with_suffix("")).exists():
            log_of(aside).unlink(missing_ok=True)
            told.unlink()


def forget_oldest(path: Path) -> list[Path]:
    """Delete damaged files that are copied, but for the newest, with their logs and accounts; gives what is gone."""
    gone = []
    for damage in sorted(damages(path), key=lambda one: one.at)[:-KEPT]:
        if not damage.is_finished:  # it holds what is nowhere else
            continue
        aside = Path(damage.aside)
        if aside.parent != path.parent or not aside.name.startswith(f"{path.name}{ASIDE}"):
            continue  # the directory was moved: only what is named so is ours to delete
        with suppress(OSError):  # the next time, then
            log_of(aside).unlink(missing_ok=True)
            aside.unlink()
            Path(f"{aside}{TOLD}").unlink(missing_ok=True)
            gone.append(aside)
    return gone


def tell(damage: Damage, mode: int | None = None) -> None:
    """Write down what happened, beside the file that was put aside, with its rights or these; OSError."""
    place = Path(f"{damage.aside}{TOLD}")
    new = place.with_name(f"{place.name}.new")
    with new.open("wb") as file:
        os.fchmod(file.fileno(), mode_of(Path(damage.aside)) if mode is None else mode)
        file.write(msgspec.json.format(msgspec.json.encode(damage)))
        file.flush()
        os.fsync(file.fileno())
    new.replace(place)


def mode_of(path: Path) -> int:
    """Give the rights of a file that may be there; its owner's alone where it is not."""
    try:
        return path.stat().st_mode & 0o777
    except OSError:
        return 0o600


def wanted_bytes(path: Path, damage: Damage) -> int:
    """Give how much more must be free before the rest of a damaged file's history is copied; OSError.

    What is left is about what the new file is smaller by; the log takes as much at first, up to its usual size.
    """
    left = max(0, Path(damage.aside).stat().st_size - path.stat().st_size)
    free = os.statvfs(path.parent)
    return max(0, left + min(left, LOG_BYTES) - free.f_bavail * free.f_frsize)


def lines(path: Path) -> list[str]:
    """Say what was put aside beside the database, and what is about to be, a line for each."""
    said = []
    for damage in damages(path):
        wanted = 0
        if not damage.is_finished:
            with suppress(OSError):
                wanted = wanted_bytes(path, damage)
        said.append(damage.line(-(-wanted // 1_000_000)))
    if is_suspect(path):
        said.append(
            f"{path} is damaged: what is whole of it is saved within a minute, or when the service is restarted"
        )
    return said


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
