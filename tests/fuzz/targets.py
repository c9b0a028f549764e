"""What must hold for any bytes at all; a target takes bytes and raises where it does not.

The stream: packets or an MqttError and nothing else, the same for any split, no more kept than was fed. The broker:
bytes of four clients, their coming and going and the passing of time; no exception, the same answers for any split, no
more kept than was fed and a little, and a witness who is served all the while.
"""

import gc
import tracemalloc
from collections.abc import Callable

from appliance.broker.entry import FIRST_PACKET_BYTES
from appliance.mqtt.codec import encode
from appliance.mqtt.errors import MqttError
from appliance.mqtt.packets import Connect, Packet, PingReq, PingResp, Publish, Will
from appliance.mqtt.properties import Properties
from appliance.mqtt.stream import PacketStream
from appliance.mqtt.types import QoS, Version
from tests.virtual import VirtualClient, VirtualServer

VERSIONS: tuple[Version | None, ...] = (None, *Version)
BEFORE_LOGIN_BYTES, AFTER_LOGIN_BYTES = 64 << 10, 1 << 20  # what may be kept beside what was fed
WEIGHED = 200  # every so many executions the memory is weighed, which is slow

Seen = tuple[list[Packet], str]


def read(pieces: list[bytes], version: Version | None) -> Seen:
    """Packets of a stream that gets these pieces, and the error that ended it."""
    stream = PacketStream(version, max_packet_bytes=FIRST_PACKET_BYTES)
    packets: list[Packet] = []
    fed = 0
    for piece in pieces:
        stream.feed(piece)
        fed += len(piece)
        try:
            while (packet := stream.next_packet()) is not None:
                packets.append(packet)
        except MqttError as error:
            return packets, f"{type(error).__name__}: {error}"
        assert len(stream._buffer) <= fed
    return packets, ""


def pieces_of(data: bytes, size: int) -> list[bytes]:
    """Give the same bytes in pieces of a size."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def stream(data: bytes) -> None:
    """The first byte chooses the version and the pieces."""
    if not data:
        return
    version = VERSIONS[data[0] & 3]
    data, size = data[1:], 1 + (data[0] >> 2)
    seen = read([data], version)
    assert read(pieces_of(data, size), version) == seen, "another split, another reading"
    for packet in seen[0]:
        encode(packet, version or Version.MQTT_5)


class Stage:
    """A server with a witness, and four places for clients."""

    def __init__(self) -> None:
        self.server = VirtualServer(max_sessions=20)
        self.witness = self.server.client("witness", Version.MQTT_5, clean_start=True, keep_alive_s=600)
        self.witness.subscribe("#")
        self.clients: list[VirtualClient | None] = [None] * 4
        self.answers: list[list[bytes]] = [[], [], [], []]
        self.fed = 0

    def link(self, number: int) -> VirtualClient:
        """The client in this place, new where there is none."""
        client = self.clients[number]
        if client is None:
            client = self.clients[number] = self.server.link(Version.MQTT_5)
        return client

    def send(self, number: int, data: bytes, size: int) -> None:
        """Let a client send in pieces; one that was closed sends no more."""
        client = self.link(number)
        for piece in pieces_of(data, size):
            if client.closed:
                return
            self.fed += len(piece)
            self.server.broker.received(client.connection, piece, self.server.now)
            self.server.settle()
            assert len(client.connection.tail) <= self.fed

    def leave(self, number: int) -> None:
        """End a link, and keep what it was told."""
        client = self.clients[number]
        if client is not None:
            if not client.closed:
                client.lose()
            self.answers[number].append(client.received)
        self.clients[number] = None

    def wait(self, seconds: int) -> None:
        """Let time pass."""
        self.witness.send(PingReq())
        self.server.advance(seconds)

    def end(self) -> list[list[bytes]]:
        """Everyone leaves; the witness is served still. Gives what the clients were told."""
        self.witness.packets()
        self.witness.send(PingReq())
        self.witness.publish("witness/is/here", b"yes")
        assert self.witness.packets() == [PingResp(), Publish("witness/is/here", b"yes")], "the witness is not served"
        for number in range(4):
            self.leave(number)
        assert self.server.broker.stats.clients_now == 1, "clients that left are still counted"
        return self.answers


def greeting(choice: int, number: int) -> bytes:
    """A CONNECT that is in order, so that what comes after it is read."""
    version = list(Version)[choice % 3]
    properties = Properties(
        session_expiry_interval=300 if choice & 4 else None,
        receive_maximum=2 if choice & 8 else None,
        topic_alias_maximum=3 if choice & 16 else None,
        maximum_packet_size=40 if choice & 32 else None,
    )
    will = Will("will/of/it", b"gone", QoS.AT_LEAST_ONCE) if choice & 64 else None
    plain = Connect(f"c{number & 1}", clean_start=bool(choice & 128), keep_alive_s=60, will=will, version=version)
    if version is Version.MQTT_5:
        plain = Connect(plain.client_id, plain.clean_start, 60, will=will, properties=properties, version=version)
    return encode(plain, version)


def play(data: bytes, size: int) -> list[list[bytes]]:
    """Each step is a byte for who and what, a byte for how much, and perhaps bytes to send."""
    stage = Stage()
    pos = 0
    while pos + 2 <= len(data):
        number, what, how_much = data[pos] & 3, data[pos] >> 2 & 7, data[pos + 1]
        pos += 2
        if what == 4:
            stage.leave(number)
        elif what == 5:
            stage.wait(how_much)
        elif what == 6:
            stage.leave(number)
            stage.send(number, greeting(how_much, number), size)
        elif what == 7:  # all that is left
            stage.send(number, data[pos:], size)
            pos = len(data)
        else:
            stage.send(number, data[pos : pos + how_much], size)
            pos += how_much
    return stage.end()


def broker(data: bytes) -> None:
    """Play it with what a client sends in one piece, and in many."""
    if not data:
        return
    size = 1 + (data[0] >> 4)
    whole = play(data[1:], 1 << 20)
    assert play(data[1:], size) == whole, "another split, another answer"


def weighed(target: Callable[[bytes], None], allowance: int) -> Callable[[bytes], None]:
    """Make a target that looks now and then at what is kept of the memory it took."""
    executions = 0

    def target_and_scales(data: bytes) -> None:
        nonlocal executions
        executions += 1
        if executions % WEIGHED:
            target(data)
            return
        target(data)  # fills caches
        gc.collect()
        tracemalloc.start()
        try:
            target(data)
            _, highest = tracemalloc.get_traced_memory()
            gc.collect()  # what is in circles is not kept
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert kept <= len(data) + BEFORE_LOGIN_BYTES, f"{kept} bytes are kept of {len(data)}"
        assert highest <= 200 * len(data) + allowance, f"{highest} bytes were taken for {len(data)}"

    return target_and_scales


TARGETS = {"stream": weighed(stream, AFTER_LOGIN_BYTES), "broker": weighed(broker, 4 * AFTER_LOGIN_BYTES)}
