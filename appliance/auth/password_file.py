"""The file of users and their passwords: one `name:$argon2id$…` a line, or one of Mosquitto's hashes.

Blank lines and those with # in front mean nothing.
"""

from collections.abc import Callable
from pathlib import Path

from appliance import private_file
from appliance.auth.hashes import cost

MAX_NAME_BYTES = 256
NOBODY = "# nobody"  # what is written where the last user was deleted: an empty file may have been cut short


class BadPasswordFile(Exception):
    """The text is no password file; never says what stands in it, for that may be a secret."""

    def __init__(self, line: int | None, problem: str, cure: str) -> None:
        super().__init__(line, problem, cure)
        self.line = line
        self.problem = problem
        self.cure = cure


def parse(text: str) -> dict[str, str]:
    """Give every user's hash. Raises BadPasswordFile; a file without users is one that lets nobody in."""
    users: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        entry = line.removesuffix("\r")
        if not entry.strip() or entry.startswith("#"):
            continue
        name, colon, encoded = entry.partition(":")
        problem = name_problem(name) if colon else "not name:hash"
        if problem or cost(encoded) is None:
            problem = problem or "not a hash such as `appliance passwd` or mosquitto_passwd makes"
            raise BadPasswordFile(number, problem, "make the line with `appliance passwd`, or remove it")
        if name in users:
            raise BadPasswordFile(number, "this user stands here a second time", "keep one of the two lines")
        users[name] = encoded
    return users


def name_problem(name: str) -> str:
    """Say why this is no name of a user; empty when it is one. #, + and / may be in it, but no : and no # in front."""
    if not name:
        return "the user name is empty"
    if name.startswith("#"):
        return "a user name does not begin with #"
    if ":" in name:
        return "a user name has no : in it"
    if not name.isprintable() or name != name.strip():
        return "a user name has no control characters, and no blank in front or at its end"
    if len(name.encode(errors="replace")) > MAX_NAME_BYTES:
        return f"a user name has at most {MAX_NAME_BYTES} bytes"
    return ""


def changed(text: str, name: str, encoded: str | None) -> str:
    """Give the text with this user's hash in it, or without the user. All other lines stay as they are."""
    lines = [line for line in text.split("\n") if line != NOBODY]
    if lines and lines[-1] == "":
        lines.pop()
    mine = [place for place, line in enumerate(lines) if line.startswith(f"{name}:")]
    if encoded is None:
        lines = [line for place, line in enumerate(lines) if place not in mine]
    elif mine:
        lines[mine[0]] = f"{name}:{encoded}"
    else:
        lines.append(f"{name}:{encoded}")
    if encoded is None and not any(line.strip() for line in lines):
        lines = [NOBODY]
    return "".join(f"{line}\n" for line in lines)


def edit(path: Path, change: Callable[[str], str], like: Path | None = None) -> bool:
    """Put the changed text in place of the file, whole or not at all, for its owner's eyes only.

    Where its group may read it, that stays so. A file that is not there is made; if by root, it belongs to whom
    `like` does, else the folder. Gives whether anything changed. Raises OSError, and what `change` raises; then all is
    as it was.
    """
    return private_file.edit(path, lambda data: change(data.decode()).encode(), like)
