"""The page as the service opens it. Apart from `app`, since the web's libraries are loaded with it."""

import ssl
from collections.abc import Callable, Sequence

from appliance.accounts import Accounts
from appliance.broker.message import Message
from appliance.devices import Device, as_told
from appliance.features.web.login import Verdict, Verify, Visitor
from appliance.features.web.pairing import Pairing
from appliance.features.web.reload import Again
from appliance.features.web.server import Door, WebServer
from appliance.listeners import is_loopback
from appliance.mqtt.types import ReasonCode
from appliance.net.handshakes import Bounds
from appliance.net.hub import Hub
from appliance.net.listening import SocketFile
from appliance.net.local import LocalClient
from appliance.net.websocket import WebSocketLink
from appliance.settings import Listener, Settings
from appliance.store.tier_reader import TierReader

Encrypted = tuple[Listener, ssl.SSLContext | None]
"""One more port of the page, and what encrypts it."""


def new_page(
    settings: Settings,
    hub: Hub,
    local: LocalClient,
    *,
    control: Callable[[], SocketFile],
    history: TierReader | None,
    status: Callable[[], dict[str, object]],
    reload: Again,
    announced: Callable[[], str],
    listeners: Sequence[Encrypted],
    accounts: Accounts | None,
    read_about: Callable[[Message], Device] = as_told,
) -> WebServer:
    """Make the page's server, not yet started; who comes from another computer is asked for an account."""
    return WebServer(
        site=settings.site,
        address=settings.web.address,
        port=settings.web.port or None,
        control=control,
        local=local,
        history=history,
        status=status,
        reload=reload,
        mqtt=lambda: WebSocketLink(hub, settings.limits.max_packet_bytes),
        doors=[_door(settings, one, context, verifier(accounts)) for one, context in listeners],
        pairing=_pairing(settings, reload, announced) if settings.accounts.managed_file else None,
        read_about=read_about,
    )


def _pairing(settings: Settings, reload: Again, announced: Callable[[], str]) -> Pairing:
    """Let agents get accounts of their own; a new one is one of the service's when it has read its accounts again."""
    from appliance import pairing  # noqa: PLC0415 for who keeps such accounts

    return pairing.Pairing(settings, reload=reload, announced=announced)


def verifier(accounts: Accounts | None) -> Verify:
    """Give what judges those who log in."""

    async def verify(username: str, password: str, peer: str) -> Visitor | Verdict:
        if accounts is None:
            return Verdict.WRONG
        reason = await accounts.passwords.verify(username, password, peer)
        if reason is not ReasonCode.SUCCESS:
            return Verdict.BUSY if reason is ReasonCode.SERVER_BUSY else Verdict.WRONG
        rights = accounts.lasting(username)  # asked once more when something is to be done: a body may come late
        if not rights().reads_everything:
            return Verdict.HAS_RULES
        return Visitor(username, lambda topic: rights().may_publish(topic), lambda: rights().publishes_everything)

    return verify


def _door(settings: Settings, one: Listener, context: ssl.SSLContext | None, verify: Verify) -> Door:
    return Door(
        one.address,
        one.port_or_usual(),
        context,
        None if is_loopback(one.address) else verify,
        frozenset(one.names),
        Bounds.of(settings.limits),
    )
