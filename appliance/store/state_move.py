"""The move of sessions, wills, messages and retained messages from the journal into their tables.

What the rows up to a cut say in all is worked out, and only what differs is written: first session by session in the
order of their keys, then topic by topic; at last the rows are deleted. Two marks make that safe to interrupt anywhere:
of the rows up to `cut`, what they say of keys below `cut_key` is in the tables; what they say of others may be there in
part, and is applied over it (`image.py`). A topic's last message may be put there any number of times.

The cut is the end of a group, and what a `Queued` refers to was taken in the same group or is held by another session
when the group begins: no message that is still needed is taken for one that nobody holds.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from appliance.broker.image import Image
from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag
from appliance.broker.records import AnyRecord, Queued
from appliance.store.database import Database
from appliance.store.staged import INSERT, StagedRow, Staging, StoredMessage, changes_of, group_of, read
from appliance.store.state_tables import (
    KEY_WIDTH,
    OF_A_SESSION,
    OnDamage,
    Row,
    StateTables,
    delivery_row,
    fill,
    retained_row,
    session_row,
    subscription_rows,
    will_row,
)
from appliance.store.templates import MAX_TEMPLATES

SCAN_ROWS: Final = 250  # a step each of a millisecond or two
WRITE_ROWS: Final = 200
WRITE_BYTES: Final = 128 * 1024
DELETE_ROWS: Final = 2_000
TAIL_ROWS: Final = 500
LOOK_ROWS: Final = 2_000
LAST_ID: Final = 2**63 - 1
ALL_KEYS: Final = 2**62  # above every key
SOME_MESSAGE: Final = Message("", b"")  # stands for every message while only their numbers matter


class StateMove:
    """One move up to a cut; every step that writes is a transaction of its own.

    First `scan`, then whatever else needs the rows, then `finish`; `on_deleted` is called in the last transaction.
    `age_ms` is of the last group: retained messages whose time was over by then are deleted, which the broker forgot
    without a word.
    """

    def __init__(
        self,
        database: Database,
        staging: Staging,
        cut_id: int,
        on_damage: OnDamage = lambda _: None,
        on_deleted: Callable[[], None] = lambda: None,
        age_ms: int = 0,
    ) -> None:
        self._database = database
        self._ask = database.connection.execute
        self._staging = staging
        self._cut_id = cut_id
        self._tables = StateTables(database.connection, on_damage)
        self._on_damage = on_damage
        self._on_deleted = on_deleted
        self._age_ms = age_ms
        self._changes: defaultdict[int, list[tuple[AnyRecord, int]]] = defaultdict(list)  # by key, with their age
        self._topics: dict[str, int] = {}  # the row with the topic's last message
        self._numbers: dict[int, int] = {}  # the row with the message of that number
        self._stored: set[int] = set()  # numbers in the table of messages
        self._known: dict[int, Message] = {}
        self._run_id = self._tables.mark("run_id")
        self._last_number = 0
        self._last_key = 0
        self._last_group = 0

    def scan(self) -> Iterator[None]:
        """Learn what the rows are about; of messages only where they stand. Damaged rows are deleted."""
        after_id = 0
        while rows := list(read(self._database.connection, after_id, self._cut_id, SCAN_ROWS)):
            damaged = [row.id for row in rows if not self._staging.is_whole(row)]
            for row in rows:
                if row.id not in damaged:
                    self._learn(row)
            if damaged:
                with self._database.transaction():
                    self._tables.forget(damaged)
                for row_id in damaged:
                    self._on_damage(f"row {row_id} of the journal is damaged and left out")
            after_id = rows[-1].id
            yield

    def finish(self) -> Iterator[None]:
        """Do the whole move, stopping after each small piece; nothing else of the rows may be needed."""
        if self._tables.mark("cut_key") < ALL_KEYS:
            yield from self._move_sessions()
        yield from self._move_topics()
        yield from self._forget_topics()
        yield from self._forget_messages()
        yield from self._delete()

    def _learn(self, row: StagedRow) -> None:
        stored = self._staging.message(row)
        if stored is not None:
            if stored.number:
                self._numbers[stored.number] = row.id
                self._last_number = max(self._last_number, stored.number)
            if stored.flags & RouteFlag.RETAINED:
                self._topics[stored.topic] = row.id
        for change in changes_of(row):
            self._changes[change.key].append((change, row.expires_age_ms or 0))
            self._last_key = max(self._last_key, change.key)
            if isinstance(change, Queued):
                self._last_number = max(self._last_number, change.number)
        if row.id >= self._run_id:
            self._last_group = group_of(row) or self._last_group

    def _move_sessions(self) -> Iterator[None]:
        self._stored = {number for (number,) in self._ask("SELECT number FROM messages")}
        self._known = dict.fromkeys(self._numbers.keys() | self._stored, SOME_MESSAGE)
        begin_key = self._tables.mark("cut_key")
        batch = _Batch()
        for key in sorted(key for key in self._changes if key >= begin_key):
            self._difference(key, batch)
            if batch.rows >= WRITE_ROWS:
                yield from self._write(batch, key + 1)
                batch = _Batch()
            elif batch.looked >= LOOK_ROWS:
                batch.looked = 0
                yield
        yield from self._write(batch, ALL_KEYS)

    def _difference(self, key: int, batch: "_Batch") -> None:
        """Work out what is to be written of one session or will."""
        before = {table: list(self._tables.rows(table, "WHERE key = ?", (key,))) for table in OF_A_SESSION}
        image = Image(messages=self._known)
        changes = self._changes[key]
        age_ms = changes[-1][1]  # any moment serves: ages are counted from it, and back to it
        for table, rows in before.items():
            for row in rows:
                fill(image, table, row, age_ms)
        for change, made_age_ms in changes:
            image.apply(change, (age_ms - made_age_ms) / 1000)
        image.settle()
        session, will = image.sessions.get(key), image.wills.get(key)
        batch.compare("wills", before["wills"], [will_row(will, age_ms)] if will else [])
        if session is None:
            batch.end(key, before)
            return
        batch.compare("sessions", before["sessions"], [session_row(session, age_ms)])
        batch.compare("subscriptions", before["subscriptions"], subscription_rows(session))
        batch.compare("deliveries", before["deliveries"], [delivery_row(key, one) for one in session.deliveries])
        batch.compare("incoming", before["incoming"], [(key, packet_id) for packet_id in session.incoming])
        batch.numbers.update(delivery.number for delivery in session.deliveries if delivery.message is not None)

    def _write(self, batch: "_Batch", next_key: int) -> Iterator[None]:
        """Write the messages that the batch's sessions hold, in steps, and then the batch itself."""
        missing = sorted(number for number in batch.numbers - self._stored if number in self._numbers)
        for messages in self._messages([self._numbers[number] for number in missing]):
            with self._database.transaction():
                self._tables.put("messages", messages)
            self._stored.update(message.number for message in messages)
            yield
        # One of many deliveries in pieces: until the mark is set, the rows of the journal are applied over them.
        while batch.rows > WRITE_ROWS * 2:
            with self._database.transaction():
                batch.write(self._tables, WRITE_ROWS)
            yield
        with self._database.transaction():
            batch.write(self._tables, batch.rows)
            batch.forget_ended(self._tables)
            self._tables.set_mark("cut_key", next_key)
        yield

    def _messages(self, ids: list[int]) -> Iterator[list[StoredMessage]]:
        """Read messages from rows of the journal, in pieces."""
        piece: list[StoredMessage] = []
        size_bytes = 0
        for row_id in ids:
            for row in read(self._database.connection, row_id - 1, row_id):
                stored = self._staging.message(row) if self._staging.is_whole(row) else None
                if stored is not None:
                    piece.append(stored)
                    size_bytes += len(stored.payload) + len(stored.properties)
            if len(piece) >= WRITE_ROWS or size_bytes >= WRITE_BYTES:
                yield piece
                piece, size_bytes = [], 0
        if piece:
            yield piece

    def _move_topics(self) -> Iterator[None]:
        for messages in self._messages([self._topics[topic] for topic in sorted(self._topics)]):
            with self._database.transaction():
                self._tables.delete("retained", [(message.topic,) for message in messages if not message.payload])
                self._tables.put("retained", [retained_row(message) for message in messages if message.payload])
            yield

    def _forget_topics(self) -> Iterator[None]:
        """Delete the last messages whose time is over."""
        after = ""
        while found := self._ask(
            "SELECT topic, expires_age_ms FROM retained WHERE topic > ? ORDER BY topic LIMIT ?", (after, LOOK_ROWS)
        ).fetchall():
            after = found[-1][0]
            over = [(topic,) for topic, expires_ms in found if expires_ms is not None and expires_ms < self._age_ms]
            while over:
                with self._database.transaction():
                    self._tables.delete("retained", over[:WRITE_ROWS])
                del over[:WRITE_ROWS]
                yield
            yield

    def _forget_messages(self) -> Iterator[None]:
        """Delete the messages that no session holds."""
        if not self._changes:
            return
        held: set[int] = set()
        last = (-1, -1)
        while found := self._ask(
            "SELECT key, number, released FROM deliveries WHERE (key, number) > (?, ?) ORDER BY key, number LIMIT ?",
            (*last, LOOK_ROWS),
        ).fetchall():
            held.update(number for _, number, released in found if not released)
            last = found[-1][:2]
            yield
        after = -1
        while numbers := [
            number
            for (number,) in self._ask(
                "SELECT number FROM messages WHERE number > ? ORDER BY number LIMIT ?", (after, WRITE_ROWS)
            )
        ]:
            if free := [(number,) for number in numbers if number not in held]:
                with self._database.transaction():
                    self._tables.delete("messages", free)
            after = numbers[-1]
            yield

    def _delete(self) -> Iterator[None]:
        """Delete the rows; what they alone told of numbers is kept in marks."""
        with self._database.transaction():
            self._tables.raise_mark("number", self._last_number)
            self._tables.raise_mark("key", self._last_key)
            if self._last_group:
                self._tables.set_mark("group", self._last_group)
        yield
        # A table is emptied without a word about its pages, but row by row each page is written once more.
        if self._is_tail_small():
            with self._database.transaction():
                tail = list(read(self._database.connection, self._cut_id, LAST_ID))
                self._ask("DELETE FROM journal")
                self._database.connection.executemany(INSERT, tail)
                self._on_deleted()
        else:
            yield from self._delete_in_steps()
        self._forget_templates()

    def _is_tail_small(self) -> bool:
        """Whether what came after the cut is quickly written again."""
        rows, size_bytes = self._ask(
            "SELECT count(*), total(coalesce(length(payload), 0) + coalesce(length(properties), 0)"
            " + coalesce(length(body), 0)) FROM (SELECT payload, properties, body FROM journal WHERE id > ? LIMIT ?)",
            (self._cut_id, TAIL_ROWS + 1),
        ).fetchone()
        return bool(rows <= TAIL_ROWS and size_bytes <= WRITE_BYTES)

    def _delete_in_steps(self) -> Iterator[None]:
        """Delete the rows, the first ones first."""
        deleted = DELETE_ROWS
        while deleted == DELETE_ROWS:
            deleted, until = self._ask(
                "SELECT count(*), max(id) FROM (SELECT id FROM journal WHERE id <= ? ORDER BY id LIMIT ?)",
                (self._cut_id, DELETE_ROWS),
            ).fetchone()
            with self._database.transaction():
                self._ask("DELETE FROM journal WHERE id <= ?", (until,))
                if deleted < DELETE_ROWS:
                    self._on_deleted()
            yield

    def _forget_templates(self) -> None:
        """Make room for new templates, if there is little and no row needs an old one."""
        if len(self._staging.templates) > MAX_TEMPLATES // 2 and not self._ask("SELECT 1 FROM journal").fetchone():
            with self._database.transaction():
                self._staging.templates.clear()


