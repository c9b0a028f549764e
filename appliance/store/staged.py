"""A commit group as rows of the journal, and such rows as messages and changes of sessions again.

One message is one row: its history columns, its flags, and what is needed to give the message back. What follows from
the other columns is left out: the topic is its series', the payload the number's text, the property block a template
with the row's `seq` and time. Left out only where making it again gives the identical bytes; the checksum is over what
is made, so a damaged template or series cannot make a wrong message.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import compress
from operator import is_not
from typing import Any, Final, NamedTuple

import msgspec

from appliance.broker import records
from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag
from appliance.broker.records import AnyRecord, Queued
from appliance.encoding import to_message_pack
from appliance.store.checksum import checksum
from appliance.store.group import Entry, Group
from appliance.store.history import Placed
from appliance.store.reading_rows import TICKS_PER_MS
from appliance.store.templates import Templates, cut

MESSAGE: Final = 0
RECORDS: Final = 1
FURTHER: Final = 2  # another reading of the message before it

MAX_BODY_BYTES: Final = 60 * 1024
THOUSAND: Final = 1000  # numbers are kept as whole thousandths where that is exact

RETAINED: Final = int(RouteFlag.RETAINED)  # an IntFlag computes too slowly for every message
RECORD: Final = int(RouteFlag.RECORD)
ROUTE_BITS: Final = 0x0F
QOS_SHIFT: Final = 4
RETAIN_BIT: Final = 0x40

RECORD_TYPES: Final[tuple[type[Any], ...]] = (  # a record's place is written down: new ones go to the end
    records.Opened,
    records.Left,
    records.Back,
    records.Ended,
    records.Subscribed,
    records.Replayed,
    records.Unsubscribed,
    records.Queued,
    records.Sent,
    records.Dropped,
    records.Released,
    records.Done,
    records.Received,
    records.Forgot,
    records.WillKept,
    records.WillWaits,
    records.WillGone,
)
PLACE_OF: Final = {kind: place for place, kind in enumerate(RECORD_TYPES)}

COLUMNS: Final = (
    "id, kind, tick, late_ms, series_id, value, seq, stretch_id, flags, number, topic, payload, properties, client_id,"
    " expires_age_ms, body, checksum"
)
INSERT: Final = f"INSERT INTO journal ({COLUMNS}) VALUES ({', '.join('?' * 17)})"  # noqa: S608 our own names


class Moment(NamedTuple):
    """One moment on two clocks: monotonic seconds, and how long the service has run in all."""

    now: float
    age_ms: int


class StagedRow(NamedTuple):
    """A row of the journal as it is stored. body: records, or the template of `properties` and the group's number.

    properties: the block; the time (Unix ms) that its template is filled with; or NULL, where that is the tick's.
    `number` of a row of records is its group's.
    """

    id: int
    kind: int
    tick: int | None
    late_ms: int | None
    series_id: int | None
    value: float | str | None
    seq: int | None
    stretch_id: int | None
    flags: int | None
    number: int | None
    topic: str | None
    payload: bytes | None
    properties: bytes | int | None
    client_id: str | None
    expires_age_ms: int | None
    body: bytes | int | None
    checksum: int


class StoredMessage(NamedTuple):
    """A message as tables keep it; `flags` are its `RouteFlag`s, QoS and retain bit, `number` is 0 for none."""

    number: int
    flags: int
    topic: str
    payload: bytes
    properties: bytes
    client_id: str
    expires_age_ms: int | None

    def message(self, moment: Moment) -> Message:
        """Give the message; its expiry is in the clock of that moment."""
        now, age_ms = moment
        expires_at = None if self.expires_age_ms is None else now + (self.expires_age_ms - age_ms) / 1000
        message = Message(
            self.topic,
            self.payload,
            self.flags >> QOS_SHIFT & 3,
            bool(self.flags & RETAIN_BIT),
            self.properties,
            expires_at,
            self.client_id,
        )
        message.number = self.number
        return message


def flags_of(message: Message, flags: int) -> int:
    """Give the flags that a row keeps: why the message was taken, its QoS and its retain bit."""
    return int(flags) & ROUTE_BITS | int(message.qos) << QOS_SHIFT | (RETAIN_BIT if message.retain else 0)


def is_kept(message: Message, flags: int) -> bool:
    """Whether the message itself must outlive the process, and not only its readings."""
    return bool(flags & RETAINED or message.number)


class SeriesTopics:
    """Topics of the history's series, looked up once each; a series whose rows wait in the journal must stay."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._ask = connection.execute
        self._topics: dict[int, str] = {}

    def find(self, series_id: int) -> str | None:
        """Give the topic; None where there is no such series."""
        topic = self._topics.get(series_id)
        if topic is None:
            row = self._ask("SELECT topic FROM series WHERE id = ?", (series_id,)).fetchone()
            if row is None:
                return None
            topic = self._topics[series_id] = row[0]
        return topic


