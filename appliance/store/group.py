"""A commit group: what the loop has taken and the writer's thread makes durable in one transaction."""

from dataclasses import dataclass, field

from appliance.broker.message import Message
from appliance.broker.records import AnyRecord
from appliance.broker.rights import Rights
from appliance.devices import Device

Entry = tuple[Message, int, float, Rights | None]
"""A message, the `RouteFlag`s that say why it is taken, the monotonic time of its arrival, and the rights of its
publisher where it speaks for several topics."""


@dataclass(slots=True)
class Group:
    """Messages and changes of sessions, each in their order. `now` (monotonic) and `at` (wall) are of its closing."""

    number: int
    entries: list[Entry] = field(default_factory=list)
    records: list[AnyRecord] = field(default_factory=list)
    devices: list[Device] = field(default_factory=list)
    size_bytes: int = 0
    run: int = 0  # of the service, so that its numbers cannot be taken for those of an earlier one
    now: float = 0.0
    at: float = 0.0
