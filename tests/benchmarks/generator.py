"""A load generator as lean as Python allows: packets encoded before the clock starts, counted by their size.

It shares no code with the broker. Every scenario keeps its packets at one size, so that counting what
arrived is a division, and acknowledging a hundred messages is two slice assignments.
"""

import select
import socket
import time
from collections.abc import Callable

from .brokers import PASSWORD, USERNAME

PATIENCE_S = 10.0
CHUNK = 1 << 18
MQTT_3_1_1, MQTT_5 = 4, 5  # as CONNECT calls them


class CountError(Exception):
    """What arrived is not what was sent, so there is no figure to print."""


def varint(number: int) -> bytes:
    """Encode a remaining length."""
    encoded = bytearray()
    while True:
        number, digit = number >> 7, number & 0x7F
        encoded.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(encoded)


def text(value: str) -> bytes:
    """Encode a string with its length."""
    raw = value.encode()
    return len(raw).to_bytes(2, "big") + raw


def no_properties(level: int) -> bytes:
    """What stands for no properties: their length in MQTT 5, nothing at all in 3.1.1."""
    return b"\x00" if level == MQTT_5 else b""


def connect_packet(client_id: str, keep_alive_s: int = 600, *, level: int = MQTT_3_1_1) -> bytes:
    """CONNECT with a clean session, as `USERNAME`."""
    head = text("MQTT") + bytes([level, 0xC2]) + keep_alive_s.to_bytes(2, "big")
    body = head + no_properties(level) + text(client_id) + text(USERNAME) + text(PASSWORD)
    return b"\x10" + varint(len(body)) + body


def subscribe_packet(packet_id: int, topic_filters: list[str], qos: int, *, level: int = MQTT_3_1_1) -> bytes:
    """SUBSCRIBE to all of them at one QoS."""
    head = packet_id.to_bytes(2, "big") + no_properties(level)
    body = head + b"".join(text(f) + bytes([qos]) for f in topic_filters)
    return b"\x82" + varint(len(body)) + body


def publish_packet(
    topic: str, payload: bytes, qos: int = 0, packet_id: int = 0, *, retain: bool = False, level: int = MQTT_3_1_1
) -> bytes:
    """PUBLISH; the packet id is left out at QoS 0."""
    body = text(topic) + (packet_id.to_bytes(2, "big") if qos else b"") + no_properties(level) + payload
    return bytes([0x30 | qos << 1 | retain]) + varint(len(body)) + body


class Peer:
    """One MQTT connection. Blocking while it is set up; bytes are read by whoever runs the scenario."""

    def __init__(self, port: int, client_id: str, level: int = MQTT_3_1_1) -> None:
        self._level = level
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tail = b""
        self.send = self.socket.sendall
        try:
            self._connect(client_id)
        except BaseException:
            self.socket.close()
            raise

    def _connect(self, client_id: str) -> None:
        self.send(connect_packet(client_id, level=self._level))
        if self._level == MQTT_5:
            self._expect_connack_5()
        else:
            self.expect(b"\x20\x02\x00\x00", "CONNACK")

    def _expect_connack_5(self) -> None:
        """Read a CONNACK that accepts, whatever properties the broker tells; they fit in one byte of length."""
        head = self.read(2)
        if head[0] != 0x20 or head[1] > 0x7F:
            raise CountError(f"{head.hex(' ')} came where CONNACK was due")
        if (body := self.read(head[1]))[:2] != b"\x00\x00":
            raise CountError(f"the CONNACK says {body.hex(' ')}")

    def expect(self, packet: bytes, name: str) -> None:
        """Read exactly this packet."""
        if (got := self.read(len(packet))) != packet:
            raise CountError(f"{got.hex(' ')} came where {name} {packet.hex(' ')} was due")

    def read(self, size: int) -> bytes:
        """Read exactly so many bytes."""
        got = b""
        while len(got) < size:
            piece = self.socket.recv(size - len(got))
            if not piece:
                raise CountError("the broker closed a connection")
            got += piece
        return got

    def subscribe(self, topic_filters: list[str], qos: int) -> None:
        """Subscribe and wait for the SUBACK."""
        self.send(subscribe_packet(1, topic_filters, qos, level=self._level))
        body = b"\x00\x01" + no_properties(self._level) + bytes([qos]) * len(topic_filters)
        self.expect(b"\x90" + varint(len(body)) + body, "SUBACK")

    def packets(self, size: int) -> bytes:
        """Return the whole packets of this size that have arrived; what is cut off waits for the next call."""
        data = self.socket.recv(CHUNK)
        if not data:
            raise CountError("the broker closed a connection")
        if self.tail:
            data = self.tail + data
        if rest := len(data) % size:
            self.tail = data[-rest:]
            return data[:-rest]
        self.tail = b""
        return data

    def close(self) -> None:
        """Say goodbye and close."""
        try:
            self.send(b"\xe0\x00")
        except OSError:
            pass  # it is gone already
        finally:
            self.socket.close()


class Readiness:
    """epoll with one callable per socket."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[], None]] = {}

    def add(self, peer: Peer, handler: Callable[[], None]) -> None:
        """Call the handler whenever the peer has bytes to read."""
        self._handlers[peer.socket.fileno()] = handler
        self._epoll.register(peer.socket.fileno(), select.EPOLLIN)

    def run(self, timeout_s: float) -> int:
        """Serve what is ready, waiting at most so long for the first; return how many were."""
        ready = self._epoll.poll(timeout_s)
        handlers = self._handlers
        for fileno, _ in ready:
            handlers[fileno]()
        return len(ready)

    def run_until(self, done: Callable[[], bool], missing: Callable[[], str]) -> None:
        """Serve until it is done; CountError when nothing moves any more."""
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            if self.run(0.5):
                deadline = time.monotonic() + PATIENCE_S
            elif time.monotonic() > deadline:
                raise CountError(missing())

    def close(self) -> None:
        """Close the epoll descriptor; the sockets are their peers'."""
        self._epoll.close()


def acknowledgements(first: int, data: bytes, size: int, offset: int) -> bytes:
    """Make one four-byte acknowledgement for each packet in data, whose packet ids stand at this offset."""
    reply = bytearray((first, 2, 0, 0)) * (len(data) // size)
    reply[2::4] = data[offset::size]
    reply[3::4] = data[offset + 1 :: size]
    return bytes(reply)
