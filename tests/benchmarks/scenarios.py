"""What is measured. Each scenario counts every message to the last before it gives a figure."""

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

from .brokers import BrokerProcess
from .generator import (
    MQTT_3_1_1,
    MQTT_5,
    CountError,
    Peer,
    Readiness,
    acknowledgements,
    no_properties,
    publish_packet,
    subscribe_packet,
)

Figures = dict[str, float]

PAYLOAD = b"21.4"
TOPIC = "home/room07/temperature"
WINDOW = 1_000  # QoS 0 messages on their way at once, so that no broker has a reason to drop one
BURST = 20
INFLIGHT = 80  # QoS 1 and 2 messages not yet acknowledged, below every broker's receive maximum
PACKET_IDS = 60_000


class Meter:
    """Warms up, then holds the broker's CPU time against the messages that came through."""

    def __init__(self, broker: BrokerProcess, seconds: float) -> None:
        self._broker = broker
        self._next_mark = time.monotonic() + 0.2 * seconds
        self._seconds = seconds
        self._start: tuple[float, float, int] | None = None
        self._end = (0.0, 0.0, 0)

    def running(self, count: int) -> bool:
        """Tell whether to go on, given how many messages have come through."""
        now = time.monotonic()
        if now < self._next_mark:
            return True
        mark = (now, self._broker.cpu_s(), count)
        if self._start is None:
            self._start, self._next_mark = mark, now + self._seconds
            return True
        self._end = mark
        return False

    def figures(self) -> Figures:
        """Return messages per second and CPU microseconds per message."""
        if self._start is None:
            raise CountError("nothing was measured")
        elapsed, cpu, count = (b - a for a, b in zip(self._start, self._end, strict=True))
        if count < 1:
            raise CountError("no message came through")
        return {"per_s": count / elapsed, "cpu_us": cpu / count * 1e6, "cpu_percent": cpu / elapsed * 100}


class Crowd(ExitStack):
    """Connections of one scenario, all closed at its end."""

    def __init__(self, broker: BrokerProcess, level: int = MQTT_3_1_1) -> None:
        super().__init__()
        self._port = broker.port
        self.level = level

    def join(self, client_id: str) -> Peer:
        """Connect one."""
        peer = Peer(self._port, client_id, self.level)
        self.callback(peer.close)
        return peer

    def packet(self, topic: str, qos: int = 0, packet_id: int = 0, *, retain: bool = False) -> bytes:
        """Encode a PUBLISH of the usual payload as this crowd speaks."""
        return publish_packet(topic, PAYLOAD, qos, packet_id, retain=retain, level=self.level)

    def id_at(self, packet: bytes) -> int:
        """Tell where the packet id stands in such a PUBLISH."""
        return len(packet) - len(PAYLOAD) - len(no_properties(self.level)) - 2

    def readiness(self) -> Readiness:
        """Open an epoll."""
        readiness = Readiness()
        self.callback(readiness.close)
        return readiness


def fan_in(broker: BrokerProcess, seconds: float, level: int = MQTT_3_1_1) -> Figures:
    """Measure fifty publishers and one subscriber at QoS 0."""
    with Crowd(broker, level) as crowd:
        subscriber = crowd.join("fan-in-subscriber")
        subscriber.subscribe(["home/+/temperature"], 0)
        publishers = [crowd.join(f"fan-in-{i:02}") for i in range(50)]
        packets = [crowd.packet(f"home/room{i:02}/temperature") for i in range(50)]
        size = len(packets[0])
        bursts = [(peer.send, packet * BURST) for peer, packet in zip(publishers, packets, strict=True)]
        sent = received = turn = 0
        meter = Meter(broker, seconds)
        while meter.running(received):
            while sent - received <= WINDOW - BURST:
                send, burst = bursts[turn]
                send(burst)
                sent += BURST
                turn = (turn + 1) % 50
            received += len(subscriber.packets(size)) // size
        while received < sent:
            received += len(subscriber.packets(size)) // size
        return meter.figures()


