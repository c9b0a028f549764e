"""P15: the first start of a computer: closed until it has secrets of its own, which no other has, and after."""

import base64
import json
import re
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.promises.finding import Finding

PIECE = 12  # bytes of a secret that two computers must not have in common
KEYS = "tls/ca.key", "tls/server.key"
ROOT = Path(__file__).parents[2]
UNIT = ROOT / "systemd" / "appliance.service"


def run(options: Namespace) -> list[Finding]:
    """Hold two new computers and a copied card to P15."""
    with TemporaryDirectory(prefix="first-start-") as directory:
        scratch = Path(directory)
        one, other, copy = (scratch / name for name in ("one", "other", "copy"))
        seen = live(one, careless=options.planted)
        if options.planted:  # an image that was made after the first start
            shutil.copytree(one, other)
        else:
            live(other, careless=False)
        shutil.copytree(one / "data", copy / "data")
        if not options.planted:
            (copy / "data" / "machine-id").write_text("of the machine where the card was before\n")
        set_up(copy)
        shared = common(secrets(one / "data"), other / "data")
        left = common(secrets(one / "data"), copy / "data")
    return [
        Finding("listeners without a configuration, beyond loopback", seen["bare"], most=0),
        Finding("of this computer alone", seen["bare_loopback"], least=2),
        Finding("listeners of a home's configuration before setup", seen["before"], most=0),
        Finding("after it, ports beyond loopback", seen["after"], most=2, least=2),
        Finding("of them other than 8883 and 8443, MQTT and page", seen["unexpected"], most=0),
        Finding("of them that answer without TLS 1.2", seen["plain"], most=0),
        Finding("ways in without an account", seen["anonymous"], most=0),
        Finding("ways in with the secret that was shown", seen["admin"], least=2),
        Finding("secret files that others may read", seen["readable"], most=0),
        Finding("places where a secret is told, but for its file", seen["told"], most=0),
        Finding("secrets searched for, byte by byte", seen["secrets"], least=5),
        Finding("pieces of them on a second computer", shared, most=0),
        Finding("pieces of them on a copy of the card", left, most=0),
        *exposure(),
    ]


def live(folder: Path, *, careless: bool) -> dict[str, int]:
    """Start a computer for the first time, in a network of its own where the system gives one; say what was seen."""
    folder.mkdir()
    command = [*alone(), sys.executable, "-m", "tests.promises.first_start_probe", str(folder)]
    if careless:
        command.append("careless")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(done.stderr[-500:])
    seen: dict[str, int] = json.loads(done.stdout)
    return seen


def alone() -> list[str]:
    """Give what a command is to be run with, to have a network of its own."""
    wrapped = ["unshare", "--net", "--map-root-user"]
    try:
        works = subprocess.run([*wrapped, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        works = False
    return wrapped if works else []


def set_up(folder: Path) -> None:
    """Set up what lies there already."""
    config = folder / "appliance.toml"
    config.write_text((folder.parent / "one" / "appliance.toml").read_text())
    subprocess.run([sys.executable, "-m", "appliance", "setup", "--config", str(config)], cwd=ROOT, check=True,
                   capture_output=True)  # fmt: skip


def secrets(data_dir: Path) -> dict[str, bytes]:
    """Give every secret of a computer, as bytes."""
    found = {}
    for name in KEYS:
        key = load_pem_private_key((data_dir / name).read_bytes(), None)
        found[name] = key.private_numbers().private_value.to_bytes(32, "big")  # type: ignore[union-attr]
    accounts = json.loads((data_dir / "accounts.json").read_text())["accounts"]
    for name, account in accounts.items():
        salt, digest = account["password"].split("$")[-2:]
        found[f"salt of {name}"] = base64.b64decode(salt + "==")
        found[f"hash of {name}"] = base64.b64decode(digest + "==")
    found["password"] = (data_dir / "admin-secret").read_bytes().strip()
    return found


def common(found: dict[str, bytes], data_dir: Path) -> int:
    """Count the pieces of secrets that stand in a directory, as they are or in base64."""
    there = [plain(path.read_bytes()) for path in data_dir.rglob("*") if path.is_file()]
    pieces = {secret[at : at + PIECE] for secret in found.values() for at in range(len(secret) - PIECE + 1)}
    return sum(any(piece in data for data in there) for piece in pieces)


def plain(data: bytes) -> bytes:
    """Give the bytes, and behind them what all runs of base64 in them stand for."""
    runs = re.findall(rb"[A-Za-z0-9+/\n]{16,}", data)
    decoded = []
    for one in runs:
        text = one.replace(b"\n", b"")
        decoded += [base64.b64decode(text[at : at + (len(text) - at) // 4 * 4]) for at in range(4)]
    return b"\0".join([data, *decoded])


def exposure() -> list[Finding]:
    """Give what systemd says of the unit, where it is there to say."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None or not UNIT.exists():
        return []
    command = [analyze, "security", "--offline=true", "--no-pager", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    level = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
    return [Finding("systemd's exposure level of the unit", float(level[1]), most=1.5)] if level else []
