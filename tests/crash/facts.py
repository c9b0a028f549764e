"""What clients know: an append-only ledger of what they sent and saw, and what follows from it.

The ledger is the judge of a store: whatever a client saw acknowledged has to be there after a crash, and nothing may
come back that no client ever sent. Facts are only ever made of ledger entries, so that the facts of any earlier moment
can be had by reading the ledger up to there.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Entry = tuple[int, str, str, tuple[Any, ...]]  # position in the log of storage operations, kind, peer, details

BIG = "big/"  # topics whose payloads vary in size and are no readings
SEVERAL = "tele/"  # topics whose messages hold two readings each
LEAVES = "/inside", "/outside"
CLEARED = "clear/"  # topics whose retained message is taken back now and then


def reading_of(number: int) -> bytes:
    """Give the reading in a message."""
    return b"%d.%03d" % (number, number % 1_000)


def payload_of(number: int, topic: str) -> bytes:
    """Give the payload of a message: its number, and more that follows from the number."""
    if topic.startswith(BIG):
        return b"%d:" % number + b"x" * (number * 37 % 3_000)
    if topic.startswith(CLEARED) and number % 3 == 0:
        return b""
    reading = reading_of(number)
    return b'{"inside": %s, "outside": %s}' % (reading, reading) if topic.startswith(SEVERAL) else reading


def number_in(payload: bytes) -> int | None:
    """Give the number that a payload begins with."""
    digits = payload.removeprefix(b'{"inside": ').partition(b":")[0].partition(b".")[0]
    return int(digits) if digits.isdigit() else None


def series_of(topic: str) -> list[str]:
    """Give the series that the messages of a topic hold readings of."""
    if topic.startswith(SEVERAL):
        return [topic + leaf for leaf in LEAVES]
    return [topic] if topic.startswith("home/") else []


@dataclass(slots=True)
class Sent:
    """One message that a publisher has sent."""

    topic: str
    qos: int
    retain: bool
    seq: int | None  # of an agent's reading
    at: float  # wall time
    acknowledged: bool = False  # PUBACK or PUBREC was seen
    again: bool = False  # sent more than once


class Outgoing(NamedTuple):
    """A message that its publisher is not done with; released: PUBREC was seen, only PUBREL is repeated."""

    number: int
    released: bool


@dataclass(slots=True)
class State:
    """What one client carries over from link to link."""

    known: bool = False  # something was acknowledged to its session: the server has to know it
    outgoing: dict[int, Outgoing] = field(default_factory=dict)  # by packet id, in the order sent
    open: dict[int, int] = field(default_factory=dict)  # QoS 2: packet id of what was received and not released
    unacknowledged: dict[int, int] = field(default_factory=dict)  # QoS 1: packet id of what we have not acknowledged
    wanted: dict[int, None] = field(default_factory=dict)  # numbers sent that have not reached it
    got: set[int] = field(default_factory=set)
    newest: dict[str, int] = field(default_factory=dict)  # by topic
    settings: list[Any] = field(default_factory=lambda: [None])  # what its session was asked to be, one after another
    settled_link: bool = False  # something was acknowledged on its present link: what it said at its CONNECT is known
    settled: int = 0  # index of the last of them that was acknowledged
    filters: tuple[str, ...] = ()
    qos: int = 0

    def possible(self) -> list[Any]:
        """Give what its session may be: the last that was acknowledged, or one asked for later."""
        return self.settings[self.settled :]


class Faults:
    """What must not be, counted by kind, with the first examples of each."""

    EXAMPLES = 3

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = defaultdict(list)

    def add(self, kind: str, example: str, count: int = 1) -> None:
        """Count one."""
        self.counts[kind] += count
        if len(self.examples[kind]) < self.EXAMPLES:
            self.examples[kind].append(example)

    def count(self, kinds: tuple[str, ...] = ()) -> int:
        """How many there are of some kinds, or of all."""
        return sum(self.counts[kind] for kind in kinds) if kinds else self.counts.total()


class Facts:
    """What follows from the entries applied so far."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.messages: dict[int, Sent] = {}
        self.retained: dict[str, list[int]] = defaultdict(list)  # topic -> numbers that may be its last message
        self.series: dict[str, set[int]] = defaultdict(set)  # topic -> readings not yet seen in the history
        self.peers: dict[str, State] = defaultdict(State)
        self.readers: list[State] = []
        self.acknowledged = 0
        self.delivered = 0

    def apply(self, kind: str, peer: str, details: tuple[Any, ...]) -> None:
        """Take one entry."""
        getattr(self, f"_{kind}")(peer, self.peers[peer], *details)

    # --- publishing ---

    def _published(self, _peer: str, state: State, packet_id: int, number: int, sent: tuple[Any, ...]) -> None:
        message = self.messages[number] = Sent(*sent)
        state.outgoing[packet_id] = Outgoing(number, released=False)
        if message.retain:
            self.retained[message.topic].append(number)
        for series in series_of(message.topic):
            self.series[series].add(number)
        if message.qos:
            for reader in self.readers:
                if any(message.topic.startswith(prefix) for prefix in reader.filters):
                    reader.wanted[number] = None

    def _published_again(self, _peer: str, state: State, packet_id: int) -> None:
        self.messages[state.outgoing[packet_id].number].again = True

    def _acknowledge(self, state: State, number: int) -> None:
        message = self.messages[number]
        state.known = state.settled_link = True
        if message.acknowledged:
            return
        message.acknowledged = True
        self.acknowledged += 1
        if message.retain:  # what came before it can no longer be the last one
            kept = self.retained[message.topic]
            del kept[: kept.index(number)]

    def _puback(self, peer: str, state: State, packet_id: int) -> None:
        outgoing = state.outgoing.pop(packet_id, None)
        if outgoing is None:
            self.faults.add("answers to what was not sent", f"{peer}: PUBACK {packet_id}")
        else:
            self._acknowledge(state, outgoing.number)

    def _pubrec(self, peer: str, state: State, packet_id: int) -> None:
        outgoing = state.outgoing.get(packet_id)
        if outgoing is None:
            self.faults.add("answers to what was not sent", f"{peer}: PUBREC {packet_id}")
            return
        self._acknowledge(state, outgoing.number)
        state.outgoing[packet_id] = outgoing._replace(released=True)

    def _pubcomp(self, peer: str, state: State, packet_id: int) -> None:
        outgoing = state.outgoing.pop(packet_id, None)
        if outgoing is None or not outgoing.released:
            self.faults.add("answers to what was not sent", f"{peer}: PUBCOMP {packet_id}")

    # --- receiving ---

    def _received(
        self, peer: str, state: State, packet_id: int, topic: str, payload: bytes, qos: int, dup: bool
    ) -> None:
        number = number_in(payload)
        message = None if number is None else self.messages.get(number)
        if number is None or message is None or (message.topic, payload_of(number, topic)) != (topic, payload):
            self.faults.add("payloads that nobody sent", f"{peer}: {topic} {payload[:40]!r}")
            return
        self.delivered += 1
        if qos == 2:
            if state.open.get(packet_id) == number:  # the same again, which the client can tell by its id
                if not dup:
                    self.faults.add("repeated without DUP or the original id", f"{peer}: {packet_id} {number}, no DUP")
                return
            if packet_id in state.open:
                self.faults.add(
                    "repeated without DUP or the original id",
                    f"{peer}: id {packet_id} has message {number}, had {state.open[packet_id]} not yet released",
                )
            state.open[packet_id] = number
        elif qos == 1:
            for old in [held for held, value in state.unacknowledged.items() if value == number and held != packet_id]:
                del state.unacknowledged[old]
            state.unacknowledged[packet_id] = number
        if number in state.got:
            if message.qos == qos == 2:
                self.faults.add("QoS 2 duplicates", f"{peer}: {topic} {number} as id {packet_id}")
            return
        state.got.add(number)
        state.wanted.pop(number, None)
        if number < state.newest.get(topic, 0):
            marked = ", DUP" * dup
            self.faults.add("out of order", f"{peer}: {topic} {number}{marked} after {state.newest[topic]}")
        state.newest[topic] = max(number, state.newest.get(topic, 0))

    def _acked(self, _peer: str, state: State, packet_id: int) -> None:
        """Say that we sent PUBACK."""
        state.unacknowledged.pop(packet_id, None)

    def _released(self, _peer: str, state: State, packet_id: int) -> None:
        """Say that we saw PUBREL."""
        state.open.pop(packet_id, None)

    # --- sessions ---

    def _back(self, _peer: str, state: State) -> None:
        """Say that it has a new link: what it has not acknowledged has to come again on this one."""
        state.unacknowledged.clear()
        state.settled_link = False

    def _gone(self, _peer: str, state: State) -> None:
        """Say that its link broke off."""
        state.settled_link = False

    def _reads(self, _peer: str, state: State, filters: tuple[str, ...], qos: int) -> None:
        """Say that a subscription was acknowledged before anything was published to it."""
        state.known, state.filters, state.qos = True, filters, qos
        self.readers.append(state)

    def _asked(self, _peer: str, state: State, setting: Any) -> None:
        state.settings.append(setting)

    def _granted(self, _peer: str, state: State, index: int) -> None:
        state.known = True
        state.settled = max(state.settled, index)

    def _found(self, _peer: str, state: State, setting: Any) -> None:
        """Say what a session was seen to be, from which it goes on."""
        state.settings = [setting]
        state.settled = 0


class Ledger:
    """Entries as they happen, and the facts that follow."""

    def __init__(self, facts: Facts, *, keep: bool = False, position: Callable[[], int] = lambda: 0) -> None:
        self.facts = facts
        self.entries: list[Entry] = []
        self._keep = keep
        self._position = position
        self._numbers = 0

    def take_number(self) -> int:
        """Give the number of the next message."""
        self._numbers = max(self._numbers, max(self.facts.messages, default=0) if not self._numbers else 0) + 1
        return self._numbers

    def note(self, kind: str, peer: str, *details: Any) -> None:
        """Write one entry down."""
        if self._keep:
            self.entries.append((self._position(), kind, peer, details))
        self.facts.apply(kind, peer, details)


def facts_of(entries: Iterable[Entry]) -> Facts:
    """Give what follows from these entries alone."""
    facts = Facts(Faults())
    for _, kind, peer, details in entries:
        facts.apply(kind, peer, details)
    return facts
