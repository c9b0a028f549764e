"""Bytes of one packet ↔ the packet: a reader and a writer for each type, in two tables.

A reader starts behind the fixed header and must use all that is there; the flags are in `body[0]`. MQTT 3.1 is read
and written as 3.1.1, but for the DUP flag and the reserved bits that it did not forbid. What a version has no words for
(properties, reason codes, session present, subscription options) is not written in it.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from appliance.mqtt.errors import MalformedPacket, MqttError, ProtocolError, UnsupportedVersion
from appliance.mqtt.packets import (
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Will,
)
from appliance.mqtt.properties import EMPTY, WILL, Place, Properties, encode_properties, read_properties
from appliance.mqtt.types import (
    CONNECT_RETURN_CODES,
    REASON_CODES,
    SUBACK_FAILURE,
    ConnectReturnCode,
    PacketType,
    QoS,
    Version,
)
from appliance.mqtt.wire import Reader, Writer, encode_varint

PROTOCOLS: Final = {
    ("MQIsdp", 3): Version.MQTT_3_1,
    ("MQTT", 4): Version.MQTT_3_1_1,
    ("MQTT", 5): Version.MQTT_5,
}
PROTOCOL_NAMES: Final = {version: name for (name, _), version in PROTOCOLS.items()}

DUP: Final = 0b1000
FIXED_FLAGS: Final = {  # low half of the first byte; PUBLISH has its own. §2.1.3
    PacketType.PUBREL: 0b0010,  # [MQTT-3.6.1-1]
    PacketType.SUBSCRIBE: 0b0010,  # [MQTT-3.8.1-1]
    PacketType.UNSUBSCRIBE: 0b0010,  # [MQTT-3.10.1-1]
}


def decode(packet: bytes, version: Version | None = None) -> Packet:
    """Read one whole packet, fixed header included; MqttError says what is wrong with it.

    A CONNECT brings its own version; nothing else can be read without one.
    """
    reader = Reader(packet)
    first = reader.byte()
    remaining = reader.varint()
    if reader.end - reader.pos != remaining:
        raise MalformedPacket(f"{reader.end - reader.pos} bytes where the header says {remaining}")
    if first < 0x10:
        raise MalformedPacket("packet type 0 is reserved")  # §2.1.2
    packet_type = PacketType(first >> 4)
    if version is None:
        if packet_type is not PacketType.CONNECT:  # [MQTT-3.1.0-1]
            raise ProtocolError(f"{packet_type.name} before CONNECT")
        version = Version.MQTT_5
    if packet_type is not PacketType.PUBLISH:
        _check_flags(packet_type, first & 0x0F, version)
    decoded = READERS[packet_type](reader, version)
    if not reader.done:
        raise MalformedPacket(f"{reader.end - reader.pos} bytes left over behind {packet_type.name}")
    return decoded


def encode(packet: Packet, version: Version) -> bytes:
    """Write one whole packet, a CONNECT in its own version; ValueError for a field too long for its place."""
    flags = _publish_flags(packet) if isinstance(packet, Publish) else FIXED_FLAGS.get(packet.packet_type, 0)
    writer = Writer()
    WRITERS[packet.packet_type](packet, writer, version)
    return b"".join((bytes((packet.packet_type << 4 | flags,)), encode_varint(len(writer.buffer)), writer.buffer))


def _check_flags(packet_type: PacketType, flags: int, version: Version) -> None:
    wanted = FIXED_FLAGS.get(packet_type, 0)
    repeated = version == Version.MQTT_3_1 and wanted and flags == wanted | DUP  # as 3.1 repeats these three
    if flags != wanted and not repeated:  # [MQTT-2.1.3-1]; 3.1.1: [MQTT-2.2.2-1] [MQTT-2.2.2-2] [MQTT-3.14.1-1]
        raise MalformedPacket(f"flags {flags:04b} on {packet_type.name}, they must be {wanted:04b}")


def _read_qos(bits: int, what: str, error: type[MqttError] = MalformedPacket) -> QoS:
    if bits == 3:  # [MQTT-3.3.1-4] [MQTT-3.1.2-12]; 3.1.1: [MQTT-3.1.2-14]
        raise error(f"QoS 3 in {what}")
    return QoS(bits)


def _read_reason(packet_type: PacketType, code: int) -> int:
    if code not in REASON_CODES[packet_type]:
        raise ProtocolError(f"reason code 0x{code:02X} does not belong into {packet_type.name}")
    return code


def _write_properties(properties: Properties, writer: Writer, version: Version) -> None:
    if version == Version.MQTT_5:
        writer.raw(encode_properties(properties))


def _read_properties(reader: Reader, place: Place, version: Version) -> Properties:
    return read_properties(reader, place) if version == Version.MQTT_5 else EMPTY


# CONNECT


def _read_connect(reader: Reader, _version: Version) -> Connect:
    name = reader.utf8()
    level = reader.byte()
    version = PROTOCOLS.get((name, level))
    if version is not None:
        return _read_connect_fields(reader, version)
    if name not in {"MQTT", "MQIsdp"}:  # [MQTT-3.1.2-1]
        raise ProtocolError(f"the protocol name is {name[:20]!a}, not MQTT")
    raise UnsupportedVersion(  # [MQTT-3.1.2-2]
        f"protocol level {level} of {name} is not spoken here", _dialect(reader, name, level)
    )


def _dialect(reader: Reader, name: str, level: int) -> Version:
    """Tell from its shape which answer the sender of a CONNECT with an unknown level is likeliest to understand."""
    if name == "MQTT" and level > Version.MQTT_5:
        try:
            _read_connect_fields(reader, Version.MQTT_5)
        except MqttError:
            return Version.MQTT_3_1_1
        if reader.done:
            return Version.MQTT_5
    return Version.MQTT_3_1_1


def _read_connect_fields(reader: Reader, version: Version) -> Connect:
    connect_flags = reader.byte()
    if connect_flags & 0x01 and version != Version.MQTT_3_1:  # [MQTT-3.1.2-3]
        raise MalformedPacket("the reserved flag of CONNECT is set")
    has_will = bool(connect_flags & 0x04)
    will_qos = _read_qos(connect_flags >> 3 & 3, "the will")
    will_retain = bool(connect_flags & 0x20)
    if not has_will and (will_qos or will_retain):  # [MQTT-3.1.2-11] [MQTT-3.1.2-13]; 3.1.1 also [MQTT-3.1.2-15]
        raise MalformedPacket("will QoS or will retain without a will")
    keep_alive_s = reader.two_bytes()
    properties = _read_properties(reader, PacketType.CONNECT, version)
    client_id = reader.utf8()  # [MQTT-3.1.3-1] sets the order from here
    will = None
    if has_will:
        will_properties = _read_properties(reader, WILL, version)
        will = Will(reader.utf8(), reader.binary(), will_qos, will_retain, will_properties)
    username = reader.utf8() if connect_flags & 0x80 else None  # [MQTT-3.1.2-16] [MQTT-3.1.2-17]
    password = reader.binary() if connect_flags & 0x40 else None  # [MQTT-3.1.2-18] [MQTT-3.1.2-19]
    return Connect(
        client_id,
        bool(connect_flags & 0x02),
        keep_alive_s,
        username,
        password,
        will,
        properties,
        version,
    )


def _write_connect(packet: Connect, writer: Writer, _version: Version) -> None:
    version = packet.version
    will = packet.will
    flags = packet.clean_start << 1 | (packet.username is not None) << 7 | (packet.password is not None) << 6
    if will is not None:
        flags |= 0x04 | will.qos << 3 | will.retain << 5
    writer.utf8(PROTOCOL_NAMES[version])
    writer.byte(version)
    writer.byte(flags)
    writer.two_bytes(packet.keep_alive_s)
    _write_properties(packet.properties, writer, version)
    writer.utf8(packet.client_id)
    if will is not None:
        _write_properties(will.properties, writer, version)
        writer.utf8(will.topic)
        writer.binary(will.payload)
    if packet.username is not None:
        writer.utf8(packet.username)
    if packet.password is not None:
        writer.binary(packet.password)


# CONNACK


def _read_connack(reader: Reader, version: Version) -> ConnAck:
    acknowledge_flags = reader.byte()
    if acknowledge_flags > 1:  # [MQTT-3.2.2-1]
        raise MalformedPacket("a reserved flag of CONNACK is set")
    code = reader.byte()
    if version == Version.MQTT_5:
        _read_reason(PacketType.CONNACK, code)
    elif code > ConnectReturnCode.NOT_AUTHORIZED:
        raise ProtocolError(f"return code {code} of CONNACK is reserved")
    return ConnAck(bool(acknowledge_flags), code, _read_properties(reader, PacketType.CONNACK, version))


def _write_connack(packet: ConnAck, writer: Writer, version: Version) -> None:
    code = packet.reason_code
    if version != Version.MQTT_5 and code >= 0x80:
        code = CONNECT_RETURN_CODES.get(code, ConnectReturnCode.SERVER_UNAVAILABLE)
    writer.byte(packet.session_present and version != Version.MQTT_3_1)  # 3.1 keeps the byte reserved
    writer.byte(code)
    _write_properties(packet.properties, writer, version)


# PUBLISH


def _read_publish(reader: Reader, version: Version) -> Publish:
    flags = reader.body[0]
    qos = _read_qos(flags >> 1 & 3, "PUBLISH")
    topic = reader.utf8()
    packet_id = reader.two_bytes() if qos else None
    properties = _read_properties(reader, PacketType.PUBLISH, version)
    return Publish(topic, reader.rest(), qos, bool(flags & 1), bool(flags & DUP), packet_id, properties)


def _publish_flags(packet: Publish) -> int:
    return packet.dup << 3 | packet.qos << 1 | packet.retain


def _write_publish(packet: Publish, writer: Writer, version: Version) -> None:
    writer.utf8(packet.topic)
    if packet.packet_id is not None:
        writer.two_bytes(packet.packet_id)
    _write_properties(packet.properties, writer, version)
    writer.raw(packet.payload)


# PUBACK, PUBREC, PUBREL, PUBCOMP

_Ack = TypeVar("_Ack", PubAck, PubRec, PubRel, PubComp)


def _acknowledgement_reader(kind: type[_Ack]) -> Callable[[Reader, Version], _Ack]:
    def read(reader: Reader, version: Version) -> _Ack:
        packet_id = reader.two_bytes()
        if version != Version.MQTT_5 or reader.done:  # §3.4.2.1
            return kind(packet_id)
        return kind(packet_id, *_read_cause(reader, kind.packet_type))

    return read


def _write_acknowledgement(packet: PubAck | PubRec | PubRel | PubComp, writer: Writer, version: Version) -> None:
    writer.two_bytes(packet.packet_id)
    if version == Version.MQTT_5:
        _write_cause(packet.reason_code, packet.properties, writer)


def _read_cause(reader: Reader, packet_type: PacketType) -> tuple[int, Properties]:
    """Reason code and properties at the end of a packet; the properties may be left out. §3.4.2.2.1, §3.14.2.2.1."""
    code = _read_reason(packet_type, reader.byte())
    return code, EMPTY if reader.done else read_properties(reader, packet_type)


def _write_cause(code: int, properties: Properties, writer: Writer) -> None:
    """Both in their shortest form."""
    if properties != EMPTY:
        writer.byte(code)
        writer.raw(encode_properties(properties))
    elif code:
        writer.byte(code)


# SUBSCRIBE, SUBACK


def _read_subscribe(reader: Reader, version: Version) -> Subscribe:
    packet_id = reader.two_bytes()
    properties = _read_properties(reader, PacketType.SUBSCRIBE, version)
    subscriptions = []
    while not reader.done:
        topic_filter = reader.utf8()  # [MQTT-3.8.3-1]
        options = reader.byte()
        if options & (0xC0 if version == Version.MQTT_5 else 0xFC):  # [MQTT-3.8.3-5]; 3.1.1: [MQTT-3-8.3-4]
            raise MalformedPacket("reserved bits of the subscription options are set")
        subscriptions.append(
            Subscription(
                topic_filter,
                _read_qos(options & 3, "SUBSCRIBE", ProtocolError),  # §3.8.3.1
                bool(options & 0x04),
                bool(options & 0x08),
                options >> 4,
            ),
        )
    return Subscribe(packet_id, tuple(subscriptions), properties)


def _write_subscribe(packet: Subscribe, writer: Writer, version: Version) -> None:
    writer.two_bytes(packet.packet_id)
    _write_properties(packet.properties, writer, version)
    for one in packet.subscriptions:
        options: int = one.qos
        if version == Version.MQTT_5:
            options |= one.no_local << 2 | one.retain_as_published << 3 | one.retain_handling << 4
        writer.utf8(one.topic_filter)
        writer.byte(options)


def _read_suback(reader: Reader, version: Version) -> SubAck:
    packet_id = reader.two_bytes()
    properties = _read_properties(reader, PacketType.SUBACK, version)
    codes = tuple(reader.rest())
    for code in codes:
        if version == Version.MQTT_5:
            _read_reason(PacketType.SUBACK, code)
        elif code > QoS.EXACTLY_ONCE and code != SUBACK_FAILURE:  # 3.1.1: [MQTT-3.9.3-2]
            raise ProtocolError(f"return code 0x{code:02X} of SUBACK is reserved")
    return SubAck(packet_id, codes, properties)


def _write_suback(packet: SubAck, writer: Writer, version: Version) -> None:
    writer.two_bytes(packet.packet_id)
    _write_properties(packet.properties, writer, version)
    for code in packet.reason_codes:
        writer.byte(code if version == Version.MQTT_5 else min(code, SUBACK_FAILURE))


# UNSUBSCRIBE, UNSUBACK


def _read_unsubscribe(reader: Reader, version: Version) -> Unsubscribe:
    packet_id = reader.two_bytes()
    properties = _read_properties(reader, PacketType.UNSUBSCRIBE, version)
    topic_filters = []
    while not reader.done:
        topic_filters.append(reader.utf8())  # [MQTT-3.10.3-1]
    return Unsubscribe(packet_id, tuple(topic_filters), properties)


def _write_unsubscribe(packet: Unsubscribe, writer: Writer, version: Version) -> None:
    writer.two_bytes(packet.packet_id)
    _write_properties(packet.properties, writer, version)
    for topic_filter in packet.topic_filters:
        writer.utf8(topic_filter)


def _read_unsuback(reader: Reader, version: Version) -> UnsubAck:
    packet_id = reader.two_bytes()
    if version != Version.MQTT_5:
        return UnsubAck(packet_id)
    properties = read_properties(reader, PacketType.UNSUBACK)
    codes = tuple(_read_reason(PacketType.UNSUBACK, code) for code in reader.rest())
    if not codes:  # [MQTT-3.11.3-2]
        raise ProtocolError("an UNSUBACK without a reason code")
    return UnsubAck(packet_id, codes, properties)


def _write_unsuback(packet: UnsubAck, writer: Writer, version: Version) -> None:
    writer.two_bytes(packet.packet_id)
    if version == Version.MQTT_5:
        writer.raw(encode_properties(packet.properties))
        writer.raw(bytes(packet.reason_codes))


# PINGREQ, PINGRESP, DISCONNECT, AUTH


def _read_pingreq(_reader: Reader, _version: Version) -> PingReq:
    return PingReq()


def _read_pingresp(_reader: Reader, _version: Version) -> PingResp:
    return PingResp()


def _write_nothing(packet: PingReq | PingResp, writer: Writer, version: Version) -> None:
    pass


def _read_disconnect(reader: Reader, version: Version) -> Disconnect:
    if version != Version.MQTT_5 or reader.done:  # §3.14.2.1
        return Disconnect()
    return Disconnect(*_read_cause(reader, PacketType.DISCONNECT))


def _write_disconnect(packet: Disconnect, writer: Writer, version: Version) -> None:
    if version == Version.MQTT_5:
        _write_cause(packet.reason_code, packet.properties, writer)


def _read_auth(reader: Reader, version: Version) -> Auth:
    if version != Version.MQTT_5:
        raise MalformedPacket("packet type 15 is reserved before MQTT 5")
    if reader.done:  # §3.15.2.1
        return Auth()
    return Auth(_read_reason(PacketType.AUTH, reader.byte()), read_properties(reader, PacketType.AUTH))


def _write_auth(packet: Auth, writer: Writer, version: Version) -> None:
    if version != Version.MQTT_5:
        raise ValueError("there is no AUTH before MQTT 5")
    _write_cause(packet.reason_code, packet.properties, writer)


READERS: Final[dict[PacketType, Callable[[Reader, Version], Packet]]] = {
    PacketType.CONNECT: _read_connect,
    PacketType.CONNACK: _read_connack,
    PacketType.PUBLISH: _read_publish,
    PacketType.PUBACK: _acknowledgement_reader(PubAck),
    PacketType.PUBREC: _acknowledgement_reader(PubRec),
    PacketType.PUBREL: _acknowledgement_reader(PubRel),
    PacketType.PUBCOMP: _acknowledgement_reader(PubComp),
    PacketType.SUBSCRIBE: _read_subscribe,
    PacketType.SUBACK: _read_suback,
    PacketType.UNSUBSCRIBE: _read_unsubscribe,
    PacketType.UNSUBACK: _read_unsuback,
    PacketType.PINGREQ: _read_pingreq,
    PacketType.PINGRESP: _read_pingresp,
    PacketType.DISCONNECT: _read_disconnect,
    PacketType.AUTH: _read_auth,
}

WRITERS: Final[dict[PacketType, Callable[[Any, Writer, Version], None]]] = {  # each takes the packet of its own type
    PacketType.CONNECT: _write_connect,
    PacketType.CONNACK: _write_connack,
    PacketType.PUBLISH: _write_publish,
    PacketType.PUBACK: _write_acknowledgement,
    PacketType.PUBREC: _write_acknowledgement,
    PacketType.PUBREL: _write_acknowledgement,
    PacketType.PUBCOMP: _write_acknowledgement,
    PacketType.SUBSCRIBE: _write_subscribe,
    PacketType.SUBACK: _write_suback,
    PacketType.UNSUBSCRIBE: _write_unsubscribe,
    PacketType.UNSUBACK: _write_unsuback,
    PacketType.PINGREQ: _write_nothing,
    PacketType.PINGRESP: _write_nothing,
    PacketType.DISCONNECT: _write_disconnect,
    PacketType.AUTH: _write_auth,
}
