"""The state as the last group left it: the tables, and what waits in the journal applied to them in order.

Only reads, so that a full disk or one that cannot be written does not keep the service from starting.
"""

import sqlite3
from dataclasses import dataclass, field

from appliance.broker.image import Image
from appliance.broker.message import Message
from appliance.broker.records import AnyRecord, Queued
from appliance.store.staged import Moment, StagedRow, Staging, changes_of, group_of, read, read_back
from appliance.store.state_tables import OnDamage, StateTables

LAST_ID = 2**63 - 1


@dataclass(slots=True)
class Loaded:
    """What a start needs; stamp: run and number of the last group that is in."""

    image: Image = field(default_factory=Image)
    next_number: int = 1
    next_key: int = 1
    damaged: int = 0  # rows left out
    damaged_ids: list[int] = field(default_factory=list)  # those of the journal

    def count(self, record: AnyRecord) -> None:
        """Know a key and a number as used."""
        self.next_key = max(self.next_key, record.key + 1)
        if isinstance(record, Queued):
            self.next_number = max(self.next_number, record.number + 1)


def load_retained(connection: sqlite3.Connection, moment: Moment) -> dict[str, Message]:
    """Give the retained messages by topic, inside the transaction that there is; what is damaged is left out."""
    return _load(connection, moment, lambda _: None).image.retained


def load(connection: sqlite3.Connection, moment: Moment, on_damage: OnDamage) -> Loaded:
    """Read everything, for that moment. A damaged row is left out, counted and reported."""
    connection.execute("BEGIN")
    try:
        return _load(connection, moment, on_damage)
    finally:
        connection.execute("ROLLBACK")


def _load(connection: sqlite3.Connection, moment: Moment, on_damage: OnDamage) -> Loaded:
    loaded = Loaded()

    def damage(text: str) -> None:
        loaded.damaged += 1
        on_damage(text)

    tables = StateTables(connection, damage)
    tables.load(loaded.image, moment)
    moved_id, moved_key = tables.mark("cut"), tables.mark("cut_key")
    loaded.next_number = max([tables.mark("number"), *loaded.image.messages]) + 1
    loaded.next_key = max([tables.mark("key"), *loaded.image.sessions, *loaded.image.wills]) + 1
    staging = Staging(connection)
    for row in read(connection, 0, LAST_ID):
        if not staging.is_whole(row):
            damage(f"row {row.id} of the journal is damaged and left out")
            loaded.damaged_ids.append(row.id)
            continue
        skip_below = moved_key if row.id <= moved_id else 0
        _apply(loaded, staging, row, moment, skip_below)
    loaded.image.settle()
    loaded.image.messages.clear()  # each delivery has its own
    return loaded


def _apply(loaded: Loaded, staging: Staging, row: StagedRow, moment: Moment, skip_below: int) -> None:
    """Apply one row; what it says of keys below `skip_below` is in the tables already."""
    stored = staging.message(row)
    if stored is not None:
        loaded.next_number = max(loaded.next_number, stored.number + 1)
        # Two of them: a number stands for what sessions hold, not for what later readers are given.
        if stored.number:
            loaded.image.append(stored.message(moment), 0)
        loaded.image.append(stored._replace(number=0).message(moment), stored.flags)
    made_age_ms = row.expires_age_ms or 0
    for change in changes_of(row):
        loaded.count(change)
        if change.key >= skip_below:
            loaded.image.apply(change, (moment.age_ms - made_age_ms) / 1000)


def last_stamp(connection: sqlite3.Connection) -> tuple[int, int]:
    """Give run and number of the last group that is in; (0, 0) of a new file."""
    tables = StateTables(connection)
    for row in read_back(connection, max(tables.mark("run_id"), 1)):
        if number := group_of(row):
            return tables.mark("run"), number
    return tables.mark("run"), tables.mark("group")
