"""Notices gaps while they happen: agents that go offline and come back, and what is dropped here or by an agent."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol

import msgspec

from appliance.broker.message import Message
from appliance.devices import AVAILABILITY, HEALTH, OFFLINE, ONLINE, device_topic
from appliance.encoding import from_json
from appliance.store.gaps import AGENT, AGENT_OFFLINE, DROPPED, NEVER_GIVEN, GapNote, Measured, counted
from appliance.store.readings import unix_time

LOOK_S: Final = 10.0  # between two looks at what this service drops
QUIET_S: Final = 60.0  # without a further loss, a gap is over
MAX_RANGES: Final = 32  # of one health message
MAX_AGENTS: Final = 1_000
LAST_SEQ: Final = 2**62
MOST_WHY: Final = 100  # characters of an agent's reason
AHEAD_S: Final = 60.0  # by which an agent's clock may be ahead


Range = tuple[int, int]
"""First and last number, both included."""


class Subscriber(Protocol):
    """What is asked of a client inside the process."""

    def subscribe(self, topic_filter: str, deliver: Callable[[Message], None], /) -> Callable[[], None]:
        """Deliver retained messages now and live ones later; the answer ends it."""


class Dropped(msgspec.Struct, frozen=True):
    """The part of a `health` message that tells of readings an agent had to drop, and of numbers it gave to none.

    How many since its outbox was made and, where it knows, their run and the closed ranges of their numbers, and when
    the first and last of each were measured and by which clock. Others it set aside because this broker refuses them.
    """

    dropped: int = 0
    run: str = ""
    dropped_ranges: tuple[Range, ...] = ()
    dropped_times: tuple[tuple[str, str, str], ...] = ()
    set_aside: int = 0
    set_aside_why: str = ""
    set_aside_ranges: tuple[Range, ...] = ()
    set_aside_times: tuple[tuple[str, str, str], ...] = ()
    unused_ranges: tuple[Range, ...] = ()

    def losses(self) -> "tuple[Lost, Lost]":
        """Give both kinds."""
        why = self.set_aside_why[:MOST_WHY] or "refused"
        return (
            Lost("its outbox was full", self.dropped, self.dropped_ranges, self.dropped_times),
            Lost(f"the broker did not take it ({why})", self.set_aside, self.set_aside_ranges, self.set_aside_times),
        )


class Lost(NamedTuple):
    """Readings that an agent gave up for one reason."""

    why: str
    total: int
    ranges: tuple[Range, ...]
    times: tuple[tuple[str, str, str], ...]

    def measured(self, number: int) -> Measured | None:
        """Give when the first and last of one of the ranges were measured, where the agent knows it."""
        if len(self.times) != len(self.ranges):
            return None
        since, until, clock = self.times[number]
        since_at, until_at = unix_time(since), unix_time(until)
        if since_at is None or until_at is None or since_at > until_at:
            return None
        return Measured(since_at, until_at, clock)


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
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._site = site
        self._note = note
        self._clock = clock
        self._wall_clock = wall_clock
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
            told = from_json(message.payload, Dropped)
        except msgspec.DecodeError:
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
        known_unused = last.unused_ranges if last is not None and last.run == told.run else ()
        for first, end in told.unused_ranges[-MAX_RANGES:] if told.run else ():
            if (first, end) not in known_unused and 0 <= first <= end < LAST_SEQ:
                self._note(GapNote(AGENT, agent, NEVER_GIVEN, now, now, "", told.run, first, end))

    def _note_lost(
        self, agent: str, run: str, lost: Lost, last: Lost | None, *, same_run: bool, at: tuple[float, float]
    ) -> None:
        known = last.ranges if last is not None and same_run else ()
        news = [
            (number, one)
            for number, one in enumerate(lost.ranges)
            if one not in known and 0 <= one[0] <= one[1] < LAST_SEQ
        ]
        # What a first message counts may be long known; the numbers it names are not put down twice.
        count = 0 if last is None else lost.total - last.total
        if run and news:
            for number, (first, end) in news[-MAX_RANGES:]:
                begins, measured = first, lost.measured(number)
                for before, (start, after) in enumerate(known):
                    if last is not None and start <= first <= after < end:  # the rest of a range that grew
                        begins = after + 1
                        earlier = last.measured(before)
                        measured = measured and earlier and measured._replace(since_at=earlier.until_at)
                if measured is not None and measured.until_at > self._wall_clock() + AHEAD_S:
                    measured = None
                self._note(GapNote(AGENT, agent, DROPPED, *at, lost.why, run, begins, end, measured))
        elif count > 0:
            self._note(GapNote(AGENT, agent, DROPPED, *at, f"{lost.why}{counted(count)}"))
