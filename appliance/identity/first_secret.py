"""The administrator's first password: written down once, gone when it was shown."""

from pathlib import Path

from appliance import private_file


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
