"""Shared subscriptions: one of a group's members gets each message. MQTT 5 §4.8.2"""

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from appliance.broker.message import Message
from appliance.broker.session import Session
from appliance.broker.topictree import Grant


class SharedGroup:
    """The members of one `$share/group/filter`, those whose turn is next first."""

    __slots__ = ("members", "name")

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.members: dict[Session, Grant] = {}

    @property
    def is_served(self) -> bool:
        """Whether any member is connected."""
        return any(session.connection is not None for session in self.members)

    def turn(self, topic: str) -> "Turn":
        """Say who takes part where a message on this topic is shared out."""
        return Turn(self, frozenset(session for session in self.members if not session.rights.may_read(topic)))

    def next_member(self, max_backlog: int, barred: frozenset[Session] = frozenset()) -> tuple[Session, Grant] | None:
        """Give the member whose turn it is; one that can take a message at once goes before one that cannot.

        After those come connected members that are slow, then absent ones that are remembered; never one in `barred`.
        """
        chosen = None
        best = 3
        for session in self.members:
            if session in barred:
                continue
            connection = session.connection
            if connection is None:
                rank = 2
            elif session.waiting or len(session.in_flight) >= session.window or connection.backlog > max_backlog:
                rank = 1
            else:
                rank = 0
            if rank < best:
                chosen, best = session, rank
                if not rank:
                    break
        if chosen is None:
            return None
        grant = self.members[chosen] = self.members.pop(chosen)  # to the end of the line
        return chosen, grant


class Turn(NamedTuple):
    """A group as one topic sees it: some of its members may not read that."""

    shared: SharedGroup
    barred: frozenset[Session]

    @property
    def empty(self) -> bool:
        """Whether nobody is left."""
        return len(self.barred) >= len(self.shared.members)


def unfinished(session: Session, groups: Mapping[str, SharedGroup]) -> tuple[list[tuple[SharedGroup, Message]], int]:
    """Give what a session that ends leaves to its groups, and how many messages are lost with it.

    A group is who has joined under its name now, whether or not all had left it meanwhile: no more is known of one
    after a restart.
    Of what was sent only QoS 1 goes on: nobody else may get a QoS 2 message that the client may have. [MQTT-4.8.2-5]
    """
    left = []
    lost = 0
    for sent, deliveries in (True, session.in_flight.values()), (False, session.queue):
        for message, qos, _, _, shared in deliveries:
            if message is None:  # the client has it
                continue
            group = None if shared is None else groups.get(shared.name)
            if group is None or group.turn(message.topic).empty or (sent and qos == 2):
                lost += 1
            else:
                left.append((group, message))
    return left, lost


def take_waiting(session: Session, groups: Mapping[str, SharedGroup]) -> list[tuple[SharedGroup, Message]]:
    """Take out of an absent client's queue what its groups have members here for."""
    taken = []
    kept = []
    for delivery in session.queue:
        message, shared = delivery[0], delivery[4]
        group = None if shared is None else groups.get(shared.name)
        if message is not None and group is not None and group.is_served:
            session.queued_bytes -= len(message.topic) + len(message.payload) + len(message.properties)
            taken.append((group, message))
        else:
            kept.append(delivery)
    if taken:
        session.queue = deque(kept)
    return taken