def fan_out(broker: BrokerProcess, seconds: float, level: int = MQTT_3_1_1) -> Figures:
    """Measure one publisher and a hundred subscribers at QoS 0, per delivered message."""
    readers, burst, window = 100, 10, 50
    with Crowd(broker, level) as crowd:
        readiness = crowd.readiness()
        packet = crowd.packet(TOPIC)
        size = len(packet)
        counts = [0] * readers
        received = 0

        def reader(index: int, peer: Peer) -> Callable[[], None]:
            def read() -> None:
                nonlocal received
                count = len(peer.packets(size)) // size
                counts[index] += count
                received += count

            return read

        for i in range(readers):
            peer = crowd.join(f"fan-out-{i:03}")
            peer.subscribe([TOPIC], 0)
            readiness.add(peer, reader(i, peer))
        publisher = crowd.join("fan-out-publisher")
        sent = 0
        meter = Meter(broker, seconds)
        while meter.running(received):
            while sent * readers - received <= (window - burst) * readers:
                publisher.send(packet * burst)
                sent += burst
            readiness.run(1.0)
        readiness.run_until(lambda: received >= sent * readers, lambda: f"{received} of {sent * readers} came")
        if set(counts) != {sent}:
            raise CountError(f"some subscribers got more than others: {min(counts)} to {max(counts)} of {sent}")
        return meter.figures()


class Inflight:
    """One publisher and one subscriber with a window of QoS 1 or 2 messages between them."""

    def __init__(self, crowd: Crowd, qos: int) -> None:
        self.qos = qos
        self.readiness = crowd.readiness()
        self.subscriber = crowd.join(f"qos{qos}-subscriber")
        self.subscriber.subscribe([TOPIC], qos)
        self.publisher = crowd.join(f"qos{qos}-publisher")
        self.packets = b"".join(crowd.packet(TOPIC, qos, i) for i in range(1, PACKET_IDS + 1))
        self.size = len(self.packets) // PACKET_IDS
        self.id_at = crowd.id_at(self.packets[: self.size])
        self.sent = self.acknowledged = self.received = 0
        self.going = True
        self.readiness.add(self.publisher, self.on_publisher if qos == 1 else self.on_publisher_2)
        self.readiness.add(self.subscriber, self.on_subscriber if qos == 1 else self.on_subscriber_2)

    def top_up(self) -> None:
        """Fill the window, until the time is over."""
        room = INFLIGHT - self.sent + min(self.acknowledged, self.received)
        if room > 0 and self.going:
            start = self.sent % PACKET_IDS
            room = min(room, PACKET_IDS - start)
            self.publisher.send(self.packets[start * self.size : (start + room) * self.size])
            self.sent += room

    def on_publisher(self) -> None:
        """PUBACK: the window moves."""
        self.acknowledged += len(self.publisher.packets(4)) // 4
        self.top_up()

    def on_subscriber(self) -> None:
        """PUBLISH: acknowledge all that came."""
        data = self.subscriber.packets(self.size)
        if data:
            self.subscriber.send(acknowledgements(0x40, data, self.size, self.id_at))
            self.received += len(data) // self.size
            self.top_up()

    def on_publisher_2(self) -> None:
        """PUBREC asks for PUBREL; PUBCOMP moves the window."""
        data = self.publisher.packets(4)
        completed = data[::4].count(0x70)
        if completed:
            self.acknowledged += completed
            data = b"".join(data[i : i + 4] for i in range(0, len(data), 4) if data[i] == 0x50)
        if data:
            self.publisher.send(acknowledgements(0x62, data, 4, 2))
        self.top_up()

    def on_subscriber_2(self) -> None:
        """PUBLISH asks for PUBREC, PUBREL for PUBCOMP; the two come mixed, so the bytes are walked."""
        peer = self.subscriber
        data = peer.tail + peer.socket.recv(1 << 16)
        position, end, size, id_at, completed = 0, len(data), self.size, self.id_at, 0
        replies = []
        while position < end:
            first = data[position]
            if first == 0x34 and position + size <= end:
                replies.append(b"\x50\x02" + data[position + id_at : position + id_at + 2])
                position += size
            elif first == 0x62 and position + 4 <= end:
                replies.append(b"\x70\x02" + data[position + 2 : position + 4])
                position += 4
                completed += 1
            elif first in {0x34, 0x62}:
                break
            else:
                raise CountError(f"packet type {first:#04x} came where PUBLISH or PUBREL was due")
        peer.tail = data[position:]
        peer.send(b"".join(replies))
        if completed:
            self.received += completed
            self.top_up()

    def done(self) -> bool:
        """Tell whether all that was sent is through on both sides."""
        return self.sent == self.acknowledged == self.received

    def missing(self) -> str:
        """Say what is not."""
        return f"{self.sent} sent, {self.acknowledged} acknowledged, {self.received} received"


