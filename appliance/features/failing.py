"""Notices sensors that fail while their agent lives: each of their topics has a gap, with the cause that health names.

What an agent's `about` says gives a sensor its topics, its own availability topic says that it fails, and `health`
says why, and which sensors there are at all. While the agent is away its sensors' words are worth nothing: then the gap
is the agent's.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

from appliance.broker.message import Message
from appliance.devices import (
    ABOUT,
    AVAILABILITY,
    HEALTH,
    OFFLINE,
    ONLINE,
    Device,
    SensorHealth,
    as_told,
    decode_health,
    device_topic,
)
from appliance.store.gaps import SENSOR_FAILING, SERIES, GapNote
from appliance.store.open_gaps import Failing

CAUSE_WAIT_S: Final = 5.0  # an agent tells its health soon after a sensor went offline
MAX_AGENTS: Final = 1_000
MAX_SENSORS: Final = 1_000  # of one agent
MOST_WHY: Final = 100  # characters of a cause


class Subscriber(Protocol):
    """What is asked of a client inside the process."""

    def subscribe(self, topic_filter: str, deliver: Callable[[Message], None], /) -> Callable[[], None]:
        """Deliver retained messages now and live ones later; the answer ends it."""


@dataclass(slots=True)
class Agent:
    """What is known of one agent. Times are monotonic."""

    is_here: bool = False
    topics: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by sensor
    described: frozenset[str] = frozenset()  # sensors in its last `about`: those that were built so far
    configured: frozenset[str] = frozenset()  # sensors in its last health
    why: dict[str, str] = field(default_factory=dict)  # of sensors that its health calls offline
    down: dict[str, float] = field(default_factory=dict)  # sensor -> since when it fails
    heard: dict[str, float] = field(default_factory=dict)  # those of them that said so since the agent came, and when
    noted: dict[str, str] = field(default_factory=dict)  # topic -> detail of the gap that is open
    waiting: dict[str, float] = field(default_factory=dict)  # topic -> since when; its cause is not told yet

    def came(self, now: float) -> None:
        """Hear that it is back: what its sensors said before they have to say again."""
        if not self.is_here:
            self.down = dict.fromkeys(self.down, now)
            self.heard.clear()
            self.why.clear()
        self.is_here = True

    def turned(self, sensor: str, now: float, *, fails: bool) -> None:
        """Hear what a sensor says of itself."""
        if fails and (sensor in self.down or len(self.down) < MAX_SENSORS):
            self.down.setdefault(sensor, now)
            self.heard.setdefault(sensor, now)
        elif not fails:
            for known in (self.down, self.heard, self.why):
                known.pop(sensor, None)

    def describe(self, topics: dict[str, tuple[str, ...]]) -> None:
        """Take what its sensors measure; one that cannot be built after a start still has its topics."""
        self.described = frozenset(topics)
        self.topics |= topics
        self._forget()

    def diagnose(self, parts: dict[str, SensorHealth]) -> None:
        """Take what its health says."""
        self.configured = frozenset(parts)
        self.why = {name: why(part) for name, part in parts.items() if part.online is False}
        self._forget()

    def _forget(self) -> None:
        there = self.described | self.configured
        self.topics = {name: topics for name, topics in self.topics.items() if name in there}

    def failing(self) -> dict[str, str]:
        """Topics without readings -> their sensor."""
        if not self.is_here:
            return {}
        return {topic: sensor for sensor in self.heard for topic in self.topics.get(sensor, ())}

    def is_orphan(self, topic: str) -> bool:
        """Whether a gap from an earlier life of this service may be of a failing sensor that nothing describes yet."""
        known = any(topic in topics for topics in self.topics.values())
        return self.is_here and not known and any(one in self.configured - self.topics.keys() for one in self.heard)


class FailingWatch:
    """Hands notes of gaps to `note`, on the event loop. `known` are those that an earlier life left open."""

    def __init__(
        self,
        *,
        site: str,
        note: Callable[[GapNote], None],
        known: Iterable[Failing] = (),
        clock: Callable[[], float] = time.monotonic,
        read: Callable[[Message], Device] = as_told,
    ) -> None:
        """`read` gives what an `about` says; ValueError."""
        self._read = read
        self._site = site
        self._note = note
        self._clock = clock
        self._agents: dict[str, Agent] = {}
        for topic, agent, detail in known:
            self._agents.setdefault(agent, Agent()).noted[topic] = detail
        self._is_started = False
        self._unsubscribe: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None

    def start(self, local: Subscriber) -> None:
        """Listen from now on, on the running loop."""
        for leaf, deliver in (
            (AVAILABILITY, self._on_agent),
            (ABOUT, self._on_about),
            (HEALTH, self._on_health),
            (f"+/{AVAILABILITY}", self._on_sensor),
        ):
            self._unsubscribe.append(local.subscribe(device_topic(self._site, "+", leaf), deliver))
        self._is_started = True
        self._look()

    def close(self) -> None:
        """Stop, with what still waits for its cause put down without; may be called twice."""
        while self._unsubscribe:
            self._unsubscribe.pop()()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for agent in self._agents.values():
            self._open_waiting(agent, agent.failing(), self._clock(), wait_s=0.0)

    def _look(self) -> None:
        self._timer = None
        for agent in self._agents.values():
            self._settle(agent)

    def _settle(self, agent: Agent) -> None:
        """Make the gaps what is known of an agent now."""
        if not self._is_started:
            return  # only all that is retained together says how things are
        now = self._clock()
        failing = agent.failing()
        for topic in [one for one in agent.noted if one not in failing and not agent.is_orphan(one)]:
            self._note(GapNote(SERIES, topic, SENSOR_FAILING, None, now, agent.noted.pop(topic)))
        for topic in [one for one in agent.waiting if one not in failing]:
            self._note(GapNote(SERIES, topic, SENSOR_FAILING, agent.waiting.pop(topic), now))
        for topic, sensor in failing.items():
            if topic not in agent.noted:
                agent.waiting.setdefault(topic, agent.down[sensor])
        self._open_waiting(agent, failing, now, wait_s=CAUSE_WAIT_S)
        if agent.waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(CAUSE_WAIT_S, self._look)

    def _open_waiting(self, agent: Agent, failing: dict[str, str], now: float, *, wait_s: float) -> None:
        for topic in list(agent.waiting):
            sensor = failing[topic]
            if sensor in agent.why or now - agent.heard[sensor] >= wait_s:
                detail = agent.noted[topic] = agent.why.get(sensor, "")
                self._note(GapNote(SERIES, topic, SENSOR_FAILING, agent.waiting.pop(topic), None, detail))

    def _agent(self, message: Message) -> Agent | None:
        name = message.topic.split("/")[2]
        agent = self._agents.get(name)
        if agent is None and len(self._agents) < MAX_AGENTS:
            agent = self._agents[name] = Agent()
        return agent

    def _on_agent(self, message: Message) -> None:
        """Birth, Last Will or goodbye; an empty message forgets the agent."""
        agent = self._agent(message)
        if agent is None:
            return
        if message.payload == ONLINE:
            agent.came(self._clock())
        elif message.payload in {OFFLINE, b""}:
            agent.is_here = False
        self._settle(agent)

    def _on_sensor(self, message: Message) -> None:
        agent = self._agent(message)
        if agent is not None and message.payload in {ONLINE, OFFLINE, b""}:
            agent.turned(message.topic.split("/")[3], self._clock(), fails=message.payload == OFFLINE)
            self._settle(agent)

    def _on_about(self, message: Message) -> None:
        agent = self._agent(message)
        if agent is None:
            return
        try:
            device = self._read(message) if message.payload else None
        except ValueError:
            return  # the recorder has told of it
        agent.describe({} if device is None else self._topics_of(message.topic.split("/")[2], device))
        self._settle(agent)

    def _topics_of(self, agent: str, device: Device) -> dict[str, tuple[str, ...]]:
        topics: dict[str, tuple[str, ...]] = {}
        begin, end = device_topic(self._site, agent, ""), f"/{AVAILABILITY}"
        for one in device.sensors:
            said = one.availability_topic or ""
            sensor = said.removeprefix(begin).removesuffix(end)
            if said == f"{begin}{sensor}{end}" and (sensor in topics or len(topics) < MAX_SENSORS):
                topics[sensor] = (*topics.get(sensor, ()), one.topic)
        return topics

    def _on_health(self, message: Message) -> None:
        agent = self._agent(message)
        if agent is None:
            return
        try:
            parts = decode_health(message.payload) if message.payload else {}
        except ValueError:
            return  # a stranger's word
        agent.diagnose(parts)
        self._settle(agent)


def why(part: SensorHealth) -> str:
    """Say why a sensor fails, as a gap does."""
    return (part.cause.replace("_", " ") or part.trouble)[:MOST_WHY]
