"""What this computer is called on its network."""

import hashlib
import socket
from pathlib import Path
from typing import Final

MACHINE_ID: Final = Path("/etc/machine-id")
LONGEST: Final = 63  # letters of one level of a name
DIGITS: Final = 4


def short_name(name: str | None = None) -> str:
    """Give the host's name without a domain, as DNS spells it; "sensor-hub" where it has none of its own."""
    text = (socket.gethostname() if name is None else name).lower().partition(".")[0]
    letters = "".join(char if char.isascii() and char.isalnum() else "-" for char in text).strip("-")[:LONGEST]
    return letters if letters not in {"", "localhost"} else "sensor-hub"


def mark(machine_id: Path = MACHINE_ID) -> str:
    """Give a few digits that tell this computer from others of its name, and nothing else of it."""
    try:
        told = machine_id.read_bytes().strip()
    except OSError:
        told = b""
    # The id itself is for this computer's own programs: machine-id(5).
    return hashlib.sha256(b"home-sensor-appliance:" + (told or socket.gethostname().encode())).hexdigest()[:DIGITS]


def local_name() -> str:
    """Give the name by which mDNS finds it."""
    return f"{short_name()}.local"


def own_name() -> str:
    """Give a name in `.local` that no other computer has, though it be called the same."""
    return f"{short_name()[: LONGEST - DIGITS - 1].rstrip('-')}-{mark()}.local"
