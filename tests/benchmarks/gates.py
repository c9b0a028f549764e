"""What it costs that acknowledgements wait for the disk: the same broker with the gate closed and open.

Both keep every message as its topic's last one and record it, on a disk and with a budget that allow it; they differ
in when the PUBACK leaves. Publishers send retained QoS 1 readings, one or many in flight; nobody reads them, so that
nothing but taking and keeping a message is measured.

Beside it stands what disk and store ask for. Publishers with one message in flight all wait for each commit, and
meanwhile nobody sends: with the gate open they need T for a message each, with the gate closed T, a commit, and what
cannot be done before the last of them has sent. The column "commit" gives the ratio T / (T + C), C being SQLite's
commit of so many rows with nothing around it, most of it the disk's flush; "store" gives the same with the store's
whole work on such a group in one thread. What is missing from there to the ratio goes into waking two threads in turn.
"""

import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag
from appliance.store.database import Database
from appliance.store.group import Group
from appliance.store.opening import open_ledger
from appliance.store.sqlite_ledger import CHECKPOINT_BYTES
from appliance.store.staged import StagedRow, insert

from .brokers import STORE, BrokerProcess, start_ours
from .generator import CountError, Peer
from .scenarios import Crowd, Figures, Meter

GOAL = 0.70  # of the throughput with the gate open, from 20 publishers on
SIZES = 20, 50
# The windows come first: they fill the store's log once, and from then on it is written over. While it grows, every
# flush writes the file system's own journal too.
CROWDS = tuple((publishers, in_flight) for in_flight in (80, 1) for publishers in SIZES)
CLOSED, OPEN = "closed", "open"
COMMITS = 100  # of which the disk's figures are the median
FILLING = 8  # pieces that fill the store's log
FLUSH_BYTES = 4_096
FLAGS = int(RouteFlag.RETAINED | RouteFlag.RECORD)


@dataclass
class Measured:
    """What the rounds gave, in their order."""

    figures: dict[tuple[int, int, str], list[Figures]] = field(default_factory=lambda: defaultdict(list))
    """(publishers, in flight each, gate) -> one set a round."""
    flush_s: list[float] = field(default_factory=list)
    """For a few KiB to be on the disk, with nothing around it."""
    commit_s: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Messages -> for SQLite to commit the rows of so many, with nothing around it."""
    write_s: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Messages -> for the store to make these rows and write them, with nothing around it."""


def taken(broker: BrokerProcess, seconds: float, publishers: int, in_flight: int) -> Figures:
    """Measure so many publishers; `p50_us` is from a PUBLISH to its PUBACK where one is in flight, else of a window."""
    with Crowd(broker) as crowd:
        readiness = crowd.readiness()
        sent = acknowledged = 0
        going = True
        took: list[float] = []

        def publisher(peer: Peer, packet: bytes) -> Callable[[], None]:
            since = time.perf_counter()
            window = 0

            def on_puback() -> None:
                nonlocal sent, acknowledged, since, window
                count = len(peer.packets(4)) // 4
                acknowledged += count
                window += count
                if window >= in_flight:
                    now = time.perf_counter()
                    took.append(now - since)
                    since = now
                    window -= in_flight
                if going:
                    peer.send(packet * count)
                    sent += count

            return on_puback

        meter = Meter(broker, seconds)
        for i in range(publishers):
            peer = crowd.join(f"gate-{i:02}")
            packet = crowd.packet(f"home/room{i:02}/temperature", 1, 1, retain=True)
            readiness.add(peer, publisher(peer, packet))
            peer.send(packet * in_flight)
            sent += in_flight
        while meter.running(acknowledged):
            if not readiness.run(5.0):
                raise CountError("nothing was acknowledged for 5 s")
        going = False
        readiness.run_until(lambda: sent == acknowledged, lambda: f"{acknowledged} of {sent} were acknowledged")
        return meter.figures() | {"p50_us": statistics.median(took) * 1e6}


def flush_s(path: Path) -> float:
    """Measure how long the disk takes for a few KiB, written over what is there already."""
    took = []
    with path.open("wb", buffering=0) as file:
        file.write(bytes(COMMITS * FLUSH_BYTES))
        os.fsync(file.fileno())
        file.seek(0)
        for _ in range(COMMITS):
            since = time.perf_counter()
            file.write(b"x" * FLUSH_BYTES)
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - since)
    return statistics.median(took)


def commit_s(path: Path, rows: int) -> float:
    """Measure how long SQLite takes for the COMMIT alone where so many rows of the journal are in it."""
    took = []
    with closing(Database.open(path)) as database:
        for turn in range(2):  # the second time over a log that is there already
            for number in range(turn * COMMITS, (turn + 1) * COMMITS):
                first = number * rows
                database.connection.execute("BEGIN IMMEDIATE")
                insert(database.connection, [reading_row(first + i + 1, i) for i in range(rows)])
                since = time.perf_counter()
                database.connection.execute("COMMIT")
                if turn:
                    took.append(time.perf_counter() - since)
            database.checkpoint("PASSIVE")
    return statistics.median(took)


