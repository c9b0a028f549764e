"""What the core asks to have written down of sessions, so that they outlive the process.

Each record is one change, small and final; applied in order to what was known before they give the state again
(`image.py`). Messages are no records: the journal takes them as they are, and `Queued` refers to one by its number.
`key` stands for a session, or for a will whose client has none; keys are never used again.
"""

from typing import NamedTuple


class Opened(NamedTuple):
    """A client has a session that outlives its link, for `expiry_s` seconds; said again where that changes."""

    key: int
    client_id: str
    username: str | None
    expiry_s: float


class Left(NamedTuple):
    """The client is gone: its session's time begins to run, or began to `away_s` ago."""

    key: int
    away_s: float = 0.0


class Back(NamedTuple):
    """The client is here again."""

    key: int


class Ended(NamedTuple):
    """The session is over and everything of it gone."""

    key: int


class Subscribed(NamedTuple):
    """A subscription as granted. replays: its retained messages are still to be sent."""

    key: int
    topic_filter: str
    qos: int
    no_local: bool
    retain_as_published: bool
    identifier: int
    replays: bool


class Replayed(NamedTuple):
    """The subscription's retained messages have all been sent."""

    key: int
    topic_filter: str


class Unsubscribed(NamedTuple):
    """The subscription is gone."""

    key: int
    topic_filter: str


class Queued(NamedTuple):
    """A message is on its way to the client: in line (packet_id 0), or sent under its packet id.

    `shared` is the filter of the shared subscription that it comes through, `$share/…` and all.
    """

    key: int
    number: int
    qos: int
    retain: bool
    identifiers: tuple[int, ...]
    shared: str | None
    packet_id: int


class Sent(NamedTuple):
    """What stood in line was sent under this packet id."""

    key: int
    number: int
    packet_id: int


class Dropped(NamedTuple):
    """What stood in line will not be sent."""

    key: int
    number: int


class Released(NamedTuple):
    """The client has a QoS 2 message (PUBREC); only PUBCOMP is missing. [MQTT-4.3.3-1]"""

    key: int
    packet_id: int


class Done(NamedTuple):
    """What was sent under this packet id is over."""

    key: int
    packet_id: int


class Received(NamedTuple):
    """A QoS 2 message from the client was taken; its id is not released yet. [MQTT-4.3.3-2]"""

    key: int
    packet_id: int


class Forgot(NamedTuple):
    """The client has released that id."""

    key: int
    packet_id: int


class WillKept(NamedTuple):
    """What to say for a client that is lost, kept from its CONNECT on; `properties` is the block without its length."""

    key: int
    client_id: str
    username: str | None
    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: bytes
    delay_s: int
    expiry_s: int | None


class WillWaits(NamedTuple):
    """The client is lost; its will is told after this many seconds."""

    key: int
    delay_s: float


class WillGone(NamedTuple):
    """The will was told, or is not to be told."""

    key: int


AnyRecord = (
    Opened
    | Left
    | Back
    | Ended
    | Subscribed
    | Replayed
    | Unsubscribed
    | Queued
    | Sent
    | Dropped
    | Released
    | Done
    | Received
    | Forgot
    | WillKept
    | WillWaits
    | WillGone
)
