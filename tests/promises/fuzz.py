"""P8: any byte stream. Broken packets by the million on the socket, honest clients beside them, and what each costs."""

import contextlib
import random
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack

from appliance.settings import Limits
from tests import wire_vectors
from tests.benchmarks.brokers import BrokerError, BrokerProcess
from tests.promises.attack import Attack, begun, beside
from tests.promises.finding import Finding
from tests.promises.probe import Probe, p50, p99
from tests.promises.target import log_of
from tests.raw import ACCEPTED, Raw, connect, frame, publish, subscribe, text

AHEAD = 32  # streams that are on their way at once
GREETINGS = (connect(""), b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00")  # a client of 3.1.1, and one of 5
SLICES = 10
SETTLE_S = 0.05  # what the broker still does for a paused attack
STRANGER_BYTES = 65_536
CLIENT_BYTES = 1_048_576
SIZE = 16_000
WARM_UP = 10  # one stream in so many is warm-up, besides those sent while times are taken
RISEN_MB = 1.0  # over the rest
LIMITS = Limits()
MAILBOX_BYTES = CLIENT_BYTES + LIMITS.max_queued_bytes + LIMITS.max_inflight * SIZE
"""What is kept for a client at QoS 1 and 2 is its due, and bounded by settings: its queue and its window."""


def streams(seed: int) -> Iterator[bytes]:
    """Give broken streams for ever: real packets flipped, cut, spliced, repeated, and plain noise."""
    chance = random.Random(seed)
    packets = [row.data for row in (*wire_vectors.good(), *wire_vectors.bad())]
    while True:
        data = bytearray(chance.choice(packets))
        for _ in range(chance.randint(0, 3)):
            at = chance.randrange(len(data) + 1)
            match chance.randrange(7):
                case 0 if at < len(data):
                    data[at] ^= 1 << chance.randrange(8)
                case 1:
                    del data[at:]
                case 2:
                    data[at:at] = chance.randbytes(chance.randint(1, 8))
                case 3:
                    data += chance.choice(packets)
                case 4 if len(data) > 1:
                    data[1] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
                case 5:
                    data += data[at:]
                case _:
                    data += chance.randbytes(chance.randint(1, 200))
        yield chance.choice((b"", *GREETINGS)) + bytes(data[:4_000])


def attack(port: int, *, count: int, per_second: float, seed: int) -> dict[str, int]:
    """Send them one connection each until the count is reached or the parent says stop; each must be closed."""
    open_now: deque[socket.socket] = deque()
    sent = stuck = size = 0
    due = time.monotonic()

    def settle(most: int) -> None:
        nonlocal stuck
        while len(open_now) > most:
            with open_now.popleft() as link, contextlib.suppress(ConnectionError):
                try:
                    while link.recv(65_536):
                        pass
                except TimeoutError:
                    stuck += 1

    begun()
    for data in streams(seed):
        if sent >= count or (sent % 16 == 0 and select.select([sys.stdin], [], [], 0)[0]):
            break
        if per_second:
            due = max(due, time.monotonic()) + 1 / per_second  # who was paused does not catch up
            time.sleep(max(0.0, due - time.monotonic()))
        link = socket.create_connection(("127.0.0.1", port), timeout=20)
        with contextlib.suppress(OSError):
            link.sendall(data)
            link.shutdown(socket.SHUT_WR)
        open_now.append(link)
        sent, size = sent + 1, size + len(data)
        settle(AHEAD)
    settle(0)
    return {"streams": sent, "bytes": size, "stuck": stuck}


def settled(broker: BrokerProcess) -> int:
    """Give the broker's memory once it does not change any more."""
    last, deadline = -1, time.monotonic() + 5
    while (now := broker.rss_bytes()) != last and time.monotonic() < deadline:
        last = now
        time.sleep(0.1)
    return now


def cost(broker: BrokerProcess, links: list[Raw], loads: list[bytes]) -> float:
    """Give the memory that each of these links takes once it has sent its load; nobody reads an answer."""
    before = settled(broker)
    for link, load in zip(links, loads, strict=True):
        link.socket.settimeout(0.5)  # who is not read any more has got all that it can cost
        with contextlib.suppress(OSError):
            link.send(load)
    return max(0.0, (settled(broker) - before) / len(links))


def costs(fresh: Callable[[], AbstractContextManager[BrokerProcess]], count: int) -> list[Finding]:
    """Measure the dearest things that strangers and clients can do by bytes alone, each on a broker of its own."""
    will = text("w") + text(bytes(65_000))
    half_connect = frame(0x10, text("MQTT") + b"\x04\x06\x00\x00" + text("dear") + will)[:-1]
    half_publish = publish("dear", bytes(262_000))[:-1]
    echoes = [publish(f"dear/{number}", bytes(SIZE)) * 400 for number in range(count)]
    kept = [publish(f"dear/{number}", bytes(SIZE), 1, 1) * 400 for number in range(count)]
    small = [publish(f"dear/{number}", bytes(8), 1, 1) * 10_000 for number in range(count)]
    loads = (
        ("memory of a stranger with half a CONNECT", None, [half_connect] * count),
        ("memory of a stranger who says 4 MB will come", None, [frame(0x10, bytes(4_000_000))[:1_000]] * count),
        ("memory of a client who says 4 MB will come", 0, [frame(0x30, bytes(4_000_000))[:1_000]] * count),
        ("memory of a client with half a PUBLISH", 0, [half_publish] * count),
        ("memory of a client that does not read what it says", 0, echoes),
        ("memory of one that does not read its QoS 1", 1, kept),
        ("memory of one that does not read small QoS 1", 1, small),
    )
    findings = []
    for what, qos, load in loads:
        with fresh() as broker, ExitStack() as stack:
            links = [Raw(broker.port, receive_buffer=1_024) for _ in range(count)]
            for number, link in enumerate(links):
                stack.callback(link.reset)
                if qos is not None:
                    link.ask(connect(f"dear-{number}"), ACCEPTED)
                    link.send(subscribe(f"dear/{number}", qos=qos))
                    link.packet()
            most = {None: STRANGER_BYTES, 0: CLIENT_BYTES, 1: MAILBOX_BYTES}[qos]
            findings.append(Finding(what, cost(broker, links, load), "B", most))
    return findings


def run(broker: BrokerProcess, *, seconds: float, count: int, per_second: float) -> list[Finding]:
    """Measure quiet and under attack, and finish the count at full speed."""
    sent = {"streams": 0, "bytes": 0, "stuck": 0}
    beside(broker)
    with Probe(broker.port) as probe:
        probe.measure(seconds / 4)
        with Attack("fuzz", broker.port, count=count, per_second=per_second, seed=1) as attack:
            attack.ready()
            quiet, attacked = [], []
            for _ in range(SLICES):  # turn about, so that whatever else this machine does falls on both alike
                attacked += probe.measure(seconds / SLICES)
                attack.pause()
                time.sleep(SETTLE_S)
                quiet += probe.measure(seconds / SLICES)
                attack.resume()
            quiet.sort()
            attacked.sort()
            for name, number in attack.result().items():
                sent[name] += number
        left = max(0, count - sent["streams"])
        for seed, part in enumerate((left // WARM_UP, left - left // WARM_UP), 2):
            before = settled(broker)  # the last part's counts
            with Attack("fuzz", broker.port, count=part, per_second=0, seed=seed) as attack:
                attack.ready()
                while not attack.over():
                    probe.measure(0.5)
                for name, number in attack.result().items():
                    sent[name] += number
        risen = settled(broker) - before
        lost = probe.lost
    alive = 1
    try:
        broker.check()
    except BrokerError:
        alive = 0
    return [
        Finding("broken streams sent", sent["streams"], least=count),
        Finding("bytes in them", sent["bytes"]),
        Finding("streams that were not closed", sent["stuck"], most=0),
        Finding("errors of the broker's own in its log", log_of(broker).count("Traceback"), most=0),
        Finding("the broker lives", alive, least=1),
        Finding("honest messages lost", lost, most=0),
        Finding("memory risen over the streams", risen / 1e6, "MB", most=RISEN_MB),
        Finding("honest p50, quiet", p50(quiet) * 1e6, "µs"),
        Finding("honest p50, under attack", p50(attacked) * 1e6, "µs"),
        Finding("honest p99, quiet", p99(quiet) * 1e6, "µs"),
        Finding("honest p99, under attack", p99(attacked) * 1e6, "µs"),
        Finding("ratio of the p99", p99(attacked) / p99(quiet), "x", most=1.5, timed=True),
    ]
