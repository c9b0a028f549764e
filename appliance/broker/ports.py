"""What the core needs from outside, as protocols: who may enter, what a topic is for, where records go."""

from collections.abc import Callable
from enum import IntFlag
from typing import Protocol

from appliance.broker.message import Message


class RouteFlag(IntFlag):
    """What a topic is for, decided once when its route is made."""

    NONE = 0
    RETAINED = 1  # the message becomes its topic's last one; a publisher says so with each message
    RECORD = 2  # messages are history
    BRIDGE = 4  # messages go to other brokers
    BUNDLE = 8  # messages hold readings of other topics


Classify = Callable[[str], RouteFlag]
"""Topic name -> RECORD, BRIDGE, BUNDLE, some of them or NONE. Pure and quick; the answer stays in the topic's route."""


class Journal(Protocol):
    """Takes what must outlive the process; groups of records become durable together and in order."""

    def append(self, message: Message, flags: int) -> int:
        """Take one message with the `RouteFlag`s that say why; gives its commit group, 0 where nothing waits."""


class NoJournal:
    """Keeps nothing, so nothing has to be waited for."""

    def append(self, message: Message, flags: int) -> int:  # noqa: ARG002 the port's signature
        """Take nothing."""
        return 0
