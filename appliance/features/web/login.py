"""User name and password for the page where other computers can reach it: HTTP Basic, over the accounts.

A browser sends them with each request. Checking a password is slow on purpose; who was right is known again, and
that is the accounts' part: here nothing is remembered, so that a change of theirs counts for the next request.
"""

import binascii
from base64 import b64decode
from collections.abc import Awaitable, Callable, Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from appliance.features.web.guard import refuse

MAX_HEADER_BYTES: Final = 2_048
APART: Final = "in a private window"  # a browser sends what it was told once until it is closed
CHALLENGES: Final = {401: ((b"www-authenticate", b'Basic realm="appliance", charset="UTF-8"'),)}


class Verdict(Enum):
    """Why somebody is not let in."""

    WRONG = auto()  # user name or password; which of the two is not told
    BUSY = auto()  # too many from there ask at once
    HAS_RULES = auto()  # both are right, but the page shows more than this user may read


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who is let in, and what it may do beside looking, at the moment that it is asked."""

    name: str
    may_publish: Callable[[str], bool]
    may_forget: Callable[[], bool]


Verify = Callable[[str, str, str], Awaitable[Visitor | Verdict]]
"""Who has this name and password, or why nobody is let in; last comes who asks, as address and port."""


class Login:
    """Lets requests pass that carry a good user name and password; their state gets the `visitor`."""

    def __init__(self, app: ASGIApp, verify: Verify) -> None:
        self._app = app
        self._verify = verify
        self._open: dict[str, set[Callable[[], None]]] = {}  # by user name, the ways to cut its connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request or WebSocket."""
        if scope["type"] not in {"http", "websocket"} or scope.get("state", {}).get("is_control"):
            await self._app(scope, receive, send)
            return
        refused = await self._refusal(scope)
        if refused is None:
            self._watch_answer(scope)
            with self._watched(scope):
                await self._app(scope, receive, send)
        else:
            await refuse(scope, send, *refused, *CHALLENGES.get(refused[0], ()))

    def forget(self, users: Collection[str]) -> None:
        """Cut what these users have open; a page comes back by itself, and is judged anew."""
        for name in users:
            for cut in tuple(self._open.get(name, ())):
                cut()

    @contextmanager
    def _watched(self, scope: Scope) -> Generator[None]:
        """Know of a WebSocket, which goes on after it was judged."""
        cut: Callable[[], None] | None = scope["state"].get("abort") if scope["type"] == "websocket" else None
        if cut is None:
            yield
            return
        name = scope["state"]["visitor"].name
        self._open.setdefault(name, set()).add(cut)
        try:
            yield
        finally:
            self._drop(name, cut)

    def _watch_answer(self, scope: Scope) -> None:
        """Know of a connection until it ends: long after its answer is said, much of it may wait for a slow reader.

        Who only has something done is judged once more when that is to be done.
        """
        state = scope["state"]
        if scope["type"] != "http" or scope["method"] != "GET" or "at_end" not in state:
            return
        name, cut = state["visitor"].name, state["abort"]
        if cut not in self._open.get(name, ()):
            self._open.setdefault(name, set()).add(cut)
            state["at_end"](partial(self._drop, name, cut))

    def _drop(self, name: str, cut: Callable[[], None]) -> None:
        self._open[name].discard(cut)
        if not self._open[name]:
            del self._open[name]

    async def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = [value for name, value in scope["headers"] if name == b"authorization"]
        found = credentials(headers[0]) if len(headers) == 1 else None
        if found is None:
            return 401, "log in with a user name and password of the accounts"
        verdict = await self._verify(*found, _peer(scope))
        if isinstance(verdict, Visitor):
            scope.setdefault("state", {})["visitor"] = verdict
            return None
        if verdict is Verdict.BUSY:
            return 503, "too many log in from there at once; try again in a moment"
        if verdict is Verdict.HAS_RULES:
            # 401 although the password is right: after 403 a browser would send it again and again, and never ask.
            problem = f"the page shows everything, and '{found[0][:80]}' may not read everything"
            return 401, f"{problem}: log in as somebody who may"
        return 401, "user name or password is wrong"


def hold_to_publish(request: Request, topic: str) -> None:
    """HTTPException where who asks has logged in and may not publish there."""
    visitor = visitor_of(request)
    if visitor is not None and not visitor.may_publish(topic):
        raise HTTPException(
            403, f"'{visitor.name[:80]}' may not publish to {topic[:200]}: log in as somebody who may, {APART}"
        )


def hold_to_forget(request: Request) -> None:
    """HTTPException where who asks has logged in and may not publish everything."""
    visitor = visitor_of(request)
    if visitor is not None and not visitor.may_forget():
        raise HTTPException(403, f"'{visitor.name[:80]}' may not forget devices: log in as an admin, {APART}")


def visitor_of(request: Request) -> Visitor | None:
    """Give who has logged in; None on this computer's own page, where nobody has to."""
    visitor = request.scope.get("state", {}).get("visitor")
    assert visitor is None or isinstance(visitor, Visitor)  # noqa: S101 nobody else writes it
    return visitor


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
