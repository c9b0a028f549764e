"""MQTT 5 by hand, as `raw` is for 3.1.1: packets with any properties, as bytes."""

from tests.raw import frame, text, two, varint

ACCEPTED = 0x20


def block(properties=b""):
    return varint(len(properties)) + properties


def four(number):
    return number.to_bytes(4, "big")


def session_expiry(seconds):
    return b"\x11" + four(seconds)


def receive_maximum(count):
    return b"\x21" + two(count)


def will_delay(seconds):
    return b"\x18" + four(seconds)


def connect(client_id="", *, clean=True, keep_alive=0, properties=b"", will=None, will_properties=b"", username=None,
            password=None, level=5, flags=None, more=b""):  # fmt: skip
    """CONNECT; `will` is (topic, payload, qos, retain); `flags` replaces the flags that the fields ask for."""
    wanted = 0x02 * clean
    payload = text(client_id)
    if will is not None:
        topic, message, qos, retain = will
        wanted |= 0x04 | qos << 3 | retain << 5
        payload += block(will_properties) + text(topic) + text(message)
    if username is not None:
        wanted |= 0x80
        payload += text(username)
    if password is not None:
        wanted |= 0x40
        payload += text(password)
    head = text("MQTT") + bytes([level, wanted if flags is None else flags]) + two(keep_alive) + block(properties)
    return frame(0x10, head + payload + more)


def publish(topic, payload=b"", qos=0, packet_id=1, *, properties=b"", retain=False, dup=False):
    middle = two(packet_id) if qos else b""
    return frame(0x30 | dup << 3 | qos << 1 | retain, text(topic) + middle + block(properties) + payload)


def subscribe(*topic_filters, options=0, packet_id=1, properties=b""):
    filters = b"".join(text(topic_filter) + bytes([options]) for topic_filter in topic_filters)
    return frame(0x82, two(packet_id) + block(properties) + filters)


def unsubscribe(*topic_filters, packet_id=1):
    return frame(0xA2, two(packet_id) + block() + b"".join(map(text, topic_filters)))


def disconnect(reason, properties=b""):
    return frame(0xE0, bytes([reason]) + block(properties))


def reason_of(packet):
    """The reason in a DISCONNECT or CONNACK; None when the server closed without a word."""
    if packet is None:
        return None
    if packet[0] == ACCEPTED:
        return packet[3]
    assert packet[0] == 0xE0, packet
    return packet[2] if packet[1] else 0


def properties_of(connack):
    """The properties of a CONNACK of less than 128 bytes, as they stand there."""
    assert connack[0] == ACCEPTED
    return connack[5 : 5 + connack[4]]
