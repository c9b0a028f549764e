"""Damaged files that were put aside, and what their owner is told.

A damaged file is put aside as `<name>.corrupt-<UTC time>`, its log with it, and what happened stands beside it in a
file of that name and `.json`, for as long as the owner leaves it there.
"""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from appliance.encoding import from_json, to_json
from appliance.store.breaks import Lost
from appliance.store.damage import log_of
from appliance.store.suspicion import is_suspect

ASIDE: Final = ".corrupt-"
TOLD: Final = ".json"
LOG_BYTES: Final = 8 * 1024 * 1024  # that the log of a database takes while much is copied
KEPT: Final = 3  # damaged files, with all that belongs to them


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


def damages(path: Path) -> list[Damage]:
    """Give what was put aside beside the database and is still there, the oldest first."""
    found = []
    for told in sorted(path.parent.glob(f"{path.name}{ASIDE}*{TOLD}")):
        try:
            damage = from_json(told.read_bytes(), Damage)
        except (OSError, msgspec.DecodeError):
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
        return from_json(Path(f"{aside}{TOLD}").read_bytes(), Damage)
    except (OSError, msgspec.DecodeError):
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
        file.write(msgspec.json.format(to_json(damage)))
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
