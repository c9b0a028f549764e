"""The broker's durable state as plain data: what a journal holds when its records are applied in order.

Pure and slow on purpose: it is built once at a start, and by tests. `Image` is what `Broker.restore` takes.
"""

from dataclasses import dataclass, field

from appliance.broker.message import Message
from appliance.broker.records import WillKept
from appliance.broker.topictree import Grant


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
    """One client's session."""

    key: int
    client_id: str
    username: str | None
    expiry_s: float
    away_s: float | None = None  # how long its client has been away; None: it was connected when the journal ended
    subscriptions: dict[str, Grant] = field(default_factory=dict)
    replays: set[str] = field(default_factory=set)  # filters whose retained messages were not all sent
    deliveries: list[StoredDelivery] = field(default_factory=list)  # in flight in the order sent, then in line
    incoming: set[int] = field(default_factory=set)


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
