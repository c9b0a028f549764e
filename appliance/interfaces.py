"""By which interfaces others on the network reach this computer, and word of their changes."""

import errno
import socket
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Final, NamedTuple

LOOPBACK: Final = 0x8  # IFF_… of linux/if.h
POINT_TO_POINT: Final = 0x10
UP: Final = 0x1
MULTICAST: Final = 0x1000
TEMPORARY: Final = 0x1  # IFA_F_… of linux/if_addr.h: for connections of our own, another one tomorrow
INNER: Final = ("br-", "cni", "docker", "lxc", "lxd", "podman", "veth", "virbr", "vnet")  # of containers on this host

ROUTE: Final = 0  # NETLINK_ROUTE
LINK_AND_ADDRESSES: Final = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR


class Interface(NamedTuple):
    """One interface with its lasting addresses, sorted; those of IPv4 come first."""

    name: str
    addresses: tuple[str, ...]


class Computer(NamedTuple):
    """All interfaces, and which of them are the network's: others can be told of us there."""

    every: tuple[Interface, ...]
    outer: tuple[Interface, ...]


def look(root: Path = Path("/")) -> Computer:
    """Look at the interfaces of this computer; OSError where the system does not tell."""
    import ifaddr  # noqa: PLC0415 asks the system by ctypes, which costs a megabyte

    found: dict[str, list[str]] = {}
    for adapter in ifaddr.get_adapters():
        for one in adapter.ips:
            text = str(one.ip if one.is_IPv4 else one.ip[0]).partition("%")[0]
            found.setdefault(str(one.nice_name), []).append(text)
    return sorted_out(found, root)


def sorted_out(found: dict[str, list[str]], root: Path) -> Computer:
    """Leave out passing addresses, and of the outer interfaces what reaches nobody."""
    passing = _temporary(root)
    every = tuple(Interface(name, _lasting(texts, passing)) for name, texts in sorted(found.items()))
    return Computer(every, tuple(one for one in every if one.addresses and _is_outer(one.name, root)))


def _lasting(texts: Iterable[str], passing: set[str]) -> tuple[str, ...]:
    """An IPv6 address of the link alone is none for others: it means something else in their records."""
    kept = {text for text in texts if text not in passing and not (":" in text and ip_address(text).is_link_local)}
    return tuple(sorted(kept, key=lambda text: (":" in text, ip_address(text).packed)))


def _is_outer(name: str, root: Path) -> bool:
    try:
        flags = int((root / "sys/class/net" / name / "flags").read_text("ascii"), 16)
    except (OSError, ValueError):  # a sandbox without it; a name that is no interface's
        flags = UP | MULTICAST | (LOOPBACK if name == "lo" else 0)
    wanted = UP | MULTICAST
    return flags & (wanted | LOOPBACK | POINT_TO_POINT) == wanted and not name.startswith(INNER)


def _temporary(root: Path) -> set[str]:
    """Give the IPv6 addresses that privacy extensions made (RFC 8981)."""
    try:  # /proc/net is hidden by ProcSubset=pid
        rows = [line.split() for line in (root / "proc/self/net/if_inet6").read_text("ascii").splitlines()]
        packed = [int(row[0], 16).to_bytes(16, "big") for row in rows if int(row[4], 16) & TEMPORARY]
    except (OSError, ValueError, IndexError):
        return set()
    return {str(ip_address(one)) for one in packed}


class Changes:
    """Becomes readable when an interface or an address comes or goes."""

    def __init__(self) -> None:
        """Listen to the kernel; OSError where that is not allowed (AF_NETLINK)."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, ROUTE)
        try:
            self._socket.bind((0, LINK_AND_ADDRESSES))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Give what to wait for."""
        return self._socket.fileno()

    def take(self) -> None:
        """Take what was said; that anything was said is enough, even where too much was for the buffer."""
        while True:
            try:
                self._socket.recv(65_536)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()
