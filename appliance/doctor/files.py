"""Files that a service is told of: may others read its secrets, or change what it believes?"""

import os
import pwd
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from appliance.finding import Finding, wrong

READ_BY_ANYBODY = 0o004
ENTERED_BY_ANYBODY = 0o001
CHANGED_BY_OTHERS = 0o022
ACCESS_LIST = "system.posix_acl_access"  # acl(5): as setfacl and systemd's LoadCredential= write it
READ_BY_OWNER, READ_BY_GROUP = 0o400, 0o040


class Reader(NamedTuple):
    """The user of the service."""

    name: str
    user: int
    groups: frozenset[int]


@dataclass(frozen=True, slots=True)
class File:
    """One file that is there."""

    path: Path
    mode: int
    owner: str
    is_secret: bool
    is_within_reach: bool = True  # of anybody; not below a directory that others may not enter
    user: int = 0
    group: int = 0
    has_list: bool = False  # of users beside its mode

    def may_be_read(self, by: Reader) -> bool:
        """Whether that user may read it, as far as its mode tells."""
        if self.has_list:
            return True
        if by.user == self.user:
            return bool(self.mode & READ_BY_OWNER)
        return bool(self.mode & (READ_BY_GROUP if self.group in by.groups else READ_BY_ANYBODY)) or by.user == 0


def file_of(path: Path, *, is_secret: bool) -> File | None:
    """Look at a file; None where there is none. OSError where this user may not look."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        owner = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        owner = str(found.st_uid)
    within_reach = all(folder.stat().st_mode & ENTERED_BY_ANYBODY for folder in path.absolute().parents)
    return File(
        path, found.st_mode & 0o7777, owner, is_secret, within_reach, found.st_uid, found.st_gid, _has_list(path)
    )


def _has_list(path: Path) -> bool:
    try:
        return ACCESS_LIST in os.listxattr(path)
    except OSError:  # a file system that has none
        return False


def owner_of(folder: Path) -> Reader | None:
    """Give whose a folder is; None where that is nobody with a name."""
    try:
        found = pwd.getpwuid(folder.stat().st_uid)
    except (OSError, KeyError):
        return None
    return Reader(found.pw_name, found.pw_uid, frozenset(os.getgrouplist(found.pw_name, found.pw_gid)))


def file_findings(files: Iterable[File], service: Reader | None = None) -> Iterator[Finding]:
    """Judge them. A group may read a secret: that is how a key is shared with those who need it."""
    for file in files:
        mode = f"mode {file.mode:04o}, of {file.owner}"
        if file.is_secret and file.is_within_reach and file.mode & READ_BY_ANYBODY:
            yield wrong(str(file.path), f"everybody may read this secret ({mode})", f"`sudo chmod 600 {file.path}`")
        elif file.mode & CHANGED_BY_OTHERS:
            yield wrong(str(file.path), f"others may change it ({mode})", f"`sudo chmod go-w {file.path}`")
        if service is not None and not file.may_be_read(service):
            what = f"the service's user {service.name} may not read it ({mode})"
            yield wrong(str(file.path), what, f"`sudo chown {service.name} {file.path}`")
