"""Pairing over HTTP: what a new agent says, without an account, and what the command line asks.

Nothing of it exists for an agent while no window is open, and nothing ever for a browser: a stranger's page could use
up the tries. The name by which the hub is asked does not matter, as no certificate does.
"""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any, Final, Protocol

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from appliance import pake
from appliance.encoding import to_json
from appliance.features.web.asked import body_bytes, body_of, json_answer
from appliance.features.web.guard import HEADERS

PREFIX: Final = "/pair/"
OF_BROWSERS: Final = frozenset({b"origin", b"sec-fetch-site", b"sec-fetch-mode", b"cookie"})
CLOSED: Final = (404, "pairing is not open; run `appliance pair` on the hub")
OPENED: Final = 'send {"minutes": 5}'
KEY: Final = 'send {"key": "…"}, as opening gave it'


class Pairing(Protocol):
    """What the service does; every call may raise TurnedAway."""

    def is_open(self) -> bool:
        """Whether an agent may come."""

    async def hello(self, body: bytes, peer: str) -> bytes:
        """Begin."""

    async def prove(self, body: bytes) -> bytes:
        """Judge the code."""

    async def ask(self, body: bytes, certificate: Callable[[], bytes]) -> bytes:
        """Make the account; `certificate` gives what is shown on this connection, in DER form, and takes its time."""

    async def open(self, minutes: float) -> dict[str, object]:
        """Begin to wait for an agent."""

    def told(self, key: str, since: int) -> dict[str, object]:
        """Say how it is, and what happened since note number `since`."""

    def close(self, key: str) -> str:
        """Wait no more; gives the words for how it ended."""


class OpenBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of POST /api/pairing/open."""

    minutes: float = 5.0


class KeyBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of the other two: which window is meant, and how many notes are known already."""

    key: str
    since: int = 0


class PairingDoor:
    """Stands before guard and login of a listener: takes what begins with /pair/, and lets all else go on."""

    def __init__(self, app: ASGIApp, pairing: Pairing) -> None:
        self._app = app
        self._pairing = pairing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request or WebSocket."""
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        answer = await self._answer(Request(scope, receive))
        answer.raw_headers.extend(HEADERS)
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        steps: dict[str, tuple[int, Callable[[bytes], Awaitable[bytes]]]] = {
            pake.HELLO: (pake.MAX_BODY_BYTES, lambda body: self._pairing.hello(body, _host(request))),
            pake.PROVE: (pake.MAX_BODY_BYTES, self._pairing.prove),
            pake.ASK: (pake.MAX_ASK_BYTES, lambda body: self._pairing.ask(body, lambda: _shown(request))),
        }
        found = steps.get(request.url.path)
        is_browser = any(name in OF_BROWSERS for name, _ in request.scope["headers"])
        if found is None or request.method != "POST" or is_browser or not self._pairing.is_open():
            return _no(*CLOSED)
        most, step = found
        try:
            return Response(
                await step(await body_bytes(request, most)), headers=NO_STORE, media_type="application/json"
            )
        except HTTPException as error:
            return _no(error.status_code, error.detail)
        except pake.TurnedAway as error:
            return _no(error.status, str(error))


class PairingControl:
    """What `appliance pair` asks; only over the control socket."""

    def __init__(self, pairing: Pairing | None) -> None:
        self._given = pairing

    @property
    def _pairing(self) -> Pairing:
        if self._given is None:
            raise HTTPException(409, "set accounts.managed_file first: the accounts of agents are kept there")
        return self._given

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/api/pairing/open", self.open, methods=["POST"]),
            Route("/api/pairing/told", self.told, methods=["POST"]),
            Route("/api/pairing/close", self.close, methods=["POST"]),
        ]

    async def open(self, request: Request) -> Response:
        """Open a window, and tell its code."""
        _only_here(request)
        body = await body_of(request, OpenBody, OPENED)
        with _refused():
            return json_answer(await self._pairing.open(body.minutes))

    async def told(self, request: Request) -> Response:
        """Say how the window is."""
        _only_here(request)
        body = await body_of(request, KeyBody, KEY)
        with _refused():
            return json_answer(self._pairing.told(body.key, body.since))

    async def close(self, request: Request) -> Response:
        """Close it."""
        _only_here(request)
        body = await body_of(request, KeyBody, KEY)
        with _refused():
            return json_answer({"closed": self._pairing.close(body.key)})


NO_STORE: Final = {"cache-control": "no-store"}


@contextmanager
def _refused() -> Generator[None]:
    try:
        yield
    except pake.TurnedAway as error:
        raise HTTPException(error.status, str(error)) from None


def _only_here(request: Request) -> None:
    if not request.scope.get("state", {}).get("is_control"):
        raise HTTPException(403, "pairing is opened on the hub alone; run `appliance pair` there")


def _no(status: int, reason: str) -> Response:
    """Turn away, and hang up: nothing more is expected of whoever it is."""
    headers = {**NO_STORE, "connection": "close"}
    return Response(to_json({"error": reason}), status, headers=headers, media_type="application/json")


def _shown(request: Request) -> bytes:
    from appliance.net.certificates import shown  # noqa: PLC0415 loaded already by who encrypts

    return shown(request.state.context)


def _host(request: Request) -> str:
    client: Any = request.scope.get("client") or ("?", 0)
    return str(client[0]).removeprefix("::ffff:")
