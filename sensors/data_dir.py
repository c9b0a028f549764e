"""Where an agent keeps what it must know again, where nobody says: outbox, keepsakes and credential."""

import os
from pathlib import Path
from typing import Final

from appliance import private_file

SYSTEM_DATA_DIR: Final = Path("/var/lib/sensors")
USER: Final = "sensors"  # of the unit, whose StateDirectory= that is


def usual_data_dir() -> Path:
    """Give systemd's, the service's for root and its user, else one's own.

    For these also while it is not there, which it is from the unit's first start on: see `make`.
    """
    if state := os.environ.get("STATE_DIRECTORY"):
        return Path(state.partition(":")[0])
    owner = _owner()
    if owner is not None and os.geteuid() in {0, owner}:
        return SYSTEM_DATA_DIR
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "sensors"


def make(folder: Path) -> None:
    """Make it, unless it is there, for nobody else's eyes; the service's own is its user's. OSError."""
    was_there = folder.is_dir()
    private_file.make_folder(folder)
    if not was_there and folder == SYSTEM_DATA_DIR and os.geteuid() == 0 and (account := _account()) is not None:
        os.chown(folder, *account)


def shut_out(folder: Path) -> str:
    """Name the service's user where root would keep files in its place, as `private_file.shut_out` has it."""
    owner = _owner() if folder == SYSTEM_DATA_DIR else None
    return "" if owner is None else private_file.shut_out(owner)


def _owner() -> int | None:
    """Give the number of the service's user; None where no service was installed."""
    if SYSTEM_DATA_DIR.is_dir():
        return SYSTEM_DATA_DIR.stat().st_uid
    account = _account()
    return None if account is None else account[0]


def _account() -> tuple[int, int] | None:
    import pwd  # noqa: PLC0415 only where the directory is missing

    try:
        found = pwd.getpwnam(USER)
    except KeyError:
        return None
    return found.pw_uid, found.pw_gid
