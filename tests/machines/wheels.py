"""Wheels of the project and of what it depends on, built out here: in a machine there is no network."""

import hashlib
import os
import sys
import tomllib
from pathlib import Path

from .cache import made, output

ROOT = Path(__file__).parents[2]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
PLATFORMS = (34, 31, 28, 27, 17)  # of glibc, that Bookworm can run


def project(source=ROOT):
    """Build the project's wheel from a checkout; gives its folder. What git ignores is not looked at."""
    digest = hashlib.sha256()
    names = output("git", "-C", source, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    wanted = ("appliance/", "sensors/", "pyproject.toml", "setup.py", "README.md")
    files = [name for name in sorted(names) if name.startswith(wanted) and (source / name).is_file()]
    for name in files:
        digest.update(f"{name}\0".encode() + (source / name).read_bytes() + b"\0")

    def make(place):
        copy = place / "source"
        for name in files:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((source / name).read_bytes())
        output(*PIP, "wheel", "-q", "--no-deps", "-w", place / "wheels", copy)

    return made("project", digest.hexdigest(), make) / "wheels"


def dependencies(python, machine, extras=()):
    """Fetch what the project depends on, for that version of Python and that kind of machine; gives the folder."""
    described = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *described["dependencies"],
        *(one for extra in extras for one in described["optional-dependencies"][extra]),
    ]

    return fetched(python, machine, wanted)


def fetched(python, machine, wanted):
    """Fetch requirements and what they depend on, for that version of Python and machine; gives the folder."""

    def make(place):
        output(
            *(*PIP, "download", "-q", "-d", place, "--only-binary=:all:", "--python-version", python),
            *(f"--platform=manylinux_2_{glibc}_{machine}" for glibc in PLATFORMS),
            *wanted,
        )

    return made("wheels", " ".join((Path(__file__).read_text(), python, machine, *wanted)), make)


def house(python, machine, extras=()):
    """Give a folder with all wheels that `pip install --no-index --find-links` needs for the project."""
    folders = (project(), dependencies(python, machine, extras))

    def make(place):
        for folder in folders:
            for wheel in folder.glob("*.whl"):
                os.link(wheel, place / wheel.name)

    return made("house", " ".join(map(str, folders)), make)
