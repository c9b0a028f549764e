"""Who reads a topic."""

from typing import NamedTuple

from appliance.broker.session import Session
from appliance.broker.shared import Turn
from appliance.broker.topictree import Grant


class Reader(NamedTuple):
    """One session that reads a topic, its overlapping subscriptions taken together. [MQTT-3.3.5-1]"""

    session: Session
    qos: int
    retain_as_published: bool
    identifiers: tuple[int, ...]
    grants: tuple[Grant, ...]


class Audience:
    """Who reads a topic; topics with the same readers share one, so that a run of packets goes out as one slice.

    Whether a session is durable is decided when its client connects and has no subscriptions, so that it holds here.
    """

    __slots__ = ("durable", "empty", "fleeting", "groups", "plain", "readers", "sessions", "stores")

    def __init__(self, readers: tuple[Reader, ...], groups: tuple[Turn, ...]) -> None:
        self.readers = readers
        self.groups = groups
        self.empty = not readers and not groups
        self.sessions = tuple(reader.session for reader in readers)
        self.durable = tuple(reader for reader in readers if reader.session.key and reader.qos)
        self.fleeting = (
            readers
            if not self.durable
            else tuple(reader for reader in readers if not (reader.session.key and reader.qos))
        )
        # Whether a message of QoS 1 or 2 has to be written down for somebody.
        self.stores = bool(self.durable) or any(member.key for turn in groups for member in turn.shared.members)
        # Received bytes may go out unchanged: no reader needs anything of its own in a QoS 0 packet.
        self.plain = not groups and not any(
            reader.identifiers or reader.session.deliver or any(grant.no_local for grant in reader.grants)
            for reader in readers
        )
