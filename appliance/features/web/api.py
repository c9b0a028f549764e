"""The API of page and command line: JSON answers, and errors of one line that say what to do."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from time import monotonic
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from appliance.broker.message import Message
from appliance.devices import Device, as_told
from appliance.features.web import live
from appliance.features.web.asked import body_of, json_answer, number_of, time_of
from appliance.features.web.chart import MAX_STEPS, Columns, draw_line, draw_steps
from appliance.features.web.files import INDEX, Files
from appliance.features.web.forget import Forget
from appliance.features.web.live import LiveFeed, Local
from appliance.features.web.login import hold_to_publish
from appliance.features.web.pairing import Pairing, PairingControl
from appliance.features.web.past import Past
from appliance.features.web.reload import Again, Reload
from appliance.mqtt.errors import MqttError
from appliance.mqtt.topics import check_topic_name
from appliance.store.answers import Row, Series
from appliance.store.database import StoreError
from appliance.store.gap_reader import GapReader
from appliance.store.history_reader import HistoryReader
from appliance.store.tier_reader import EVERY, TierReader

POINTS: Final = 500
MAX_POINTS: Final = 5_000
ROWS: Final = 1_000
MAX_ROWS: Final = 100_000
PUBLISHED: Final = 'send {"topic": "home/room/relay/set", "payload": "ON"}'
READERS: Final = 2  # threads that ask the database
MAX_WAITING: Final = 16  # questions to the database, waiting or running
GAPS_S: Final = 5.0  # so old may be what the status says of gaps
GAPS_WAIT_S: Final = 1.0  # for a slow disk: the status says more than that
GRACE_S: Final = 0.4  # for a question that runs when the service stops

T = TypeVar("T")


class PublishBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of POST /api/publish."""

    topic: str
    payload: Annotated[str, Meta(max_length=65_536)]
    retain: bool = False
    qos: Annotated[int, Meta(ge=0, le=2)] = 1


class Readers:
    """Asks the database in threads of its own, a bounded number of questions at a time."""

    def __init__(self, history: TierReader | None) -> None:
        self._history = history
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="web-history")
        self._asked: set[Future[Any]] = set()
        self._stopping: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gaps: dict[str, object] | None = None
        self._gaps_due = 0.0

    @property
    def has_history(self) -> bool:
        """Whether anything is recorded."""
        return self._history is not None

    async def ask(self, question: Callable[[TierReader], T]) -> T:
        """Answer of the history; HTTPException when there is none, StoreError when the database is in trouble."""
        if self._history is None:
            raise HTTPException(404, "nothing is recorded; set history.enabled to true in the configuration")
        if self._stopping.done():
            raise HTTPException(503, "the appliance is stopping; ask again when it runs")
        if len(self._asked) >= MAX_WAITING:
            raise HTTPException(503, "too many questions to the history at once; ask again in a moment")
        asked = self._threads.submit(question, self._history)
        self._asked.add(asked)
        answer = asyncio.wrap_future(asked)
        answer.add_done_callback(lambda _: self._asked.discard(asked))
        either: set[asyncio.Future[Any]] = {answer, self._stopping}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            answer.add_done_callback(_forget)
            raise
        if not answer.done():
            answer.add_done_callback(_forget)
            raise HTTPException(503, "the appliance is stopping; ask again when it runs")
        return answer.result()

    async def times(self) -> dict[str, float]:
        """When the newest reading of each topic was measured; empty when nothing is recorded."""
        if self._history is None:
            return {}
        return await self.ask(lambda history: {one.topic: one.last_at for one in history.topics() if one.last_at})

    async def gaps(self, at: float) -> dict[str, object] | None:
        """Sum the gaps of the last day up; what was known, where the disk is slow, and None while nothing is.

        Everybody who has the page open asks for the status, so it is no older than some seconds rather than new.
        """
        now = monotonic()
        if self._history is not None and now >= self._gaps_due:
            self._gaps_due = now + GAPS_S
            reader = GapReader(self._history.path)
            with suppress(StoreError, HTTPException, TimeoutError):
                self._gaps = await asyncio.wait_for(self.ask(lambda _: reader.news(at)), GAPS_WAIT_S)
        return self._gaps

    def refuse(self) -> None:
        """Answer no more questions; those who wait are told so."""
        if not self._stopping.done():
            self._stopping.set_result(None)

    async def close(self) -> None:
        """End the threads. A question that still runs gets a moment; its own time limit ends it otherwise."""
        self.refuse()
        self._threads.shutdown(wait=False, cancel_futures=True)
        running = {asyncio.wrap_future(asked) for asked in self._asked if not asked.done()}
        still_running: set[asyncio.Future[Any]] = set()
        if running:
            _, still_running = await asyncio.wait(running, timeout=GRACE_S)
        for answer in running:
            answer.add_done_callback(_forget)
        if not still_running:
            self._threads.shutdown(wait=True)  # joins threads that have nothing left to do
        if self._history is not None:
            self._history.close()


