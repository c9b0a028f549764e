"""A commit group: what the loop has taken and the writer's thread makes durable in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Final

from appliance.broker.message import Message
from appliance.broker.records import AnyRecord
from appliance.broker.rights import Rights
from appliance.devices import Device
from appliance.store.gaps import GapNote

Entry = tuple[Message, int, float, Rights | None]
"""A message, the `RouteFlag`s that say why it is taken, the monotonic time of its arrival, and the rights of its
publisher where it speaks for several topics or may say whose reading it is."""


@dataclass(slots=True)
class Group:
    """Messages and changes of sessions, each in their order. `now` (monotonic) and `at` (wall) are of its closing.

    earlier: the same of groups that were put before it into one.
    """

    number: int
    entries: list[Entry] = field(default_factory=list)
    records: list[AnyRecord] = field(default_factory=list)
    devices: list[Device] = field(default_factory=list)
    gaps: list[GapNote] = field(default_factory=list)
    size_bytes: int = 0
    run: int = 0  # of the service, so that its numbers cannot be taken for those of an earlier one
    now: float = 0.0
    at: float = 0.0
    earlier: tuple[tuple[float, float], ...] = ()


LISTS: Final = tuple(field.name for field in fields(Group) if field.default_factory is list)


def merged(groups: Sequence[Group]) -> Group:
    """Give the groups as one that has the last one's number and time, and knows those of the others."""
    last = groups[-1]
    earlier = tuple((group.now, group.at) for group in groups[:-1])
    whole = Group(last.number, run=last.run, now=last.now, at=last.at, earlier=earlier)
    for group in groups:
        for name in LISTS:
            getattr(whole, name).extend(getattr(group, name))
        whole.size_bytes += group.size_bytes
    return whole


def halves(group: Group) -> list[Group]:
    """Give a group in two smaller ones, in an order in which they may be written; nothing where it cannot be divided.

    The first has the number before: while the second is missing, the group is not in. Messages come before the records
    that refer to them.
    """
    if count(group) < 2:
        return []
    number, run, now, at, earlier = group.number, group.run, group.now, group.at, group.earlier
    first, second = (Group(number - 1 + n, run=run, now=now, at=at, earlier=earlier) for n in range(2))
    kinds = [name for name in LISTS if getattr(group, name)]
    for place, name in enumerate(kinds):
        items = getattr(group, name)
        cut = len(items) // 2 if len(kinds) == 1 else len(items) * (place == 0)
        setattr(first, name, items[:cut])
        setattr(second, name, items[cut:])
    return [first, second]


def count(group: Group) -> int:
    """Give how many messages, changes, descriptions and gaps it holds."""
    return sum(len(getattr(group, name)) for name in LISTS)


def is_promised(group: Group) -> bool:
    """Tell whether somebody waits until it is durable: for a message with QoS 1 or 2, or for a change of a session."""
    return bool(group.records) or any(getattr(entry[0], "qos", 1) for entry in group.entries)


def shown(group: Group) -> str:
    """Show what is in it, cut short."""
    items = (item[0] if name == "entries" else item for name in LISTS for item in getattr(group, name))
    return ", ".join(map(repr, items))[:200]
