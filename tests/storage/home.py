"""A home whose every payload carries its own proof, written by the real store and left as kill -9 leaves it."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from zlib import crc32

from appliance.broker.image import Image
from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag
from appliance.broker.records import Left, Opened, Queued, Received, Subscribed, WillKept
from appliance.store.group import Group
from appliance.store.history_reader import HistoryReader
from appliance.store.opening import open_ledger
from appliance.store.sqlite_ledger import SqliteLedger
from tests.keeper import origin

NAME = "appliance.db"
CLIENTS = 6
RUN = 77
AGE_S = 3_600.0  # longer than any home here is used


def prove(topic: str, number: int) -> bytes:
    """Give a payload that only this topic and number have; every seventh is longer than a page."""
    text = f"{topic} {number} {sha256(f'{topic} {number}'.encode()).hexdigest()}"
    return (text * (30 if number % 7 == 0 else 1)).encode()


def is_proved(topic: str, payload: bytes) -> bool:
    """Tell whether a payload is one that was sent to this topic."""
    words = payload.split(b" ")
    return len(words) > 1 and words[1].isdigit() and payload == prove(topic, int(words[1]))


def prove_value(topic: str, number: int) -> bytes:
    """Give a reading that only this topic and number have."""
    return b"%d.%03d" % (number, crc32(f"{topic} {number}".encode()) % 1000)


@dataclass(frozen=True)
class Held:
    """What a store gives back: how much of it, and how much of that nobody ever sent."""

    retained: frozenset[str]
    sessions: frozenset[str]
    subscriptions: int
    deliveries: int
    wills: int
    readings: int
    corrupt: int

    @property
    def total(self) -> int:
        """Count everything."""
        return (
            len(self.retained) + len(self.sessions) + self.subscriptions + self.deliveries + self.wills + self.readings
        )


def spoil(path: Path, at: int = 30_000) -> bytes:
    """Overwrite a page's worth of a file with zeros; gives what it holds then."""
    data = bytearray(path.read_bytes())
    data[at : at + 1024] = bytes(1024)
    path.write_bytes(data)
    return bytes(data)


def open_home(path: Path) -> SqliteLedger:
    """Open the store; StoreError."""
    return open_ledger(path, site="home", max_series=100)


def held(image: Image, database: Path) -> Held:
    """Look through everything that a broker and its history would serve."""
    image.settle()
    corrupt = sum(not is_proved(topic, message.payload) for topic, message in image.retained.items())
    corrupt += sum(message.topic != topic for topic, message in image.retained.items())
    subscriptions = deliveries = 0
    for session in image.sessions.values():
        corrupt += session.client_id not in {f"client{number}" for number in range(CLIENTS)}
        for topic_filter, grant in session.subscriptions.items():
            subscriptions += 1
            corrupt += topic_filter != f"away/{session.client_id}/#" or grant.qos != 2
        for delivery in session.deliveries:
            deliveries += 1
            message = delivery.message
            if message is not None:
                corrupt += not is_proved(message.topic, message.payload)
                corrupt += not message.topic.startswith(f"away/{session.client_id}/")
    corrupt += sum(not is_proved(stored.will.topic, stored.will.payload) for stored in image.wills.values())
    readings, untrue = recorded(database)
    corrupt += untrue
    return Held(
        frozenset(image.retained),
        frozenset(session.client_id for session in image.sessions.values()),
        subscriptions,
        deliveries,
        len(image.wills),
        readings,
        corrupt,
    )


def recorded(database: Path) -> tuple[int, int]:
    """Count the readings of a home, and those of them that nobody sent, or at another time."""
    reader = HistoryReader(database)
    readings = untrue = 0
    now = time.time()
    for series in reader.topics():
        for row in reader.rows(series.topic, 0, now + AGE_S * 1000):
            readings += 1
            is_true = row.value is not None and b"%.3f" % row.value == prove_value(series.topic, int(row.value))
            if series.topic.startswith("salvaged/"):
                is_true = row.value is not None
            untrue += not is_true or abs(row.at - now) > AGE_S
    return readings, untrue


def build(directory: Path, *, topics: int = 40, rounds: int = 3, seed: int = 0) -> Held:
    """Write a home into `directory`, a part of it still in the log; gives what it holds."""
    work = directory.with_name(f"{directory.name}.work")
    work.mkdir()
    ledger = open_home(work / NAME)
    try:
        ledger.load(time.monotonic())
        for number, group in enumerate(groups(topics, rounds, seed), 1):
            group.number, group.run, group.now, group.at = number, RUN + seed, time.monotonic(), time.time()
            ledger.write(group)
            if number == rounds * topics // 20:
                ledger.rest()
                ledger.settle()
        shutil.copytree(work, directory)
        return held(ledger.load(time.monotonic()), work / NAME)
    finally:
        ledger.close()
        shutil.rmtree(work)


def groups(topics: int, rounds: int, seed: int) -> Iterator[Group]:
    """Give what happens in this home, ten messages at a time."""
    first = Group(1)
    for key in range(1, CLIENTS + 1):
        client = f"client{key - 1}"
        topic = f"gone/{client}"
        first.records += [
            Opened(key, client, "someone", 86_400.0),
            Subscribed(
                key, f"away/{client}/#", 2, no_local=False, retain_as_published=False, identifier=0, replays=False
            ),
            Received(key, 40 + key),
            WillKept(key, client, "someone", topic, prove(topic, key), 1, True, b"", 0, None),
            Left(key),
        ]
    yield first
    sent = seed * 100_000
    for _ in range(rounds):
        for start in range(0, topics, 10):
            group = Group(1)
            for place in range(start, start + 10):
                sent += 1
                topic = f"home/room{place}/note"
                message = Message(topic, prove(topic, sent), 1, True, b"", None, "publisher")
                group.entries.append((message, int(RouteFlag.RETAINED), 0.0, None))
                topic = f"home/room{place % 8}/temperature"
                said = origin(sent, agent=f"agent{place % 3}", at=time.time()) if place % 2 else b""
                message = Message(topic, prove_value(topic, sent), 1, False, said, None, "publisher")
                group.entries.append((message, int(RouteFlag.RECORD), time.monotonic(), None))
                if place % 5 == 0:
                    _queue(group, sent)
            yield group


def _queue(group: Group, sent: int) -> None:
    key = 1 + sent % CLIENTS
    topic = f"away/client{key - 1}/call"
    message = Message(topic, prove(topic, sent), 2, False, b"", None, "publisher")
    message.number = sent
    group.entries.append((message, 0, 0.0, None))
    group.records.append(Queued(key, sent, 2, retain=False, identifiers=(), shared=None, packet_id=0))
