"""From the outbox to the link: readings live on their topics, what could not be sent in time as backlog."""

import logging
from collections.abc import Sequence

import msgspec

from sensors.link import Link
from sensors.outbox import Entry, Outbox
from sensors.reasons import QUOTA_EXCEEDED, REFUSED
from sensors.sensor import Outgoing
from sensors.topics import OFF, ON, AgentTopics

LIVE_FOR_S = 5.0  # a reading that waited longer for its turn is not live any more
BACKLOG_READINGS = 100  # in one message
BACKLOG_EVERY_S = 0.2  # so that a long backlog leaves the broker and the link to the live readings
BACKLOG_FIRST_AFTER_S = 0.5  # after connecting: what the house is like now comes first
REFUSED_WAIT_S = 30.0
QUOTA_WAIT_S = 5.0

log = logging.getLogger("sensors")


class Sender:
    """Decides which reading travels when; `now` is monotonic seconds."""

    def __init__(self, topics: AgentTopics, outbox: Outbox, link: Link) -> None:
        self._topics = topics
        self._outbox = outbox
        self._link = link
        self._batch: frozenset[int] = frozenset()  # the backlog message on its way
        self._backlog_at: float | None = None
        self._refusals_said: set[int] = set()

    def reading(self, out: Outgoing, now: float, *, time: str, clock: str) -> None:
        """Take a reading into the outbox and send it if there is a connection."""
        entry = self._outbox.add(out.topic, out.payload, now, time=time, quality=out.quality, clock=clock)
        if self._link.publish(
            entry.topic,
            entry.value.encode(),
            retain=not out.is_event,
            properties=self.provenance(entry),
            tokens=(entry.seq,),
            good_until=now + LIVE_FOR_S,
        ):
            self._outbox.sent((entry.seq,))

    def provenance(self, entry: Entry) -> tuple[tuple[str, str], ...]:
        """Give the user properties of a live reading."""
        return (
            ("agent", self._topics.agent),
            ("run", entry.run),
            ("seq", str(entry.seq)),
            ("time", entry.time),
            ("quality", entry.quality),
            ("clock", entry.clock),
        )

    def connected(self, now: float) -> None:
        """Begin with the backlog a little later."""
        self._backlog_at = now + BACKLOG_FIRST_AFTER_S

    def disconnected(self) -> None:
        """Let everything that was on its way wait again."""
        self._outbox.connection_lost()
        self._batch = frozenset()
        self._backlog_at = None

    def unsent(self, tokens: Sequence[int]) -> None:
        """Let readings wait that were live for too long; they travel with the backlog."""
        self._outbox.refused(tokens)

    def acknowledged(self, tokens: Sequence[int], reason_code: int, now: float) -> None:
        """Forget what the broker has; keep what it refuses and say so once for each reason."""
        of_backlog = self._batch.issuperset(tokens)
        if of_backlog:
            self._batch = frozenset()
        if reason_code < REFUSED:
            self._outbox.acknowledged(tokens)
            if of_backlog:
                self._outbox.settle(now)
                self._backlog_at = now + BACKLOG_EVERY_S
            return
        self._outbox.refused(tokens)
        self._backlog_at = now + (QUOTA_WAIT_S if reason_code == QUOTA_EXCEEDED else REFUSED_WAIT_S)
        if reason_code in self._refusals_said:
            return
        self._refusals_said.add(reason_code)
        if reason_code == QUOTA_EXCEEDED:
            log.warning(
                "the broker cannot store readings at present, its disk may be full; they are kept and sent again"
            )
        else:
            log.warning(
                "the broker refuses readings (reason code 0x%02X); they are kept. Check what %s may publish there",
                reason_code,
                self._topics.agent,
            )

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        backlog_at = None if self._batch or not self._outbox.waiting else self._backlog_at
        return min((due for due in (backlog_at, self._outbox.next_deadline()) if due is not None), default=None)

    def tick(self, now: float) -> None:
        """Send the next piece of the backlog if it is due; let the outbox write what it must."""
        self._outbox.tick(now)
        if self._backlog_at is None or self._batch or now < self._backlog_at or not self._link.up:
            return
        self._backlog_at = now + BACKLOG_EVERY_S
        entries = self._outbox.backlog(BACKLOG_READINGS, self._link.max_packet_bytes - 1024)
        if not entries:
            return
        seqs = tuple(entry.seq for entry in entries)
        if self._link.publish(
            self._topics.backlog,
            encode_backlog(entries),
            retain=False,
            properties=(("agent", self._topics.agent), ("run", entries[0].run)),
            tokens=seqs,
        ):
            self._batch = frozenset(seqs)
            self._outbox.sent(seqs)


class BacklogEntry(msgspec.Struct, frozen=True):
    """One reading inside a backlog message; a number stands there as it would have travelled."""

    topic: str
    value: msgspec.Raw | str
    time: str
    seq: int
    quality: str
    clock: str


def encode_backlog(entries: Sequence[Entry]) -> bytes:
    """Give the payload of the `backlog` topic."""
    return msgspec.json.encode(
        [BacklogEntry(e.topic, _value(e.value), e.time, e.seq, e.quality, e.clock) for e in entries]
    )


def _value(payload: str) -> msgspec.Raw | str:
    if payload in (ON, OFF):
        return payload
    try:
        float(payload)
    except ValueError:
        return payload
    return msgspec.Raw(payload.encode())
