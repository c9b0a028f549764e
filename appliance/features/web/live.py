"""The live feed: what changes in the house, gathered a few times a second for everybody who looks.

While nobody looks there is no subscription, no timer and no memory of the house.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect

from appliance.broker.message import Message
from appliance.devices import Device, as_told
from appliance.encoding import to_json
from appliance.features.web.house import MAX_VALUES, Changes, House, Snapshot

INTERVAL_S: Final = 0.25  # between two frames to the same viewer
LEAD_S: Final = 0.02  # the first change after a quiet time waits only for its neighbours
BEAT_S: Final = 15.0  # a page that hears nothing for longer than two beats opens the connection anew
BEAT: Final = '{"type":"beat"}'
MAX_VIEWERS: Final = 32
MAX_FRAMES: Final = 40  # some ten seconds behind
MAX_FRAME_BYTES: Final = 1_048_576  # waiting for one viewer, a single snapshot excepted
MAX_HEARD: Final = 2 * MAX_VALUES  # topics between two frames

TRY_LATER: Final = 1013  # WebSocket close code: try again later, RFC 6455 registry

log = logging.getLogger(__name__)

Times = Callable[[], Awaitable[Mapping[str, float]]]
"""Asks when each topic's newest reading was measured, Unix seconds."""


class Local(Protocol):
    """What the page needs of the broker: `appliance.net.local.LocalClient`."""

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """Publish one message."""

    def subscribe(self, topic_filter: str, deliver: Callable[[Message], None]) -> Callable[[], None]:
        """Call `deliver` with the retained messages now and new ones later, until the answer is called."""

    def retained(self, topic_filter: str) -> list[Message]:
        """Give the retained messages whose topics match."""


class Viewer:
    """Frames on their way to one open page. Bounded: one that does not read is cut off."""

    def __init__(self, cut: Callable[[], None]) -> None:
        self._cut = cut
        self._frames: deque[str] = deque()
        self._waiting_bytes = 0
        self._wake = asyncio.Event()
        self.is_cut = False

    def offer(self, frame: str, *, replaces: bool) -> None:
        """Add a frame; one that `replaces` takes the place of all that wait, because it says everything."""
        if self.is_cut:
            return
        if replaces:
            self._frames.clear()
            self._waiting_bytes = 0
        self._frames.append(frame)
        self._waiting_bytes += len(frame)
        if len(self._frames) > MAX_FRAMES or (self._waiting_bytes > MAX_FRAME_BYTES and len(self._frames) > 1):
            self.is_cut = True
            self._frames.clear()
            self._cut()
        self._wake.set()

    async def next_frame(self) -> str:
        """Wait for a frame and take it."""
        while not self._frames:
            self._wake.clear()
            await self._wake.wait()
        frame = self._frames.popleft()
        self._waiting_bytes -= len(frame)
        return frame


class LiveFeed:
    """Follows the site's topics while there are viewers, and tells all of them the same."""

    def __init__(
        self,
        local: Local,
        site: str,
        times: Times,
        wall_clock: Callable[[], float] = time.time,
        read_about: Callable[[Message], Device] = as_told,
    ) -> None:
        self._local = local
        self._read_about = read_about
        self._filter = f"{site}/#"
        self._site = site
        self._times = times
        self._wall_clock = wall_clock
        self._viewers: set[Viewer] = set()
        self._house = House(site, read_about)
        self._heard: dict[str, Message] = {}
        self._unsubscribe: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._flushed_at = 0.0  # of the loop's clock
        self._learning: asyncio.Task[None] | None = None

    @property
    def viewers(self) -> int:
        """How many look."""
        return len(self._viewers)

    def join(self, cut: Callable[[], None]) -> Viewer | None:
        """Begin to look; the first frame is a snapshot. None when too many look already."""
        if len(self._viewers) >= MAX_VIEWERS:
            return None
        viewer = Viewer(cut)
        if self._unsubscribe is None:
            self._house = House(self._site, self._read_about)
            self._unsubscribe = self._local.subscribe(self._filter, self._deliver)
            self._learning = asyncio.create_task(self._learn())
        self._flush()  # those who look already get what the snapshot takes along
        self._viewers.add(viewer)
        viewer.offer(encode(self._house.snapshot(self._wall_clock())), replaces=True)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Stop looking; the last one ends the subscription."""
        self._viewers.discard(viewer)
        if not self._viewers and self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
            self._heard.clear()
            self._house = House(self._site, self._read_about)
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._learning is not None:
                self._learning.cancel()
                self._learning = None

    async def snapshot(self) -> Snapshot:
        """Give everything that is retained, as a page would show it; also while nobody looks."""
        at = self._wall_clock()
        house = House(self._site, self._read_about)
        for message in self._local.retained(self._filter):
            house.take(message, at)
        house.learn_times(await self._known_times())
        return house.snapshot(at)

    def _deliver(self, message: Message) -> None:
        # Only kept here: reading it waits for the flush, so that a topic is read once however fast it changes.
        if len(self._heard) < MAX_HEARD or message.topic in self._heard:
            self._heard[message.topic] = message
        if self._timer is None:
            loop = asyncio.get_running_loop()
            delay_s = max(LEAD_S, self._flushed_at + INTERVAL_S - loop.time())
            self._timer = loop.call_later(delay_s, self._flush)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._flushed_at = asyncio.get_running_loop().time()
        at = self._wall_clock()
        for message in self._heard.values():
            self._house.take(message, at)
        self._heard.clear()
        if not self._viewers:
            return
        changes = self._house.changes(at)
        if changes is not None:
            frame = encode(changes)
            for viewer in tuple(self._viewers):
                viewer.offer(frame, replaces=isinstance(changes, Snapshot))

    async def _learn(self) -> None:
        self._house.learn_times(await self._known_times())
        self._flush()

    async def _known_times(self) -> Mapping[str, float]:
        """Ask the history for the times that retained messages do not say; without it their age stays unknown."""
        try:
            return await self._times()
        except Exception as error:  # noqa: BLE001 whatever the history's trouble is, live values go on
            log.warning("ages of values are unknown: %s", error)
            return {}


def encode(frame: Snapshot | Changes) -> str:
    """Give the JSON text of a frame."""
    return to_json(frame).decode()


async def serve(websocket: WebSocket, feed: LiveFeed) -> None:
    """Show the house to one page until it leaves or is cut off."""
    viewer = feed.join(_cut_of(websocket))
    if viewer is None:
        await websocket.accept()
        await websocket.close(TRY_LATER, "too many pages are open; close one")
        return
    sender: asyncio.Task[None] | None = None
    try:
        await websocket.accept()
        sender = asyncio.create_task(_send(websocket, viewer))
        while (await websocket.receive())["type"] != "websocket.disconnect":
            pass  # a page has nothing to say here
    except WebSocketDisconnect:
        pass
    finally:
        feed.leave(viewer)
        if sender is not None:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)


async def _send(websocket: WebSocket, viewer: Viewer) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # closed meanwhile; the receiver notices too
        while True:
            try:
                async with asyncio.timeout(BEAT_S):
                    frame = await viewer.next_frame()
            except TimeoutError:
                frame = BEAT
            await websocket.send_text(frame)


def _cut_of(websocket: WebSocket) -> Callable[[], None]:
    """Give the way to cut the connection at once, without waiting for a peer that does not read."""
    state: dict[str, Any] = websocket.scope.get("state", {})
    abort: Callable[[], None] = state.get("abort", lambda: None)
    return abort
