"""P10: slow and idle attackers. 500 idle clients, 200 that never read and 100 that never finish to connect, at once."""

import select
import sys
import time
from contextlib import ExitStack

from tests.promises.attack import Attack, begun, beside
from tests.promises.finding import Finding
from tests.promises.fuzz import settled
from tests.promises.probe import Probe, p50, p99
from tests.promises.target import Target, log_of
from tests.raw import ACCEPTED, Raw, connect, publish, subscribe

MIB = 1_048_576
CONNECT_TIMEOUT_S = 5.0
TLS_TIMEOUT_S = 10.0
SLACK_S = 0.5


HALF_CONNECT = connect("half-open", username="u" * 60)[:40]
HALF_HELLO = bytes.fromhex("16030100f8010000f40303") + bytes(32)  # of TLS; 200 bytes of it never come


class HalfOpen:
    """Links that begin and never end their beginning; whoever is cut off comes again."""

    def __init__(self, port: int, count: int, beginning: bytes) -> None:
        self._port = port
        self._beginning = beginning
        self._links: dict[Raw, float] = {}
        self.cut_after: list[float] = []
        for _ in range(count):
            self._begin()

    def _begin(self) -> None:
        link = Raw(self._port)
        link.send(self._beginning)
        self._links[link] = time.monotonic()

    def turn(self, wait_s: float) -> None:
        """See who was cut off, and when."""
        by_socket = {link.socket: link for link in self._links}
        for ready in select.select(list(by_socket), [], [], wait_s)[0]:
            link = by_socket[ready]
            link.until_closed()
            self.cut_after.append(time.monotonic() - self._links.pop(link))
            link.close()
            self._begin()

    def waiting_s(self) -> float:
        """Tell how long the longest of them has been left alone."""
        now = time.monotonic()
        return now - min(self._links.values(), default=now)

    def close(self) -> None:
        """Break all off."""
        for link in self._links:
            link.close()


def attack(port: int, *, idle: int, unread: int, half_open: int, shove: int, tls_port: int) -> dict[str, float]:
    """Hold them all, and publish so many bytes past those that do not read, until the parent says stop."""
    with ExitStack() as stack:
        for number in range(idle + unread):
            link = Raw(port, receive_buffer=1_024 if number >= idle else None)
            stack.callback(link.close)
            link.ask(connect(f"crowd-{number}", keep_alive=(0, 65_535)[number % 2]), ACCEPTED)
            if number >= idle:
                link.send(subscribe(f"crowd/{number % 2}", qos=number % 2))
                link.packet()
        crowd = HalfOpen(port, half_open, HALF_CONNECT)
        stack.callback(crowd.close)
        shaking = HalfOpen(tls_port, half_open if tls_port else 0, HALF_HELLO)
        stack.callback(shaking.close)
        publisher = Raw(port)
        stack.callback(publisher.close)
        publisher.ask(connect("crowd-publisher"), ACCEPTED)
        shoved, payload = 0, bytes(16_000)

        def push() -> None:
            nonlocal shoved
            publisher.send(publish(f"crowd/{shoved // len(payload) % 2}", payload, 1, 1))
            publisher.packet()
            shoved += len(payload)

        while shoved < shove:
            crowd.turn(0)
            push()
        begun()
        while not select.select([sys.stdin], [], [], 0)[0]:
            crowd.turn(0.01)
            shaking.turn(0)
            push()  # and on and on, though they are all full
        return {
            "shoved": shoved,
            "cuts": len(crowd.cut_after),
            "latest_cut_s": max(crowd.cut_after, default=0.0),
            "earliest_cut_s": min(crowd.cut_after, default=0.0),
            "longest_waiting_s": crowd.waiting_s(),
            "tls_cuts": len(shaking.cut_after),
            "tls_latest_cut_s": max(shaking.cut_after, default=0.0),
            "tls_longest_waiting_s": shaking.waiting_s(),
        }


def run(broker: Target, *, seconds: float, idle: int, unread: int, half_open: int, shove: int) -> list[Finding]:
    """Measure quiet and with the crowd."""
    beside(broker)
    with Probe(broker.port) as probe:
        probe.measure(seconds / 4)
        quiet = probe.measure(seconds / 2)
        before = settled(broker)
        options = {"idle": idle, "unread": unread, "half_open": half_open, "shove": shove, "tls_port": broker.tls_port}
        with Attack("crowd", broker.port, **options) as attack:
            filling = []
            while not attack.is_ready():
                filling += probe.measure(0.05)
            attack.ready()
            crowded = probe.measure(max(seconds, 1.3 * (TLS_TIMEOUT_S if broker.tls_port else CONNECT_TIMEOUT_S)))
            risen = broker.rss_bytes() - before
            told = attack.result()
        quiet = sorted(quiet + probe.measure(seconds / 2))
        lost = probe.lost
    tls = []
    if broker.tls_port:
        most = TLS_TIMEOUT_S + SLACK_S
        tls += [
            Finding("TLS handshakes that never end", half_open),
            Finding("of them cut", told["tls_cuts"], least=half_open),
            Finding("latest cut of a handshake", told["tls_latest_cut_s"], "s", most=most, timed=True),
            Finding(
                "longest that a handshake is left alone", told["tls_longest_waiting_s"], "s", most=most, timed=True
            ),
        ]
    return [
        Finding("clients that are idle, and that do not read", idle + unread),
        Finding("links that never finish their CONNECT", half_open),
        Finding("bytes published past those that do not read", told["shoved"], least=shove),
        Finding("memory risen", risen / MIB, "MiB", most=64),
        Finding("links without CONNECT that were cut", told["cuts"], least=half_open),
        Finding("latest cut", told["latest_cut_s"], "s", most=CONNECT_TIMEOUT_S + SLACK_S, timed=True),
        Finding(
            "longest that one is left alone",
            told["longest_waiting_s"],
            "s",
            most=CONNECT_TIMEOUT_S + SLACK_S,
            timed=True,
        ),
        *tls,
        Finding("honest messages lost", lost, most=0),
        Finding("errors of the broker's own in its log", log_of(broker).count("Traceback"), most=0),
        Finding("honest p50, quiet", p50(quiet) * 1e6, "µs"),
        Finding("honest p50, with the crowd", p50(crowded) * 1e6, "µs"),
        Finding("honest p99, quiet", p99(quiet) * 1e6, "µs"),
        Finding("honest p99, while its buffers fill", p99(sorted(filling)) * 1e6, "µs"),
        Finding("honest p99, with the crowd", p99(crowded) * 1e6, "µs"),
        Finding("ratio of the p99", p99(crowded) / p99(quiet), "x", most=1.5, timed=True),
    ]
