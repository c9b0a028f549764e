"""The broker's durable state as plain data: what a journal holds when its records are applied in order.

Pure and slow on purpose: it is built once at a start, and by tests. `Image` is what `Broker.restore` takes.

Records may be applied again, all of them or the last ones, to a state that already knows of them: when the last one is
applied, the state is what it was. That holds because keys and numbers are never used twice, a session's messages stand
in the order of their numbers, and nothing that was taken away is forgotten before `settle`.
"""

from dataclasses import dataclass, field

from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag
from appliance.broker.records import (
    AnyRecord,
    Back,
    Done,
    Dropped,
    Ended,
    Forgot,
    Left,
    Opened,
    Queued,
    Received,
    Released,
    Replayed,
    Sent,
    Subscribed,
    Unsubscribed,
    WillGone,
    WillKept,
    WillWaits,
)
from appliance.broker.topictree import Grant

RETAINED = int(RouteFlag.RETAINED)


@dataclass(slots=True)
class StoredDelivery:
    """A message on its way to one client; without a message once only PUBCOMP is missing. packet_id 0: in line."""

    number: int
    message: Message | None
    qos: int
    retain: bool
    identifiers: tuple[int, ...]
    shared: str | None
    packet_id: int


@dataclass(slots=True)
class StoredSession:
    """One client's session; `deliveries` are up to date after `settle`."""

    key: int
    client_id: str
    username: str | None
    expiry_s: float
    away_s: float | None = None  # how long its client has been away; None: it was connected when the journal ended
    subscriptions: dict[str, Grant] = field(default_factory=dict)
    replays: set[str] = field(default_factory=set)  # filters whose retained messages were not all sent
    deliveries: list[StoredDelivery] = field(default_factory=list)  # in flight in the order sent, then in line
    incoming: set[int] = field(default_factory=set)
    _by_number: dict[int, StoredDelivery] | None = field(default=None, compare=False, repr=False)
    _by_packet_id: dict[int, set[int]] = field(default_factory=dict, compare=False, repr=False)
    _over: dict[int, StoredDelivery] = field(default_factory=dict, compare=False, repr=False)

    def apply(self, record: AnyRecord, messages: dict[int, Message], ago_s: float) -> None:
        """Take a change of this session that was made `ago_s` ago; what it does not know changes nothing."""
        match record:
            case Left(_, away_s):
                self.away_s = away_s + ago_s
            case Back():
                self.away_s = None
            case Subscribed(_, topic_filter, qos, no_local, retain_as_published, identifier, replays):
                self.subscriptions[topic_filter] = Grant(qos, no_local, retain_as_published, identifier)
                (self.replays.add if replays else self.replays.discard)(topic_filter)
            case Replayed(_, topic_filter):
                self.replays.discard(topic_filter)
            case Unsubscribed(_, topic_filter):
                self.subscriptions.pop(topic_filter, None)
                self.replays.discard(topic_filter)
            case Queued(_, number, qos, retain, identifiers, shared, packet_id):
                known = self._take_out(number)
                message = messages.get(number, None if known is None else known.message)
                self._put(StoredDelivery(number, message, qos, retain, identifiers, shared, packet_id))
            case Sent(_, number, packet_id):
                delivery = self._take_out(number)
                if delivery is not None:
                    delivery.packet_id = packet_id
                    delivery.message = messages.get(number, delivery.message)
                    self._put(delivery)
            case Dropped(_, number):
                self._end(number)
            case Released(_, packet_id):
                for number in self._in_flight_as(packet_id):
                    delivery = self._deliveries()[number]
                    if delivery.message is not None:  # it may be wanted back, see above
                        messages.setdefault(number, delivery.message)
                    delivery.message = None
            case Done(_, packet_id):
                for number in self._in_flight_as(packet_id):
                    self._end(number)
            case Received(_, packet_id):
                self.incoming.add(packet_id)
            case Forgot(_, packet_id):
                self.incoming.discard(packet_id)

    def settle(self) -> None:
        """Bring `deliveries` up to date; what is over cannot come back any more."""
        if self._by_number is not None:
            kept = sorted(self._by_number.values(), key=lambda one: (not one.packet_id, one.number))
            self.deliveries = kept
            self._by_number = None
        self._by_packet_id = {}
        self._over = {}

    def _deliveries(self) -> dict[int, StoredDelivery]:
        if self._by_number is None:
            self._by_number = {}
            for delivery in self.deliveries:
                self._put(delivery)
        return self._by_number

    def _put(self, delivery: StoredDelivery) -> None:
        self._deliveries()[delivery.number] = delivery
        if delivery.packet_id:
            self._by_packet_id.setdefault(delivery.packet_id, set()).add(delivery.number)

    def _take_out(self, number: int) -> StoredDelivery | None:
        """Take a delivery out, of those that are over too."""
        delivery = self._deliveries().pop(number, None) or self._over.pop(number, None)
        if delivery is not None and delivery.packet_id:
            self._by_packet_id.get(delivery.packet_id, set()).discard(number)
        return delivery

    def _end(self, number: int) -> None:
        delivery = self._take_out(number)
        if delivery is not None:
            self._over[number] = delivery

    def _in_flight_as(self, packet_id: int) -> list[int]:
        """Give the numbers under a packet id: several for a while, where records are applied again."""
        self._deliveries()
        return list(self._by_packet_id.get(packet_id, ()))


@dataclass(slots=True)
class StoredWill:
    """What is to be said for a client that was connected (due_s None), or in due_s seconds for one that was lost."""

    will: WillKept
    due_s: float | None = None


@dataclass(slots=True)
class Image:
    """Everything that outlives the process. Messages' `expires_at` is in the clock of the `now` given to `restore`."""

    sessions: dict[int, StoredSession] = field(default_factory=dict)
    wills: dict[int, StoredWill] = field(default_factory=dict)
    retained: dict[str, Message] = field(default_factory=dict)
    messages: dict[int, Message] = field(default_factory=dict, repr=False)  # that deliveries refer to, by number

    def append(self, message: Message, flags: int) -> None:
        """Take a message as the journal's `append` does; a group's messages come before its records."""
        if message.number:
            self.messages[message.number] = message
        if flags & RETAINED:
            if message.payload:
                self.retained[message.topic] = message
            else:
                self.retained.pop(message.topic, None)

    def apply(self, record: AnyRecord, ago_s: float = 0.0) -> None:
        """Take a change that was made `ago_s` before the moment that this image is for.

        What it refers to may be unknown, and then nothing changes.
        """
        match record:
            case Opened(key, client_id, username, expiry_s):
                session = self.sessions.get(key)
                if session is None:
                    self.sessions[key] = StoredSession(key, client_id, username, expiry_s)
                else:
                    session.username, session.expiry_s = username, expiry_s
            case Ended(key):
                self.sessions.pop(key, None)
            case WillKept(key):
                self.wills[key] = StoredWill(record)
            case WillWaits(key, delay_s):
                will = self.wills.get(key)
                if will is not None:
                    will.due_s = delay_s - ago_s
            case WillGone(key):
                self.wills.pop(key, None)
            case _:
                session = self.sessions.get(record.key)
                if session is not None:
                    session.apply(record, self.messages, ago_s)

    def settle(self) -> None:
        """End a batch: forget what is over, and messages that nobody refers to any more. May be called again."""
        referred: set[int] = set()
        for session in self.sessions.values():
            session.settle()
            referred.update(one.number for one in session.deliveries if one.message is not None)
        self.messages = {number: message for number, message in self.messages.items() if number in referred}
