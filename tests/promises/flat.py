"""P11: flat memory. Connects and messages by the million, and how the broker's memory rises over them."""

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
TOGETHER = 10


def slope(points: list[tuple[int, int]]) -> float:
    """Give the rise of a line laid through the points by least squares."""
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def connects(broker: BrokerProcess, count: int) -> list[tuple[int, int]]:
    """Come and go so often, ten at a time, in every way that a client leaves; give (connects, resident bytes)."""
    points = []
    for first in range(0, count, TOGETHER):
        links = {number: Raw(broker.port) for number in range(first, first + TOGETHER)}
        for number, link in links.items():
            will = ("flat/will", b"gone", 0, False) if number % 3 else None
            topic = f"flat/{number % 1_000}"
            link.send(
                connect(f"flat-{number % 500}", clean=number % 5 > 0, will=will),
                subscribe(topic, "flat/+"),
                publish(topic, b"x", 1, 1),
                *(DISCONNECT,) * (number % 2),
            )
        for number, link in links.items():
            answer = link.packet()
            assert answer is not None
            assert answer[:2] == ACCEPTED[:2]
            if number % 7 == 0:
                link.reset()
            link.close()
        if first % (count // SAMPLES) < TOGETHER:
            points.append((first, settled(broker)))
    return points


def messages(broker: BrokerProcess, count: int) -> list[tuple[int, int]]:
    """Publish so many messages to one reader; give (messages, resident bytes) on the way."""
    points = []
    with Crowd(broker) as crowd:
        reader, publisher = crowd.join("flat-reader"), crowd.join("flat-publisher")
        topics = [f"flat/room{number:03}/temperature" for number in range(BURST)]
        for topic in topics:
            reader.subscribe([topic], 0)
        packets = [crowd.packet(topic) for topic in topics]
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
    connected = connects(broker, count)[SAMPLES // 2 :]
    passed = messages(broker, messages_count)[SAMPLES // 2 :]
    return [
        Finding("connects", count),
        Finding("memory risen over the second half of them", (connected[-1][1] - connected[0][1]) / MIB, "MiB", most=1),
        Finding("slope", slope(connected) * 1e6 / MIB, "MiB per million", most=1 if count >= 500_000 else None),
        Finding("messages", messages_count),
        Finding("memory risen over the second half of them", (passed[-1][1] - passed[0][1]) / MIB, "MiB", most=1),
    ]
