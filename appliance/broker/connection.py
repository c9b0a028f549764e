"""One client's link as the core sees it: what stage it is in, what came in half, what waits to go out."""

from collections import deque
from enum import IntEnum
from typing import TYPE_CHECKING

from appliance.broker.aliases import IncomingAliases, OutgoingAliases
from appliance.broker.peer import source
from appliance.broker.records import WillKept
from appliance.mqtt.packets import Connect
from appliance.mqtt.types import Version

if TYPE_CHECKING:
    from appliance.broker.router import Route
    from appliance.broker.session import Session


NOTHING_HELD: deque[tuple[int, bytes]] = deque(maxlen=0)
"""Stands for an empty line, since each of its own would cost every link 600 bytes. It can hold nothing."""


class Stage(IntEnum):
    """What may happen next on a link."""

    AWAIT_CONNECT = 0  # CONNECT first, and soon [MQTT-3.1.0-1]
    AUTHENTICATING = 1  # asked who this is; what arrives meanwhile waits
    CONNECTED = 2
    CLOSED = 3


class Connection:
    """The core's half of one link.

    The core appends to `output` and counts the bytes in `backlog`; the edge sends them once a turn and sets
    `backlog` to what its socket did not take. `link` is the edge's own and never touched here.
    """

    __slots__ = (
        "aliases_in",
        "aliases_out",
        "backlog",
        "client_id",
        "connect",
        "dirty",
        "grace_s",
        "heard_at",
        "held",
        "held_bytes",
        "held_messages",
        "held_pubacks",
        "identity",
        "link",
        "max_packet_bytes",
        "missing_bytes",
        "output",
        "peer",
        "problem_information",
        "routes",
        "session",
        "source",
        "stage",
        "tail",
        "takes_all",
        "v5",
        "version",
        "will",
    )

    def __init__(self, link: object, peer: str, now: float, connect_timeout_s: float) -> None:
        self.link = link
        self.peer = peer
        self.source = source(peer)
        self.stage = Stage.AWAIT_CONNECT
        self.version = Version.MQTT_3_1_1
        self.v5 = False
        self.client_id = ""
        self.identity: str | None = None  # the user that its certificate names; CONNECT's then means nothing
        self.connect: Connect | None = None  # kept until it is clear who this is
        self.session: Session | None = None
        self.will: WillKept | None = None
        self.routes: dict[bytes, Route] = {}  # of the topics that its user has published to and may
        self.heard_at = now  # last whole packet
        self.grace_s = connect_timeout_s  # how long after `heard_at` the link may live; 0 for ever
        self.tail = bytearray()  # the unfinished packet
        self.missing_bytes = 0  # how much of it is still to come, so that drops of it are not parsed again
        self.output: list[bytes] = []
        self.backlog = 0  # bytes in `output` and in the socket's own buffer
        self.dirty = False  # on the core's list of links to flush
        self.held = NOTHING_HELD  # (commit group, acknowledgement or message) in order
        self.held_bytes = 0
        self.held_messages = 0  # how many of them are messages to the client
        self.held_pubacks = 0  # how many of them answer a message of QoS 1
        self.aliases_in: IncomingAliases | None = None
        self.aliases_out: OutgoingAliases | None = None  # where the client takes them
        self.max_packet_bytes = 0  # largest packet the client takes; 0 for any
        self.takes_all = True  # any PUBLISH in any size, without aliases
        self.problem_information = True  # the client wants reasons in words on every packet

    def put(self, data: bytes, dirty: list["Connection"]) -> None:
        """Put bytes on the output, and the link on the list of those to flush."""
        self.output.append(data)
        self.backlog += len(data)
        if not self.dirty:
            dirty.append(self)  # first: a flag without its entry would silence the link for ever
            self.dirty = True

    def __repr__(self) -> str:
        return f"Connection({self.client_id or self.peer!r}, {self.stage.name})"
