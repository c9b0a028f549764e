"""What may be missing without any damage to be seen, and of how many seconds: the owner is told.

A card may lie about its flushes; after a cut, nothing in a file says whether it did. What can be known is a bound: the
last that is here has a time, and whatever came in after it, until this start, may be missing. Where a file is gone,
that is told until the account of it is deleted; of a service that was only cut off, until the next start.
"""

import logging
import math
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from appliance.encoding import from_json, to_json
from appliance.store.damage import Lack
from appliance.store.epochs import SALVAGED
from appliance.store.gaps import BROKER_DOWN, UNTIL_START
from appliance.store.hubclock import Epoch, HubClock
from appliance.store.reading_rows import TICKS_PER_MS
from appliance.store.staged import RECORDS

LOG: Final = logging.getLogger(__name__)
NAMED: Final = ".missing-"
KEPT: Final = 3  # accounts
SUFFIX: Final = ".json"
CUT_OFF: Final = "the service was not stopped in order (power cut or crash)"


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """One loss that may be. `place`: of its account, empty where there is none.

    at: Unix time of the start that noticed; since: from when on something may be missing, None where nobody can tell.
    is_seen: something shows that there was more; else only a disk that lies has lost anything.
    """

    at: float
    why: str
    place: str = ""
    since: float | None
    is_seen: bool = True

    @property
    def seconds(self) -> int | None:
        """How many seconds may be missing at most, None where nobody can tell."""
        if self.since is None or self.since > self.at:
            return None
        return math.ceil(self.at) - math.floor(self.since)

    def line(self) -> str:
        """Say it in one line for people."""
        when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.at))
        if (seconds := self.seconds) is None:
            much = f"what was written before {when} may be missing, nobody can tell how much"
        else:
            much = f"up to {seconds} s before {when} may be missing"
        if not self.is_seen:
            much += ", if the disk lies about what it has flushed"
        return f"{self.why}: {much}" + (f" (delete {self.place} to end this message)" if self.place else "")

    def told(self) -> dict[str, object]:
        """Give it as the API does."""
        return {"since": self.since, "at": self.at, "seconds": self.seconds, "text": self.line()}


class Tail:
    """The end of what an opened database holds; taken before the clock begins, and asked afterwards.

    opened_at: when a service opened the file that has not closed it in order, Unix time.
    """

    def __init__(self, connection: sqlite3.Connection, clock: HubClock, opened_at: float | None) -> None:
        self._clock = clock
        self._before = clock.epochs[-1] if clock.epochs else None
        self._last_tick = max(clock.last_tick, _last_change(connection, self._before))
        self._opened_at = opened_at
        self._ends = connection.execute("SELECT cause, from_tick FROM gaps WHERE to_tick IS NULL").fetchall()

    @property
    def is_cut(self) -> bool:
        """Whether the last service neither stopped in order, nor has it an end that is told as damage."""
        if self._before is None or not self._last_tick:
            return self._opened_at is not None
        ends = [(cause, tick) for cause, tick in self._ends if cause in UNTIL_START]
        # One that started after the stop that is here, and left nothing: only the lock file knows of it.
        return not ends or (
            self._opened_at is not None
            and self._before.is_dated
            and all(
                cause == BROKER_DOWN and self._before.unix_ms(tick) < self._opened_at * 1000 for cause, tick in ends
            )
        )

    def missing(self, lack: str | None, now: float) -> Missing | None:
        """Say what may be missing, `lack` being what was seen of it; `now` is monotonic, and the clock has begun."""
        if lack is None and not self.is_cut:
            return None
        at = self._clock.unix_ms(now) / 1000
        before, epoch = self._before, self._clock.epoch
        since = None
        if before is not None and self._last_tick and before.boot != SALVAGED:
            is_same_boot = before.boot == epoch.boot and epoch.monotonic_ms >= before.monotonic_ms
            if is_same_boot or (self._clock.is_trusted and before.is_dated):
                since = before.unix_ms(self._last_tick) / 1000
        return Missing(at=at, why=lack or CUT_OFF, since=since, is_seen=lack is not None)


def _last_change(connection: sqlite3.Connection, epoch: Epoch | None) -> int:
    """Give the tick of the last staged change of a session, 0 where there is none: it says how old the service was."""
    (age_ms,) = connection.execute("SELECT max(expires_age_ms) FROM journal WHERE kind = ?", (RECORDS,)).fetchone()
    if epoch is None or age_ms is None or age_ms < epoch.age_ms:
        return 0
    return epoch.first_tick + (int(age_ms) - epoch.age_ms) * TICKS_PER_MS


def keep(path: Path, missing: Missing) -> Missing:
    """Write an account beside the database, to be told until somebody deletes it; OSError."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(missing.at))
    place = path.with_name(f"{path.name}{NAMED}{stamp}{SUFFIX}")
    kept = msgspec.structs.replace(missing, place=str(place))
    place.write_bytes(to_json(kept))
    for old in sorted(path.parent.glob(f"{path.name}{NAMED}*{SUFFIX}"))[:-KEPT]:
        old.unlink()
    return kept


def missings(path: Path) -> list[Missing]:
    """Give what was told and not deleted since, the oldest first."""
    found = []
    for place in sorted(path.parent.glob(f"{path.name}{NAMED}*{SUFFIX}")):
        try:
            found.append(from_json(place.read_bytes(), Missing))
        except (OSError, msgspec.DecodeError):
            continue
    return found


def log_missing(missing: Missing) -> None:
    """Say in the log what may be missing."""
    LOG.warning("%s", missing.line())


def tell_missing(
    path: Path, tail: Tail, lacks: Sequence[Lack], now: float, on_missing: Callable[[Missing], None]
) -> None:
    """Say what may be missing at the end, and write it down where that is no matter of one write."""
    lack = lacks[-1] if lacks else None
    missing = tail.missing(None if lack is None else lack.text, now)
    if missing is None:
        return
    if lack is not None and lack.is_kept:
        with suppress(OSError):  # on a full disk it is told until the next start
            missing = keep(path, missing)
    on_missing(missing)
