"""Packs what a release is installed from, on the control machine: our wheel, and those of dependencies where given.

Says as JSON where the bundle is (`path`, a tar), its `wheel`, `version` and `digest` (of what is in it). A bundle is
kept below ~/.cache/home-sensor-appliance, so that the same sources are not built twice, and give the same digest.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PARTS = ("appliance", "sensors", "pyproject.toml", "setup.py", "README.md")  # of a checkout, all that a wheel is of
LEFT_OUT = ("__pycache__", "*.pyc", "*.so")
EPOCH = "1735689600"  # 2025-01-01: times in a wheel do not tell two builds of the same sources apart
KEPT_S = 30 * 86_400


class Failed(Exception):
    """There is no bundle; the text says why and what to do."""


def cache() -> Path:
    """Where bundles are kept."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(home) if Path(home).is_absolute() else Path.home() / ".cache"
    return base / "home-sensor-appliance" / "bundles"


def sources(checkout: Path) -> Iterator[Path]:
    """Give the files of a checkout that its wheel is made of, in order."""
    for part in PARTS:
        place = checkout / part
        if not place.exists():
            raise Failed(f"{checkout} is no checkout of the project: there is no {part}")
        files = [place] if place.is_file() else sorted(place.rglob("*"))
        for file in files:
            if file.is_file() and not any(file.match(pattern) or pattern in file.parts for pattern in LEFT_OUT):
                yield file


def digest_of(files: Iterator[Path], base: Path) -> str:
    """SHA-256 of files with their names below a folder."""
    whole = hashlib.sha256()
    for file in files:
        name, content = str(file.relative_to(base)).encode(), file.read_bytes()
        whole.update(b"%d %d " % (len(name), len(content)) + name + content)
    return whole.hexdigest()


def pip(*words: str) -> None:
    """Run pip; Failed with the end of what it said."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *words]
    done = subprocess.run(  # noqa: S603 our own words
        command, check=False, capture_output=True, text=True, env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH}
    )
    if done.returncode and importlib.util.find_spec("pip") is None:
        raise Failed(
            f"{sys.executable}, which runs Ansible here, has no pip to bring the program with. Install it (Debian: apt "
            "install python3-pip), or take an Ansible that has one: python3 -m venv .venv && .venv/bin/pip install "
            "ansible-core"
        )
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()[-6:]
        raise Failed("\n".join([f"pip {' '.join(words)} failed:", *said]))


def built(checkout: Path, target: Path) -> None:
    """Build the wheel of a checkout into a folder; nothing is left in the checkout."""
    with tempfile.TemporaryDirectory() as scratch:
        for file in sources(checkout):
            copied = Path(scratch) / file.relative_to(checkout)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copied)
        pip("wheel", "--no-deps", "--wheel-dir", str(target), scratch)


def wheel_in(folder: Path) -> Path:
    """Give the one wheel of ours in a folder; Failed where there is none."""
    found = sorted(folder.glob("home_sensor_appliance-*.whl"))
    if len(found) != 1:
        raise Failed(f"one wheel of home-sensor-appliance was expected, and there are {len(found)}")
    return found[0]


def wheel(source: str, checkout: Path) -> Path:
    """Give the wheel of a source: `checkout`, the path of a wheel, or what pip finds in its index."""
    if source.endswith(".whl"):
        path = Path(source).expanduser()
        if not path.is_file():
            raise Failed(f"release_source: there is no file {path}")
        return path
    key = (
        digest_of(sources(checkout), checkout) if source == "checkout" else hashlib.sha256(source.encode()).hexdigest()
    )
    place = cache() / f"wheel-{key[:24]}"
    if source == "checkout" and place.is_dir():
        os.utime(place)  # in use: another tool may build another wheel of the same sources
        return wheel_in(place)
    with scratch_beside(place) as beside:
        if source == "checkout":
            built(checkout, beside)
        else:
            pip("download", "--no-deps", "--only-binary=:all:", "--dest", str(beside), source)
    return wheel_in(place)


class scratch_beside:  # noqa: N801 used as a function
    """A folder to fill; it takes its place at the end, where nothing went wrong."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def __enter__(self) -> Path:
        self._place.parent.mkdir(parents=True, exist_ok=True)
        self._beside = Path(tempfile.mkdtemp(prefix=".new-", dir=self._place.parent))
        return self._beside

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            shutil.rmtree(self._place, ignore_errors=True)
            self._beside.rename(self._place)
        else:
            shutil.rmtree(self._beside)


def bundle(ours: Path, wheelhouse: Path | None) -> tuple[Path, str]:
    """Pack a wheel and those that it needs; gives the tar and the digest of what is in it."""
    files = [ours]
    if wheelhouse is not None:
        if not wheelhouse.is_dir():
            raise Failed(f"release_wheelhouse: there is no folder {wheelhouse}")
        files += [
            file for file in sorted(wheelhouse.glob("*.whl")) if not file.name.startswith("home_sensor_appliance-")
        ]
    contents = hashlib.sha256()
    for file in files:
        contents.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    key = contents.hexdigest()
    place = cache() / f"bundle-{key[:24]}"
    if not (place / "bundle.tar").exists():
        with scratch_beside(place) as beside, tarfile.open(beside / "bundle.tar", "w") as tar:
            for file in files:
                tar.add(file, file.name, filter=nobodys)
    os.utime(place)
    return place / "bundle.tar", key


def nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out of the tar whose a file was here."""
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode = 0o644
    return member


def tidy() -> None:
    """Remove what nobody used for a month."""
    for old in cache().iterdir():
        if time.time() - old.stat().st_mtime > KEPT_S:
            shutil.rmtree(old, ignore_errors=True)


def main() -> int:
    """Say as JSON where the bundle is."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source")
    parser.add_argument("--checkout", type=Path, required=True)
    parser.add_argument("--wheelhouse", default="")
    arguments = parser.parse_args()
    try:
        ours = wheel(arguments.source, arguments.checkout)
        path, key = bundle(ours, Path(arguments.wheelhouse).expanduser() if arguments.wheelhouse else None)
        tidy()
    except (Failed, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    version = ours.name.split("-")[1]
    sys.stdout.write(json.dumps({"path": str(path), "wheel": ours.name, "version": version, "digest": key}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
