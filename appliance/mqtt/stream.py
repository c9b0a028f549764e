"""Pieces of bytes in, whole packets out."""

from appliance.mqtt.codec import decode
from appliance.mqtt.errors import PacketTooLarge, ProtocolError
from appliance.mqtt.packets import Connect, Packet
from appliance.mqtt.types import PacketType, Version
from appliance.mqtt.wire import MAX_PACKET_BYTES, frame_size

SAYS_MQTT5 = b"\0\4MQTT\5"  # behind the fixed header of a CONNECT


class PacketStream:
    """One direction of one link, for the tests' peers; the broker itself reads on offsets, in `broker.inbound`.

    It holds what was received and no more, whatever a header promises.
    Without a `version` the first packet has to be a CONNECT, and its version holds from then on. After an MqttError
    the stream stays where it is: there is no way to find the next packet.
    """

    __slots__ = ("_buffer", "_pos", "max_packet_bytes", "version")

    def __init__(self, version: Version | None = None, max_packet_bytes: int = MAX_PACKET_BYTES) -> None:
        self.version = version
        self.max_packet_bytes = max_packet_bytes
        self._buffer = bytearray()
        self._pos = 0

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        if self._pos:
            del self._buffer[: self._pos]
            self._pos = 0
        self._buffer += data

    def next_packet(self) -> Packet | None:
        """Take the next whole packet; None while it is still arriving. MqttError where waiting cannot help."""
        buffer, pos = self._buffer, self._pos
        if pos == len(buffer):
            return None
        if self.version is None and buffer[pos] != PacketType.CONNECT << 4:  # [MQTT-3.1.0-1]
            raise ProtocolError("the first packet is not CONNECT")
        size = frame_size(buffer, pos)
        if size is None:
            return None
        if size > self.max_packet_bytes:  # before its bytes are waited for
            raise PacketTooLarge(f"a packet of {size} bytes, at most {self.max_packet_bytes} are taken")
        if size > len(buffer) - pos:
            return None
        packet = decode(bytes(buffer[pos : pos + size]), self.version)
        if isinstance(packet, Connect):
            self.version = packet.version
        self._pos = pos + size
        return packet


def says_mqtt5(start: bytes) -> bool | None:
    """Whether the CONNECT that starts so says that it is one of MQTT 5; None while it takes more bytes to know.

    What follows need not be there, nor right.
    """
    for pos in range(1, 5):  # the remaining length
        if pos >= len(start):
            return None
        if start[pos] < 0x80:
            said = start[pos + 1 : pos + 1 + len(SAYS_MQTT5)]
            return True if said == SAYS_MQTT5 else None if SAYS_MQTT5.startswith(said) else False
    return False
