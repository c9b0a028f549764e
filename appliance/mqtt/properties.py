"""The 27 properties of MQTT 5, §2.2.2.2: one table of what each is called, how it is written and where it may stand."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from appliance.mqtt.errors import MalformedPacket, ProtocolError, TopicAliasInvalid
from appliance.mqtt.topics import check_topic_name
from appliance.mqtt.types import PacketType
from appliance.mqtt.wire import Reader, Writer, encode_varint

WILL: Final = "will"
"""The will inside a CONNECT has properties of its own, §3.1.3.2."""

Place = PacketType | Literal["will"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Properties:
    """What stands beside a packet's fixed fields; None or () where nothing was said. Intervals are seconds."""

    payload_format_indicator: int | None = None
    message_expiry_interval: int | None = None
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    subscription_identifier: tuple[int, ...] = ()
    session_expiry_interval: int | None = None
    assigned_client_identifier: str | None = None
    server_keep_alive: int | None = None
    authentication_method: str | None = None
    authentication_data: bytes | None = None
    request_problem_information: int | None = None
    will_delay_interval: int | None = None
    request_response_information: int | None = None
    response_information: str | None = None
    server_reference: str | None = None
    reason_string: str | None = None
    receive_maximum: int | None = None
    topic_alias_maximum: int | None = None
    topic_alias: int | None = None
    maximum_qos: int | None = None
    retain_available: int | None = None
    user_property: tuple[tuple[str, str], ...] = ()
    maximum_packet_size: int | None = None
    wildcard_subscription_available: int | None = None
    subscription_identifier_available: int | None = None
    shared_subscription_available: int | None = None

    def __repr__(self) -> str:
        said = ((row.name, getattr(self, row.name)) for row in PROPERTIES)
        return f"Properties({', '.join(f'{name}={value!r}' for name, value in said if value not in (None, ()))})"


EMPTY: Final = Properties()


class Kind(NamedTuple):
    """How a property's value is written."""

    read: Callable[[Reader], Any]
    write: Callable[[Writer, Any], None]


BYTE: Final = Kind(Reader.byte, Writer.byte)
TWO_BYTES: Final = Kind(Reader.two_bytes, Writer.two_bytes)
FOUR_BYTES: Final = Kind(Reader.four_bytes, Writer.four_bytes)
VARINT: Final = Kind(Reader.varint, Writer.varint)
TEXT: Final = Kind(Reader.utf8, Writer.utf8)
BINARY: Final = Kind(Reader.binary, Writer.binary)
PAIR: Final = Kind(Reader.pair, Writer.pair)


def _flag(name: str, value: int) -> None:
    if value > 1:
        raise ProtocolError(f"{name} is {value}, it can only be 0 or 1")


def _positive(name: str, value: int) -> None:
    if value == 0:
        raise ProtocolError(f"{name} is 0")


def _alias(name: str, value: int) -> None:
    if value == 0:  # [MQTT-3.3.2-8]
        raise TopicAliasInvalid(f"{name} is 0")


def _topic(name: str, value: str) -> None:  # noqa: ARG001 the check's signature
    check_topic_name(value)  # [MQTT-3.3.2-14]


class Property(NamedTuple):
    """One row of the table."""

    identifier: int
    name: str
    kind: Kind
    places: frozenset[Place]
    check: Callable[[str, Any], None] | None = None
    repeats_in: frozenset[Place] = frozenset()


_CONNECT = PacketType.CONNECT
_CONNACK = PacketType.CONNACK
_PUBLISH = PacketType.PUBLISH
_SUBSCRIBE = PacketType.SUBSCRIBE
_DISCONNECT = PacketType.DISCONNECT
_AUTH = PacketType.AUTH

_MESSAGE: frozenset[Place] = frozenset({_PUBLISH, WILL})
_SERVER: frozenset[Place] = frozenset({_CONNACK})
_CLIENT: frozenset[Place] = frozenset({_CONNECT})
_OPENING: frozenset[Place] = frozenset({_CONNECT, _CONNACK})
_LOGIN: frozenset[Place] = frozenset({_CONNECT, _CONNACK, _AUTH})
_EVERYWHERE: frozenset[Place] = frozenset({*PacketType, WILL} - {PacketType.PINGREQ, PacketType.PINGRESP})
_ANSWERS: frozenset[Place] = _EVERYWHERE - {_CONNECT, _PUBLISH, WILL, _SUBSCRIBE, PacketType.UNSUBSCRIBE}