class _Batch:
    """Rows that are written together."""

    def __init__(self) -> None:
        self.looked = 0  # rows that were compared
        self.numbers: set[int] = set()  # of messages that must be there first
        self._ended: list[int] = []
        self._gone: list[tuple[str, Row]] = []
        self._put: list[tuple[str, Row]] = []

    @property
    def rows(self) -> int:
        """How many are to be written or deleted."""
        return len(self._gone) + len(self._put) + len(self._ended)

    def compare(self, table: str, before: list[Row], after: list[Row]) -> None:
        """Take up what differs."""
        width = KEY_WIDTH[table]
        old = {row[:width]: row for row in before}
        self._put += [(table, row) for row in after if old.pop(row[:width], None) != row]
        self._gone += [(table, key) for key in old]
        self.looked += len(before) + len(after) + 1

    def end(self, key: int, before: Mapping[str, list[Row]]) -> None:
        """Take up that a session is over, or never was."""
        for table in OF_A_SESSION[:-1]:
            self.compare(table, before[table], [])
        self._ended.append(key)

    def write(self, tables: StateTables, most: int) -> None:
        """Write up to so many rows, and know them as written."""
        for rows, act in ((self._gone, tables.delete), (self._put, tables.put)):
            piece = rows[:most]
            del rows[:most]
            most -= len(piece)
            for table in OF_A_SESSION:
                act(table, [row for name, row in piece if name == table])

    def forget_ended(self, tables: StateTables) -> None:
        """Delete whatever is left of sessions that are over: damaged rows, which nobody compared."""
        for key in self._ended:
            tables.delete_session(key)
        self._ended.clear()
