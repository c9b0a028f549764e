"""What the API says of the past: gaps, the proof of an agent's readings, and the state of a moment."""

import time
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from appliance.devices import HEALTH, device_topic
from appliance.encoding import from_json
from appliance.features.web.asked import json_answer, number_of, time_of
from appliance.features.web.live import Local
from appliance.mqtt.errors import MqttError
from appliance.mqtt.topics import check_topic_filter, check_topic_name
from appliance.store.gap_reader import GapReader
from appliance.store.history_reader import HistoryReader
from appliance.store.proof import prove
from appliance.store.travel import held_at

GAPS: Final = 20
MAX_GAPS: Final = 1_000
MAX_FILTERS: Final = 32

T = TypeVar("T")


class Readers(Protocol):
    """Who asks the database in a thread."""

    async def ask(self, question: Callable[[HistoryReader], T]) -> T:
        """Answer of the history."""


class Health(msgspec.Struct, frozen=True):
    """The part of an agent's `health` that tells how much it still keeps."""

    waiting: int = 0


class Past:
    """Routes, and what they need to answer."""

    def __init__(self, readers: Readers, local: Local, site: str, wall_clock: Callable[[], float] = time.time) -> None:
        self._readers = readers
        self._local = local
        self._site = site
        self._wall_clock = wall_clock

    def routes(self) -> list[Route]:
        """All of them."""
        return [Route("/api/gaps", self.gaps), Route("/api/prove", self.prove), Route("/api/moment", self.moment)]

    async def gaps(self, request: Request) -> Response:
        """The last gaps, the newest first."""
        at = self._wall_clock()
        since_at, until_at = time_of(request, "since", "7d", at), time_of(request, "until", "now", at)
        limit = number_of(request, "limit", GAPS, MAX_GAPS)
        found = await self._readers.ask(lambda history: GapReader(history.path).last(since_at, until_at, limit))
        return json_answer([gap.told() for gap in found])

    async def prove(self, request: Request) -> Response:
        """An agent's numbers against its rows."""
        agent = request.query_params.get("agent", "")
        try:
            check_topic_name(agent)
        except MqttError as error:
            raise HTTPException(400, f"agent: {error}; name one, as `appliance status` lists them") from error
        since_at = None
        if request.query_params.get("since", "all") != "all":
            since_at = time_of(request, "since", "7d", self._wall_clock())
        waiting = self._waiting(agent)
        proof = await self._readers.ask(lambda history: prove(history.path, agent, since_at, waiting=waiting))
        if proof is None:
            raise HTTPException(404, f"'{agent[:64]}' has sent nothing with a number; `appliance status` lists agents")
        return json_answer(proof.told())

    async def moment(self, request: Request) -> Response:
        """The retained messages of a time."""
        now = self._wall_clock()
        at = time_of(request, "at", "now", now)
        if at > now:
            raise HTTPException(400, "at is still to come; give a time that has passed")
        filters = request.query_params.getlist("filter")[:MAX_FILTERS] or ["#"]
        for one in filters:
            try:
                check_topic_filter(one)
            except MqttError as error:
                raise HTTPException(400, f"filter: {error}") from error
        held = await self._readers.ask(lambda history: held_at(history.path, filters, at))
        return json_answer({"at": at, **held._asdict(), "values": [one._asdict() for one in held.values]})

    def _waiting(self, agent: str) -> int | None:
        """How many readings an agent keeps, by its last word."""
        for message in self._local.retained(device_topic(self._site, agent, HEALTH)):
            try:
                return from_json(message.payload, Health).waiting
            except msgspec.DecodeError:
                return None
        return None
