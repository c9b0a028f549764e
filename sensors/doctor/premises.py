"""What the agent itself lives on: its outbox file, room on the disk, the clock."""

from dataclasses import dataclass
from pathlib import Path

from appliance.clock import RELEASED_MS
from appliance.finding import Finding, note, wrong

RESERVE_BYTES = 64 * 1024 * 1024  # below this the rest of the system begins to suffer
RELEASED_S = RELEASED_MS / 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Premises:
    """What was found out about them."""

    outbox: Path
    user: str
    in_the_way: Path | None = None  # a file where a directory is wanted, or a directory in place of the outbox
    has_directory: bool = True  # or the agent has to make it
    outbox_owner: str = ""  # of the file, or of the directory where it is to be
    is_on_hardware: bool = False  # whether any sensor needs pins or a bus
    may_write: bool = True
    read_only: bool = False  # the file system
    free_bytes: int = 0
    agent: int | None = None  # process that has the outbox open
    is_hidden: bool = False  # whether that cannot be told
    now_s: float = 0.0  # Unix time
    is_synced: bool = True


def premises_findings(seen: Premises, *, outbox_bytes: int) -> list[Finding]:
    """Judge them; `outbox_bytes` is what the outbox may grow to."""
    found: list[Finding] = []
    directory = seen.outbox.parent
    if seen.agent is not None:
        found.append(note("agent", f"it runs, as process {seen.agent}: what it holds is told, not probed"))
    elif seen.is_hidden and seen.may_write:  # the kernel tells 0 of a process in another container
        found.append(note("agent", "it runs where this command cannot see it: nothing that it may hold is probed"))
    if seen.user == "root" and seen.is_on_hardware and seen.outbox_owner not in {"", "root"}:
        cure = f"`sudo -u {seen.outbox_owner} sensors doctor` looks as that user"
        who = f"root may open everything, but the agent runs as {seen.outbox_owner}"
        found.append(note("groups", f"{who}: whether that user may open pins and buses was not looked at", cure))
    if seen.read_only:
        cure = "`sudo dmesg | tail` says why; a card that fails is mounted so: replace it"
        found.append(wrong("outbox", f"the file system of {directory} is read-only", cure))
    elif seen.in_the_way is not None:
        found.append(wrong("outbox", f"{seen.in_the_way} is in its way", "move it away, or set data_dir"))
    elif not seen.may_write:
        cure = f"run the agent and this command as {seen.outbox_owner}, or set data_dir"
        if not seen.has_directory:
            cure = f"make its directory: `sudo install -d -o {seen.user} {directory}`, or set data_dir"
        hidden = ", nor see whether the agent runs, so nothing is probed" if seen.is_hidden else ""
        found.append(wrong("outbox", f"{seen.user} may not write {seen.outbox}{hidden}", cure))
    if seen.free_bytes < outbox_bytes + RESERVE_BYTES and not seen.read_only:
        found.append(
            wrong(
                "disk",
                f"{_megabytes(seen.free_bytes)} are free under {directory}, and the outbox may take "
                f"{_megabytes(outbox_bytes)}",
                "make room, or lower outbox.max_bytes",
            )
        )
    if seen.now_s < RELEASED_S:
        cure = "`sudo timedatectl set-ntp true`, and a network; or set it: `sudo date -s …`"
        found.append(wrong("clock", "it shows a time before this program was written", cure))
    elif not seen.is_synced:
        found.append(
            note("clock", "nothing keeps it right, so the hub dates the readings", "`sudo timedatectl set-ntp true`")
        )
    return found


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
