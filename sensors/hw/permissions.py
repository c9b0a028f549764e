"""Device files and who may open them, and whether the library for the pins is a real one. Nothing is opened."""

import grp
import os
import pwd
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

Library = Literal["there", "missing", "stub"]

CONTAINERS = (".dockerenv", "run/.containerenv", "run/systemd/container")
PATTERNS = ("dev/gpiochip*", "dev/i2c-*")


@dataclass(frozen=True, slots=True)
class Node:
    """A device file: the group that owns it, whether this process may open it, and whether the user is in the group.

    A user who was added to a group is in it from the next login on.
    """

    path: str
    group: str
    may_open: bool
    is_member: bool = False


def nodes(root: Path = Path("/")) -> tuple[Node, ...]:
    """Give the device files of pins and buses."""
    user = user_name()
    return tuple(_node(root, path, user) for pattern in PATTERNS for path in sorted(root.glob(pattern)))


def user_name() -> str:
    """Give the name of the user that this process runs as."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's user without a name
        return str(os.geteuid())


def is_container(root: Path = Path("/")) -> bool:
    """Whether this process runs in a container, as Docker, Podman and systemd mark theirs."""
    return any((root / mark).exists() for mark in CONTAINERS)


def owner_of(path: Path) -> str:
    """Give the name of the user whom a file belongs to; empty where there is no file. Raises OSError otherwise."""
    try:
        number = path.stat().st_uid
    except FileNotFoundError:
        return ""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def has_library(name: str) -> bool:
    """Whether a library is installed; it is not imported."""
    return find_spec(name) is not None


def lgpio_library(find: Callable[[str], ModuleSpec | None] = find_spec) -> Library:
    """Look at the library without importing it: an import leaves a FIFO where it stands."""
    spec = find("lgpio")
    if spec is None:
        return "missing"
    try:
        source = Path(spec.origin or "").read_text("utf-8", "replace")
    except OSError:
        return "stub"  # a folder of no code
    return "there" if "def gpiochip_open" in source else "stub"


def _node(root: Path, path: Path, user: str) -> Node:
    group, is_member = "root", False
    with suppress(OSError):  # it went away just now
        number = path.stat().st_gid
        try:
            entry = grp.getgrgid(number)
            group, is_member = entry.gr_name, user in entry.gr_mem
        except KeyError:
            group = str(number)
    return Node(f"/{path.relative_to(root).as_posix()}", group, os.access(path, os.R_OK | os.W_OK), is_member)