def inflight(broker: BrokerProcess, seconds: float, qos: int, level: int) -> Figures:
    """Measure a window of acknowledged messages from one publisher to one subscriber."""
    with Crowd(broker, level) as crowd:
        pair = Inflight(crowd, qos)
        meter = Meter(broker, seconds)
        pair.top_up()
        while meter.running(pair.received):
            if not pair.readiness.run(5.0):
                raise CountError(f"nothing moved for 5 s: {pair.missing()}")
        pair.going = False
        pair.readiness.run_until(pair.done, pair.missing)
        return meter.figures()


def qos_1(broker: BrokerProcess, seconds: float, level: int = MQTT_3_1_1) -> Figures:
    """Measure QoS 1 both ways with a window in flight."""
    return inflight(broker, seconds, 1, level)


def qos_2(broker: BrokerProcess, seconds: float, level: int = MQTT_3_1_1) -> Figures:
    """Measure QoS 2 both ways with a window in flight."""
    return inflight(broker, seconds, 2, level)


def single(broker: BrokerProcess, seconds: float, level: int = MQTT_3_1_1) -> Figures:
    """Measure fifty publishers that wait for each PUBACK, and one QoS 1 subscriber."""
    with Crowd(broker, level) as crowd:
        readiness = crowd.readiness()
        subscriber = crowd.join("single-subscriber")
        subscriber.subscribe(["home/+/temperature"], 1)
        packets = [crowd.packet(f"home/room{i:02}/temperature", 1, 1) for i in range(50)]
        size, id_at = len(packets[0]), crowd.id_at(packets[0])
        sent = acknowledged = received = 0
        going = True

        def read() -> None:
            nonlocal received
            data = subscriber.packets(size)
            if data:
                subscriber.send(acknowledgements(0x40, data, size, id_at))
                received += len(data) // size

        def publisher(index: int, peer: Peer) -> Callable[[], None]:
            send, packet = peer.send, packets[index]

            def on_puback() -> None:
                nonlocal sent, acknowledged
                acknowledged += len(peer.packets(4)) // 4
                if going:
                    send(packet)
                    sent += 1

            return on_puback

        readiness.add(subscriber, read)
        meter = Meter(broker, seconds)
        for i in range(50):
            peer = crowd.join(f"single-{i:02}")
            readiness.add(peer, publisher(i, peer))
            peer.send(packets[i])
            sent += 1
        while meter.running(received):
            readiness.run(1.0)
        going = False
        readiness.run_until(
            lambda: sent == acknowledged == received,
            lambda: f"{sent} sent, {acknowledged} acknowledged, {received} received",
        )
        return meter.figures()


def ping_pong(broker: BrokerProcess, seconds: float) -> Figures:
    """Measure the way of one QoS 0 message from publisher to subscriber, nothing else going on."""
    with Crowd(broker) as crowd:
        subscriber = crowd.join("ping-subscriber")
        subscriber.subscribe([TOPIC], 0)
        publisher = crowd.join("ping-publisher")
        packet = publish_packet(TOPIC, PAYLOAD)
        took: list[float] = []
        meter = Meter(broker, seconds / 2)
        while meter.running(len(took)):
            start = time.perf_counter()
            publisher.send(packet)
            if subscriber.read(len(packet)) != packet:
                raise CountError("the message came back changed")
            took.append(time.perf_counter() - start)
        return meter.figures() | {"p50_us": statistics.median(took) * 1e6}


