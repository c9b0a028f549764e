"""Notices gaps while they happen: agents that go offline and come back, and what is dropped here or by an agent."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol

import msgspec

from appliance.broker.message import Message
from appliance.devices import AVAILABILITY, HEALTH, OFFLINE, ONLINE, device_topic
from appliance.store.gaps import AGENT, AGENT_OFFLINE, DROPPED, GapNote

LOOK_S: Final = 10.0  # between two looks at what this service drops
QUIET_S: Final = 60.0  # without a further loss, a gap is over
MAX_RANGES: Final = 32  # of one health message
MAX_AGENTS: Final = 1_000
LAST_SEQ: Final = 2**62
MOST_WHY: Final = 100  # characters of an agent's reason


class Subscriber(Protocol):
    """What is asked of a client inside the process."""

    def subscribe(self, topic_filter: str, deliver: Callable[[Message], None], /) -> Callable[[], None]:
        """Deliver retained messages now and live ones later; the answer ends it."""


class Dropped(msgspec.Struct, frozen=True):
    """The part of a `health` message that tells of readings an agent had to drop.

    How many since its outbox was made and, where it knows, their run and the closed ranges of their numbers. Others it
    set aside because this broker refuses them.
    """

    dropped: int = 0
    run: str = ""
    dropped_ranges: tuple[tuple[int, int], ...] = ()
    set_aside: int = 0
    set_aside_why: str = ""
    set_aside_ranges: tuple[tuple[int, int], ...] = ()

    def losses(self) -> "tuple[Lost, Lost]":
        """Give both kinds."""
        why = self.set_aside_why[:MOST_WHY] or "refused"
        return (
            Lost("its outbox was full", self.dropped, self.dropped_ranges),
            Lost(f"the broker did not take it ({why})", self.set_aside, self.set_aside_ranges),
        )


class Lost(NamedTuple):
    """Readings that an agent gave up for one reason."""

    why: str
    total: int
    ranges: tuple[tuple[int, int], ...]


class Loss:
    """One counter of what was dropped, watched: when its gap began and when it last grew."""

    def __init__(self, total: int, now: float) -> None:
        self._total = total
        self._looked = now
        self._grew: float | None = None

    def look(self, total: int, now: float) -> tuple[float | None, float | None]:
        """Give when the gap opened and when it closed, each if this look finds it."""
        looked, self._looked = self._looked, now
        grew, self._total = total > self._total, total
        opened = closed = None
        if grew:
            opened = looked if self._grew is None else None
            self._grew = now
        elif self._grew is not None and now - self._grew >= QUIET_S:
            closed, self._grew = self._grew, None
        return opened, closed


class GapWatch:
    """Hands notes of gaps to `note`, on the event loop. `losses` gives scopes, names and counters of its drops."""

    def __init__(
        self,
        *,
        site: str,
        note: Callable[[GapNote], None],
        losses: Mapping[tuple[str, str], Callable[[], int]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._site = site
        self._note = note
        self._clock = clock
        self._losses = {named: (count, Loss(count(), clock())) for named, count in losses.items()}
        self._told: dict[str, tuple[Dropped, float]] = {}  # by agent: what it last told, and when
        self._unsubscribe: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None

    def start(self, local: Subscriber) -> None:
        """Listen and look from now on, on the running loop."""
        for leaf, deliver in ((AVAILABILITY, self._on_availability), (HEALTH, self._on_health)):
            self._unsubscribe.append(local.subscribe(device_topic(self._site, "+", leaf), deliver))
        self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._tick)

    def close(self) -> None:
        """Stop; may be called twice."""
        while self._unsubscribe:
            self._unsubscribe.pop()()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def look(self) -> None:
        """Look once at what was dropped here."""
        now = self._clock()
        for (scope, detail), (count, loss) in self._losses.items():
            opened, closed = loss.look(count(), now)
            if opened is not None:
                self._note(GapNote(scope, "", DROPPED, opened, None, detail))
            if closed is not None:
                self._note(GapNote(scope, "", DROPPED, None, closed, detail))

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._tick)
        self.look()

    def _on_availability(self, message: Message) -> None:
        """Offline by Last Will or goodbye; whoever is forgotten (an empty message) is missed no longer."""
        agent, now = message.topic.split("/")[2], self._clock()
        if message.payload == OFFLINE:
            self._note(GapNote(AGENT, agent, AGENT_OFFLINE, now, None))
        elif message.payload in {ONLINE, b""}:
            self._note(GapNote(AGENT, agent, AGENT_OFFLINE, None, now))

    def _on_health(self, message: Message) -> None:
        agent, now = message.topic.split("/")[2], self._clock()
        if not message.payload:  # forgotten
            self._told.pop(agent, None)
            return
        try:
            told = msgspec.json.decode(message.payload, type=Dropped)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return  # a stranger's word
        last, told_at = self._told.get(agent, (None, now))
        if last is None and len(self._told) >= MAX_AGENTS:
            return
        self._told[agent] = (told, now)
        before = last.losses() if last is not None else (None, None)
        for lost, known in zip(told.losses(), before, strict=True):
            self._note_lost(
                agent, told.run, lost, known, same_run=last is not None and last.run == told.run, at=(told_at, now)
            )

    def _note_lost(
        self, agent: str, run: str, lost: Lost, last: Lost | None, *, same_run: bool, at: tuple[float, float]
    ) -> None:
        known = last.ranges if last is not None and same_run else ()
        news = [one for one in lost.ranges if one not in known and 0 <= one[0] <= one[1] < LAST_SEQ]
        # What a first message counts may be long known; the numbers it names are not put down twice.
        count = 0 if last is None else lost.total - last.total
        if run and news:
            for first, end in news[-MAX_RANGES:]:
                begins = max([after + 1 for start, after in known if start <= first <= after < end], default=first)
                self._drop(agent, lost.why, at, end - begins + 1, (run, begins, end))
        elif count > 0:
            self._drop(agent, lost.why, at, count)

    def _drop(
        self, agent: str, why: str, at: tuple[float, float], count: int, which: tuple[str, int, int] | None = None
    ) -> None:
        detail = f"{why}: {count} reading{'' if count == 1 else 's'} dropped"
        self._note(GapNote(AGENT, agent, DROPPED, *at, detail, *(which or ())))
