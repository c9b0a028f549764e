"""The administrator's first password: made here, written down once, gone when it was shown."""

import secrets
from pathlib import Path
from typing import Final

from appliance.identity import private_file

LETTERS: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # none that looks like another: no i, l, o, u
GROUPS: Final = 6
GROUP_LETTERS: Final = 5  # 6 * 5 letters of 5 bits each: 150 bits


def new() -> str:
    """Give a password that nobody guesses and everybody can type: six groups of five letters."""
    return "-".join("".join(secrets.choice(LETTERS) for _ in range(GROUP_LETTERS)) for _ in range(GROUPS))


def keep(path: Path, secret: str) -> None:
    """Write it down for its owner to read; OSError."""
    private_file.write(path, f"{secret}\n".encode())


def kept(path: Path) -> str | None:
    """Give it while it was not shown; OSError."""
    text = private_file.read(path)
    return None if text is None else text.decode("ascii", "replace").strip()


def forget(path: Path) -> None:
    """Remove it, now that somebody has it; OSError."""
    private_file.remove(path)
