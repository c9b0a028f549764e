"""What it costs that acknowledgements wait for the disk: the same broker with the gate closed and open.

Both keep every message as its topic's last one and record it, on a disk and with a budget that allow it; they differ
in when the PUBACK leaves. Publishers send retained QoS 1 readings, one or many in flight; nobody reads them, so that
nothing but taking and keeping a message is measured.
"""

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from .brokers import STORE, BrokerProcess, start_ours
from .generator import CountError, Peer
from .scenarios import Crowd, Figures, Meter

GOAL = 0.70  # of the throughput with the gate open, from 20 publishers on
CROWDS = tuple((publishers, in_flight) for in_flight in (1, 80) for publishers in (20, 50))
CLOSED, OPEN = "closed", "open"

Measured = dict[tuple[int, int, str], list[Figures]]
"""(publishers, in flight each, gate) -> its figures, one set a round."""


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


def measure(rounds: int, seconds: float, python: str) -> Measured:
    """Run every crowd with the gate closed and open, first the one, then the other."""
    measured: Measured = defaultdict(list)
    for number in range(rounds):
        with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
            brokers: list[BrokerProcess] = []
            try:
                for gate, wait in ((CLOSED, "true"), (OPEN, "false")):
                    scratch = Path(directory) / gate
                    scratch.mkdir()
                    brokers.append(start_ours(scratch, python=python, store=STORE.format(wait=wait), name=gate))
                for publishers, in_flight in CROWDS:
                    for broker in brokers[:: 1 if number % 2 else -1]:
                        figures = taken(broker, seconds, publishers, in_flight)
                        measured[publishers, in_flight, broker.name].append(figures)
            finally:
                for broker in brokers:
                    broker.stop()
    return measured


def as_text(measured: Measured) -> str:
    """Lay it out in columns."""
    head = f"{'retained and recorded, QoS 1':34} {'gate closed':>22} {'gate open':>22} {'ratio':>7} {'added':>9}  goal"
    lines = [head, "-" * (len(head) + 10)]
    for publishers, in_flight in CROWDS:
        closed, opened = (measured[publishers, in_flight, gate] for gate in (CLOSED, OPEN))
        ratio = statistics.median(a["per_s"] / b["per_s"] for a, b in zip(closed, opened, strict=True))
        added = statistics.median(a["p50_us"] - b["p50_us"] for a, b in zip(closed, opened, strict=True))
        cells = " ".join(
            f"{statistics.median(f['per_s'] for f in rounds):>10,.0f}/s "
            f"{statistics.median(f['cpu_us'] for f in rounds):>6.1f} µs"
            for rounds in (closed, opened)
        )
        title = f"{publishers} clients, {in_flight} in flight each"
        lines.append(f"{title:34} {cells} {ratio:>7.2f} {added / 1000:>6.2f} ms  ≥ {GOAL:g}")
    return "\n".join(lines)
