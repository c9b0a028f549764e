"""What a service lives on: its directory, room on the disk, the clock."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.clock import RELEASED_MS
from appliance.finding import Finding, note, wrong

SPARE_BYTES: Final = 64_000_000  # below this the rest of the system begins to suffer


@dataclass(frozen=True, slots=True, kw_only=True)
class Premises:
    """What was found out about them."""

    data_dir: Path
    owner: str = ""  # of the directory; empty where it is not there
    user: str = ""  # who asks
    is_read_only: bool = False
    free_bytes: int = 0
    reserve_bytes: int = 0  # that is kept free beside the database, and what it may still grow
    now_s: float = 0.0  # Unix time
    is_synced: bool = True


def premises_findings(seen: Premises) -> Iterator[Finding]:
    """Judge them."""
    if not seen.owner:
        yield note("data", f"there is no {seen.data_dir} yet: the first start makes it")
    elif seen.user not in {"root", seen.owner}:
        cure = f"`sudo -u {seen.owner} appliance doctor`"
        yield wrong("data", f"{seen.data_dir} belongs to {seen.owner}, and {seen.user} may not see all of it", cure)
    if seen.is_read_only:
        cure = "`sudo dmesg | tail` says why; a card that fails is mounted so: replace it"
        yield wrong("disk", f"the file system of {seen.data_dir} is read-only", cure)
    elif seen.free_bytes < seen.reserve_bytes + SPARE_BYTES:
        yield wrong(
            "disk",
            f"{_megabytes(seen.free_bytes)} are free under {seen.data_dir}, less than {_megabytes(SPARE_BYTES)} beside "
            f"the reserve of {_megabytes(seen.reserve_bytes)}",
            "make room, or lower store.max_mb",
        )
    if seen.now_s < RELEASED_MS / 1000:
        cure = "`sudo timedatectl set-ntp true`, and a network; or set it: `sudo date -s …`"
        yield wrong("clock", "it shows a time before this program was written", cure)
    elif not seen.is_synced:
        yield note("clock", "nothing keeps it right: readings are dated by it", "`sudo timedatectl set-ntp true`")


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
