"""From the outbox to the link: readings live on their topics, what could not be sent in time as backlog."""

import logging
from collections.abc import Collection, Mapping, Sequence

import msgspec

from appliance.encoding import from_json, to_json
from sensors.entry import Entry
from sensors.link import Link
from sensors.outbox import Outbox
from sensors.reasons import NEVER_TAKEN, NOT_AUTHORIZED, PAYLOAD_FORMAT_INVALID, QUOTA_EXCEEDED, REFUSED
from sensors.sensor import Outgoing
from sensors.topics import OFF, ON, AgentTopics

LIVE_FOR_S = 5.0  # a reading that waited longer for its turn is not live any more
BACKLOG_READINGS = 100  # in one message
BACKLOG_EVERY_S = 0.2  # so that a long backlog leaves the broker and the link to the live readings
BACKLOG_FIRST_AFTER_S = 0.5  # after connecting: what the house is like now comes first
REFUSED_WAIT_S = 30.0
QUOTA_WAIT_S = 5.0
TOO_LARGE = "larger than the broker takes"

log = logging.getLogger("sensors")


class Sender:
    """Decides which reading travels when; `now` is monotonic seconds."""

    def __init__(self, topics: AgentTopics, outbox: Outbox, link: Link) -> None:
        self._topics = topics
        self._outbox = outbox
        self._link = link
        self._batch: dict[int, str] = {}  # seq -> topic of the backlog message on its way
        self._backlog_at: float | None = None
        self._most = BACKLOG_READINGS  # of the next backlog message
        self._refusals_said: set[tuple[int, str]] = set()  # reason code and topic
        self._too_large_said: set[str] = set()  # topics
        self._live: dict[int, str] = {}  # seq -> topic of what was sent live and is not acknowledged
        self._hopeless: dict[str, str] = {}  # topic -> why the broker refuses it, on this connection

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
            self._live[entry.seq] = entry.topic

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
        self._batch.clear()
        self._live.clear()
        self._hopeless.clear()
        self._backlog_at = None

    def unsent(self, tokens: Sequence[int]) -> None:
        """Let readings wait that were live for too long; they travel with the backlog."""
        self._outbox.refused(tokens)
        self._landed(tokens)

    def acknowledged(
        self, tokens: Sequence[int], reason_code: int, now: float, refused_for: Collection[str] = ()
    ) -> None:
        """Forget what the broker has, put aside what it will never take, keep the rest; say so once for each topic.

        `refused_for` are the topics that it names where it refuses a backlog for some readings in it.
        """
        batch: dict[int, str] = {}
        if self._batch.keys() >= set(tokens):
            batch, self._batch = self._batch, batch
        topics = self._landed(tokens)
        if reason_code < REFUSED:
            self._outbox.acknowledged(tokens)
            if batch:
                self._most = BACKLOG_READINGS
                self._outbox.settle(now)
                self._backlog_at = now + BACKLOG_EVERY_S
            return
        never = reason_code in NEVER_TAKEN
        wait_s = QUOTA_WAIT_S if reason_code == QUOTA_EXCEEDED else REFUSED_WAIT_S
        aside = tokens if never else ()
        if batch and never:
            aside, wait_s = self._hopeless_of(batch, reason_code, refused_for)
            topics = sorted({batch[seq] for seq in aside})
        self._outbox.refused(tokens)
        if aside:
            why = NEVER_TAKEN[reason_code]
            self._outbox.put_aside(aside, why)
            if reason_code != PAYLOAD_FORMAT_INVALID:  # which is about this one reading
                self._hopeless |= dict.fromkeys(topics, why)
        if batch or not aside:
            self._backlog_at = now + wait_s
        self._say(reason_code, topics, put_aside=bool(aside))

    def _landed(self, tokens: Sequence[int]) -> list[str]:
        """Give the topics of those that were sent live."""
        return [self._live.pop(token) for token in tokens if token in self._live]

    def _hopeful(self, entries: Sequence[Entry]) -> list[Entry]:
        """Put aside what is refused live: a broker that does not look into the backlog would take it there."""
        for entry in entries:
            if entry.topic in self._hopeless:
                self._outbox.put_aside((entry.seq,), self._hopeless[entry.topic])
        return [entry for entry in entries if entry.topic not in self._hopeless]

    def _hopeless_of(
        self, batch: Mapping[int, str], reason_code: int, refused_for: Collection[str]
    ) -> tuple[Sequence[int], float]:
        """Give what of a refused backlog will never be taken, and how long the rest waits.

        A broker that looks into it names the topics that are not granted. One that names none does not let us send a
        backlog, which says nothing of the readings in it: they wait for the right. A backlog that is refused for its
        content is taken apart until the reading is found that it is refused for.
        """
        if reason_code == NOT_AUTHORIZED:
            aside = [seq for seq, topic in batch.items() if topic in refused_for]
            return aside, BACKLOG_EVERY_S if aside else REFUSED_WAIT_S
        self._most = max(len(batch) // 2, 1)
        return (list(batch) if len(batch) == 1 else []), BACKLOG_EVERY_S

    def _say(self, reason_code: int, topics: Sequence[str], *, put_aside: bool) -> None:
        quota = reason_code == QUOTA_EXCEEDED
        new = {(reason_code, topic) for topic in topics or [""]} if not quota else {(reason_code, "")}
        new -= self._refusals_said
        if not new:
            return
        self._refusals_said |= new
        if quota:
            log.warning(
                "the broker cannot store readings at present, its disk may be full; they are kept and sent again"
            )
        else:
            log.warning(
                "the broker refuses %s (reason code 0x%02X); they are %s. Check what %s may publish there",
                f"readings of {', '.join(sorted(topic for _, topic in new))}"
                if topics
                else "the readings of the backlog",
                reason_code,
                "set aside and counted" if put_aside else "kept",
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
        entries = self._hopeful(self._outbox.backlog(self._most, self._link.max_packet_bytes - 1024))
        if not entries:
            return
        payload = encode_backlog(entries)
        if not self._link.fits(self._topics.backlog, payload):
            self._make_fit(entries)
            return
        seqs = tuple(entry.seq for entry in entries)
        if self._link.publish(
            self._topics.backlog,
            payload,
            retain=False,
            properties=(("agent", self._topics.agent), ("run", entries[0].run)),
            tokens=seqs,
        ):
            self._batch = {entry.seq: entry.topic for entry in entries}
            self._outbox.sent(seqs)

    def _make_fit(self, entries: Sequence[Entry]) -> None:
        """Send fewer the next time; one that is too large alone would hold up all behind it, and is put aside."""
        if len(entries) > 1:
            self._most = len(entries) // 2
            return
        (entry,) = entries
        self._outbox.put_aside((entry.seq,), TOO_LARGE)
        self._most = BACKLOG_READINGS
        if entry.topic not in self._too_large_said:
            self._too_large_said.add(entry.topic)
            about = {"MQTT_TOPIC": entry.topic}
            log.warning("a reading of %s is %s; it is set aside and counted", entry.topic, TOO_LARGE, extra=about)


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
    return to_json([BacklogEntry(e.topic, _value(e.value), e.time, e.seq, e.quality, e.clock) for e in entries])


def _value(payload: str) -> msgspec.Raw | str:
    if payload in (ON, OFF):
        return payload
    number = payload.encode()
    try:
        from_json(number, float)
    except msgspec.DecodeError:  # an event: one called 0042 or nan would spoil the whole message as a number
        return payload
    return msgspec.Raw(number)
