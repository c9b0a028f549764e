"""The tables that sessions, wills, messages and retained messages rest in, as objects and back.

Every row carries a checksum over its fields; one that does not fit is left out and reported.
"""

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from appliance.broker.image import Image, StoredDelivery, StoredSession, StoredWill
from appliance.broker.message import Message
from appliance.broker.records import WillKept
from appliance.broker.topictree import Grant
from appliance.encoding import to_message_pack
from appliance.store.checksum import checksum
from appliance.store.staged import Moment, StoredMessage

OnDamage = Callable[[str], None]

TABLES: Final = {  # columns without the checksum, in their order; the key first
    "sessions": ("key", "client_id", "username", "expiry_s", "left_age_ms"),
    "subscriptions": ("key", "topic_filter", "qos", "no_local", "retain_as_published", "identifier", "replays"),
    "deliveries": ("key", "number", "packet_id", "released", "qos", "retain", "identifiers", "shared"),
    "incoming": ("key", "packet_id"),
    "wills": (
        "key", "client_id", "username", "topic", "payload", "qos", "retain", "properties", "delay_s", "expiry_s",
        "due_age_ms",
    ),
    "messages": ("number", "flags", "topic", "payload", "properties", "client_id", "expires_age_ms"),
    "retained": ("topic", "flags", "payload", "properties", "client_id", "expires_age_ms"),
}  # fmt: skip
KEY_WIDTH: Final = {
    "sessions": 1, "subscriptions": 2, "deliveries": 2, "incoming": 2, "wills": 1, "messages": 1, "retained": 1
}  # fmt: skip
OF_A_SESSION: Final = ("sessions", "subscriptions", "deliveries", "incoming", "wills")

Row = tuple[Any, ...]


class StateTables:
    """Reads and writes the tables; whoever writes opens the transaction."""

    def __init__(self, connection: sqlite3.Connection, on_damage: OnDamage = lambda _: None) -> None:
        self._connection = connection
        self._on_damage = on_damage

    def rows(self, table: str, where: str = "", values: Collection[Any] = ()) -> Iterator[Row]:
        """Give the whole rows of a table, without their checksum, in the order of its key."""
        columns = TABLES[table]
        asked = f"SELECT {', '.join(columns)}, checksum FROM {table} {where}"  # noqa: S608 our own names
        for *fields, kept in self._connection.execute(asked, tuple(values)):
            if kept == checksum(*fields):
                yield tuple(fields)
            else:
                self._on_damage(f"a row of {table} is damaged and left out")

    def put(self, table: str, rows: Iterable[Row]) -> None:
        """Write rows over those with the same key."""
        columns = TABLES[table]
        statement = (
            f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}, checksum)"  # noqa: S608 our own names
            f" VALUES ({', '.join('?' * (len(columns) + 1))})"
        )
        self._connection.executemany(statement, ((*row, checksum(*row)) for row in rows))

    def delete(self, table: str, keys: Sequence[Row]) -> None:
        """Delete the rows with these keys."""
        condition = " AND ".join(f"{column} = ?" for column in TABLES[table][: KEY_WIDTH[table]])
        self._connection.executemany(f"DELETE FROM {table} WHERE {condition}", keys)  # noqa: S608 our own names

    def delete_session(self, key: int) -> None:
        """Delete a session and everything of it, damaged rows too; its will stays."""
        for table in ("sessions", "subscriptions", "deliveries", "incoming"):
            self._connection.execute(f"DELETE FROM {table} WHERE key = ?", (key,))  # noqa: S608 our own names

    def forget(self, ids: Iterable[int]) -> None:
        """Delete rows of the journal."""
        self._connection.executemany("DELETE FROM journal WHERE id = ?", [(row_id,) for row_id in ids])

    def mark(self, name: str) -> int:
        """Give a number of the service itself, 0 where it was never set."""
        row = self._connection.execute("SELECT value FROM marks WHERE name = ?", (name,)).fetchone()
        return 0 if row is None else int(row[0])

    def set_mark(self, name: str, value: int) -> None:
        """Set a number of the service itself."""
        self._connection.execute("INSERT OR REPLACE INTO marks (name, value) VALUES (?, ?)", (name, value))

    def raise_mark(self, name: str, value: int) -> None:
        """Set a number of the service itself, if it is below this."""
        if value > self.mark(name):
            self.set_mark(name, value)

    def load(self, image: Image, moment: Moment) -> None:
        """Fill an image with everything, for that moment."""
        for row in self.rows("messages"):
            image.messages[row[0]] = StoredMessage(*row).message(moment)
        for row in self.rows("retained"):
            image.retained[row[0]] = retained_message(row).message(moment)

        for table in OF_A_SESSION:
            for row in self.rows(table):
                fill(image, table, row, moment.age_ms)