def appliance(broker: BrokerProcess, seconds: float, level: int = MQTT_3_1_1) -> Figures:
    """Measure 200 sensors sending 1,000 retained QoS 1 readings a second to one QoS 1 subscriber."""
    sensors, rate = 200, 1_000
    with Crowd(broker, level) as crowd:
        readiness = crowd.readiness()
        house = f"house{level}"  # one of its own, because what the other left is retained
        subscriber = crowd.join("home-page")
        subscriber.subscribe([f"{house}/#"], 1)
        packets = [crowd.packet(f"{house}/room{i:03}/temperature", 1, 1, retain=True) for i in range(sensors)]
        size, id_at = len(packets[0]), crowd.id_at(packets[0])
        sent = acknowledged = received = 0

        def read() -> None:
            nonlocal received
            data = subscriber.packets(size)
            if data:
                subscriber.send(acknowledgements(0x40, data, size, id_at))
                received += len(data) // size

        def sensor(peer: Peer) -> Callable[[], None]:
            def on_puback() -> None:
                nonlocal acknowledged
                acknowledged += len(peer.packets(4)) // 4

            return on_puback

        readiness.add(subscriber, read)
        sends = []
        for i in range(sensors):
            peer = crowd.join(f"sensor-{i:03}")
            readiness.add(peer, sensor(peer))
            sends.append((peer.send, packets[i]))
        meter = Meter(broker, seconds * 1.5)
        start = time.monotonic()
        while meter.running(received):
            due = start + sent / rate
            while (wait := due - time.monotonic()) > 0:
                readiness.run(wait)
            send, packet = sends[sent % sensors]
            send(packet)
            sent += 1
        readiness.run_until(
            lambda: sent == acknowledged == received,
            lambda: f"{sent} sent, {acknowledged} acknowledged, {received} received",
        )
        return meter.figures()


def retained(broker: BrokerProcess, seconds: float) -> Figures:
    """Measure how long 10,000 retained messages take to reach a new subscriber."""
    count, batch = 10_000, 50
    with Crowd(broker) as crowd:
        publisher = crowd.join("retained-publisher")
        packets = [publish_packet(f"kept/room{i:05}/temperature", PAYLOAD, 1, 1 + i, retain=True) for i in range(count)]
        for first in range(0, count, batch):
            publisher.send(b"".join(packets[first : first + batch]))
            publisher.read(4 * batch)
        size = len(publish_packet("kept/room00000/temperature", PAYLOAD))
        request = subscribe_packet(1, ["kept/#"], 0)
        expected = 5 + count * size  # SUBACK and all of them
        took, cpu = [], []
        deadline = time.monotonic() + seconds
        while len(took) < 3 or (time.monotonic() < deadline and len(took) < 9):
            subscriber = crowd.join(f"retained-{len(took)}")
            cpu_before, start = broker.cpu_s(), time.perf_counter()
            subscriber.send(request)
            left = expected
            while left > 0:
                piece = len(subscriber.socket.recv(1 << 18))
                if not piece:
                    raise CountError("the broker closed a connection")
                left -= piece
            took.append(time.perf_counter() - start)
            cpu.append(broker.cpu_s() - cpu_before)
            if left:
                raise CountError(f"{-left} bytes too many")
        return {"ms": statistics.median(took) * 1e3, "cpu_us": statistics.median(cpu) / count * 1e6}


def idle(broker: BrokerProcess, seconds: float) -> Figures:  # noqa: ARG001 every scenario takes both
    """Measure resident memory per connection with 1,000 clients that only keep it open."""
    count = 1_000
    with Crowd(broker) as crowd:
        for i in range(20):  # what is imported or grown once is not theirs
            crowd.join(f"early-{i}")
        before = broker.rss_bytes()
        for i in range(count):
            crowd.join(f"idle-{i:04}")
        return {"bytes": max(1.0, (broker.rss_bytes() - before) / count)}


def filters(broker: BrokerProcess, seconds: float) -> Figures:
    """Measure a publish that reaches one subscriber, among 10 filters and among 10,000; half are wildcards."""
    few, many = (_publish_among(broker, seconds / 2, count) for count in (10, 10_000))
    return {"few_us": few, "many_us": many, "many_to_few": many / few}


