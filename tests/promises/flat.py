"""P11: flat memory. Connects and messages by the million, and how the broker's memory rises over them."""

import contextlib
import statistics

from tests.benchmarks.brokers import BrokerProcess
from tests.benchmarks.scenarios import Crowd
from tests.promises.finding import Finding
from tests.promises.fuzz import settled
from tests.raw import ACCEPTED, DISCONNECT, Raw, connect, publish, subscribe

SAMPLES = 20
MIB = 1_048_576
BURST = 200
WINDOW = 2_000


def slope(points: list[tuple[int, int]]) -> float:
    """Give the rise of a line laid through the points by least squares."""
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def connects(broker: BrokerProcess, count: int) -> list[tuple[int, int]]:
    """Come and go so often, in every way that a client leaves; give (connects, resident bytes) on the way."""
    points = []
    for number in range(1, count + 1):
        link = Raw(broker.port)
        fields = {"will": ("flat/will", b"gone", 0, False)} if number % 3 else {}
        link.send(
            connect(f"flat-{number % 500}", clean=number % 5 > 0, **fields),
            subscribe(f"flat/{number % 1_000}", "flat/+"),
        )
        answer = link.packet()
        assert answer is not None
        assert answer[:2] == ACCEPTED[:2]
        link.send(publish(f"flat/{number % 1_000}", b"x", 1, 1), *(DISCONNECT,) * (number % 2))
        if number % 7 == 0:
            with contextlib.suppress(OSError):
                link.reset()
        link.close()
        if number % (count // SAMPLES) == 0:
            points.append((number, settled(broker)))
    return points


def messages(broker: BrokerProcess, count: int) -> list[tuple[int, int]]:
    """Publish so many messages to one reader; give (messages, resident bytes) on the way."""
    points = []
    with Crowd(broker) as crowd:
        reader, publisher = crowd.join("flat-reader"), crowd.join("flat-publisher")
        reader.subscribe(["flat/#"], 0)
        packets = [crowd.packet(f"flat/room{number:03}/temperature") for number in range(BURST)]
        size, burst = len(packets[0]), b"".join(packets)
        sent = received = 0
        next_sample = count // SAMPLES
        while received < count:
            while sent - received <= WINDOW - BURST and sent < count:
                publisher.send(burst)
                sent += BURST
            received += len(reader.packets(size)) // size
            if received >= next_sample:
                points.append((received, broker.rss_bytes()))
                next_sample += count // SAMPLES
    return points


def run(broker: BrokerProcess, *, count: int, messages_count: int) -> list[Finding]:
    """Measure both; the first half of each is a warm-up."""
    connected = connects(broker, count)[SAMPLES // 2 - 1 :]
    passed = messages(broker, messages_count)[SAMPLES // 2 - 1 :]
    return [
        Finding("connects", count),
        Finding("memory risen over the second half of them", (connected[-1][1] - connected[0][1]) / MIB, "MiB", most=1),
        Finding("slope", slope(connected) * 1e6 / MIB, "MiB per million", most=1 if count >= 500_000 else None),
        Finding("messages", messages_count),
        Finding("memory risen over the second half of them", (passed[-1][1] - passed[0][1]) / MIB, "MiB", most=1),
    ]