PROPERTIES: Final = (
    Property(0x01, "payload_format_indicator", BYTE, _MESSAGE, _flag),
    Property(0x02, "message_expiry_interval", FOUR_BYTES, _MESSAGE),
    Property(0x03, "content_type", TEXT, _MESSAGE),
    Property(0x08, "response_topic", TEXT, _MESSAGE, _topic),
    Property(0x09, "correlation_data", BINARY, _MESSAGE),
    Property(  # several only where several subscriptions matched, §3.3.2.3.8
        0x0B,
        "subscription_identifier",
        VARINT,
        frozenset({_PUBLISH, _SUBSCRIBE}),
        _positive,
        repeats_in=frozenset({_PUBLISH}),
    ),
    Property(0x11, "session_expiry_interval", FOUR_BYTES, frozenset({_CONNECT, _CONNACK, _DISCONNECT})),
    Property(0x12, "assigned_client_identifier", TEXT, _SERVER),
    Property(0x13, "server_keep_alive", TWO_BYTES, _SERVER),
    Property(0x15, "authentication_method", TEXT, _LOGIN),
    Property(0x16, "authentication_data", BINARY, _LOGIN),
    Property(0x17, "request_problem_information", BYTE, _CLIENT, _flag),
    Property(0x18, "will_delay_interval", FOUR_BYTES, frozenset({WILL})),
    Property(0x19, "request_response_information", BYTE, _CLIENT, _flag),
    Property(0x1A, "response_information", TEXT, _SERVER),
    Property(0x1C, "server_reference", TEXT, frozenset({_CONNACK, _DISCONNECT})),
    Property(0x1F, "reason_string", TEXT, _ANSWERS),
    Property(0x21, "receive_maximum", TWO_BYTES, _OPENING, _positive),
    Property(0x22, "topic_alias_maximum", TWO_BYTES, _OPENING),
    Property(0x23, "topic_alias", TWO_BYTES, frozenset({_PUBLISH}), _alias),
    Property(0x24, "maximum_qos", BYTE, _SERVER, _flag),
    Property(0x25, "retain_available", BYTE, _SERVER, _flag),
    Property(0x26, "user_property", PAIR, _EVERYWHERE, repeats_in=_EVERYWHERE),
    Property(0x27, "maximum_packet_size", FOUR_BYTES, _OPENING, _positive),
    Property(0x28, "wildcard_subscription_available", BYTE, _SERVER, _flag),
    Property(0x29, "subscription_identifier_available", BYTE, _SERVER, _flag),
    Property(0x2A, "shared_subscription_available", BYTE, _SERVER, _flag),
)

BY_IDENTIFIER: Final = {row.identifier: row for row in PROPERTIES}


def read_properties(reader: Reader, place: Place) -> Properties:
    """Properties with the length before them, from the packet type or WILL where they stand. §2.2.2."""
    length = reader.varint()
    if length == 0:  # [MQTT-2.2.2-1]
        return EMPTY
    return _read_block(reader.part(length, "the properties"), place)


def decode_properties(block: bytes, place: Place = PacketType.PUBLISH) -> Properties:
    """Properties without the length before them."""
    return _read_block(Reader(block), place) if block else EMPTY


def _read_block(reader: Reader, place: Place) -> Properties:
    values: dict[str, Any] = {}
    repeated: dict[str, list[Any]] = {}
    while not reader.done:
        identifier = reader.varint()
        row = BY_IDENTIFIER.get(identifier)
        if row is None:
            raise MalformedPacket(f"there is no property 0x{identifier:02X}")  # §2.2.2.2
        name = row.name
        if place not in row.places:
            raise MalformedPacket(f"{name} does not belong into {_place_name(place)}")  # §2.2.2.2
        value = row.kind.read(reader)
        if row.check is not None:
            row.check(name, value)
        if not row.repeats_in:
            if name in values:
                raise ProtocolError(f"{name} stands twice in {_place_name(place)}")  # §2.2.2.2
            values[name] = value
        elif name not in repeated:
            repeated[name] = [value]
        elif place in row.repeats_in:
            repeated[name].append(value)
        else:
            raise ProtocolError(f"{name} stands twice in {_place_name(place)}")  # §3.8.2.1.2
    if "authentication_data" in values and "authentication_method" not in values:
        raise ProtocolError("authentication_data without authentication_method")  # §3.1.2.11.10
    for name, several in repeated.items():
        values[name] = tuple(several)
    return Properties(**values)


def _place_name(place: Place) -> str:
    return "a will" if place == WILL else place.name


def encode_properties(properties: Properties) -> bytes:
    """Properties with the length before them, in the table's order."""
    if properties == EMPTY:
        return b"\0"
    block = encode_property_block(properties)
    return encode_varint(len(block)) + block


def encode_property_block(properties: Properties) -> bytes:
    """Properties without the length before them; ProtocolError for a value that no packet may carry."""
    writer = Writer()
    for row in PROPERTIES:
        value = getattr(properties, row.name)
        if value is None:
            continue
        for one in value if row.repeats_in else (value,):
            if row.check is not None:
                row.check(row.name, one)
            writer.byte(row.identifier)
            row.kind.write(writer, one)
    return bytes(writer.buffer)