def write_s(path: Path, messages: int) -> float:
    """Measure how long the store takes for a group of so many readings, with nothing around it."""
    took = []
    ledger = open_ledger(path, site="home", max_series=messages)
    with closing(ledger):
        ledger.load(time.monotonic())
        for number in range(1, FILLING + 2):  # a log that is full is moved, and then written over
            ledger.write(group(number, [Message("home", bytes(CHECKPOINT_BYTES // FILLING), 1)]))
        while ledger.step():
            pass
        for number in range(FILLING + 2, FILLING + COMMITS + 2):
            readings = [
                Message(f"home/room{i:02}/temperature", b"21.4", 1, True, client_id=f"gate-{i:02}")
                for i in range(messages)
            ]
            its = group(number, readings)
            since = time.perf_counter()
            ledger.write(its)
            took.append(time.perf_counter() - since)
    return statistics.median(took)


def group(number: int, messages: Sequence[Message]) -> Group:
    """Make a commit group of messages that are retained and recorded."""
    now = time.monotonic()
    return Group(number, [(message, FLAGS, now, None) for message in messages], run=1, now=now, at=time.time())


def reading_row(row_id: int, series_id: int) -> StagedRow:
    """Make a row like those that the publishers' readings become."""
    told = StagedRow(*[None] * 16, checksum=-(2**31) + row_id)
    return told._replace(
        id=row_id, kind=0, tick=2**44 + row_id, late_ms=0, series_id=series_id, value=21_400, stretch_id=1, flags=83,
        properties=b"", client_id=f"gate-{series_id:02}",
    )  # fmt: skip


def measure(rounds: int, seconds: float, python: str) -> Measured:
    """Run every crowd with the gate closed and open, first the one, then the other."""
    measured = Measured()
    for number in range(rounds):
        with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
            scratch = Path(directory)
            measured.flush_s.append(flush_s(scratch / "flushed"))
            for size in SIZES:
                measured.commit_s[size].append(commit_s(scratch / f"commit-{size}.db", size))
                measured.write_s[size].append(write_s(scratch / f"write-{size}.db", size))
            brokers: list[BrokerProcess] = []
            try:
                for gate, wait in ((CLOSED, "true"), (OPEN, "false")):
                    (scratch / gate).mkdir()
                    brokers.append(start_ours(scratch / gate, python=python, store=STORE.format(wait=wait), name=gate))
                for publishers, in_flight in CROWDS:
                    for broker in brokers[:: 1 if number % 2 else -1]:
                        figures = taken(broker, seconds, publishers, in_flight)
                        measured.figures[publishers, in_flight, broker.name].append(figures)
            finally:
                for broker in brokers:
                    broker.stop()
    return measured


def at_most(publishers: int, opened: Sequence[Figures], added_s: Sequence[float]) -> float:
    """Give the ratio if only so many seconds were added to the time that all need for a message with the gate open."""
    sent_s = [publishers / figures["per_s"] for figures in opened]
    return statistics.median(sent / (sent + added) for sent, added in zip(sent_s, added_s, strict=True))


def as_text(measured: Measured) -> str:
    """Lay it out in columns."""
    head = (
        f"{'retained and recorded, QoS 1':26} {'gate closed':>20} {'gate open':>20} {'added':>8}"
        f" {'ratio':>6} {'goal':>7} {'store':>6} {'commit':>6}"
    )
    lines = [head, "-" * len(head)]
    for publishers, in_flight in sorted(CROWDS, key=lambda crowd: crowd[::-1]):
        closed, opened = (measured.figures[publishers, in_flight, gate] for gate in (CLOSED, OPEN))
        ratio = statistics.median(a["per_s"] / b["per_s"] for a, b in zip(closed, opened, strict=True))
        added = statistics.median(a["p50_us"] - b["p50_us"] for a, b in zip(closed, opened, strict=True))
        cells = " ".join(
            f"{statistics.median(f['per_s'] for f in rounds):>9,.0f}/s "
            f"{statistics.median(f['cpu_us'] for f in rounds):>5.1f} µs"
            for rounds in (closed, opened)
        )
        title = f"{publishers} clients, {in_flight} in flight"
        line = f"{title:26} {cells} {added / 1000:>5.2f} ms {ratio:>6.2f} {f'≥ {GOAL:.2f}':>7}"
        if in_flight == 1:  # who has more in flight sends meanwhile
            store, commit = (
                at_most(publishers, opened, added_s[publishers]) for added_s in (measured.write_s, measured.commit_s)
            )
            line += f" {store:>6.2f} {commit:>6.2f}"
        lines.append(line)
    for size in SIZES:
        write, commit = (_ms(took[size]) for took in (measured.write_s, measured.commit_s))
        lines.append(f"alone, a group of {size} takes the store {write}, of these SQLite's commit {commit}")
    lines.append(f"alone, a flush of {FLUSH_BYTES // 1024} KiB takes the disk {_ms(measured.flush_s)}")
    return "\n".join(lines)


def _ms(took_s: Sequence[float]) -> str:
    return f"{statistics.median(took_s) * 1000:.2f} ms"
