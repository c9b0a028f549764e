"""What a link's peer, an address and a port, says of who is there."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

LOOPBACK = "::1"
UNIX = "unix"  # how the peer of a Unix socket begins; it has no address


def is_this_computer(peer: str) -> bool:
    """Whether it can only be somebody on this computer."""
    address = _address(peer)
    return peer.startswith(UNIX) if address is None else address.is_loopback


def source(peer: str) -> str:
    """Whom to hold to account: an address, of IPv6 the network in which one host has as many as it likes."""
    return network(address_of(peer))


def shares(peer: str, most: int) -> dict[str, int]:
    """Give whom to hold to account and for how many each: of IPv6 the network, and one address of it for half.

    So one host that goes wrong leaves room for its neighbours in the network, and who has the whole of it no more.
    """
    address = address_of(peer)
    whole = network(address)
    return {whole: most} if whole == address else {address: (most + 1) // 2, whole: most}


def address_of(peer: str) -> str:
    """Give the address alone, the same for the same host."""
    address = _address(peer)
    return UNIX if address is None else str(address)


def network(address: str) -> str:
    """Give the network in which one host has as many addresses as it likes; of IPv4 it has but this one."""
    if ":" not in address or address == LOOPBACK:
        return address
    return str(IPv6Network((address, 64), strict=False))


def _address(peer: str) -> IPv4Address | IPv6Address | None:
    host = peer.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
