"""MQTT 3.1.1 by hand: bytes that our codec would never write, and a socket that says what came back."""

import socket
import struct

PATIENCE_S = 20.0  # on a busy machine; nothing waits so long when all is well

PINGREQ, PINGRESP, DISCONNECT = b"\xc0\x00", b"\xd0\x00", b"\xe0\x00"
ACCEPTED = b"\x20\x02\x00\x00"
ACCEPTED_AND_KNOWN = b"\x20\x02\x01\x00"


def varint(number):
    encoded = bytearray()
    while True:
        number, digit = number >> 7, number & 0x7F
        encoded.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(encoded)


def frame(first, body=b""):
    return bytes([first]) + varint(len(body)) + body


def text(value):
    raw = value if isinstance(value, bytes) else value.encode()
    return len(raw).to_bytes(2, "big") + raw


def two(number):
    return number.to_bytes(2, "big")


def connect(client_id="", *, clean=True, keep_alive=0, name="MQTT", level=4, will=None, username=None, password=None,
            flags=None, more=b""):  # fmt: skip
    """CONNECT; `will` is (topic, payload, qos, retain); `flags` replaces the flags that the fields ask for."""
    wanted = 0x02 * clean
    payload = text(client_id)
    if will is not None:
        topic, message, qos, retain = will
        wanted |= 0x04 | qos << 3 | retain << 5
        payload += text(topic) + text(message)
    if username is not None:
        wanted |= 0x80
        payload += text(username)
    if password is not None:
        wanted |= 0x40
        payload += text(password)
    head = text(name) + bytes([level, wanted if flags is None else flags]) + two(keep_alive)
    return frame(0x10, head + payload + more)


def publish(topic, payload=b"", qos=0, packet_id=1, *, retain=False, dup=False):
    middle = two(packet_id) if qos else b""
    return frame(0x30 | dup << 3 | qos << 1 | retain, text(topic) + middle + payload)


def subscribe(*topic_filters, qos=0, packet_id=1):
    return frame(0x82, two(packet_id) + b"".join(text(topic_filter) + bytes([qos]) for topic_filter in topic_filters))


def unsubscribe(*topic_filters, packet_id=1):
    return frame(0xA2, two(packet_id) + b"".join(map(text, topic_filters)))


def ack(first, packet_id):
    return bytes([first, 2]) + two(packet_id)


def puback(packet_id):
    return ack(0x40, packet_id)


def pubrec(packet_id):
    return ack(0x50, packet_id)


def pubrel(packet_id):
    return ack(0x62, packet_id)


def pubcomp(packet_id):
    return ack(0x70, packet_id)


class Raw:
    """One socket to the server."""

    def __init__(self, port, receive_buffer=None):
        self.socket = socket.socket()
        self.socket.settimeout(PATIENCE_S)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.socket.connect(("127.0.0.1", port))
        except OSError:
            self.socket.close()
            raise
        self._data = b""

    def send(self, *packets):
        """Send them; False when the server has closed already."""
        try:
            self.socket.sendall(b"".join(packets))
        except ConnectionError:
            return False
        return True

    def _receive(self):
        try:
            data = self.socket.recv(65_536)
        except ConnectionError:
            data = b""
        self._data += data
        return bool(data)

    def packet(self):
        """Give the next whole packet; None when the server closed."""
        while (size := self._size()) is None or len(self._data) < size:
            if not self._receive():
                return None
        packet, self._data = self._data[:size], self._data[size:]
        return packet

    def _size(self):
        length = 0
        for i, byte in enumerate(self._data[1:5]):
            length |= (byte & 0x7F) << 7 * i
            if byte < 0x80:
                return 2 + i + length
        return None

    def packets(self, count):
        return [self.packet() for _ in range(count)]

    def buffered(self):
        """Tell whether bytes were received that nobody has asked for."""
        return bool(self._data)

    def until_closed(self):
        """Give what comes before the server closes; TimeoutError when it does not."""
        while self._receive():
            pass
        data, self._data = self._data, b""
        return data

    def expect(self, *packets):
        for packet in packets:
            assert self.packet() == packet

    def ask(self, packet, answer):
        self.send(packet)
        self.expect(answer)

    def silent(self):
        """Assert that nothing is on its way to this client: an answered PINGREQ comes next."""
        self.ask(PINGREQ, PINGRESP)

    def reset(self):
        """Break the connection off: RST and no FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self):
        self.socket.close()
