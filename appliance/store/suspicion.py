"""A note beside the database that somebody who only reads it has met damage: whoever writes it then has it salvaged."""

from contextlib import suppress
from pathlib import Path
from typing import Final

END: Final = ".suspect"


def place_of(path: Path) -> Path:
    """Give the place of the note."""
    return path.with_name(f"{path.name}{END}")


def suspect(path: Path) -> None:
    """Leave the note, where there is a database of a service; on a full disk there is none."""
    if path.with_name(f"{path.name}.lock").exists():
        with suppress(OSError):
            place_of(path).touch(mode=0o600)


def is_suspect(path: Path) -> bool:
    """Whether there is a note."""
    return place_of(path).exists()


def acquit(path: Path) -> None:
    """Remove the note; OSError."""
    place_of(path).unlink(missing_ok=True)
