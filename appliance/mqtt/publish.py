"""PUBLISH on the hot path: its parts in received bytes, and bytes for many readers from one encoding.

`codec` reads and writes PUBLISH as a frozen packet; a broker that made one for every message and reader would
spend its time on objects. These functions do the same work on offsets, and a test holds both to the same answers.
"""

from typing import NamedTuple

from appliance.mqtt.errors import MalformedPacket, ProtocolError, TopicAliasInvalid
from appliance.mqtt.topics import check_topic_name
from appliance.mqtt.wire import encode_varint, utf8

_PAYLOAD_FORMAT, _MESSAGE_EXPIRY, _CONTENT_TYPE, _RESPONSE_TOPIC, _CORRELATION = 0x01, 0x02, 0x03, 0x08, 0x09
_SUBSCRIPTION_IDENTIFIER, _TOPIC_ALIAS, _USER_PROPERTY = 0x0B, 0x23, 0x26


class PublishProperties(NamedTuple):
    """What a server must know of a PUBLISH's properties; `forwarded` goes on to every MQTT 5 reader as it is."""

    forwarded: bytes  # the block without its length, message expiry and topic alias
    expiry_s: int | None
    end: int  # where the payload starts
    alias: int = 0  # 0 for none
    is_text: bool = False  # the payload says of itself that it is UTF-8


def scan_properties(data: bytes, pos: int, stop: int) -> PublishProperties:
    """Check the property block at `pos` of a PUBLISH from a client that ends at `stop`.

    Raises MalformedPacket or ProtocolError (MQTT 5 §3.3.2.3).
    """
    length, pos = _varint(data, pos, stop)
    end = pos + length
    if end > stop:
        raise MalformedPacket("the properties are longer than their PUBLISH")
    start = pos
    own: list[tuple[int, int]] = []  # what is for the server alone, and not forwarded
    expiry_s = None
    alias = 0
    is_text = False
    seen = 0
    while pos < end:
        identifier = data[pos]
        pos += 1
        if identifier == _USER_PROPERTY:
            pos = _string(data, _string(data, pos, end), end)
            continue
        if seen & (1 << identifier):
            raise ProtocolError(f"property 0x{identifier:02x} twice in a PUBLISH")
        seen |= 1 << identifier
        if identifier == _MESSAGE_EXPIRY:
            if pos + 4 > end:
                raise MalformedPacket("message expiry runs past the properties")
            expiry_s = int.from_bytes(data[pos : pos + 4], "big")
            own.append((pos - 1, pos + 4))
            pos += 4
        elif identifier == _PAYLOAD_FORMAT:
            if pos >= end:
                raise MalformedPacket("payload format runs past the properties")
            if data[pos] > 1:
                raise ProtocolError("payload format is neither 0 nor 1")
            is_text = data[pos] == 1
            pos += 1
        elif identifier == _CONTENT_TYPE:
            pos = _string(data, pos, end)
        elif identifier == _RESPONSE_TOPIC:
            after = _string(data, pos, end)
            check_topic_name(str(data[pos + 2 : after], "utf-8"))  # [MQTT-3.3.2-14]
            pos = after
        elif identifier == _CORRELATION:
            if pos + 2 > end:
                raise MalformedPacket("correlation data runs past the properties")
            pos += 2 + (data[pos] << 8 | data[pos + 1])
        elif identifier == _TOPIC_ALIAS:
            if pos + 2 > end:
                raise MalformedPacket("topic alias runs past the properties")
            alias = data[pos] << 8 | data[pos + 1]
            if not alias:
                raise TopicAliasInvalid("topic alias 0")  # [MQTT-3.3.2-8]
            own.append((pos - 1, pos + 2))
            pos += 2
        elif identifier == _SUBSCRIPTION_IDENTIFIER:
            raise ProtocolError("a client's PUBLISH must not carry a subscription identifier")  # [MQTT-3.3.4-6]
        else:
            raise MalformedPacket(f"property 0x{identifier:02x} has no place in a PUBLISH")
        if pos > end:
            raise MalformedPacket(f"property 0x{identifier:02x} runs past the properties")
    forwarded = data[start:end]
    for first, last in reversed(own):
        forwarded = forwarded[: first - start] + forwarded[last - start :]
    return PublishProperties(forwarded, expiry_s, end, alias, is_text)


