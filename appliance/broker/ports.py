"""What the core needs from outside, as protocols: who may enter, what a topic is for, where records go."""

from collections.abc import Callable
from enum import IntFlag
from typing import Protocol

from appliance.broker.message import Message


class RouteFlag(IntFlag):
    """What a topic is for, decided once when its route is made."""

    NONE = 0
    RECORD = 1  # messages go to the journal as history
    BRIDGE = 2  # messages go to other brokers


Classify = Callable[[str], RouteFlag]
"""Topic name -> what it is for. Pure and quick; the answer is kept in the topic's route."""


class Journal(Protocol):
    """Takes what must outlive the process; groups of records become durable together and in order."""

    def append(self, message: Message) -> int:
        """Take one message and return the number of its group; 0 where nothing needs to be waited for."""


class NoJournal:
    """Keeps nothing, so nothing has to be waited for."""

    def append(self, message: Message) -> int:  # noqa: ARG002 the port's signature
        """Take nothing."""
        return 0
