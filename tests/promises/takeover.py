"""P12: two links that fight over one id, a thousand times a second, while messages are on their way to it."""

import contextlib
import select
import time

from tests.accounts import password
from tests.benchmarks.brokers import BrokerProcess
from tests.promises.attack import Attack, begun, beside
from tests.promises.finding import Finding
from tests.promises.probe import Probe, p50, p99
from tests.promises.target import log_of
from tests.raw import ACCEPTED, PINGREQ, Raw, connect, puback, pubcomp, publish, pubrec, pubrel, subscribe

CLIENT_ID = "contested"
USERS = "owner", "mallory"
EVERY = 4  # alternations to a message of each QoS
MOST_OUTSTANDING = 1_000  # messages; the queue of a client that is away holds more
QUIET_S = 0.1  # that a broker has to bring something new, beside its answer to a ping
QUIET_PINGS = 50  # with nothing new, after which what is missing counts as lost, however long the answers took


class Reader:
    """The client behind the contested id: its state outlives its links, as the specification wants it."""

    def __init__(self) -> None:
        self.got: dict[int, set[int]] = {1: set(), 2: set()}
        self.repeated = {1: 0, 2: 0}
        self.pongs = 0
        self.unmarked = 0  # repeated without DUP, though the id was still open
        self._open: set[int] = set()  # ids of QoS 2 that were received and not yet released

    def serve(self, link: Raw, packet: bytes) -> None:
        """Act on one packet of the server's."""
        match packet[0] >> 4:
            case 3:
                qos = packet[0] >> 1 & 3
                at = 4 + int.from_bytes(packet[2:4], "big")
                packet_id, number = int.from_bytes(packet[at : at + 2], "big"), int(packet[at + 2 :])
                if qos == 2 and packet_id in self._open:
                    self.unmarked += not packet[0] & 0x08
                elif number in self.got[qos]:
                    self.repeated[qos] += 1
                    self.unmarked += qos == 1 and not packet[0] & 0x08
                self.got[qos].add(number)
                if qos == 2:
                    self._open.add(packet_id)
                link.send(puback(packet_id) if qos == 1 else pubrec(packet_id))
            case 6:
                packet_id = int.from_bytes(packet[2:4], "big")
                self._open.discard(packet_id)
                link.send(pubcomp(packet_id))
            case 13:
                self.pongs += 1

    def count(self) -> int:
        """Give how many messages it has got."""
        return sum(map(len, self.got.values()))


def serve_until(reader: Reader, link: Raw, until: float) -> None:
    """Serve what comes until then, and in any case what is there."""
    while link.buffered() or select.select([link.socket], [], [], max(0.0, until - time.monotonic()))[0]:
        packet = link.packet()
        if packet is None:
            return
        reader.serve(link, packet)


def drain(reader: Reader, link: Raw, most: int) -> None:
    """Serve until so many have come, or the broker brings no more though it answers."""
    quiet = 0
    while reader.count() < most and quiet < QUIET_PINGS:
        had, asked, until = reader.count(), reader.pongs, time.monotonic() + QUIET_S
        link.send(PINGREQ)
        while reader.pongs == asked:
            packet = link.packet()
            if packet is None:
                return
            reader.serve(link, packet)
        serve_until(reader, link, until)
        quiet = quiet + 1 if reader.count() == had else 0


def attack(port: int, *, count: int, per_second: float) -> dict[str, float]:
    """Alternate so often, publishing to the id all the while; count what reached it."""
    reader, sent = Reader(), 0
    publisher = Raw(port)
    publisher.ask(connect("contested-publisher"), ACCEPTED)
    link = Raw(port)
    link.ask(connect(CLIENT_ID, clean=False, username="owner", password=password("owner")), ACCEPTED)
    link.send(subscribe("contested", qos=2))
    link.packet()
    begun()
    began = time.monotonic()
    stayed = 0
    old = link
    for number in range(count):
        if number % EVERY == 0 and 2 * sent - reader.count() < MOST_OUTSTANDING:
            sent += 1
            publisher.send(publish("contested", b"%d" % sent, 1, 1), publish("contested", b"%d" % sent, 2, 2))
            publisher.send(pubrel(2))
            publisher.packets(3)
        link = Raw(port)
        link.send(connect(CLIENT_ID, clean=False, username="owner", password=password("owner")))
        answer = link.packet()
        if answer is None:
            stayed += 1
        try:
            while (packet := old.packet()) is not None:  # what it had got before it was closed counts
                reader.serve(old, packet)
        except TimeoutError:
            stayed += 1
        old.close()
        old = link
        serve_until(reader, link, began + (number + 1) / per_second)
    took = time.monotonic() - began
    with contextlib.suppress(TimeoutError):  # from a broker that is stuck nothing more comes
        drain(reader, link, 2 * sent)
    mallory = 0
    for username in ("mallory", None):
        with contextlib.closing(Raw(port)) as thief:
            secret = username and password(username)
            thief.send(connect(CLIENT_ID, clean=False, username=username, password=secret))
            answer = thief.packet()
            mallory += answer is not None and answer[3] == 0
    link.close()
    publisher.close()
    return {
        "sent": sent,
        "lost": 2 * sent - len(reader.got[1]) - len(reader.got[2]),
        "repeated_1": reader.repeated[1],
        "repeated_2": reader.repeated[2],
        "unmarked": reader.unmarked,
        "stayed": stayed,
        "thieves": mallory,
        "per_second": count / took,
    }


def run(broker: BrokerProcess, *, count: int, per_second: float, seconds: float) -> list[Finding]:
    """Measure quiet and during the fight."""
    beside(broker)
    with Probe(broker.port) as probe:
        probe.measure(seconds / 4)
        quiet = probe.measure(seconds / 2)
        with Attack("takeover", broker.port, count=count, per_second=per_second) as attack:
            attack.ready()
            fought = []
            while not attack.over():
                fought += probe.measure(0.5)
            told = attack.result()
        fought.sort()
        quiet = sorted(quiet + probe.measure(seconds / 2))
        lost = probe.lost
    return [
        Finding("alternations", count),
        Finding("alternations a second", told["per_second"], least=0.9 * per_second, timed=True),
        Finding("messages sent to the id, of each QoS", told["sent"]),
        Finding("of them lost", told["lost"], most=0),
        Finding("QoS 1 messages that came again", told["repeated_1"]),
        Finding("QoS 2 messages that came again", told["repeated_2"], most=0),
        Finding("repeated without DUP", told["unmarked"], most=0),
        Finding("links that outlived their takeover", told["stayed"], most=0),
        Finding("other users who got the id", told["thieves"], most=0),
        Finding("honest messages lost", lost, most=0),
        Finding("errors of the broker's own in its log", log_of(broker).count("Traceback"), most=0),
        Finding("honest p50, quiet", p50(quiet) * 1e6, "µs"),
        Finding("honest p50, during the fight", p50(fought) * 1e6, "µs"),
        Finding("honest p99, quiet", p99(quiet) * 1e6, "µs"),
        Finding("honest p99, during the fight", p99(fought) * 1e6, "µs"),
        Finding("ratio of the p99", p99(fought) / p99(quiet), "x", most=1.5, timed=True),
    ]