def _publish_among(broker: BrokerProcess, seconds: float, count: int) -> float:
    clients, window = 10, 500
    topics = [f"site/room{i:05}/temperature" for i in range(count)]
    topic_filters = [topic.replace("site", "+") if i % 2 else topic for i, topic in enumerate(topics)]
    with Crowd(broker) as crowd:
        readiness = crowd.readiness()
        packets = [publish_packet(topic, PAYLOAD) for topic in topics]
        size = len(packets[0])
        stream = b"".join(packets)
        received = 0

        def reader(peer: Peer) -> Callable[[], None]:
            def read() -> None:
                nonlocal received
                received += len(peer.packets(size)) // size

            return read

        share = count // clients
        for i in range(clients):
            peer = crowd.join(f"filters-{i}")
            for first in range(i * share, (i + 1) * share, 100):
                peer.subscribe(topic_filters[first : min(first + 100, (i + 1) * share)], 0)
            readiness.add(peer, reader(peer))
        publisher = crowd.join("filters-publisher")
        sent, burst = 0, 10
        meter = Meter(broker, seconds)
        while meter.running(received):
            while sent - received <= window - burst:
                at = sent % count * size
                publisher.send(stream[at : at + burst * size])
                sent += burst
            readiness.run(1.0)
        readiness.run_until(lambda: received >= sent, lambda: f"{received} of {sent} came")
        if received != sent:
            raise CountError(f"{received} came of {sent}")
        return meter.figures()["cpu_us"]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One row of the table."""

    name: str
    title: str
    run: Callable[[BrokerProcess, float], Figures]
    figure: str
    unit: str
    goal: float | None = None  # ratio to Mosquitto in pure Python
    absolute_goal: float | None = None  # what our own figure should stay below
    twin: str | None = None  # the same in MQTT 3.1.1
    twin_goal: float | None = None  # ratio to that, of ours


def in_mqtt_5(scenario: Scenario, run: Callable[..., Figures]) -> Scenario:
    """Give the same scenario in MQTT 5, which may cost half as much again."""
    return replace(
        scenario,
        name=f"{scenario.name}-5",
        title="… in MQTT 5",
        run=partial(run, level=MQTT_5),
        goal=None,
        twin=scenario.name,
        twin_goal=1.5,
    )


IDLE = Scenario(
    name="idle", title="1,000 idle clients, memory of each", run=idle, figure="bytes", unit="B", absolute_goal=4096
)
FAN_IN = Scenario(name="fan-in", title="50 publishers to 1, QoS 0", run=fan_in, figure="cpu_us", unit="µs", goal=0.15)
FAN_OUT = Scenario(
    name="fan-out", title="1 publisher to 100, QoS 0", run=fan_out, figure="cpu_us", unit="µs", goal=0.05
)
QOS_1 = Scenario(name="qos-1", title="QoS 1, 80 in flight", run=qos_1, figure="cpu_us", unit="µs", goal=0.25)
QOS_2 = Scenario(name="qos-2", title="QoS 2, 80 in flight", run=qos_2, figure="cpu_us", unit="µs", goal=0.20)
SINGLE = Scenario(
    name="single", title="50 publishers, 1 in flight each", run=single, figure="cpu_us", unit="µs", goal=0.70
)
PING_PONG = Scenario(
    name="ping-pong", title="one message at a time, p50", run=ping_pong, figure="p50_us", unit="µs", goal=1.3
)
APPLIANCE = Scenario(
    name="appliance",
    title="200 sensors, 1,000 readings/s",
    run=appliance,
    figure="cpu_percent",
    unit="% CPU",
    goal=1.0,
)
FILTERS = Scenario(
    name="filters",
    title="10,000 filters against 10",
    run=filters,
    figure="many_to_few",
    unit="times",
    absolute_goal=1.3,
)
RETAINED = Scenario(
    name="retained", title="10,000 retained to a newcomer", run=retained, figure="ms", unit="ms", goal=0.25
)

SCENARIOS = (  # idle comes first, while the brokers' memory is fresh
    IDLE,
    FAN_IN,
    in_mqtt_5(FAN_IN, fan_in),
    FAN_OUT,
    in_mqtt_5(FAN_OUT, fan_out),
    QOS_1,
    in_mqtt_5(QOS_1, qos_1),
    QOS_2,
    in_mqtt_5(QOS_2, qos_2),
    SINGLE,
    in_mqtt_5(SINGLE, single),
    PING_PONG,
    APPLIANCE,
    in_mqtt_5(APPLIANCE, appliance),
    FILTERS,
    RETAINED,
)