class Staging:
    """Encodes and decodes; new templates join the open transaction. Made anew after a transaction failed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._topics = SeriesTopics(connection)
        self.templates = Templates(connection)

    def rows(
        self,
        group: Group,
        first_id: int,
        age_ms: Callable[[float], int],
        place: Callable[[Entry, Group], Sequence[Placed]] | None,
    ) -> list[StagedRow]:
        """Give the rows of a group in their order; none for a message of which nothing is to be kept."""
        rows: list[StagedRow] = []
        next_id = first_id
        made = Moment(group.now, age_ms(group.now))
        for entry in group.entries:
            message, flags, _, _ = entry
            readings = place(entry, group) if place is not None and flags & RECORD else ()
            if flags & RETAINED or message.number:  # is_kept, without the call
                rows.append(self._message_row(next_id, message, flags, made, readings))
            elif readings:
                rows.append(_reading_row(next_id, MESSAGE, readings[0]))
            else:
                continue
            next_id += 1
            if len(readings) > 1:
                for reading in readings[1:]:
                    rows.append(further_row(next_id, reading))
                    next_id += 1
        if not group.records:
            self._stamp(rows, group.number)
        else:
            for body in bodies(group.records):
                rows.append(_records_row(next_id, body, made.age_ms, group.number))
                next_id += 1
        return rows

    def message(self, row: StagedRow) -> StoredMessage | None:
        """Give the message that a row holds; None where it holds readings only. Asks nothing of its checksum."""
        flags = row.flags
        if flags is None or not (flags & RETAINED or row.number):
            return None
        return StoredMessage(row.number or 0, flags, *self._made(row), row.expires_age_ms)

    def is_whole(self, row: StagedRow) -> bool:
        """Whether everything of the row is as it was written."""
        try:
            return row.checksum == self._sum(row)
        except (LookupError, TypeError, ValueError, OverflowError):
            return False

    def _sum(self, row: StagedRow) -> int:
        if row.kind != MESSAGE or row.flags is None or not (row.flags & RETAINED or row.number):
            return checksum(*row[:-1])
        return _message_checksum(row, *self._made(row))

    def _stamp(self, rows: list[StagedRow], group: int) -> None:
        """Write the group's number into its last row, so that a commit that failed can be looked for."""
        if rows:
            row = rows[-1]._replace(body=group << TEMPLATE_BITS | _template_id(rows[-1]))
            rows[-1] = row._replace(checksum=self._sum(row))

    def _message_row(
        self,
        row_id: int,
        message: Message,
        flags: int,
        made: Moment,
        readings: Sequence[Placed],
    ) -> StagedRow:
        """Give the row of a message that is kept."""
        series_id, tick, value, seq, late_ms, stretch_id = readings[0] if readings else NOTHING_PLACED
        topic, payload, properties, client_id = message.topic, message.payload, message.properties, message.client_id
        kept_topic: str | None = topic
        kept_payload: bytes | None = payload
        kept_properties: bytes | int | None = properties
        kept_client_id: str | None = client_id
        template: int | None = None
        if series_id is not None:
            if self._topics.find(series_id) == topic:
                kept_topic = None
            if _text_of(value) == payload:
                kept_payload = None
            if seq is not None and tick is not None:
                found = cut(client_id, properties, seq)
                if found is not None:
                    template = self.templates.take(found[0])
                    if template is not None:
                        kept_properties = None if found[1] == tick // TICKS_PER_MS else found[1]
                        kept_client_id = None
        expires_at = message.expires_at
        expires_age_ms = None if expires_at is None else made.age_ms + round((expires_at - made.now) * 1000)
        flags = flags & ROUTE_BITS | message.qos << QOS_SHIFT | (RETAIN_BIT if message.retain else 0)  # as flags_of
        number = message.number or None
        history = (row_id, MESSAGE, tick, late_ms, series_id, value, seq, stretch_id, flags, number)
        return StagedRow(
            *history,
            kept_topic,
            kept_payload,
            kept_properties,
            kept_client_id,
            expires_age_ms,
            template,
            checksum(*history, expires_age_ms, template, topic, payload, properties, client_id),
        )

    def _made(self, row: StagedRow) -> tuple[str, bytes, bytes, str]:
        """Make topic, payload, property block and client id of a row again; LookupError where that cannot be."""
        topic, payload, properties, client_id = row.topic, row.payload, row.properties, row.client_id
        if topic is None:
            topic = None if row.series_id is None else self._topics.find(row.series_id)
        if payload is None:
            payload = _text_of(row.value)
        if not isinstance(properties, bytes):
            template = self.templates.find(_template_id(row))
            if template is None or row.seq is None or row.tick is None:
                raise LookupError
            properties = template.fill(row.seq, row.tick // TICKS_PER_MS if properties is None else properties)
            client_id = template.client_id
        if topic is None or payload is None or client_id is None:
            raise LookupError
        return topic, payload, properties, client_id


TEMPLATE_BITS: Final = 12  # of a message's body; above them the number of the group that the row is the last of
TEMPLATE_MASK: Final = (1 << TEMPLATE_BITS) - 1
NOTHING_PLACED: Final = (None, None, None, None, None, None)
NO_MESSAGE: Final = (None,) * 8
NONES: Final = (None,) * 17


def insert(connection: sqlite3.Connection, rows: Iterable[StagedRow]) -> None:
    """Write rows in their order. Each names only what it has: the driver takes longer over a NULL than over a value."""
    shape: tuple[bool, ...] = ()
    alike: list[tuple[object, ...]] = []
    for row in rows:
        its = tuple(map(is_not, row, NONES))
        if its != shape:
            if alike:
                connection.executemany(_insert(shape), alike)
                alike = []
            shape = its
        alike.append(tuple(compress(row, its)))
    if alike:
        connection.executemany(_insert(shape), alike)


@lru_cache(maxsize=256)
def _insert(shape: tuple[bool, ...]) -> str:
    names = list(compress(COLUMNS.split(", "), shape))
    return f"INSERT INTO journal ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608 our own


def read(connection: sqlite3.Connection, after_id: int, until_id: int, limit: int = -1) -> Iterator[StagedRow]:
    """Give the rows behind `after_id` up to `until_id` in their order, at most `limit` of them."""
    asked = f"SELECT {COLUMNS} FROM journal WHERE id > ? AND id <= ? ORDER BY id LIMIT ?"  # noqa: S608 our own names
    return map(StagedRow._make, connection.execute(asked, (after_id, until_id, limit)))


def read_back(connection: sqlite3.Connection, first_id: int) -> Iterator[StagedRow]:
    """Give the rows from the last one back to `first_id`."""
    asked = f"SELECT {COLUMNS} FROM journal WHERE id >= ? ORDER BY id DESC"  # noqa: S608 our own names
    return map(StagedRow._make, connection.execute(asked, (first_id,)))


def group_of(row: StagedRow) -> int:
    """Give the number of the group whose last row this is, 0 of any other row."""
    if row.kind == RECORDS:
        return row.number or 0
    return row.body >> TEMPLATE_BITS if isinstance(row.body, int) else 0


def bodies(changes: Iterable[AnyRecord]) -> Iterator[bytes]:
    """Encode changes of sessions into pieces of about MAX_BODY_BYTES at most; a larger one stands alone."""
    piece: list[msgspec.Raw] = []
    size_bytes = 0
    for change in changes:
        encoded = to_message_pack((PLACE_OF[type(change)], *change))
        if piece and size_bytes + len(encoded) > MAX_BODY_BYTES:
            yield to_message_pack(piece)
            piece, size_bytes = [], 0
        piece.append(msgspec.Raw(encoded))
        size_bytes += len(encoded)
    if piece:
        yield to_message_pack(piece)


def changes_of(row: StagedRow) -> list[AnyRecord]:
    """Give the changes of sessions that a row holds; none for a message."""
    if row.kind != RECORDS or not isinstance(row.body, bytes):
        return []
    return [_change(*fields) for fields in msgspec.msgpack.decode(row.body)]


def _change(place: int, *fields: Any) -> AnyRecord:
    kind = RECORD_TYPES[place]
    if kind is Queued:
        key, number, qos, retain, identifiers, shared, packet_id = fields
        return Queued(key, number, qos, retain, tuple(identifiers), shared, packet_id)
    change: AnyRecord = kind(*fields)
    return change


def _records_row(row_id: int, body: bytes, made_age_ms: int, group: int) -> StagedRow:
    row = StagedRow(row_id, RECORDS, *(None,) * 7, group, None, None, None, None, made_age_ms, body, 0)
    return row._replace(checksum=checksum(*row[:-1]))


def _reading_row(row_id: int, kind: int, reading: Placed) -> StagedRow:
    """Give the row of a reading and nothing else."""
    series_id, tick, value, seq, late_ms, stretch_id = reading
    fields = (row_id, kind, tick, late_ms, series_id, value, seq, stretch_id, *NO_MESSAGE)
    return StagedRow(*fields, checksum(*fields))


def further_row(row_id: int, reading: Placed) -> StagedRow:
    """Give the row of a further reading of a message."""
    return _reading_row(row_id, FURTHER, reading)


def _message_checksum(row: StagedRow, topic: str, payload: bytes, properties: bytes, client_id: str) -> int:
    """Sum up what is stored and what is made of it."""
    return checksum(*row[:10], row.expires_age_ms, row.body, topic, payload, properties, client_id)


def _template_id(row: StagedRow) -> int:
    return row.body & TEMPLATE_MASK if isinstance(row.body, int) else 0


@lru_cache(maxsize=1_024, typed=True)  # a home's values come again and again
def _text_of(value: float | str | None) -> bytes | None:
    """Write a reading's value the way its publisher most likely did."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, int):
        whole, thousandths = divmod(abs(value), THOUSAND)
        fraction = f".{thousandths:03d}".rstrip("0") if thousandths else ""
        return f"{'-' if value < 0 else ''}{whole}{fraction}".encode()
    return None if value is None else repr(value).encode()
