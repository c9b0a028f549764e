"""The recorder: says which topics are history, and hands their messages to the writer in small batches.

Everything here runs on the event loop and costs next to nothing per message; taking payloads apart and writing them is
the writer's thread's work.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final, Protocol

from appliance.broker.message import Message
from appliance.broker.ports import NoJournal, RouteFlag
from appliance.broker.rights import ALL_RIGHTS, Rights
from appliance.devices import ABOUT, Device, decode_about, device_topic, encode_about
from appliance.store.readings import is_backlog, is_recorded
from appliance.store.writer import Batch, HistoryWriter

LOG: Final = logging.getLogger(__name__)
RECORD: Final = int(RouteFlag.RECORD)  # an IntFlag computes too slowly for every message
BUNDLE: Final = int(RouteFlag.BUNDLE)
BATCH_S: Final = 0.25  # how long a message waits for others to share its transaction
BATCH_BYTES: Final = 262_144  # and how much of them
MESSAGE_BYTES: Final = 300  # what a message costs in memory beside its texts


class Subscriber(Protocol):
    """What the recorder asks of a client inside the process."""

    def subscribe(self, topic_filter: str, deliver: Callable[[Message], None], /) -> Callable[[], None]:
        """Deliver retained messages now and live ones later; the answer ends it."""


class Recorder(NoJournal):
    """The journal of the broker's core: takes messages of recorded topics, in order; nothing waits for the history."""

    def __init__(
        self,
        writer: HistoryWriter,
        *,
        site: str,
        wall_clock: Callable[[], float] = time.time,
        rights_of: Callable[[str], Rights] = lambda _client_id: ALL_RIGHTS,
    ) -> None:
        self._writer = writer
        self._site = site
        self._wall_clock = wall_clock
        self._rights_of = rights_of
        self._batch = Batch()
        self._messages = self._batch.messages
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._unsubscribe: Callable[[], None] | None = None

    def start(self, local: Subscriber | None = None) -> None:
        """Hand over batches from now on, on the running loop; with a client, learn names and units from `about`s."""
        self._loop = asyncio.get_running_loop()
        if local is not None:
            self._unsubscribe = local.subscribe(device_topic(self._site, "+", ABOUT), self._on_about)
        if self._messages:
            self._arm()

    def close(self) -> None:
        """Hand over what waits; the writer's own close then makes it durable. May be called twice."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        self._hand_over()
        self._loop = None

    def classify(self, topic: str) -> RouteFlag:
        """RECORD for states and events, NONE for commands, descriptions and the agents' own topics but the backlog."""
        if is_backlog(topic, self._site):
            return RouteFlag.RECORD | RouteFlag.BUNDLE
        return RouteFlag.RECORD if is_recorded(topic, self._site) else RouteFlag.NONE

    def append(self, message: Message, flags: int = RECORD, _now: float = 0.0) -> None:
        """Take one message of a recorded topic."""
        if not flags & RECORD:
            return
        self._messages.append((self._wall_clock(), message))
        batch = self._batch
        if flags & BUNDLE:  # whoever may publish there may publish for its own topics only
            batch.rights[message] = self._rights_of(message.client_id)
        batch.size_bytes += len(message.payload) + len(message.properties) + len(message.topic) + MESSAGE_BYTES
        if self._timer is None:
            self._arm()
        if batch.size_bytes >= BATCH_BYTES:
            self._hand_over()

    def learn(self, device: Device) -> None:
        """Take the names and units an agent gives its readings."""
        self._batch.devices.append(device)
        self._batch.size_bytes += len(encode_about(device)) + MESSAGE_BYTES * (1 + len(device.sensors))
        self._arm()
        if self._batch.size_bytes >= BATCH_BYTES:
            self._hand_over()

    def _on_about(self, message: Message) -> None:
        if not message.payload:
            return  # forgotten: its history keeps its names
        try:
            self.learn(decode_about(message.payload))
        except ValueError as error:
            LOG.warning("%s: %s", message.topic, error)

    def _arm(self) -> None:
        if self._timer is None and self._loop is not None:
            self._timer = self._loop.call_later(BATCH_S, self._hand_over)

    def _hand_over(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._messages or self._batch.devices:
            batch, self._batch = self._batch, Batch()
            self._messages = self._batch.messages
            self._writer.submit(batch)
