"""What a server remembers, in plain lists and sets: sessions, links, subscriptions, messages on their way."""

import math
from dataclasses import dataclass, field

from appliance.mqtt.properties import EMPTY, Properties, encode_property_block
from appliance.mqtt.types import Version

V31, V311, V5 = Version.MQTT_3_1, Version.MQTT_3_1_1, Version.MQTT_5
NEVER = math.inf


class Divergence(AssertionError):
    """The server did something else than the specification says."""


def matches(topic_filter, topic):
    """§4.7, level by level."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in {"+", "#"}:
        return False
    while wanted:
        first = wanted.pop(0)
        if first == "#":
            return True
        if not levels or first not in {"+", levels.pop(0)}:
            return False
    return not levels


def group_of(topic_filter):
    """`$share/g/a/b` -> ("$share/g/a/b", "a/b"); any other filter -> (None, filter)."""
    if topic_filter.startswith("$share/"):
        return topic_filter, topic_filter.split("/", 2)[2]
    return None, topic_filter


@dataclass(eq=False)
class Message:
    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Properties = EMPTY  # that travel with it to the readers
    expires_at: float = NEVER

    def size(self):
        return len(self.topic.encode()) + len(self.payload) + len(encode_property_block(self.properties))


@dataclass(frozen=True)
class Wanted:
    """One subscription as it was asked for."""

    topic_filter: str
    qos: int
    no_local: bool = False
    retain_as_published: bool = False
    identifier: int = 0


@dataclass(eq=False)
class Group:
    """One shared subscription: who is in it."""

    topic_filter: str
    members: dict = field(default_factory=dict)  # Session -> Wanted


@dataclass(eq=False)
class Delivery:
    """One message for one reader."""

    message: Message
    qos: int
    retain: bool
    identifiers: tuple
    group: Group | None = None
    released: bool = False  # the reader of QoS 2 has it; PUBCOMP is still to come
    fresh: bool = True  # lined up in this very step, so the bound of the queue has not been applied yet


@dataclass(eq=False)
class Replay:
    """Retained messages that a new subscription still has to see."""

    wanted: Wanted
    due: set  # topics that had a message all the time since
    seen: set = field(default_factory=set)


class Session:
    def __init__(self, client_id, username):
        self.client_id = client_id
        self.username = username
        self.expiry_s = 0.0
        self.link = None
        self.left_at = None
        self.is_from_nowhere = False  # away since a crash: the server knows no address any more
        self.subscriptions = {}  # filter -> Wanted
        self.incoming = set()  # QoS 2 ids from the client that it has not released
        self.in_flight = {}  # packet id -> Delivery, in the order they were sent
        self.resend = []  # packet ids, the part of them that this link has not seen yet
        self.queue = []
        self.replays = {}  # filter -> Replay
        self.will = None  # (Message, moment), waiting for its delay
        self.will_order = 0  # number of the link that brought it: those of one moment are told in this order
        self.window = 65_535


@dataclass(eq=False)
class Orphan:
    """The will of a client whose session went with the server; who comes back in time revokes it."""

    client_id: str
    username: str | None
    will: object
    due: float
    will_order: int


class Link:
    """One connection, and what the server owes it."""

    def __init__(self, number, version, now):
        self.number = number
        self.version = version
        self.heard_at = now
        self.grace_s = NEVER
        self.session = None
        self.will = None
        self.answers = []  # in their order; PUBREL has one of its own, [MQTT-4.6.0-4]
        self.releases = []
        self.due = []  # QoS 0
        self.missed = []  # of it, what later ones of the topic have overtaken
        self.closed = False
        self.reads = True
        self.was_full = False  # before this step, of what the client does not read
        self.unread_bytes = 0  # sent in this step, or since the client stopped reading
        self.max_packet_bytes = NEVER
        self.aliases_in = {}
        self.aliases_out = {}
        self.alias_maximum = 0

    def __repr__(self):
        who = self.session.client_id if self.session else "nobody"
        return f"link {self.number} of {who} ({self.version.name})"
