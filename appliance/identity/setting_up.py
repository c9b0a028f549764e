"""First boot, and every one after: makes of a computer's own secrets what is missing or due, and nothing else.

Whenever the power goes, the next run finishes what this one began: each file is whole or not there, the mark of the
machine is set before anything is made on it, and what others need stands before what needs it.
"""

import fcntl
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from appliance import private_file
from appliance.auth.enrolling import new_secret
from appliance.auth.managed import Account, edit
from appliance.auth.passwords import hashed
from appliance.clock import RELEASED_MS, SYNCED, rfc3339
from appliance.identity import authority as authorities
from appliance.identity import first_secret, machine_mark, server_certificate
from appliance.identity.names import Names
from appliance.places import (
    AUTHORITY_CERTIFICATE,
    AUTHORITY_KEY,
    FIRST_SECRET,
    SERVER_CERTIFICATE,
    SERVER_KEY,
    TLS,
)


class Files(NamedTuple):
    """Where everything lies."""

    ca: Path
    ca_key: Path
    certificate: Path
    key: Path
    mark: Path
    admin_secret: Path
    lock: Path


def files_in(data_dir: Path) -> Files:
    """Name them all."""
    return Files(
        ca=data_dir / TLS / AUTHORITY_CERTIFICATE,
        ca_key=data_dir / TLS / AUTHORITY_KEY,
        certificate=data_dir / TLS / SERVER_CERTIFICATE,
        key=data_dir / TLS / SERVER_KEY,
        mark=data_dir / "machine-id",
        admin_secret=data_dir / FIRST_SECRET,
        lock=data_dir / "setup.lock",
    )


@dataclass(frozen=True, slots=True)
class Clock:
    """Wall time, and whether somebody keeps it right."""

    at: datetime
    is_set: bool

    @classmethod
    def of(cls, at: float, quality: str) -> "Clock":
        """Read Unix seconds; a clock that shows less than this program's own date is late by at least that."""
        return cls(datetime.fromtimestamp(max(at, RELEASED_MS / 1000), UTC).replace(microsecond=0), quality == SYNCED)


def set_up(
    files: Files,
    *,
    names: Names | None,
    managed_file: Path | None,
    admin: Callable[[], str],
    machine: str,
    clock: Clock,
    command: str = "appliance setup",
) -> list[str]:
    """Make what is missing or due; gives a line for each thing made. OSError, BadManagedFile, and what `admin` raises.

    `names` are those of the certificate, None where no listener wants one of ours; `managed_file` None where none
    is named, and `admin` is asked whom to put into a new one. `command` is what a person runs for this configuration.
    No line tells a secret.
    """
    private_file.make_folder(files.lock.parent)
    with _held(files.lock):
        said = _mark(files, managed_file, machine)
        if names is not None:
            private_file.make_folder(files.ca.parent)
            said += _certify(files, names, clock)
        if managed_file is not None and not managed_file.exists():
            said.append(_appoint(files, managed_file, admin(), clock, command))
    return said


def _mark(files: Files, managed_file: Path | None, machine: str) -> list[str]:
    """Know the machine; on another one than before, everything secret goes, for it is the other one's."""
    made_on = machine_mark.read(files.mark)
    said = []
    if machine_mark.is_copy(made_on, machine):
        accounts = [] if managed_file is None else [managed_file]
        theirs = [files.certificate, files.key, files.ca, files.ca_key, files.admin_secret, *accounts]
        gone = [path for path in theirs if private_file.remove(path)]
        said.append(
            "this is another machine than before, of a copied card: "
            + (f"removed {', '.join(map(str, gone))}; pair the agents again" if gone else "there was no secret yet")
        )
    if made_on is None or machine_mark.is_copy(made_on, machine):
        machine_mark.write(files.mark, machine)
    return said


def _certify(files: Files, names: Names, clock: Clock) -> list[str]:
    said = []
    authority = authorities.load(files.ca, files.ca_key)
    if authority is None or (clock.is_set and authorities.ends(authority.certificate) <= clock.at):
        was_there = files.ca.exists()
        authority = authorities.make(files.ca, files.ca_key, clock.at)
        again = "; the one before could not be used: agents and browsers have to be given this one" if was_there else ""
        said.append(f"made the authority {files.ca}, until {_day(authorities.ends(authority.certificate))}{again}")
    reason = server_certificate.due(files.certificate, files.key, authority, names, clock.at, is_set=clock.is_set)
    if reason:
        end = server_certificate.make(files.certificate, files.key, authority, names, clock.at, is_set=clock.is_set)
        called = ", ".join([*names.hosts, *map(str, names.addresses)])
        said.append(f"made the certificate {files.certificate}, as {reason}: for {called}, until {_day(end)}")
    return said


def _appoint(files: Files, managed_file: Path, admin: str, clock: Clock, command: str) -> str:
    """Make the first account. Its secret is written down first: an account that nobody can use would be for ever."""
    secret = new_secret()
    first_secret.keep(files.admin_secret, secret)
    made = rfc3339(clock.at.timestamp())
    account = Account(password=hashed(secret.encode()), role="admin", made=made, by="setup")
    private_file.make_folder(managed_file.parent)
    edit(managed_file, lambda accounts: {admin: account, **accounts})
    return f"made the account {admin} in {managed_file}; `{command} --show-secret` shows its password once"


@contextmanager
def _held(lock: Path) -> Generator[None]:
    """Let two who set up at once do it one after the other.

    No link is followed: root would give what it leads to away to whom the folder belongs.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        private_file.own(descriptor, lock.parent)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _day(at: datetime) -> str:
    return at.strftime("%Y-%m-%d")
