"""Opening a database that may be damaged: what is whole goes into a new file, the old one is put aside, and it goes on.

The new file is whole and on disk, as `<name>.salvaged`, before the old one is touched; a start that was interrupted
is taken up where it was. Foreign files and those of a newer version are refused as ever: that is no damage.
"""

import itertools
import logging
import os
import re
import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from time import monotonic
from typing import Final

from appliance.store.aside import (
    ASIDE,
    KEPT,
    TOLD,
    Damage,
    forget_oldest,
    forget_untrue,
    last_aside,
    last_told,
    mode_of,
    tell,
)
from appliance.store.breaks import Lost, leave_all, leave_open, write_breaks
from appliance.store.damage import Lack, check, examine, is_damage, log_of, open_both
from appliance.store.database import STEP_NAMES, Database, StoreError, create, explain, newer, newer_steps
from appliance.store.dbpages import Harm, Pages, open_pages
from appliance.store.gaps import DAMAGED
from appliance.store.harms import MISSING, UNREADABLE, in_words
from appliance.store.notes import Notes, read_generation, read_notes
from appliance.store.room import is_full
from appliance.store.salvage import BULK, JOURNAL, READINGS, Salvage, read_roots
from appliance.store.suspicion import acquit, is_suspect
from appliance.store.wholeness import IN_SQL

LOG: Final = logging.getLogger(__name__)
BULK_S: Final = 4.0  # of a start, for history; what takes longer is copied while the service runs
STEP: Final = re.compile(r"\d{4}_\w+")  # name of a step of the schema
SPARE_BYTES: Final = 4_000_000  # left free for the service when history is copied at the start
GAPS_STEP: Final = "0005_gaps"  # the step from which there is a table for them
MARKS_STEP: Final = "0002_journal"  # likewise for marks
SALVAGE: Final = "salvage "  # begins the mark that stays of each salvage
LOOKED_AT: Final = 20_000  # rows, to see whether a log belongs to its file


def log_remark(text: str) -> None:
    """Say in the log what was noticed of a database that is whole."""
    LOG.warning("%s", text)


def log_lack(lack: Lack) -> None:
    """Say in the log what shows that something is missing."""
    log_remark(lack.text)


def open_sound(
    path: Path,
    *,
    bulk_s: float = BULK_S,
    remark: Callable[[str], None] = log_remark,
    on_lack: Callable[[Lack], None] = log_lack,
) -> Database:
    """Open the database, salvaged if it is damaged; `remark` and `on_lack` hear what else was noticed. StoreError."""
    lost: list[tuple[int, str]] = []  # since when, in Unix ms, and why, should nothing be left

    def mend(lock: int, error: sqlite3.Error | None) -> bool:
        notes = read_notes(lock)
        began_ms = notes.began_ms if notes is not None else 0
        since_ms = began_ms or int(os.fstat(lock).st_mtime * 1000)  # it is written at each start
        _remove(_building(path))  # of a try that was cut off
        complete(path)
        seen = examine(path, notes)
        if error is not None:
            LOG.debug("%s: %s", path, error)
            why = UNREADABLE if seen.is_ours and is_damage(error) else None
        else:
            suspected = "" if notes is None or not notes.suspect else in_words(notes.suspect)
            if is_suspect(path) and seen.is_ours:
                suspected = suspected or UNREADABLE
            why = (
                seen.why or suspected or (check(path, BULK, IN_SQL, notes, steps=STEP_NAMES) if seen.is_ours else None)
            )
            if why is None and seen.remark is not None:
                remark(seen.remark)
            if why is None and seen.lack is not None and not (seen.lack.is_kept and _is_moved(path, notes)):
                on_lack(seen.lack)
                if not path.exists():
                    lost.append((since_ms, MISSING))
        if why is None:
            return False
        damage = rescue(path, notes, why, bulk_s=bulk_s)
        lost.append((since_ms, why))
        LOG.error("%s", damage.line())
        for old in forget_oldest(path):
            LOG.warning("%s was deleted: only the newest %d damaged files are kept", old, KEPT)
        return True

    database = Database.open(path, mend=mend)
    try:
        if lost:
            with suppress(sqlite3.Error), database.transaction():  # on a full disk there is no gap
                leave_all(database.connection, *lost[0])
    except BaseException:
        database.close()
        raise
    return database