def retained_message(row: Row) -> StoredMessage:
    """Give the message of a row of `retained`."""
    topic, flags, *rest = row
    return StoredMessage(0, flags, topic, *rest)


def retained_row(message: StoredMessage) -> Row:
    """Give the row of `retained` of a message."""
    return (message.topic, message.flags, *message[3:])


def fill(image: Image, table: str, row: Row, age_ms: int) -> None:
    """Add to the image what a row says of a session or a will, the session's own row before the others.

    Deliveries take their messages from the image, which is to be settled when all is applied.
    """
    key = row[0]
    if table == "sessions":
        _, client_id, username, expiry_s, left_age_ms = row
        away_s = None if left_age_ms is None else (age_ms - left_age_ms) / 1000
        image.sessions[key] = StoredSession(key, client_id, username, expiry_s, away_s)
    elif table == "wills":
        image.wills[key] = _will(row, age_ms)
    elif (session := image.sessions.get(key)) is None:
        pass  # its own row is damaged
    elif table == "subscriptions":
        _, topic_filter, qos, no_local, as_published, identifier, replays = row
        session.subscriptions[topic_filter] = Grant(qos, bool(no_local), bool(as_published), identifier)
        if replays:
            session.replays.add(topic_filter)
    elif table == "incoming":
        session.incoming.add(row[1])
    else:
        session.deliveries.append(_delivery(row, image.messages))


def session_row(stored: StoredSession, age_ms: int) -> Row:
    """Give the row of a session."""
    left_age_ms = None if stored.away_s is None else age_ms - round(stored.away_s * 1000)
    return (stored.key, stored.client_id, stored.username, float(stored.expiry_s), left_age_ms)


def subscription_rows(stored: StoredSession) -> list[Row]:
    """Give the rows of a session's subscriptions."""
    return [
        (
            stored.key,
            topic_filter,
            int(grant.qos),
            int(grant.no_local),
            int(grant.retain_as_published),
            grant.identifier,
            int(topic_filter in stored.replays),
        )
        for topic_filter, grant in stored.subscriptions.items()
    ]


def delivery_row(key: int, delivery: StoredDelivery) -> Row:
    """Give the row of a delivery."""
    return (
        key,
        delivery.number,
        delivery.packet_id,
        int(delivery.message is None),
        int(delivery.qos),
        int(delivery.retain),
        to_message_pack(delivery.identifiers),
        delivery.shared,
    )


def _will(row: Row, age_ms: int) -> StoredWill:
    """Give the will of a row."""
    key, client_id, username, topic, payload, qos, retain, properties, delay_s, expiry_s, due_age_ms = row
    kept = WillKept(key, client_id, username, topic, payload, qos, bool(retain), properties, delay_s, expiry_s)
    return StoredWill(kept, None if due_age_ms is None else (due_age_ms - age_ms) / 1000)


def will_row(stored: StoredWill, age_ms: int) -> Row:
    """Give the row of a will."""
    kept = stored.will
    due_age_ms = None if stored.due_s is None else age_ms + round(stored.due_s * 1000)
    return (*kept[:5], int(kept.qos), int(kept.retain), *kept[7:], due_age_ms)


def _delivery(row: Row, messages: Mapping[int, Message]) -> StoredDelivery:
    """Give the delivery of a row."""
    _, number, packet_id, released, qos, retain, identifiers, shared = row
    message = None if released else messages.get(number)
    named = tuple(msgspec.msgpack.decode(identifiers))
    return StoredDelivery(number, message, qos, bool(retain), named, shared, packet_id)
