"""Certificates that listeners show: until when they are good, and by which names clients may call this computer."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from appliance.finding import Finding, note, wrong
from appliance.places import AUTHORITY_KEY

SOON_S: Final = 21 * 86_400.0  # a renewal that works comes long before


@dataclass(frozen=True, slots=True)
class Certificate:
    """The one that stands first in a file."""

    path: Path
    names: tuple[str, ...]  # of DNS, in lower case
    addresses: tuple[str, ...]
    begins_s: float  # Unix time
    ends_s: float
    is_ours: bool = False  # whether `appliance setup` renews it


def read(path: Path) -> Certificate:
    """Read a file in PEM form; OSError, ValueError."""
    from cryptography.x509 import load_pem_x509_certificate  # noqa: PLC0415 megabytes, for who asks

    from appliance.identity.authority import begins, ends, names_in  # noqa: PLC0415 likewise

    found = load_pem_x509_certificate(path.read_bytes())
    names = names_in(found)
    return Certificate(
        path,
        tuple(name.lower() for name in names.hosts),
        tuple(map(str, names.addresses)),
        begins(found).timestamp(),
        ends(found).timestamp(),
        is_ours=(path.parent / AUTHORITY_KEY).exists(),
    )


def certificate_findings(
    seen: Certificate, *, now_s: float, is_synced: bool, host: str, addresses: Sequence[str], setup: str
) -> Iterator[Finding]:
    """Judge one; `host` is the name that mDNS announces, empty where it does not; `addresses` are those served.

    `setup` is the command that makes those that are ours.
    """
    about = str(seen.path)
    cure = f"`{setup}` makes a new one" if seen.is_ours else "renew it; a running service reloads it"
    if now_s < seen.begins_s:
        yield wrong(
            about,
            f"it is good from {_day(seen.begins_s)} on, and the clock shows {_day(now_s)}",
            "set the clock (`sudo timedatectl set-ntp true`), or make a certificate that begins earlier",
        )
    elif now_s > seen.ends_s:
        doubt = "" if is_synced else ", if the clock is right"
        yield wrong(about, f"it ended on {_day(seen.ends_s)}{doubt}: no client connects", cure)
    elif seen.ends_s - now_s < SOON_S:
        yield wrong(about, f"it ends in {(seen.ends_s - now_s) / 86_400:.0f} days, on {_day(seen.ends_s)}", cure)
    else:
        yield note(
            about, f"good until {_day(seen.ends_s)}, for {', '.join((*seen.names, *seen.addresses)) or 'no name'}"
        )
    if host and not any(_covers(name, host) for name in seen.names):
        cure = f"`{setup}` makes one with it" if seen.is_ours else f"have it made for {host} too"
        yield wrong(about, f"it does not name {host}, which mDNS tells agents: they turn back", cure)
    missing = [one for one in addresses if one not in {str(ip_address(known)) for known in seen.addresses}]
    if missing:
        yield note(
            about, f"who connects to {', '.join(missing)} by address finds it does not name that", "use the name"
        )


def _covers(name: str, host: str) -> bool:
    """Whether a name of a certificate is the host's; a star stands for one level. RFC 9525"""
    return name == host or (name.startswith("*.") and host.partition(".")[2] == name[2:])


def _day(at_s: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at_s))
