"""By which names and addresses others may call this computer, as its certificate has to say them."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple

from appliance.interfaces import look

Address = IPv4Address | IPv6Address
MOST: Final = 100  # of each; more would make the certificate a burden to small devices
LONGEST: Final = 253


class Names(NamedTuple):
    """What stands in a certificate; sorted, so that two of the same computer are the same."""

    hosts: tuple[str, ...]
    addresses: tuple[Address, ...]

    def missing_in(self, others: "Names") -> list[str]:
        """Give what others lack of these."""
        hosts = [name for name in self.hosts if name not in others.hosts]
        return hosts + [str(one) for one in self.addresses if one not in others.addresses]

    def after(self, former: "Names") -> "Names":
        """Add the names, not the addresses, that the computer had before."""
        more = [name for name in former.hosts if name not in self.hosts]
        return Names((*self.hosts, *more)[:MOST], self.addresses)


LOOPBACK: Final = (ip_address("127.0.0.1"), ip_address("::1"))


def names_of(hostname: str, found: Iterable[Address], further: Iterable[str] = ()) -> Names:
    """Give the names of a computer: its own, alone and with .local, and what else it is called."""
    whole = hostname.lower().rstrip(".")
    short = whole.partition(".")[0]
    hosts = {"localhost", *(name.lower() for name in further)}
    if short and short != "localhost":
        hosts |= {whole, short, f"{short}.local"}
    good = [one for one in hosts if is_host_name(one)]
    lasting = {one for one in found if not (one.is_loopback or one.is_link_local or one.is_unspecified)}
    addresses = sorted(lasting, key=lambda one: (one.version, one.packed))
    return Names(tuple(sorted(good)[:MOST]), (*LOOPBACK, *addresses[:MOST]))


def is_host_name(text: str) -> bool:
    """Whether a certificate may hold this as a DNS name."""
    labels = text.split(".")
    return len(text) <= LONGEST and all(
        0 < len(label) <= 63 and label.isascii() and label.replace("-", "x").replace("_", "x").isalnum()
        for label in labels
    )


def addresses() -> list[Address]:
    """Give the lasting addresses of all interfaces; OSError where the system does not tell."""
    return [ip_address(text) for one in look().every for text in one.addresses]
