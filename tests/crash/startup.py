"""How soon a service that holds much answers again, and whether it still holds all of it."""

import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.crash.facts import Facts, Faults, Ledger
from tests.crash.peer import Peer, wait
from tests.crash.victim import Victim
from tests.raw import publish

BURST = 500  # messages in flight
QUIET_S = 5.0
READER, WRITER = "startup-reader", "startup-writer"


@dataclass
class Started:
    """Seconds from the start of the process to CONNACK, and what was there."""

    killed_s: float = 0.0
    killed_cpu_s: float = 0.0  # of the service's alone, whatever else the machine does
    stopped_s: float = 0.0
    stopped_cpu_s: float = 0.0
    retained: int = 0
    queued: int = 0


class Counting(Peer):
    """A client that counts what it is sent and judges nothing."""

    def __init__(self, name: str) -> None:
        super().__init__(Ledger(Facts(Faults())), name)
        self.acknowledged = 0
        self.counted = 0

    def _take(self, packet: bytes) -> None:
        kind = packet[0] >> 4
        if kind == 4:
            self.acknowledged += 1
        elif kind == 3:
            self.counted += 1
            if packet[0] & 6:
                at = 4 + packet[3] if packet[1] < 0x80 else 5 + packet[4]
                self._owed.append(("puback", int.from_bytes(packet[at : at + 2], "big")))
        else:
            super()._take(packet)

    def stream(self, topics: list[str], *, retain: bool) -> None:
        """Publish one message to each of these topics at QoS 1, and wait until all are acknowledged."""
        before = self.acknowledged
        for start in range(0, len(topics), BURST):
            part = topics[start : start + BURST]
            ids = range(1, len(part) + 1)
            self.send(*(publish(topic, b"21.5", 1, i, retain=retain) for i, topic in zip(ids, part, strict=True)))
            done = before + start + len(part)
            wait([self], lambda done=done: self.acknowledged >= done, "PUBACK")


def measure(*, retained: int, queued: int, bug: str = "") -> Started:
    """Fill a service, kill it, and measure how it comes back; then once more after a clean stop."""
    started = Started()
    with TemporaryDirectory(prefix="startup-") as directory:
        scratch, data = Path(directory), Path(directory) / "data"
        reader, writer = Counting(READER), Counting(WRITER)
        victim = Victim(scratch, data, bug)
        try:
            fill(victim.port, reader, writer, retained, queued)
            victim.kill()
            victim, started.killed_s, started.killed_cpu_s = start(scratch, data, bug, writer)
            writer.close()
            victim.stop()
            victim, started.stopped_s, started.stopped_cpu_s = start(scratch, data, bug, writer)
            started.retained, started.queued = count(victim.port, reader, writer, retained, queued)
        finally:
            reader.close()
            writer.close()
            victim.kill()
    return started


def fill(port: int, reader: Counting, writer: Counting, retained: int, queued: int) -> None:
    """Have so much retained, and so much waiting for a client that is away."""
    reader.connect(port)
    packet_id = reader.subscribe("queued/#", qos=1)
    wait([reader], lambda: packet_id in reader.answers, "SUBACK")
    reader.leave()
    writer.connect(port, clean=True)
    writer.stream([f"retained/room{number % 1_000}/{number}/set" for number in range(retained)], retain=True)
    writer.stream([f"queued/{number % 100}/set" for number in range(queued)], retain=False)


def start(scratch: Path, data: Path, bug: str, writer: Counting) -> tuple[Victim, float, float]:
    """Start it; give it and the seconds until a CONNECT was answered, by the clock and of its processor."""
    began = time.monotonic()
    victim = Victim(scratch, data, bug)
    writer.connect(victim.port, clean=True)
    return victim, time.monotonic() - began, victim.cpu_s()


def count(port: int, reader: Counting, writer: Counting, retained: int, queued: int) -> tuple[int, int]:
    """Count what is there, waiting for no longer than it takes to be sure."""
    writer.counted = 0
    writer.subscribe("retained/#", qos=0)
    settle(writer, retained)
    reader.connect(port)
    settle(reader, queued)
    return writer.counted, reader.counted


def settle(peer: Counting, expected: int) -> None:
    """Serve it until all is there, or nothing came for a second."""
    before, until = -1, time.monotonic() + QUIET_S
    while peer.counted < expected and time.monotonic() < until:
        pongs = peer.pongs
        peer.send(b"\xc0\x00")
        wait([peer], lambda pongs=pongs: peer.pongs > pongs, "PINGRESP")
        if peer.counted > before:
            before, until = peer.counted, time.monotonic() + QUIET_S
