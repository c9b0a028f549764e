"""Wall time as it is written down: when something was measured, and whether the clock could be trusted then."""

import ctypes
import time
from functools import cache
from pathlib import Path
from typing import Any

SYNCED = "synced"
UNSYNCED = "unsynced"
RELEASED_MS = 1_767_225_600_000  # begin of 2026 (Unix ms): a clock that shows less is wrong, for this was not written

_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_TIMEX_BYTES = 512  # more than struct timex takes anywhere; zeros only ask
_TIMESYNCD_SAYS_SYNCED = Path("/run/systemd/timesync/synchronized")


def rfc3339(at: float) -> str:
    """Write unix seconds as UTC with milliseconds: 2026-11-22T20:05:51.120Z."""
    whole, milliseconds = divmod(round(at * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{milliseconds:03d}Z"


def clock_quality() -> str:
    """Ask the kernel whether anything keeps its clock right; a Pi without a clock chip wakes in the past."""
    state = _adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    if state == -1:  # not allowed to ask
        return SYNCED if _TIMESYNCD_SAYS_SYNCED.exists() else UNSYNCED
    return UNSYNCED if state == _TIME_ERROR else SYNCED


def _adjtimex(timex: Any) -> int:
    function = _libc_adjtimex()
    return -1 if function is None else int(function(timex))


@cache
def _libc_adjtimex() -> Any:
    return getattr(ctypes.CDLL(None), "adjtimex", None)
