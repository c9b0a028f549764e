"""What the core needs from outside, as protocols: who may enter, what a topic is for, where records go."""

from collections.abc import Callable, Sequence
from enum import IntFlag
from typing import Protocol

from appliance.broker.message import Message
from appliance.broker.records import AnyRecord
from appliance.broker.rights import Rights


class RouteFlag(IntFlag):
    """What a topic is for, decided once when its route is made."""

    NONE = 0
    RETAINED = 1  # the message becomes its topic's last one; a publisher says so with each message
    RECORD = 2  # messages are history
    BRIDGE = 4  # messages go to other brokers
    BUNDLE = 8  # messages hold readings of other topics


Classify = Callable[[str], RouteFlag]
"""Topic name -> RECORD, BRIDGE, BUNDLE, some of them or NONE. Pure and quick; the answer stays in the topic's route."""


Inspect = Callable[[str, bytes, Rights], Sequence[str]]
"""Topic and payload of a BUNDLE, rights of its publisher -> topics in it that those rights do not include."""


def uninspected(_topic: str, _payload: bytes, _rights: Rights) -> Sequence[str]:
    """Bar nothing: where no topic is a BUNDLE."""
    return ()


class Journal(Protocol):
    """Takes what must outlive the process. What is taken becomes durable in groups, whole and in order.

    Everything is taken at once and nothing waited for. A group is closed between two packets, never while the core
    acts on one: a message, who holds it and the packet id it came with become durable together or not at all.
    """

    group: int
    """Number of the open group: what is taken now becomes durable with it. Counts up from 1; 0 where nothing waits."""

    refuses: bool
    """Nothing can be made durable at present: take no new message that would have to be. The core then answers 0x97."""

    def append(self, message: Message, flags: int, now: float) -> None:
        """Take one message, with the `RouteFlag`s that say why.

        None of them: only a `Queued` refers to it, by `message.number`, which is set before the group closes.
        An empty payload with RETAINED forgets the topic's last message.
        """

    def note(self, record: AnyRecord) -> None:
        """Take one change of a session."""

    def take_number(self) -> int:
        """Give a number for a message that a `Queued` refers to; never used twice, not after a restart either."""

    def take_key(self) -> int:
        """Give the key for the next session or will; never used twice, not after a restart either."""


class NoJournal:
    """Keeps nothing, so nothing has to be waited for."""

    group = 0
    refuses = False

    def append(self, message: Message, flags: int, now: float) -> None:
        """Take nothing."""

    def note(self, record: AnyRecord) -> None:
        """Take nothing."""

    def take_number(self) -> int:
        """Give the number that stands for none."""
        return 0

    def take_key(self) -> int:
        """Give the key that stands for none."""
        return 0
