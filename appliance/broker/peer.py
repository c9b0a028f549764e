"""What a link's peer, an address and a port, says of who is there."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

UNIX = "unix"  # how the peer of a Unix socket begins; it has no address


def is_this_computer(peer: str) -> bool:
    """Whether it can only be somebody on this computer."""
    address = _address(peer)
    return peer.startswith(UNIX) if address is None else address.is_loopback


def source(peer: str) -> str:
    """Whom to hold to account: an address, of IPv6 the network in which one host has as many as it likes."""
    address = _address(peer)
    if isinstance(address, IPv6Address) and not address.is_loopback:
        return str(IPv6Network((address, 64), strict=False))
    return UNIX if address is None else str(address)


def _address(peer: str) -> IPv4Address | IPv6Address | None:
    host = peer.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
