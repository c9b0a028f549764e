"""Has the service read its certificates and accounts again, for who may use its control socket."""

from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from appliance.features.web.asked import json_answer

Again = Callable[[], Awaitable[dict[str, object]]]
"""Reads everything again; says what has changed and what could not be used."""


class Reload:
    """The route, and what it needs to answer."""

    def __init__(self, again: Again) -> None:
        self._again = again

    def routes(self) -> list[Route]:
        """All of them."""
        return [Route("/api/reload", self.reload, methods=["POST"])]

    async def reload(self, request: Request) -> Response:
        """Read again; 403 for who comes over the network."""
        if not request.scope.get("state", {}).get("is_control"):
            raise HTTPException(403, "only this computer's control socket may; use `systemctl reload appliance`")
        return json_answer(await self._again())
