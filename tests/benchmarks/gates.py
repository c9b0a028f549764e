"""What it costs that acknowledgements wait for the disk: the same broker with the gate closed and open.

Both keep every message as its topic's last one and record it, on a disk and with a budget that allow it; they differ
in when the PUBACK leaves. Publishers send retained QoS 1 readings, one or many in flight; nobody reads them, so that
nothing but taking and keeping a message is measured.

Beside it stands what the disk itself asks for. Publishers with one message in flight all wait for each commit, and
meanwhile nobody sends: with the gate open they need T for a message each, so with the gate closed they need T and a
commit, and no server can have a better ratio than T / (T + commit) while one commit is for all of them. Two commits for
half of them each would overlap, but cost twice the writes.
"""

import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from appliance.store.database import Database
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
COMMITS = 200  # of which the disk's figures are the median
FLUSH_BYTES = 4_096


@dataclass
class Measured:
    """What the rounds gave, in their order."""

    figures: dict[tuple[int, int, str], list[Figures]] = field(default_factory=lambda: defaultdict(list))
    """(publishers, in flight each, gate) -> one set a round."""
    flush_s: list[float] = field(default_factory=list)
    """For a few KiB to be on the disk, with nothing around it."""
    commit_s: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Rows -> for SQLite to commit so many, with nothing around it."""


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
                measured.commit_s[size].append(commit_s(scratch / f"{size}.db", size))
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


def ceiling(publishers: int, open_per_s: float, commit_s: float) -> float:
    """Give the best ratio that a server can have whose publishers all wait for each commit."""
    sent_s = publishers / open_per_s
    return sent_s / (sent_s + commit_s)


def as_text(measured: Measured) -> str:
    """Lay it out in columns."""
    head = (
        f"{'retained and recorded, QoS 1':26} {'gate closed':>20} {'gate open':>20}"
        f" {'ratio':>6} {'goal':>7} {'at most':>8} {'added':>8}"
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
        most = ""
        if in_flight == 1:
            commits = zip(opened, measured.commit_s[publishers], strict=True)
            most = f"{statistics.median(ceiling(publishers, a['per_s'], commit_s) for a, commit_s in commits):.2f}"
        title = f"{publishers} clients, {in_flight} in flight"
        lines.append(f"{title:26} {cells} {ratio:>6.2f} {f'≥ {GOAL:.2f}':>7} {most:>8} {added / 1000:>5.2f} ms")
    commits = ", ".join(
        f"{statistics.median(took) * 1000:.2f} ms for a commit of {size} rows"
        for size, took in measured.commit_s.items()
    )
    flush_ms = statistics.median(measured.flush_s) * 1000
    lines.append(f"alone, SQLite needs {commits}; the disk {flush_ms:.2f} ms for a flush of {FLUSH_BYTES // 1024} KiB")
    return "\n".join(lines)
