"""Many agents with simulated houses in one process, for whoever wants to see a broker at work.

Each is the real agent (agent.py) with its own connection, outbox and thread. Two things differ from a computer with
sensors: reads run in the agent's thread (worker.Inline), since nothing simulated waits for anything, and what moves by
itself is moved by one thread for the whole process (house.rounds).
"""

import json
import logging
import resource
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensors.agent import Agent
from sensors.config import SensorsConfig, config_of
from sensors.drivers.simulated import FAULTS, INSTRUMENTS
from sensors.entry import Entry
from sensors.house.faults import parse
from sensors.outbox import Outbox, OutboxError
from sensors.worker import Inline

STAGGER_S = 0.02  # between two agents' starts: a broker takes its connections one after the other
GOODBYE_S = 5.0  # for the last acknowledgements
PATIENCE_S = 60.0  # for the agents to end; one with 1,000 sensors has much to take back
DESCRIPTORS = 8  # of one agent: its socket, its pipe, its outbox with two more files, and some to spare

log = logging.getLogger("sensors")

HOUSE = (  # place and model, in the order in which a house gets its sensors
    ("kitchen", "room"),
    ("livingroom", "motion"),
    ("hall", "door"),
    ("livingroom", "room"),
    ("garden", "outdoor"),
    ("bedroom", "room"),
    ("livingroom", "co2"),
    ("livingroom", "lamp"),
    ("hall", "motion"),
    ("utility", "energy"),
    ("bathroom", "room"),
    ("kitchen", "motion"),
    ("bedroom", "window"),
    ("bathroom", "leak"),
    ("hall", "button"),
    ("bedroom", "co2"),
    ("livingroom", "light"),
    ("hall", "room"),
    ("bathroom", "motion"),
    ("kitchen", "relay"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be played."""

    site: str = "home"
    devices: int = 1
    sensors: int = 20  # of each device
    interval_s: float = 10.0  # between two reads of a sensor that is asked
    seed: int = 0
    life: str = "usual"
    faults: tuple[str, ...] = ()
    broker: dict[str, Any]  # the keys of [broker]


def readings_per_round(sensors: int) -> int:
    """Count what one house's instruments give when each of them is asked once."""
    return sum(len(INSTRUMENTS.get(HOUSE[i % len(HOUSE)][1], ())) for i in range(sensors))


def configs(wanted: Wanted, data: Path) -> list[SensorsConfig]:
    """Give each agent's configuration, as a file would hold it. Raises ConfigError."""
    return [_config(wanted, data, number) for number in range(1, wanted.devices + 1)]


def _config(wanted: Wanted, data: Path, number: int) -> SensorsConfig:
    lines = [
        *_lines({"site": wanted.site, "agent": f"house-{number}", "data_dir": str(data)}),
        *("[broker]", *_lines(wanted.broker)),
    ]
    for i in range(wanted.sensors):
        place, model = HOUSE[i % len(HOUSE)]
        again = str(i // len(HOUSE) + 1) if i >= len(HOUSE) else ""
        name = "-".join(part for part in (place, model, again) if part)
        keys: dict[str, Any] = {"name": name, "kind": "simulated", "room": f"{place}-{number}", "model": model}
        if again:
            keys["label"] = again
        if model in INSTRUMENTS:
            keys["interval_s"] = wanted.interval_s
        keys["seed"] = wanted.seed * 1_000_003 + number
        keys["life"] = wanted.life
        keys["faults"] = [text for text in wanted.faults if parse(text).kind in FAULTS[model]]
        if i > 0:  # the clock is the agent's: set by one of its sensors, not by all
            keys["faults"] = [text for text in keys["faults"] if parse(text).kind != "clock"]
        lines += ["[[sensor]]", *_lines(keys)]
    return config_of("\n".join(lines), Path("sensors simulate"))


def _lines(keys: dict[str, Any]) -> list[str]:
    """Write keys as TOML, whose texts and lists are those of JSON."""
    return [f"{key} = {json.dumps(value)}" for key, value in keys.items()]


class Counted(Outbox):
    """An outbox that counts what came in and what the broker has."""

    made = 0
    taken = 0

    def add(self, topic: str, value: str, now: float, **provenance: str) -> Entry:
        """See Outbox."""
        self.made += 1
        return super().add(topic, value, now, **provenance)

    def acknowledged(self, seqs: Iterable[int]) -> None:
        """See Outbox."""
        seqs = tuple(seqs)
        self.taken += len(seqs)
        super().acknowledged(seqs)


@dataclass(frozen=True, slots=True)
class Count:
    """How far the fleet is."""

    devices: int
    connected: int
    made: int
    acknowledged: int
    waiting: int
    dropped: int


class Fleet:
    """The agents and their threads. `start` it once, `stop` it once; count at any time.

    `keep`: what they published as retained stays with the broker when they stop.
    """

    def __init__(self, configs: Sequence[SensorsConfig], *, keep: bool = False) -> None:
        self._keep = keep
        allow_descriptors(len(configs) * DESCRIPTORS + 64)
        self._threads = [
            threading.Thread(target=self._run, args=(config,), name=config.agent, daemon=True) for config in configs
        ]
        self._state = threading.Lock()
        self._agents: list[tuple[Agent, Counted]] = []  # those that have begun
        self._stopping = False
        self.trouble: list[OutboxError] = []  # of agents that could not go on

    @property
    def running(self) -> bool:
        """Whether any agent is at work."""
        return any(thread.is_alive() for thread in self._threads)

    def start(self, stopping: threading.Event) -> None:
        """Start the agents one after the other, until all have or `stopping` is set."""
        for thread in self._threads:
            if stopping.wait(STAGGER_S):
                return
            thread.start()

    def count(self) -> Count:
        """Count what happened so far."""
        with self._state:
            agents = tuple(self._agents)
        return Count(
            devices=len(self._threads),
            connected=sum(agent.up for agent, _ in agents),
            made=sum(outbox.made for _, outbox in agents),
            acknowledged=sum(outbox.taken for _, outbox in agents),
            waiting=sum(outbox.waiting for _, outbox in agents),
            dropped=sum(outbox.dropped for _, outbox in agents),
        )

    @property
    def left_behind(self) -> int:
        """Topics where the broker still retains something, though it should not; once all have stopped."""
        with self._state:
            return sum(agent.left_behind for agent, _ in self._agents)

    def stop(self) -> None:
        """Have every agent say goodbye, and wait for them."""
        with self._state:
            self._stopping = True
            for agent, _ in self._agents:
                agent.stop()
        deadline = time.monotonic() + PATIENCE_S
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(deadline - time.monotonic(), 0.0))

    def _run(self, config: SensorsConfig) -> None:
        """Live one agent's life: SQLite wants the thread that opened an outbox to use it."""
        bounds = config.outbox
        try:
            outbox = Counted(config.outbox_path, max_readings=bounds.max_readings, max_bytes=bounds.max_bytes)
            agent = Agent(config, outbox, worker=Inline, goodbye_s=GOODBYE_S, leaves_nothing=not self._keep)
            with self._state:
                self._agents.append((agent, outbox))
                if self._stopping:
                    agent.stop()
            agent.run()
        except OutboxError as error:
            self.trouble.append(error)


def allow_descriptors(wanted: int) -> None:
    """Have this process open so many files, as far as the system lets it: the usual 1,024 are those of 100 agents."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
