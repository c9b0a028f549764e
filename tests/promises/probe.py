"""Honest clients, and how long their messages take while others misbehave."""

import statistics
import time
from contextlib import ExitStack
from itertools import count

from tests.raw import ACCEPTED, Raw, connect, puback, publish, subscribe

CLIENTS = 20
PAUSE_S = 0.003  # between two messages, all clients together


class Probe(ExitStack):
    """Twenty clients, each reading what it publishes at QoS 1 itself."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._links = [Raw(port) for _ in range(CLIENTS)]
        self._numbers = count(1)
        self.lost = 0
        for number, link in enumerate(self._links):
            self.callback(link.close)
            link.ask(connect(f"honest-{number}"), ACCEPTED)
            link.send(subscribe(f"honest/{number}"))
            link.expect(b"\x90\x03\x00\x01\x00")

    def one(self) -> float:
        """Send one message around; give the seconds until it was there."""
        number = next(self._numbers)
        which, packet_id = number % CLIENTS, number % 60_000 + 1
        link, payload = self._links[which], b"%012d" % number
        began = time.perf_counter()
        link.send(publish(f"honest/{which}", payload, 1, packet_id))
        answers = {link.packet(), link.packet()}
        took = time.perf_counter() - began
        if answers != {puback(packet_id), publish(f"honest/{which}", payload)}:
            self.lost += 1
        return took

    def measure(self, seconds: float) -> list[float]:
        """Send messages around for so long; give their times in seconds, shortest first."""
        until = time.monotonic() + seconds
        took = []
        while time.monotonic() < until:
            took.append(self.one())
            time.sleep(PAUSE_S)
        return sorted(took)


def p50(took: list[float]) -> float:
    """Give the time within which half of the messages arrived."""
    return statistics.median(took)


def p99(took: list[float]) -> float:
    """Give the time within which 99 of 100 messages arrived."""
    return took[min(len(took) - 1, len(took) * 99 // 100)]