def _varint(data: bytes, pos: int, stop: int) -> tuple[int, int]:
    if pos < stop and data[pos] < 0x80:
        return data[pos], pos + 1
    value = 0
    for i in range(4):
        if pos + i >= stop:
            raise MalformedPacket("the PUBLISH ends inside its property length")
        byte = data[pos + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            if byte == 0:
                raise MalformedPacket("a length in more bytes than it needs")  # [MQTT-1.5.5-1]
            return value, pos + i + 1
    raise MalformedPacket("the property length runs past four bytes")


def _string(data: bytes, pos: int, end: int) -> int:
    """Check the UTF-8 string at `pos` and give the offset behind it."""
    if pos + 2 > end:
        raise MalformedPacket("a string runs past the properties")
    after = pos + 2 + (data[pos] << 8 | data[pos + 1])
    if after > end:
        raise MalformedPacket("a string runs past the properties")
    utf8(data[pos + 2 : after])
    return after


def is_utf8(payload: bytes) -> bool:
    """Tell whether a payload that calls itself text is text. §3.3.2.3.2"""
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def delivered_properties(forwarded: bytes, expiry_s: int | None, identifiers: tuple[int, ...], alias: int = 0) -> bytes:
    """Give the property block, with its length, that a reader receives.

    `expiry_s` is what is left of the message's life [MQTT-3.3.2-6]; `identifiers` those of the reader's
    subscriptions that matched [MQTT-3.3.4-3]; `alias` stands for the topic on this link, 0 for none.
    """
    block = forwarded
    if alias:
        block += b"\x23" + alias.to_bytes(2, "big")
    if expiry_s is not None:
        block += b"\x02" + expiry_s.to_bytes(4, "big")
    for identifier in identifiers:
        block += b"\x0b" + encode_varint(identifier)
    return encode_varint(len(block)) + block


def seconds_left(expires_at: float, now: float) -> int:
    """Give what a message had of its life, less the whole seconds that it waited. [MQTT-3.3.2-6]"""
    left_s = expires_at - now
    return max(1, int(left_s + 0.999)) if left_s > 0 else 0  # what floats gain or lose must not be a second


def publish_parts(topic: bytes, payload: bytes, qos: int, retain: bool, properties: bytes) -> tuple[bytes, bytes]:  # noqa: FBT001 the wire's flag
    """Encode a PUBLISH once for many readers: header and topic, then properties and payload.

    The packet id belongs between the two where QoS is 1 or 2. `properties` is the block with its length, and
    empty for 3.1.1. A copy sent again sets DUP in the first byte.
    """
    length = len(topic)
    size = 2 + length + (2 if qos else 0) + len(properties) + len(payload)
    first = 0x30 | qos << 1 | retain
    if size < 0x80:  # nearly always
        head = bytes((first, size, length >> 8, length & 0xFF)) + topic
    else:
        head = bytes((first,)) + encode_varint(size) + length.to_bytes(2, "big") + topic
    return head, properties + payload


def topic_and_id(packet: bytes) -> tuple[str, int]:
    """Give topic and packet id, 0 where it has none, of a whole PUBLISH that we made ourselves."""
    body = 2
    while packet[body - 1] >= 0x80:
        body += 1
    end = body + 2 + (packet[body] << 8 | packet[body + 1])
    return str(packet[body + 2 : end], "utf-8"), packet[end] << 8 | packet[end + 1] if packet[0] & 0x06 else 0


def translate_run(data: bytes, start: int, stop: int, *, to_mqtt5: bool) -> bytes:
    """Rewrite a run of whole QoS 0 PUBLISH packets without properties for readers of the other version."""
    packets = []
    while start < stop:
        size, body = _varint(data, start + 1, stop)
        end = body + size
        after_topic = body + 2 + (data[body] << 8 | data[body + 1])
        if to_mqtt5:
            packets += [
                data[start : start + 1],
                encode_varint(size + 1),
                data[body:after_topic],
                b"\0",
                data[after_topic:end],
            ]
        else:
            packets += [
                data[start : start + 1],
                encode_varint(size - 1),
                data[body:after_topic],
                data[after_topic + 1 : end],
            ]
        start = end
    return b"".join(packets)
