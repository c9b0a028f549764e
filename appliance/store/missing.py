"""What is missing without any damage to be seen: the owner is told until the account of it is deleted."""

import time
from pathlib import Path
from typing import Final

import msgspec

NAMED: Final = ".missing-"
KEPT: Final = 3  # accounts
SUFFIX: Final = ".json"


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """One loss. since: Unix time from which on something may be missing, None where that cannot be told."""

    at: float
    why: str
    place: str
    since: float | None

    def line(self) -> str:
        """Say it in one line for people."""
        when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(self.at))
        much = ""
        if self.since is not None and self.since <= self.at:
            much = f", up to the last {self.at - self.since:.0f} s before that"
        return f"{self.why}{much}: found on {when} (delete {self.place} to end this message)"


def tell_missing(path: Path, why: str, at: float) -> Missing:
    """Write down that the end of what was recorded may be missing; OSError.

    What the file itself holds was moved there when it was last written; before the lock file nothing ran.
    """
    times = [one.stat().st_mtime for one in (path, Path(f"{path}.lock")) if one.exists()]
    since = max(times) if path.exists() else None
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
    place = path.with_name(f"{path.name}{NAMED}{stamp}{SUFFIX}")
    missing = Missing(at=at, why=why, place=str(place), since=since)
    place.write_bytes(msgspec.json.encode(missing))
    for old in sorted(path.parent.glob(f"{path.name}{NAMED}*{SUFFIX}"))[:-KEPT]:
        old.unlink()
    return missing


def missings(path: Path) -> list[Missing]:
    """Give what was told and not deleted since, the oldest first."""
    found = []
    for place in sorted(path.parent.glob(f"{path.name}{NAMED}*{SUFFIX}")):
        try:
            found.append(msgspec.json.decode(place.read_bytes(), type=Missing))
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            continue
    return found
