"""The recorder: says which topics are history, and what agents call their readings."""

import logging
from collections.abc import Callable
from typing import Final, Protocol

from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag
from appliance.broker.rights import Rights
from appliance.devices import ABOUT, Device, as_told, device_topic, narrowed
from appliance.store.readings import bundled_topics, is_backlog, is_recorded

LOG: Final = logging.getLogger(__name__)
MOST_BARRED: Final = 1_000  # pairs of backlog and topic that are told of in the log


class Subscriber(Protocol):
    """What the recorder asks of a client inside the process."""

    def subscribe(self, topic_filter: str, deliver: Callable[[Message], None], /) -> Callable[[], None]:
        """Deliver retained messages now and live ones later; the answer ends it."""


class Recorder:
    """Flags the topics of a site whose messages are history; `learn` is given names and units from the `about`s."""

    def __init__(
        self, learn: Callable[[Device], None], *, site: str, read: Callable[[Message], Device] = as_told
    ) -> None:
        """`read` gives what an `about` says; ValueError."""
        self._learn = learn
        self._read = read
        self._site = site
        self._barred: set[tuple[str, str]] = set()  # backlog and topic that were logged
        self._unsubscribe: Callable[[], None] | None = None

    def start(self, local: Subscriber) -> None:
        """Read the `about`s from now on; called again, those that are there once more."""
        self.close()
        self._unsubscribe = local.subscribe(device_topic(self._site, "+", ABOUT), self._on_about)

    def close(self) -> None:
        """Read no more; may be called twice."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    def classify(self, topic: str) -> RouteFlag:
        """RECORD for states and events, NONE for commands, descriptions and the agents' own topics but the backlog."""
        if is_backlog(topic, self._site):
            return RouteFlag.RECORD | RouteFlag.BUNDLE
        return RouteFlag.RECORD if is_recorded(topic, self._site) else RouteFlag.NONE

    def inspect(self, topic: str, payload: bytes, rights: Rights) -> list[str]:
        """Give the topics of readings in a backlog that its publisher may not publish to, and log each once."""
        barred = sorted(one for one in bundled_topics(payload, self._site) if not rights.may_publish(one))
        for one in barred:
            if (topic, one) not in self._barred and len(self._barred) < MOST_BARRED:
                self._barred.add((topic, one))
                LOG.warning(
                    "%s: refused, it holds readings of %s, where its user may not publish; grant that with"
                    " `appliance devices add` or in the rules, or take the sensor from the agent",
                    topic,
                    one,
                    extra={"MQTT_TOPIC": topic},
                )
        return barred

    def _on_about(self, message: Message) -> None:
        if not message.payload:
            return  # forgotten: its history keeps its names
        try:
            device = self._read(message)
        except ValueError as error:
            LOG.warning("%s: %s", message.topic, error, extra={"MQTT_TOPIC": message.topic, "CAUSE": error})
        else:
            self._learn(narrowed(device, lambda topic: is_recorded(topic, self._site)))
