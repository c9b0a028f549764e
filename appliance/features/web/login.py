"""User name and password for the page where other computers can reach it: HTTP Basic, over the accounts.

A browser sends them with each request, and checking a password is slow on purpose. So what was good stays good for
some minutes, remembered as a keyed digest.
"""

import binascii
import hmac
import secrets
from base64 import b64decode
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from time import monotonic
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from appliance.features.web.guard import refuse

REMEMBERED_S: Final = 300.0
MAX_REMEMBERED: Final = 64
MAX_CHECKS: Final = 8  # at a time; the accounts check one after the other
MAX_HEADER_BYTES: Final = 2_048
CHALLENGES: Final = {401: ((b"www-authenticate", b'Basic realm="appliance", charset="UTF-8"'),)}


class Verdict(Enum):
    """What the accounts say of a name and a password."""

    WELCOME = auto()
    WRONG = auto()  # which of the two is not told
    HAS_RULES = auto()  # both are right, but the page shows more than this user may read


Verify = Callable[[str, str, str], Awaitable[Verdict]]
"""Whether there is such a user with this password; last comes who asks, as address and port."""


class Login:
    """Lets requests pass that carry a good user name and password."""

    def __init__(self, app: ASGIApp, verify: Verify, clock: Callable[[], float] = monotonic) -> None:
        self._app = app
        self._verify = verify
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._good_until: dict[bytes, float] = {}  # the oldest first
        self._checks = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request or WebSocket."""
        if scope["type"] not in {"http", "websocket"} or scope.get("state", {}).get("is_control"):
            await self._app(scope, receive, send)
            return
        refused = await self._refusal(scope)
        if refused is None:
            await self._app(scope, receive, send)
        else:
            await refuse(scope, send, *refused, *CHALLENGES.get(refused[0], ()))

    async def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = [value for name, value in scope["headers"] if name == b"authorization"]
        found = credentials(headers[0]) if len(headers) == 1 else None
        if found is None:
            return 401, "log in with a user name and password of the accounts"
        digest = hmac.digest(self._secret, "\0".join(found).encode(), "sha256")
        if self._good_until.get(digest, 0.0) > self._clock():
            return None
        if self._checks >= MAX_CHECKS:
            return 503, "too many people log in at once; try again in a moment"
        self._checks += 1
        try:
            verdict = await self._verify(*found, _peer(scope))
        finally:
            self._checks -= 1
        if verdict is Verdict.WRONG:
            return 401, "user name or password is wrong"
        if verdict is Verdict.HAS_RULES:
            name = found[0][:80]
            problem = f"the page shows everything, and '{name}' may not read everything"
            return 403, f"{problem}: log in as a user without rules"
        self._remember(digest)
        return None

    def _remember(self, digest: bytes) -> None:
        self._good_until.pop(digest, None)
        while len(self._good_until) >= MAX_REMEMBERED:
            del self._good_until[next(iter(self._good_until))]
        self._good_until[digest] = self._clock() + REMEMBERED_S

    def forget(self) -> None:
        """Check everybody anew, as after a change of the accounts."""
        self._good_until.clear()


def credentials(header: bytes) -> tuple[str, str] | None:
    """Read user name and password, RFC 7617; None when they are not there."""
    scheme, _, encoded = header.partition(b" ")
    if scheme.lower() != b"basic" or len(header) > MAX_HEADER_BYTES:
        return None
    try:
        username, colon, password = b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (username, password) if colon and username and "\0" not in username + password else None


def _peer(scope: Scope) -> str:
    host, port = scope.get("client") or ("", 0)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
