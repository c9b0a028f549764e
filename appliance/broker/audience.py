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
    """Who reads a topic; topics with the same readers share one, so that a run of packets goes out as one slice."""

    __slots__ = ("empty", "groups", "plain", "readers", "sessions")

    def __init__(self, readers: tuple[Reader, ...], groups: tuple[Turn, ...]) -> None:
        self.readers = readers
        self.groups = groups
        self.empty = not readers and not groups
        self.sessions = tuple(reader.session for reader in readers)
        # Received bytes may go out unchanged: no reader needs anything of its own in a QoS 0 packet.
        self.plain = not groups and not any(
            reader.identifiers or reader.session.deliver or any(grant.no_local for grant in reader.grants)
            for reader in readers
        )
