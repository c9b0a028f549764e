"""Where a service keeps its files, and where the command line looks for a running one."""

import os
import stat
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

SYSTEM_CONFIG = Path("/etc/appliance/appliance.toml")
SYSTEM_DATA_DIR = Path("/var/lib/appliance")
SYSTEM_RUNTIME_DIR = Path("/run/appliance")
DATABASE = "appliance.db"
CONTROL_SOCKET = "control.sock"
TLS = "tls"  # the folder of the certificates that `appliance setup` makes
SERVER_CERTIFICATE = "server.pem"
SERVER_KEY = "server.key"


def data_home() -> Path:
    """Where a user's programs keep their data (XDG base directories)."""
    chosen = os.environ.get("XDG_DATA_HOME", "")
    return Path(chosen) if Path(chosen).is_absolute() else Path.home() / ".local" / "share"


def usual_data_dir() -> Path:
    """Data directory when nobody names one: systemd's, an installed service's for root and its user, or one's own."""
    if state := os.environ.get("STATE_DIRECTORY"):
        return Path(state.partition(":")[0])
    if SYSTEM_DATA_DIR.is_dir() and os.geteuid() in {0, SYSTEM_DATA_DIR.stat().st_uid}:
        return SYSTEM_DATA_DIR
    return data_home() / "appliance"


def demo_data_dir() -> Path:
    """Data directory of the demo: its simulated house never mixes with a real one."""
    return data_home() / "appliance-demo"


def database_path(data_dir: Path) -> Path:
    """Path of the history."""
    return data_dir / DATABASE


def certificate_path(data_dir: Path) -> Path:
    """Path of the server's certificate that `appliance setup` makes, where a listener names it."""
    return data_dir / TLS / SERVER_CERTIFICATE


def control_path(data_dir: Path) -> Path:
    """Path of the control socket: systemd's runtime directory, else beside the data."""
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return Path(runtime or data_dir) / CONTROL_SOCKET


def spare_control_dir(data_dir: Path, user: int) -> Path:
    """Where a user's service puts its control socket while the disk of its data takes none."""
    known = blake2b(os.fsencode(data_dir.absolute()), digest_size=6).hexdigest()
    return Path(os.environ.get("TMPDIR") or "/tmp") / f"appliance-{user}-{known}"  # noqa: S108 whose it is is looked at


def control_paths(data_dir: Path | None, config: Path | None = None) -> Iterator[Path]:
    """Where a running service may answer, the likeliest first; one that is named is the only one.

    `config`: the file that names the directory, where no option did. That of the system's service says where its data
    are, but its socket is where systemd wants it.
    """
    if data_dir is not None:
        yield data_dir / CONTROL_SOCKET
        if data_dir.absolute() == SYSTEM_DATA_DIR or (config is not None and config.absolute() == SYSTEM_CONFIG):
            yield SYSTEM_RUNTIME_DIR / CONTROL_SOCKET
        yield from _spare_control_paths(data_dir)
        return
    yield SYSTEM_RUNTIME_DIR / CONTROL_SOCKET
    for directory in data_dirs():
        yield directory / CONTROL_SOCKET
        yield from _spare_control_paths(directory)


def _spare_control_paths(data_dir: Path) -> Iterator[Path]:
    """Give the spare place, where it is there and its maker is whoever owns the data: others may write beside it."""
    try:
        owner = data_dir.stat().st_uid
        spare = spare_control_dir(data_dir, owner)
        found = spare.lstat()
    except OSError:
        return
    if stat.S_ISDIR(found.st_mode) and found.st_uid == owner and not found.st_mode & 0o077:
        yield spare / CONTROL_SOCKET


def database_paths(data_dir: Path | None) -> Iterator[Path]:
    """Where a history may lie when no service runs, the likeliest first."""
    for directory in data_dirs() if data_dir is None else [data_dir]:
        yield directory / DATABASE


def data_dirs() -> list[Path]:
    """Data directories that a service of this user or of this computer uses when nobody names one."""
    return [*dict.fromkeys((SYSTEM_DATA_DIR, usual_data_dir(), demo_data_dir()))]


def hidden(path: Path) -> bool:
    """Whether this user may not know if there is such a file."""
    try:
        path.exists()
    except PermissionError:
        return True
    return False


def present(path: Path) -> bool:
    """Whether there is such a file, as far as this user may know."""
    try:
        return path.exists()
    except OSError:
        return False


def reachable(folder: int, name: str) -> str:
    """Give a short path to a file in an open folder; the system takes no socket path beyond 107 bytes."""
    return f"/proc/self/fd/{folder}/{name}"
