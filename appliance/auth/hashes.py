"""Hashes of passwords as they are written down: argon2id, and those of Mosquitto's password files ($6$, $7$)."""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from typing import Final, NamedTuple

ARGON2ID: Final = re.compile(
    r"\$argon2id\$v=19\$m=(?P<m>[1-9]\d{0,6}),t=(?P<t>[1-9]\d?),p=(?P<p>[1-9]\d?)"
    r"\$(?P<salt>[A-Za-z0-9+/]{11,86})\$(?P<hash>[A-Za-z0-9+/]{22,86})"
)
MOSQUITTO: Final = re.compile(
    r"\$(?:6|7\$(?P<passes>[1-9]\d{0,6}))\$(?P<salt>[A-Za-z0-9+/]{11,86}={0,2})\$(?P<hash>[A-Za-z0-9+/]{86}==)"
)
MOST: Final = {"m": 262_144, "t": 16, "p": 8}  # KiB, passes, lanes: what checking one password may cost us
MOST_PASSES: Final = 500_000  # of PBKDF2 likewise; mosquitto_passwd makes 101, or 1,000


class Cost(NamedTuple):
    """What it takes to check a password."""

    memory_kib: int
    passes: int
    lanes: int
    scheme: str = "argon2id"  # or, of Mosquitto: "7" PBKDF2 with SHA-512, "6" SHA-512 once


def cost(encoded: str) -> Cost | None:
    """Give what checking a password against this hash costs; None when it is no hash, or one that costs too much."""
    found = ARGON2ID.fullmatch(encoded) or MOSQUITTO.fullmatch(encoded)
    if found is None or _decoded(found["salt"]) is None or _decoded(found["hash"]) is None:
        return None
    if found.re is MOSQUITTO:
        passes = int(found["passes"] or 1)
        return Cost(0, passes, 1, encoded[1]) if passes <= MOST_PASSES else None
    memory, passes, lanes = (int(found[name]) for name in "mtp")
    if not (passes <= MOST["t"] and lanes <= MOST["p"] and 8 * lanes <= memory <= MOST["m"]):
        return None
    if not all(_is_as_written(found[name]) for name in ("salt", "hash")):
        return None
    return Cost(memory, passes, lanes)


def is_argon2id(encoded: str) -> bool:
    """Whether it is a hash as we make them."""
    found = cost(encoded)
    return found is not None and found.scheme == "argon2id"


def of_nobody(like: Cost) -> str:
    """Give a hash that no password has and that costs as much to check."""
    salt, digest = (base64.b64encode(secrets.token_bytes(size)).decode() for size in (12, 64))
    match like.scheme:
        case "6":
            return f"$6${salt}${digest}"
        case "7":
            return f"$7${like.passes}${salt}${digest}"
    memory, passes, lanes, _ = like
    salt, digest = (base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in (16, 32))
    return f"$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${digest}"


def is_right_of_mosquitto(encoded: str, password: bytes) -> bool:
    """Whether this is the password of a hash that mosquitto_passwd made."""
    found = MOSQUITTO.fullmatch(encoded)
    assert found is not None  # noqa: S101 the file was held to it
    salt, digest = _decoded(found["salt"]) or b"", _decoded(found["hash"]) or b""
    if found["passes"]:
        made = hashlib.pbkdf2_hmac("sha512", password, salt, int(found["passes"]))
    else:
        made = hashlib.sha512(password + salt).digest()
    return hmac.compare_digest(made, digest)


def _is_as_written(text: str) -> bool:
    """Whether the last letter says nothing more: argon2 would not read such a one."""
    return base64.b64encode(_decoded(text) or b"").decode().rstrip("=") == text


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return None
