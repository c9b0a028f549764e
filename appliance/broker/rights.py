"""What one user may do, as the core asks it: the port that accounts and their rules fill."""

from collections.abc import Callable
from typing import Protocol


class Rights(Protocol):
    """What one user may do. The core keeps the answers with its routes, so that no message waits for one.

    Topics that begin with $ are the server's own: nobody is asked about publishing there.
    """

    agent: str | None
    """Who its readings may say they are of, beside agents whose own topics it may publish to; None for anybody."""

    def may_publish(self, topic: str) -> bool:
        """Whether messages to this topic are taken, wills too."""

    def may_read(self, topic: str) -> bool:
        """Whether messages on this topic are delivered."""

    def may_subscribe(self, topic_filter: str) -> bool:
        """Whether the filter, without its share prefix, takes in anything that may be read."""

    def same_as(self, other: "Rights") -> bool:
        """Whether these answer every question as the others do."""


class AllRights:
    """Everything is allowed."""

    agent: str | None = None

    def may_publish(self, topic: str) -> bool:  # noqa: ARG002 the port's signature
        """Allow it."""
        return True

    def may_read(self, topic: str) -> bool:  # noqa: ARG002
        """Allow it."""
        return True

    def may_subscribe(self, topic_filter: str) -> bool:  # noqa: ARG002
        """Allow it."""
        return True

    def same_as(self, other: Rights) -> bool:
        """Whether the others allow everything too."""
        return other is self


ALL_RIGHTS = AllRights()

Authorize = Callable[[str | None, str], Rights]
"""User name, None for an anonymous client, and client id -> rights, the same object as long as somebody holds it.

Asked once a CONNECT.
"""


def all_rights(_username: str | None, _client_id: str) -> Rights:
    """Give what everybody may do where there are no accounts."""
    return ALL_RIGHTS
