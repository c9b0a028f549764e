"""Which computer the secrets were made on. A copy of the card in another one has to make its own."""

import hashlib
import hmac
from pathlib import Path
from typing import Final

from appliance import private_file

MACHINE_ID: Final = Path("/etc/machine-id")
MOUNTS: Final = Path("/proc/self/mountinfo")
UNKNOWN: Final = "unknown"
OURS: Final = b"home-sensor-appliance"


def this_machine(machine_id: Path = MACHINE_ID, mounts: Path = MOUNTS) -> str:
    """Give a digest of the machine's id, which itself is nobody's business (machine-id(5)); UNKNOWN where it has none.

    None has an image that was never booted, and a computer whose root is never written: systemd then mounts an id
    that holds until the next boot.
    """
    try:
        text = machine_id.read_text("ascii").strip()
        lent = any(line.split(" ")[4] == str(machine_id) for line in mounts.read_text("utf-8", "replace").splitlines())
    except (OSError, ValueError):
        return UNKNOWN
    if lent or len(text) != 32 or set(text) - set("0123456789abcdef"):
        return UNKNOWN
    return hmac.new(bytes.fromhex(text), OURS, hashlib.sha256).hexdigest()


def read(path: Path) -> str | None:
    """Give on which machine the secrets were made; None where nobody has said. OSError."""
    text = private_file.read(path)
    return None if text is None else text.decode("ascii", "replace").strip()


def write(path: Path, machine: str) -> None:
    """Say that they are made on this one; OSError."""
    private_file.write(path, f"{machine}\n".encode())


def is_copy(made_on: str | None, machine: str) -> bool:
    """Whether the secrets were copied here. An id that cannot be told now proves nothing."""
    return made_on is not None and machine not in {UNKNOWN, made_on}
