"""Where the service listens, and the rules that no single key of the configuration can express."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from appliance.settings import Listener, Settings

ACCOUNTS_FIRST = "set accounts.password_file or managed_file first: other computers are served with accounts only"
ENCRYPT = "set certificate and key, or plain = true where nobody can listen on the way"
NOT_OF_A_FILE = (
    "address",
    "port",
    "certificate",
    "key",
    "client_ca",
    "require_client_certificate",
    "use_identity_as_username",
    "names",
    "plain",
)
FILES = ("path", "certificate", "key", "client_ca")


class Fault(NamedTuple):
    """A key that cannot stay as it is, and why."""

    key_path: tuple[str | int, ...]
    problem: str
    cure: str


def is_loopback(address: str) -> bool:
    """Whether only this computer can reach the address."""
    if address == "localhost":
        return True
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped.is_loopback
    return found.is_loopback


def is_outer(listener: Listener) -> bool:
    """Whether other computers can reach the listener."""
    return not listener.path and not is_loopback(listener.address)


def place(address: str, port: int) -> str:
    """Write address and port as people do."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def where(listener: Listener) -> str:
    """Say where a listener is, as people write it."""
    return listener.path or place(listener.address, listener.port_or_usual())


def url(listener: Listener, address: str | None = None) -> str:
    """Give the URL of a listener; `address` is a way to it where the listener's own is every address."""
    if listener.path:
        return f"mqtt socket {listener.path}"
    scheme = {"mqtt": "mqtt", "web": "http"}[listener.serve] + ("s" if listener.certificate else "")
    end = "/" if listener.serve == "web" else ""
    return f"{scheme}://{place(address or listener.address, listener.port_or_usual())}{end}"


def faults(settings: Settings) -> Iterator[Fault]:
    """Everything that cannot be, though each key by itself could."""
    if settings.history.enabled and not settings.store.enabled:
        yield Fault(
            ("history", "enabled"),
            "readings are recorded in the store, which is off",
            "set history.enabled = false too, or store.enabled = true",
        )
    taken = [
        _Spot(name, place(section.address, section.port), section.address, section.port)
        for name, section in (("web.port", settings.web), ("mqtt.port", settings.mqtt))
        if section.port
    ]
    if len(taken) == 2 and (overlap := taken[0].overlap(taken[1])):
        yield Fault(("web", "port"), overlap, "choose another, or one of them with --mqtt-port or --http-port")
    for number, listener in enumerate(settings.listener):
        for key, problem, cure in _faults(listener, has_accounts=settings.accounts.wanted()):
            yield Fault(("listener", number, key), problem, cure)
        address, port = (listener.path, 0) if listener.path else (listener.address, listener.port_or_usual())
        spot = _Spot(f"listener[{number + 1}]", where(listener), address, port)
        for other in taken:
            if overlap := spot.overlap(other):
                key = "path" if listener.path else "port"
                cure = (
                    "choose another"
                    if other.name.startswith("listener")
                    else f"set {other.name} = 0 or choose another port"
                )
                yield Fault(("listener", number, key), overlap, cure)
        taken.append(spot)


class _Spot(NamedTuple):
    """What can be listened to once: an address with its port, or a file with port 0; and the key that asks for it."""

    name: str
    text: str
    address: str
    port: int

    def overlap(self, other: "_Spot") -> str:
        """Say how the two get in each other's way; empty when they do not."""
        mine, others = _meant(self.address), _meant(other.address)
        if self.port != other.port:
            return ""
        if mine == others:
            return f"{self.text} is also that of {other.name}"
        if _takes_in(mine, others):
            return f"{self.text} includes {other.name}, which is {other.text}"
        if _takes_in(others, mine):
            return f"{self.text} is included in {other.name}, which is {other.text}"
        return ""


def _meant(address: str) -> IPv4Address | IPv6Address | str:
    """Give the address that is opened; the text itself where it is none."""
    try:
        found = ip_address("127.0.0.1" if address == "localhost" else address)
    except ValueError:
        return address
    return (isinstance(found, IPv6Address) and found.ipv4_mapped) or found


def _takes_in(every: IPv4Address | IPv6Address | str, one: IPv4Address | IPv6Address | str) -> bool:
    """Whether the first means every address, and the second is among them; :: serves IPv4 too."""
    if isinstance(every, str) or isinstance(one, str) or not every.is_unspecified:
        return False
    return every.version == 6 or one.version == 4


def _faults(listener: Listener, *, has_accounts: bool) -> Iterator[tuple[str, str, str]]:
    if listener.path:
        if listener.serve != "mqtt":
            yield "path", "a socket file serves mqtt alone", "give address and port for the page"
        for key in NOT_OF_A_FILE:
            if getattr(listener, key) != getattr(DEFAULT, key):
                yield key, "a socket file has no such thing", "leave it out, or leave out path"
        return
    if listener.address != "localhost" and not _is_address(listener.address):
        yield "address", f'"{listener.address}" is no address', "give one of this computer, such as 192.168.1.5"
        return
    if listener.names and listener.serve != "web":
        yield "names", "only the page is asked for by name", "leave it out"
    if not listener.certificate:
        for key in ("key", "client_ca", "require_client_certificate"):
            if getattr(listener, key):
                yield key, "only TLS has a use for it", "set certificate too, or leave it out"
    elif listener.plain:
        yield "plain", "a listener with a certificate is encrypted", "leave one of the two out"
    if listener.require_client_certificate and not listener.client_ca:
        yield "require_client_certificate", "nobody's certificate could be checked", "set client_ca too"
    if listener.use_identity_as_username:
        if listener.serve != "mqtt":
            cure = "leave it out: there, clients give user name and password; or serve mqtt"
            yield "use_identity_as_username", "the page does not know who shows a certificate", cure
        elif not listener.require_client_certificate:
            cure = "set require_client_certificate = true too"
            yield "use_identity_as_username", "a client without a certificate would be nobody", cure
        elif not has_accounts:
            cure = "set accounts.password_file or managed_file too: who may do what is said of accounts"
            yield "use_identity_as_username", "there is no account that a certificate could name", cure
    if not is_loopback(listener.address):
        if not has_accounts:
            yield "address", f"{listener.address} is beyond this computer", ACCOUNTS_FIRST
        elif not listener.certificate and not listener.plain:
            yield "address", f"{listener.address} would be served without encryption", ENCRYPT


DEFAULT = Listener()


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def anchored(settings: Settings, folder: Path) -> Settings:
    """Let relative paths of listeners lie beside the configuration that names them."""
    listeners = (
        replace(one, **{key: str(folder / Path(path).expanduser()) for key in FILES if (path := getattr(one, key))})
        for one in settings.listener
    )
    return replace(settings, listener=tuple(listeners))
