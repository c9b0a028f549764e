"""What stands before every request: who may ask from a browser, and what the browser may do with the answer.

A page of a stranger, open in the same browser, can send requests here. It is recognised by its Origin, or, when it
points a name of its own at our address (DNS rebinding), by the Host it asks for.
"""

import socket
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from appliance.encoding import to_json
from appliance.hostname import own_name

HEADERS: Final = (
    (
        b"content-security-policy",
        (
            b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
            b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
MAPPED: Final = "::ffff:"  # before the IPv4 address of a connection to a listener of both
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def own_names() -> frozenset[str]:
    """Names this computer answers to, lower-case, as it is called now; asks no name server."""
    host = socket.gethostname().lower()
    first = host.partition(".")[0]
    announced = own_name()  # where another computer is called the same
    return frozenset({"localhost", announced, host, first, f"{first}.local"} if first else {"localhost", announced})


def host_name(host: str) -> str | None:
    """Name or address in a Host header, lower-case, without port; None when it is not one."""
    try:
        parts = urlsplit(f"//{host}")
        parts.port  # noqa: B018 raises when it is none
    except ValueError:
        return None
    if parts.path or parts.query or parts.fragment or parts.username is not None or "\\" in host:
        return None
    name = parts.hostname
    return name.removesuffix(".") if name else None


def is_own(name: str, names: frozenset[str], address: str) -> bool:
    """Whether a name means this computer: one of `names`, a loopback address, or the `address` that was asked."""
    if name in names:
        return True
    try:
        asked = ip_address(name)
    except ValueError:
        return False
    return asked.is_loopback or name == address.removeprefix(MAPPED)


def refusal(
    *, method: str, scheme: str, headers: dict[str, str], names: frozenset[str], address: str
) -> tuple[int, str] | None:
    """Status and reason for turning a request away, None to let it pass. A WebSocket's method is not a safe one."""
    host = headers.get("host", "")
    name = host_name(host)
    if name is None:
        return 400, "the request names no host; ask for http://localhost or this computer's name"
    if not is_own(name, names, address):
        return 421, f"'{name[:80]}' is not this computer; open the page as localhost or by the computer's own name"
    if method in SAFE_METHODS:
        return None
    origin = headers.get("origin")
    if origin is not None and origin.lower() != f"{scheme}://{host}".lower():
        return 403, "the request comes from a page of another site; use this computer's own page"
    if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return 403, "the request comes from a page of another site; use this computer's own page"
    return None


class Guard:
    """Refuses what comes from elsewhere and puts the security headers on every answer.

    `names` are those that it answers to beside its own.
    """

    def __init__(self, app: ASGIApp, names: frozenset[str]) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request or WebSocket."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] in {"http.response.start", "websocket.http.response.start"}:
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        refused = None if scope.get("state", {}).get("is_control") else self._refusal(scope)
        if refused is None:
            await self._app(scope, receive, send_guarded)
        else:
            await refuse(scope, send_guarded, *refused)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        is_socket = scope["type"] == "websocket"
        secure = scope["scheme"] in {"https", "wss"}
        server = scope.get("server") or ("", None)
        return refusal(
            method="WEBSOCKET" if is_socket else scope["method"],
            scheme="https" if secure else "http",
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
            names=own_names() | self._names,
            address=server[0],
        )


async def refuse(scope: Scope, send: Send, status: int, reason: str, *more: tuple[bytes, bytes]) -> None:
    """Answer a request or the opening of a WebSocket with an error, and `more` headers."""
    body = to_json({"error": reason})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *more]
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    await send({"type": f"{kind}.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})