def _is_moved(path: Path, notes: Notes | None) -> bool:
    """Tell whether a log that is gone had been moved into the file whole: somebody has looked into it with SQLite."""
    if notes is None or notes.generation < 0 or not path.exists():
        return False
    try:
        with closing(_untouched(path)) as connection:
            return read_generation(connection) >= notes.generation
    except (sqlite3.Error, OSError):
        return False


def _untouched(path: Path) -> sqlite3.Connection:
    """Open a file that nobody writes to, without its log."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)


def rescue(path: Path, notes: Notes | None, why: str, *, bulk_s: float = BULK_S) -> Damage:
    """Make a new file of what is whole and put the old one aside; nobody may have either open. StoreError."""
    building = _building(path)
    _remove(building)
    at = time.time()
    mode = mode_of(path)
    try:
        with ExitStack() as files:
            pages, roots, steps = look(path, notes, files)
            if unknown := newer_steps(steps):
                raise newer(path, unknown)
            new = files.enter_context(closing(create(building, steps)))
            building.chmod(mode)
            salvage = Salvage(pages, roots, new)
            salvage.state()
            ends = monotonic() + bulk_s
            is_finished = _copy_bulk(path, salvage, ends)
            salvage.finish()
            losses: list[Lost | None] = []
            if GAPS_STEP in steps:
                losses.append(write_breaks(new, salvage.breaks[JOURNAL], why))
                if is_finished:
                    losses.append(write_breaks(new, salvage.breaks[READINGS], why))
                leave_open(new, DAMAGED, why, is_stop=False)
            name = secrets.token_hex(8)
            if MARKS_STEP in steps:
                new.execute("INSERT INTO marks (name, value) VALUES (?, 1)", (SALVAGE + name,))
            damage = Damage(
                at=at,
                why=why,
                aside=str(_place_aside(path, at)),
                kept=salvage.kept.total(),
                lost=salvage.lost.total(),
                lost_pages=salvage.lost_pages,
                is_finished=is_finished,
                most=salvage.most(),
                roots=roots,
                salvage=name,
            )
            for lost in losses:
                damage = damage.with_lost(lost)
        _to_disk(building)
        tell(damage, mode)
        building.rename(_salvaged(path))
        complete(path, damage)
    except (OSError, sqlite3.Error) as error:
        if is_full(error):
            raise StoreError(
                f"{path} is damaged ({why}) and there is no room to save what is whole of it:"
                f" free up to {_size_mb(path)} MB on its disk and start again"
            ) from error
        raise StoreError(explain(path, error)) from error
    finally:
        with suppress(OSError):
            _remove(building)
    return damage


def _copy_bulk(path: Path, salvage: Salvage, ends: float) -> bool:
    """Copy history until that time and while there is room; False when some is left. sqlite3.Error."""
    try:
        for _ in salvage.bulk():
            if monotonic() >= ends:
                return False
            free = os.statvfs(path.parent)
            if free.f_bavail * free.f_frsize < SPARE_BYTES:
                LOG.warning("there is no room to copy all history of %s: the rest stays in the old file", path)
                return False
    except sqlite3.Error as error:
        if not is_full(error):
            raise
        LOG.warning("there is no room to copy all history of %s: the rest stays in the old file", path)
        return False
    return True


def _size_mb(path: Path) -> int:
    """Give the size of a file and its log in MB, rounded up."""
    size = sum(one.stat().st_size for one in (path, log_of(path)) if one.exists())
    return -(-size // 1_000_000)


def complete(path: Path, damage: Damage | None = None) -> None:
    """Put a salvaged file into its place and the damaged one aside, if that is still to be done; OSError."""
    salvaged = _salvaged(path)
    if not salvaged.exists():
        forget_untrue(path)
        return
    if damage is None and path.exists() and ((told := last_told(path)) is None or not _comes_of(salvaged, told)):
        LOG.warning("%s was left of another database and is removed", salvaged)
        _remove(salvaged)
        return
    aside = Path(damage.aside) if damage is not None else last_aside(path) or _place_aside(path, time.time())
    with suppress(FileNotFoundError):  # each may have been done before an interruption
        log_of(path).rename(log_of(aside))
    with suppress(FileNotFoundError):
        path.rename(aside)
    if not aside.exists():
        aside.touch()
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    salvaged.rename(path)
    acquit(path)
    _to_disk(path.parent)


def _comes_of(path: Path, damage: Damage) -> bool:
    """Tell whether a file is what a salvage made, or goes on from it."""
    try:
        with closing(_untouched(path)) as connection:
            return has_mark(connection, damage)
    except (sqlite3.Error, OSError):
        return False


def has_mark(connection: sqlite3.Connection, damage: Damage) -> bool:
    """Tell whether a database is what a salvage made, or goes on from it."""
    asked = "SELECT 1 FROM marks WHERE name = ?"
    return bool(damage.salvage) and connection.execute(asked, (SALVAGE + damage.salvage,)).fetchone() is not None


def look(path: Path, notes: Notes | None, files: ExitStack) -> tuple[Pages | None, dict[str, int], set[str]]:
    """Give the pages of a file, the roots of its tables and the steps of its schema."""
    file, log = open_both(path, notes, files)
    page_size = None if notes is None else notes.page_size
    steps = set() if notes is None else set(notes.steps)
    noted = {} if notes is None else notes.roots
    if file is None:
        file = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        files.callback(os.close, file)
    pages = open_pages(file, log, page_size=page_size)
    if pages is not None and log is not None and not log.damaged:
        alone = open_pages(file, None, page_size=page_size)
        if alone is not None and (
            log.page_size != alone.page_size or (_harm(pages, noted) and not _harm(alone, noted))
        ):
            pages = alone  # the log is of another file: without it this one is whole
    if pages is None:
        return None, dict(noted), steps or STEP_NAMES
    roots = read_roots(pages, noted)
    found: set[str] = set()
    if root := roots.get("_sqlite_migrations"):
        for row in pages.rows(root, Harm()):
            found.update(value for value in row.values if isinstance(value, str) and STEP.fullmatch(value))
        pages.reached.discard(root)
    return pages, roots, found or steps or STEP_NAMES


def _harm(pages: Pages, noted: Mapping[str, int]) -> bool:
    """Tell whether something in the first of these pages, those of the history aside, cannot be read."""
    harm = Harm()
    rows = 0
    for name, root in read_roots(pages, noted).items():
        if name in BULK:
            continue
        for _ in pages.rows(root, harm):
            rows += 1
            if rows > LOOKED_AT:
                break
        if harm:
            break
    pages.reached.clear()
    return bool(harm)


def _place_aside(path: Path, at: float) -> Path:
    """Give a free name for the damaged file."""
    name = f"{path.name}{ASIDE}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(at))}"
    place = path.with_name(name)
    for number in itertools.count(2):
        if not place.exists() and not log_of(place).exists() and not Path(f"{place}{TOLD}").exists():
            break
        place = path.with_name(f"{name}-{number}")
    return place


def _building(path: Path) -> Path:
    return path.with_name(f"{path.name}.salvaging")


def _salvaged(path: Path) -> Path:
    return path.with_name(f"{path.name}.salvaged")


def _remove(path: Path) -> None:
    for more in ("", "-wal", "-shm", "-journal"):
        Path(f"{path}{more}").unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    """Have a file or directory on the disk."""
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
