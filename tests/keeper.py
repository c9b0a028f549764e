"""A history written as the service does: groups into `journal`, then moves; in a time that only the test moves."""

import json

from appliance.broker.message import Message
from appliance.clock import SYNCED, rfc3339
from appliance.mqtt.wire import Writer
from appliance.store.database import Database
from appliance.store.epochs import load_clock, save_epochs
from appliance.store.group import Group
from appliance.store.history import History, Placed
from appliance.store.history_reader import HistoryReader
from appliance.store.reading_rows import stored
from appliance.store.readings import Measured, Value
from appliance.store.staged import INSERT, further_row

AT = 1_790_000_000.0
TOPIC = "home/kitchen/temperature"


def said(**pairs):
    """User properties as MQTT 5 writes them."""
    writer = Writer()
    for name, value in pairs.items():
        writer.byte(0x26)
        writer.pair((name, value))
    return bytes(writer.buffer)


def origin(seq, agent="house", run="r1", at=None, **more):
    """Properties of one reading of an agent."""
    time = {} if at is None else {"time": rfc3339(at)}
    return said(agent=agent, run=run, seq=str(seq), **time, **more)


def number(value, topic=TOPIC, properties=b"", **options):
    return Message(topic, str(value).encode(), properties=properties, **options)


def retained(value, topic=TOPIC, properties=b"", **options):
    return number(value, topic, properties, retain=True, **options)


def backlog(*entries, agent="house", run="r1"):
    """A backlog of (at, seq, value) or (at, seq, value, more)."""
    told = [
        {"topic": TOPIC, "value": value, "time": rfc3339(at), "seq": seq, **(more[0] if more else {})}
        for at, seq, value, *more in entries
    ]
    return Message(f"home/devices/{agent}/backlog", json.dumps(told).encode(), properties=said(run=run))


class Keeper:
    """`now` and `at` are what monotonic and wall clock show; `quality` is what the kernel says of the latter."""

    def __init__(self, path, *, at=AT, now=100.0, quality=SYNCED, boot="boot 1", max_series=100):
        self.path = path
        self.now = now
        self.at = at
        self.quality = quality
        self.boot = boot
        self.max_series = max_series
        self.moved = []
        self.reader = HistoryReader(path)
        self._number = 0
        self.start()

    def start(self):
        self.database = Database.open(self.path)
        self.ask = self.database.connection.execute
        with self.database.transaction():
            self.clock = load_clock(self.database.connection, boot=self.boot, quality=lambda: self.quality)
            self.clock.begin(self.now, self.at)
            save_epochs(self.database.connection, self.clock)
            self.history = History(
                self.database.connection,
                self.clock,
                site="home",
                max_series=self.max_series,
                on_moved=lambda *moved: self.moved.append(moved),
            )

    def stop(self):
        self.database.close()

    def restart(self, *, boot=None, off_s=0.0, at=None, quality=None):
        """Kill the service, without a word to the history; with a boot's name, the machine too."""
        self.stop()
        self.advance(off_s)
        if boot is not None:
            self.boot, self.now = boot, 3.0
        self.at = self.at if at is None else at
        self.quality = self.quality if quality is None else quality
        self.start()

    def advance(self, seconds):
        self.now += seconds
        self.at += seconds

    def write(self, *messages, apart_s=0.0):
        """Write one group; its messages arrive so far apart, the last one now."""
        self._number += 1
        group = Group(self._number)
        for message in messages:
            self.advance(apart_s)
            group.entries.append((message, int(message.retain), self.now, None))
        group.now, group.at = self.now, self.at
        with self.database.transaction():
            placed = [row for entry in group.entries for row in self.history.place(entry, group)]
            self.ask_many(placed)
        return placed

    def record(self, readings):
        """Write (topic, kind, at, value) as if they had come in a backlog."""
        with self.database.transaction():
            placed = []
            for topic, kind, at, value in readings:
                one = Measured(at, [Value(topic, kind, value)])
                series_id = self.history.names.series_id(topic, kind)
                tick, epoch_id = self.clock.place(round(at * 1000))
                stretch_id = self.history.names.stretch_id(epoch_id, None, one, bundled=True)
                tick = self.history._free_tick(series_id, tick)
                placed.append(Placed(series_id, tick, stored(value), None, 0, stretch_id))
            self.ask_many(placed)

    def ask_many(self, placed):
        first_id = self.cut() + 1
        rows = [further_row(first_id + n, reading) for n, reading in enumerate(placed)]
        self.database.connection.executemany(INSERT, rows)

    def learn(self, device):
        with self.database.transaction():
            return self.history.learn(device)

    def look(self):
        with self.database.transaction():
            return self.history.look(self.now, self.at)

    def cut(self):
        return self.ask("SELECT coalesce(max(id), 0) FROM journal").fetchone()[0]

    def step(self, cut_id):
        with self.database.transaction():
            return self.history.move(cut_id)

    def delete(self):
        with self.database.transaction():
            self.ask("DELETE FROM journal WHERE id <= ?", (self.history.cut_id,))
            self.history.deleted()

    def move(self):
        cut_id = self.cut()
        while self.step(cut_id):
            pass
        self.delete()

    def values(self, topic=TOPIC):
        return [row.value for row in self.reader.rows(topic, 0, 1e11)]

    def in_order(self, topic=TOPIC):
        """Values as the view shows them in the order of ticks."""
        asked = self.ask("SELECT value FROM history WHERE topic = ? ORDER BY tick", (topic,))
        return [value for (value,) in asked]
