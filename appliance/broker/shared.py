"""Shared subscriptions: one of a group's members gets each message. MQTT 5 §4.8.2"""

from appliance.broker.session import Session
from appliance.broker.topictree import Grant


class SharedGroup:
    """The members of one `$share/group/filter`, those whose turn is next first."""

    __slots__ = ("members",)

    def __init__(self) -> None:
        self.members: dict[Session, Grant] = {}

    @property
    def is_served(self) -> bool:
        """Whether any member is connected."""
        return any(session.connection is not None for session in self.members)

    def next_member(self, max_backlog: int) -> tuple[Session, Grant] | None:
        """Give the member whose turn it is; one that can take a message at once goes before one that cannot.

        After those come connected members that are slow, then absent ones that are remembered.
        """
        chosen = None
        best = 3
        for session in self.members:
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
