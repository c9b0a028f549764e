"""One MQTT client by hand, 3.1.1 or 5, that keeps its part of every promise: it resumes, repeats and writes down."""

import select
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from appliance.clock import rfc3339
from tests import raw, raw5
from tests.crash.facts import Ledger, number_in, payload_of

PATIENCE_S = 15.0
SESSION_S = 100_000
WILL = "will/"
QUEUE = 8  # acknowledgements that a client may hold back


class Silent(Exception):
    """The server did not answer in time, or closed where it should not have."""


class Mention(NamedTuple):
    """A packet that concerns a delivery, as it came over the present link; number is None for PUBREL."""

    packet_id: int
    number: int | None
    qos: int
    dup: bool


class Peer:
    """A client. `version` is 4 or 5; everything that outlives a link stands in the ledger."""

    def __init__(self, ledger: Ledger, name: str, version: int = 4, *, agent: bool = False) -> None:
        self.ledger = ledger
        self.name = name
        self.version = version
        self.agent = agent  # its readings say where they come from
        self.lazy = False  # holds acknowledgements back
        self.mentions: list[Mention] = []
        self.retained: dict[str, tuple[bytes, bytes]] = {}  # topic -> payload and properties of retained messages
        self.answers: dict[int, bytes] = {}  # SUBACK and UNSUBACK by packet id
        self.pongs = 0
        self.refused = 0
        self.markers: set[int] = set()
        self.probes: dict[str, int] = {}  # topic -> QoS of the last message received that is no marker
        self._socket: socket.socket | None = None
        self._data = b""
        self._owed: deque[tuple[str, int]] = deque()
        self._ids = 0
        self._make = raw5 if version == 5 else raw

    @property
    def state(self):
        """What it carries over."""
        return self.ledger.facts.peers[self.name]

    # --- the link ---

    def connect(self, port: int, *, clean: bool = False) -> bool:
        """Connect and give whether the server knew the session; resumes nothing yet."""
        self.close()
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.mentions.clear()
        more = {"properties": raw5.session_expiry(SESSION_S)} if self.version == 5 else {}
        if self.agent:
            more["will"] = (f"{WILL}{self.name}", b"offline", 1, False)
        self._socket.sendall(self._make.connect(self.name, clean=clean, **more))
        while (packet := self._next()) is None:
            if not self._read():
                raise Silent(f"{self.name}: closed instead of CONNACK")
        if packet[0] != 0x20 or packet[3]:
            raise Silent(f"{self.name}: {packet!r} instead of CONNACK")
        self._socket.setblocking(False)
        return bool(packet[2] & 1)

    @property
    def socket(self) -> socket.socket | None:
        """The open socket, if there is one."""
        return self._socket

    def close(self) -> None:
        """Break the link off; what was to be acknowledged on it never will be."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._data = b""
        self._owed.clear()

    def leave(self) -> None:
        """Say goodbye and close."""
        self.flush()
        self.send(raw.DISCONNECT)
        self.close()

    def send(self, *packets: bytes) -> None:
        """Send, as far as there is somebody to send to."""
        data = memoryview(b"".join(packets))
        while data and self._socket is not None:
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                if not select.select([], [self._socket], [], PATIENCE_S)[1]:
                    raise Silent(f"{self.name}: the server reads nothing") from None
            except ConnectionError:
                return

    def _read(self) -> bool:
        assert self._socket is not None
        try:
            data = self._socket.recv(65_536)
        except BlockingIOError:
            return True
        except ConnectionError:
            data = b""
        except TimeoutError:
            raise Silent(f"{self.name}: no answer for {PATIENCE_S:g} s") from None
        self._data += data
        return bool(data)

    def _next(self) -> bytes | None:
        length = 0
        for i, byte in enumerate(self._data[1:5]):
            length |= (byte & 0x7F) << 7 * i
            if byte < 0x80:
                end = 2 + i + length
                if len(self._data) < end:
                    return None
                packet, self._data = self._data[:end], self._data[end:]
                return packet
        return None

    def pump(self) -> bool:
        """Take what has come; False when the server closed, the link being closed then too."""
        if self._socket is None:
            return False
        alive = self._read()
        while (packet := self._next()) is not None:
            self._take(packet)
        if not alive:
            self.close()
            return False
        if not self.lazy or len(self._owed) >= QUEUE:
            self.flush()
        return True

    def last_words(self) -> None:
        """Take all that the server sent before it ended."""
        if self._socket is not None:
            self._socket.settimeout(PATIENCE_S)
            self.lazy = True
            while self.pump():
                self._owed.clear()  # nobody is there to read them

    def flush(self) -> None:
        """Send the acknowledgements that are owed, in order."""
        packets = []
        while self._owed:
            kind, packet_id = self._owed.popleft()
            if kind == "puback":
                self.ledger.note("acked", self.name, packet_id)
                packets.append(raw.puback(packet_id))
            else:
                packets.append(raw.pubrec(packet_id) if kind == "pubrec" else raw.pubcomp(packet_id))
        if packets:
            self.send(*packets)

    # --- what comes ---

    def _take(self, packet: bytes) -> None:
        kind = packet[0] >> 4
        if kind == 3:
            self._message(packet)
            return
        packet_id = int.from_bytes(packet[2:4], "big")
        refused = kind in (4, 5) and len(packet) > 4 and packet[4] >= 0x80
        if refused:
            self.refused += 1
        elif kind == 4:
            self.ledger.note("puback", self.name, packet_id)
        elif kind == 5:
            self.ledger.note("pubrec", self.name, packet_id)
            self.send(raw.pubrel(packet_id))
        elif kind == 6:
            self.mentions.append(Mention(packet_id, None, 2, dup=False))
            self.ledger.note("released", self.name, packet_id)
            self._owed.append(("pubcomp", packet_id))
        elif kind == 7:
            self.ledger.note("pubcomp", self.name, packet_id)
        elif kind in (9, 11):
            self.answers[packet_id] = packet
        elif kind == 13:
            self.pongs += 1

    def _message(self, packet: bytes) -> None:
        at = 2
        while packet[at - 1] & 0x80:
            at += 1
        end = at + 2 + int.from_bytes(packet[at : at + 2], "big")
        topic = packet[at + 2 : end].decode()
        qos, packet_id, properties = packet[0] >> 1 & 3, 0, b""
        if qos:
            packet_id, end = int.from_bytes(packet[end : end + 2], "big"), end + 2
        if self.version == 5:
            length = shift = 0
            while True:
                length |= (packet[end] & 0x7F) << shift
                shift, end = shift + 7, end + 1
                if packet[end - 1] < 0x80:
                    break
            properties, end = packet[end : end + length], end + length
        payload, dup = packet[end:], bool(packet[0] & 8)
        if packet[0] & 1 and not qos:
            self.retained[topic] = (payload, properties)
            return
        number = number_in(payload) or 0
        self.mentions.append(Mention(packet_id, number, qos, dup))
        self.ledger.note("received", self.name, packet_id, topic, payload, qos, dup)
        if topic.startswith("marker/"):
            self.markers.add(number)
        else:
            self.probes[topic] = qos
        if qos:
            self._owed.append(("puback" if qos == 1 else "pubrec", packet_id))

    # --- what it does ---

    def take_id(self) -> int:
        """Give a packet id for a request that is no message."""
        self._ids = self._ids % 1_000 + 1
        return 30_000 + self._ids

    def publish(self, topic: str, qos: int, *, retain: bool = False) -> int:
        """Publish the next message; gives its number."""
        number = self.ledger.take_number()
        seq = number if self.agent else None
        packet_id = next(i for i in range(1, 1_000) if i not in self.state.outgoing) if qos else 0
        self.ledger.note("published", self.name, packet_id, number, (topic, qos, retain, seq, time.time()))
        self.send(self._packet(packet_id, number, dup=False))
        return number

    def _packet(self, packet_id: int, number: int, *, dup: bool) -> bytes:
        sent = self.ledger.facts.messages[number]
        more = {}
        if self.version == 5 and sent.seq is not None:
            said = {"agent": self.name, "run": "run1", "seq": str(sent.seq), "time": rfc3339(sent.at)}
            more["properties"] = b"".join(b"\x26" + raw.text(k) + raw.text(v) for k, v in said.items())
        payload = payload_of(number, sent.topic)
        return self._make.publish(sent.topic, payload, sent.qos, packet_id, retain=sent.retain, dup=dup, **more)

    def resume(self) -> None:
        """Send again what was not acknowledged, in its order. [MQTT-4.4.0-1]"""
        packets = []
        for packet_id, outgoing in self.state.outgoing.items():
            if outgoing.released:
                packets.append(raw.pubrel(packet_id))
            else:
                self.ledger.note("published_again", self.name, packet_id)
                packets.append(self._packet(packet_id, outgoing.number, dup=True))
        self.send(*packets)

    def subscribe(self, *filters: str, qos: int) -> int:
        """Ask for it; gives the packet id of the answer to come."""
        packet_id = self.take_id()
        more = {"options": qos} if self.version == 5 else {"qos": qos}
        self.send(self._make.subscribe(*filters, packet_id=packet_id, **more))
        return packet_id

    def unsubscribe(self, *filters: str) -> int:
        """Ask for it; gives the packet id of the answer to come."""
        packet_id = self.take_id()
        self.send(self._make.unsubscribe(*filters, packet_id=packet_id))
        return packet_id


def wait(peers: list[Peer], done: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Serve these clients until all is done; Silent when nothing has come for a while."""
    until = time.monotonic() + patience_s
    while not done():
        sockets = {peer.socket: peer for peer in peers if peer.socket is not None}
        ready = select.select(list(sockets), [], [], 0.2)[0] if sockets else []
        for one in ready:
            if not sockets[one].pump():
                raise Silent(f"{sockets[one].name}: closed while waiting for {what}")
            until = time.monotonic() + patience_s
        if time.monotonic() > until or not sockets:
            raise Silent(f"waited in vain for {what}")