class Api:
    """All routes, and what they need to answer."""

    def __init__(
        self,
        *,
        site: str,
        feed: LiveFeed,
        local: Local,
        readers: Readers,
        status: Callable[[], dict[str, object]],
        files: Files,
        pairing: Pairing | None = None,
        reload: Again | None = None,
        read_about: Callable[[Message], Device] = as_told,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._feed = feed
        self._local = local
        self._past = Past(readers, local, site, wall_clock)
        self._forget = Forget(local, site, read_about)
        self._pairing = PairingControl(pairing)
        self._reload = Reload(reload) if reload is not None else None
        self._readers = readers
        self._status = status
        self._files = files
        self._wall_clock = wall_clock

    def app(self) -> Starlette:
        """The application, without its guard."""
        return Starlette(
            routes=[
                Route("/api/rooms", self.rooms),
                Route("/api/history", self.history),
                Route("/api/topics", self.topics),
                *self._past.routes(),
                Route("/api/status", self.status),
                *self._forget.routes(),
                *self._pairing.routes(),
                *(self._reload.routes() if self._reload is not None else ()),
                Route("/api/publish", self.publish, methods=["POST"]),
                WebSocketRoute("/api/live", self.live),
                Route("/healthz", self.healthz),
                Route("/readyz", self.readyz),
                Route("/", self.file),
                *(Route(f"/{name}", self.file) for name in self._files.names()),
            ],
            exception_handlers={
                HTTPException: _refused,
                StoreError: _store_trouble,
                Exception: _our_fault,
            },
        )

    async def rooms(self, request: Request) -> Response:  # noqa: ARG002 a route's signature
        """Everything the page shows."""
        return json_answer(await self._feed.snapshot())

    async def status(self, request: Request) -> Response:  # noqa: ARG002
        """How the service does."""
        gaps = await self._readers.gaps(self._wall_clock())
        return json_answer(self._status() | ({} if gaps is None else {"gaps": gaps}))

    async def topics(self, request: Request) -> Response:  # noqa: ARG002
        """Everything that has a history."""
        return json_answer(await self._readers.ask(lambda history: history.topics()))

    async def history(self, request: Request) -> Response:
        """One topic's readings: columns for a chart, rows with raw=1, or what a period comes to with every=1h."""
        at = self._wall_clock()
        topic = request.query_params.get("topic", "")
        if not topic:
            raise HTTPException(400, "topic is missing; /api/topics lists what has a history")
        since_at = time_of(request, "since", "1h", at)
        until_at = time_of(request, "until", "now", at)
        if since_at >= until_at:
            raise HTTPException(400, "since is not before until; swap them")
        if request.query_params.get("raw", "0") in {"1", "true"}:
            limit = number_of(request, "limit", ROWS, MAX_ROWS)
            rows = await self._readers.ask(
                lambda history: _rows(history, topic, since_at, until_at, limit),
            )
            return json_answer(rows)
        if (every := request.query_params.get("every")) is not None:
            if every not in EVERY:
                raise HTTPException(400, f"every is '{every[:20]}'; write {', '.join(EVERY)}")
            limit = number_of(request, "limit", ROWS, MAX_ROWS)
            told = await self._readers.ask(
                lambda history: _summaries(history, topic, every, since_at, until_at, limit, at),
            )
            return json_answer(told)
        points = number_of(request, "points", POINTS, MAX_POINTS)
        columns = await self._readers.ask(lambda history: _columns(history, topic, since_at, until_at, points))
        return json_answer(columns)

    async def publish(self, request: Request) -> Response:
        """Publish one message as a client would."""
        body = await body_of(request, PublishBody, PUBLISHED)
        try:
            check_topic_name(body.topic)
        except MqttError as error:
            raise HTTPException(400, f"{error}; {PUBLISHED}") from error
        if body.topic.startswith("$"):
            raise HTTPException(400, "topics that begin with $ belong to the broker; publish elsewhere")
        hold_to_publish(request, body.topic)
        self._local.publish(body.topic, body.payload.encode(), qos=body.qos, retain=body.retain)
        return json_answer({"topic": body.topic})

    async def live(self, websocket: WebSocket) -> None:
        """The live feed."""
        await live.serve(websocket, self._feed)

    async def healthz(self, request: Request) -> Response:  # noqa: ARG002
        """Whether the event loop turns: it did to answer."""
        return json_answer({"alive": True})

    async def readyz(self, request: Request) -> Response:  # noqa: ARG002
        """Whether the broker answers and the history can be read."""
        self._local.retained("$SYS/broker/version")
        if self._readers.has_history:
            await self._readers.ask(lambda history: history.rows("", 0.0, 0.0, 1))
        return json_answer({"ready": True})

    async def file(self, request: Request) -> Response:
        """The page and its files."""
        return self._files.answer(request.url.path.removeprefix("/") or INDEX, request)


def _forget(answer: "asyncio.Future[Any]") -> None:
    """Look at an answer nobody waits for, so that its error is not reported as overlooked."""
    if not answer.cancelled():
        answer.exception()


def _columns(history: TierReader, topic: str, since_at: float, until_at: float, points: int) -> Columns:
    series = _series(history, topic)
    if series.kind == "binary" and since_at >= history.readings_since():
        rows = history.rows(topic, since_at, until_at, MAX_STEPS + 1)
        if len(rows) <= MAX_STEPS:
            before = history.rows(topic, 0.0, since_at - 0.001, 1)
            gaps = GapReader(history.path).of(topic, [row.at for row in rows], since_at, until_at)
            return draw_steps(series, before[0] if before else None, rows, since_at, until_at, gaps)
    chart = history.chart(topic, since_at, until_at, points)
    at = [bucket.at for bucket in chart.buckets]
    return draw_line(series, chart, GapReader(history.path).of(topic, at, since_at, until_at))


def _rows(history: HistoryReader, topic: str, since_at: float, until_at: float, limit: int) -> dict[str, Any]:
    series = _series(history, topic)
    rows: list[Row] = history.rows(topic, since_at, until_at, limit)
    shown_from_at = rows[0].at if len(rows) >= limit else since_at  # of what is cut off, the gaps are too
    gaps = GapReader(history.path).of(topic, [row.at for row in rows], shown_from_at, until_at)
    return {
        "topic": topic,
        "kind": series.kind,
        "unit": series.unit,
        "name": series.name,
        "since": since_at,
        "until": until_at,
        "rows": rows,
        "gaps": [gap.told() for gap in gaps],
    }


def _summaries(
    history: TierReader, topic: str, every: str, since_at: float, until_at: float, limit: int, now_at: float
) -> dict[str, Any]:
    series = _series(history, topic)
    rows = history.summaries(topic, every, since_at, until_at, limit, now_at=now_at)
    shown_from_at = max(since_at, rows[0].at) if len(rows) >= limit else since_at
    gaps = GapReader(history.path).of_periods(history, topic, shown_from_at, until_at)
    return {
        "topic": topic,
        "kind": series.kind,
        "unit": series.unit,
        "name": series.name,
        "since": since_at,
        "until": until_at,
        "every": every,
        "rows": rows,
        "gaps": [gap.told() for gap in gaps],
    }


def _series(history: HistoryReader, topic: str) -> Series:
    for series in history.topics():
        if series.topic == topic:
            return series
    raise HTTPException(404, f"'{topic[:200]}' has no history; /api/topics lists what has one")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 registered for it
    reason = error.detail
    if error.status_code == 404 and reason == HTTPStatus.NOT_FOUND.phrase:
        reason = "there is nothing here; the page is at /"
    if error.status_code == 405:
        reason = f"{request.method} is not possible here; use {(error.headers or {}).get('Allow', 'GET')}"
    return json_answer({"error": reason}, error.status_code, dict(error.headers or {}))


async def _store_trouble(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return json_answer({"error": str(error)}, 503)


async def _our_fault(request: Request, error: Exception) -> Response:  # noqa: ARG001 the server logs it
    return json_answer({"error": "something went wrong inside the appliance; its log has the details"}, 500)
