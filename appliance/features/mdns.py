"""Announces by mDNS what others on the network may connect to: an address book for them, never a reason to trust.

IPv4 multicast, as sensor agents look; it lives beside avahi, which answers for the host's name too.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib import import_module
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from appliance.hostname import local_name, mark, own_name, short_name
from appliance.interfaces import Changes, Computer, look
from appliance.listeners import is_outer
from appliance.settings import Listener

if TYPE_CHECKING:
    from zeroconf import Zeroconf
    from zeroconf.asyncio import AsyncZeroconf

LOG: Final = logging.getLogger(__name__)
KINDS: Final = {
    ("mqtt", False): "_mqtt._tcp",
    ("mqtt", True): "_secure-mqtt._tcp",
    ("web", False): "_http._tcp",
    ("web", True): "_https._tcp",
}
"""What is served, whether with TLS -> the name that IANA has for it; `_https._tcp` is only in use."""

LONGEST_NAME: Final = 63  # bytes
SETTLE_S: Final = 2.0  # after a change of the network: a cable brings several
LOOK_S: Final = 600.0  # whether somebody else has our host's name
RETRY_S: Final = 60.0
BLIND_S: Final = 60.0  # between two looks where the kernel does not tell of changes
ASK_S: Final = 1.0  # that others have to say that a name is theirs
A, IN, QUERY = 1, 1, 0  # RFC 1035


class Offer(NamedTuple):
    """What one port offers, at which of our addresses."""

    kind: str
    port: int
    addresses: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]  # the TXT record


class Standing(NamedTuple):
    """All that is to be announced, and the addresses of the interfaces on which it is."""

    offers: tuple[Offer, ...]
    interfaces: tuple[str, ...]


def standing(listeners: Iterable[Listener], computer: Computer, site: str, version: str) -> Standing:
    """Say what is to be announced of these listeners while the interfaces are as they are."""
    found: dict[tuple[str, int], set[str]] = {}
    facts: dict[tuple[str, int], tuple[tuple[str, str], ...]] = {}
    everywhere = [address for one in computer.outer for address in one.addresses]
    for one in filter(is_outer, listeners):
        tls = bool(one.certificate)
        key = (KINDS[one.serve, tls], one.port_or_usual())
        found.setdefault(key, set()).update(_reached(one.address, everywhere))
        path = (("path", "/"),) if one.serve == "web" else ()
        told = ("version", version), ("tls", "1" if tls else "0"), ("site", site)
        facts[key] = (("txtvers", "1"), *told, *path)
    offers = tuple(
        Offer(*key, tuple(address for address in everywhere if address in reached), facts[key])
        for key, reached in sorted(found.items())
        if reached
    )
    announced = {address for offer in offers for address in offer.addresses}
    interfaces = [one.addresses[0] for one in computer.outer if announced & set(one.addresses)]
    return Standing(offers, tuple(address for address in interfaces if ":" not in address))


def _reached(address: str, everywhere: Sequence[str]) -> list[str]:
    if address == "0.0.0.0":  # noqa: S104 compared, not listened on
        return [one for one in everywhere if ":" not in one]
    return [one for one in everywhere if address in {"::", one}]


def instance_names(offers: Iterable[Offer], site: str) -> dict[Offer, str]:
    """Name each offer for people who look around in the network; no other computer has the same."""
    named: dict[Offer, str] = {}
    for offer in offers:
        again = any(other.kind == offer.kind for other in named)
        end = f"-{mark()}{f' port {offer.port}' if again else ''}"
        head = f"{site[:24]} on {short_name()}"
        named[offer] = head[: LONGEST_NAME - len(end)] + end
    return named


class Announcer:
    """Announces listeners while it runs, and follows the interfaces."""

    def __init__(
        self, listeners: Sequence[Listener], *, site: str, version: str, look: Callable[[], Computer] = look
    ) -> None:
        self._listeners = listeners
        self._site = site
        self._version = version
        self._look = look
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._standing = Standing((), ())
        self._zeroconf: AsyncZeroconf | None = None
        self.host = ""  # the name in `.local` under which it is announced
        self.announced: tuple[str, ...] = ()
        self.trouble = ""

    def start(self) -> None:
        """Begin, in the background: nobody waits until the network has had time to object to a name."""
        self._task = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        """Say goodbye to who has heard of us, which takes a quarter of a second."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._withdraw()

    def status(self) -> dict[str, object]:
        """Say what is announced, and what is wrong."""
        return {"announced": list(self.announced), "trouble": self.trouble}

    async def _run(self) -> None:
        changes = self._hear()
        try:
            while True:
                pause_s = LOOK_S if changes is not None else BLIND_S
                try:
                    await self._update()
                    self._tell("")
                except Exception as error:  # noqa: BLE001 whatever a library or a driver makes of a strange network
                    self._tell(str(error) or type(error).__name__)
                    await self._withdraw()
                    pause_s = RETRY_S
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._changed.wait()
                    await asyncio.sleep(SETTLE_S)
                self._changed.clear()
        finally:
            if changes is not None:
                asyncio.get_running_loop().remove_reader(changes.fileno())
                changes.close()

    def _hear(self) -> Changes | None:
        try:
            changes = Changes()
        except OSError as error:
            LOG.info("the kernel does not tell of changes of the network (%s): it is looked at every minute", error)
            return None

        def heard() -> None:
            changes.take()
            self._changed.set()

        asyncio.get_running_loop().add_reader(changes.fileno(), heard)
        return changes

    async def _update(self) -> None:
        """Bring what is announced up to date; whatever is raised means that nothing is announced."""
        computer = self._look()
        wanted = standing(self._listeners, computer, self._site, self._version)
        ours = {address for one in computer.every for address in one.addresses}
        if self._zeroconf is not None and wanted == self._standing and self.host in {local_name(), own_name()}:
            is_taken = self.host == local_name() and await _others(self._zeroconf.zeroconf, self.host, ours)
            if not is_taken:
                return
        await self._withdraw()
        if not wanted.interfaces:
            raise NoNetworkError("there is no network with an IPv4 address of ours to announce it on")
        await asyncio.to_thread(import_module, "zeroconf.asyncio")  # a second on a small Pi
        logging.getLogger("zeroconf").setLevel(logging.CRITICAL)  # strange packets of others are no news
        from zeroconf.asyncio import AsyncZeroconf  # noqa: PLC0415 8 MB, for who is announced

        self._zeroconf = zeroconf = AsyncZeroconf(interfaces=list(wanted.interfaces))
        await zeroconf.zeroconf.async_wait_for_start()
        if not zeroconf.zeroconf.engine.senders:
            raise NoNetworkError("no interface takes multicast")
        self.host = local_name()
        if theirs := await _others(zeroconf.zeroconf, self.host, ours):
            LOG.warning(
                "%s is also the computer at %s: this one is announced as %s; give one of them a name of its own with "
                "`sudo hostnamectl set-hostname …`",
                self.host,
                ", ".join(sorted(theirs)),
                own_name(),
            )
            self.host = own_name()
        names = await asyncio.gather(
            *(
                self._register(zeroconf, offer, name)
                for offer, name in instance_names(wanted.offers, self._site).items()
            )
        )
        self._standing, self.announced = wanted, tuple(names)

    async def _register(self, zeroconf: "AsyncZeroconf", offer: Offer, name: str) -> str:
        from zeroconf import ServiceInfo  # noqa: PLC0415 loaded before

        kind = f"{offer.kind}.local."
        info = ServiceInfo(
            kind,
            f"{name}.{kind}",
            port=offer.port,
            parsed_addresses=list(offer.addresses),
            properties=dict(offer.facts),
            server=f"{self.host}.",
        )
        await (await zeroconf.async_register_service(info, allow_name_change=True))
        taken = info.name.removesuffix(f".{kind}")
        if taken != name:
            LOG.warning("another hub is announced as %s: this one is %s; is it a copy of the same card?", name, taken)
        return f"{taken} ({offer.kind} on port {offer.port})"

    async def _withdraw(self) -> None:
        zeroconf, self._zeroconf = self._zeroconf, None
        self._standing, self.announced = Standing((), ()), ()
        if zeroconf is not None:
            with suppress(Exception):  # the network is gone, and with it who could be told
                await zeroconf.async_close()

    def _tell(self, trouble: str) -> None:
        """Say once what is wrong, and that it is well again."""
        if trouble and not self.trouble:
            LOG.warning("not announced by mDNS: %s; it is tried again", trouble)
        elif self.trouble and not trouble:
            LOG.warning("announced by mDNS: %s", ", ".join(self.announced))
        self.trouble = trouble


class NoNetworkError(Exception):
    """There is nobody to tell."""


async def _others(zeroconf: "Zeroconf", host: str, ours: set[str]) -> set[str]:
    """Ask who has the name, and give the addresses that are not ours."""
    from zeroconf import DNSOutgoing, DNSQuestion  # type: ignore[attr-defined]  # noqa: PLC0415 loaded before

    asking = DNSOutgoing(QUERY)
    asking.add_question(DNSQuestion(f"{host}.", A, IN))
    zeroconf.async_send(asking)
    await asyncio.sleep(ASK_S)
    told: Iterable[Any] = zeroconf.cache.get_all_by_details(f"{host}.", A, IN)
    return {str(ip_address(one.address)) for one in told} - ours
