"""The fifteen packets as frozen values. A value that exists obeys the rules that hold in every version."""

from dataclasses import dataclass
from typing import ClassVar

from appliance.mqtt.errors import MalformedPacket, ProtocolError
from appliance.mqtt.properties import EMPTY, Properties
from appliance.mqtt.topics import SHARE_PREFIX, check_topic_filter, check_topic_name
from appliance.mqtt.types import PacketType, QoS, Version


def _check_packet_id(packet_id: int) -> None:
    if not 1 <= packet_id <= 0xFFFF:  # [MQTT-2.2.1-3] [MQTT-2.2.1-4]; 3.1.1: [MQTT-2.3.1-1]
        raise ProtocolError(f"packet id {packet_id} is not from 1 to 65,535")


@dataclass(frozen=True, slots=True)
class Will:
    """The message that the server publishes when its client is lost."""

    topic: str
    payload: bytes = b""
    qos: QoS = QoS.AT_MOST_ONCE
    retain: bool = False
    properties: Properties = EMPTY

    def __post_init__(self) -> None:
        check_topic_name(self.topic)


@dataclass(frozen=True, slots=True)
class Connect:
    """A client's first packet. `clean_start` is Clean Session before MQTT 5; a keep-alive of 0 is none."""

    packet_type: ClassVar = PacketType.CONNECT

    client_id: str = ""
    clean_start: bool = True
    keep_alive_s: int = 0
    username: str | None = None
    password: bytes | None = None
    will: Will | None = None
    properties: Properties = EMPTY
    version: Version = Version.MQTT_5

    def __post_init__(self) -> None:
        if self.password is not None and self.username is None and self.version < Version.MQTT_5:
            raise ProtocolError("a password without a user name")  # 3.1.1: [MQTT-3.1.2-22]; MQTT 5 allows it


@dataclass(frozen=True, slots=True)
class ConnAck:
    """The server's answer to CONNECT. `reason_code` is a ConnectReturnCode where one was read before MQTT 5."""

    packet_type: ClassVar = PacketType.CONNACK

    session_present: bool = False
    reason_code: int = 0
    properties: Properties = EMPTY

    def __post_init__(self) -> None:
        if self.session_present and self.reason_code:  # [MQTT-3.2.2-6]; 3.1.1: [MQTT-3.2.2-4]
            raise ProtocolError("a refusing CONNACK says that a session is present")


@dataclass(frozen=True, slots=True)
class Publish:
    """One application message on its way. An empty topic stands for the one that the topic alias names."""

    packet_type: ClassVar = PacketType.PUBLISH

    topic: str
    payload: bytes = b""
    qos: QoS = QoS.AT_MOST_ONCE
    retain: bool = False
    dup: bool = False
    packet_id: int | None = None
    properties: Properties = EMPTY

    def __post_init__(self) -> None:
        if self.topic:
            check_topic_name(self.topic)
        elif self.properties.topic_alias is None:  # §3.3.2.1
            raise ProtocolError("a PUBLISH with neither a topic name nor a topic alias")
        if self.packet_id is not None:
            _check_packet_id(self.packet_id)
        if (self.packet_id is None) != (self.qos == QoS.AT_MOST_ONCE):  # [MQTT-2.2.1-2]
            raise ProtocolError("a packet id goes with QoS 1 and 2, and only with them")
        if self.dup and self.qos == QoS.AT_MOST_ONCE:  # [MQTT-3.3.1-2]
            raise MalformedPacket("DUP is set on a PUBLISH of QoS 0")


@dataclass(frozen=True, slots=True)
class _Acknowledgement:
    packet_id: int
    reason_code: int = 0
    properties: Properties = EMPTY

    def __post_init__(self) -> None:
        _check_packet_id(self.packet_id)


@dataclass(frozen=True, slots=True)
class PubAck(_Acknowledgement):
    """A QoS 1 message has been taken."""

    packet_type: ClassVar = PacketType.PUBACK


@dataclass(frozen=True, slots=True)
class PubRec(_Acknowledgement):
    """A QoS 2 message has been taken, part 1."""

    packet_type: ClassVar = PacketType.PUBREC


@dataclass(frozen=True, slots=True)
class PubRel(_Acknowledgement):
    """Its packet id may be forgotten, part 2."""

    packet_type: ClassVar = PacketType.PUBREL


@dataclass(frozen=True, slots=True)
class PubComp(_Acknowledgement):
    """It is forgotten, part 3."""

    packet_type: ClassVar = PacketType.PUBCOMP


@dataclass(frozen=True, slots=True)
class Subscription:
    """One topic filter and how its messages are wanted; all but `qos` is MQTT 5's."""

    topic_filter: str
    qos: QoS = QoS.AT_MOST_ONCE
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0

    def __post_init__(self) -> None:
        check_topic_filter(self.topic_filter)
        if self.no_local and self.topic_filter.startswith(SHARE_PREFIX):  # [MQTT-3.8.3-4]
            raise ProtocolError("No Local on a shared subscription")
        if not 0 <= self.retain_handling <= 2:  # §3.8.3.1
            raise ProtocolError(f"retain handling {self.retain_handling} is not 0, 1 or 2")


@dataclass(frozen=True, slots=True)
class Subscribe:
    """A client asks for messages."""

    packet_type: ClassVar = PacketType.SUBSCRIBE

    packet_id: int
    subscriptions: tuple[Subscription, ...]
    properties: Properties = EMPTY

    def __post_init__(self) -> None:
        _check_packet_id(self.packet_id)
        if not self.subscriptions:  # [MQTT-3.8.3-2]; 3.1.1: [MQTT-3.8.3-3]
            raise ProtocolError("a SUBSCRIBE without a topic filter")


@dataclass(frozen=True, slots=True)
class SubAck:
    """The granted QoS, or the failure, for each filter in its order."""

    packet_type: ClassVar = PacketType.SUBACK

    packet_id: int
    reason_codes: tuple[int, ...]
    properties: Properties = EMPTY

    def __post_init__(self) -> None:
        _check_packet_id(self.packet_id)
        if not self.reason_codes:  # [MQTT-3.8.4-6]; 3.1.1: [MQTT-3.8.4-5]
            raise ProtocolError("a SUBACK without a reason code")


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """A client no longer asks for messages."""

    packet_type: ClassVar = PacketType.UNSUBSCRIBE

    packet_id: int
    topic_filters: tuple[str, ...]
    properties: Properties = EMPTY

    def __post_init__(self) -> None:
        _check_packet_id(self.packet_id)
        if not self.topic_filters:  # [MQTT-3.10.3-2]
            raise ProtocolError("an UNSUBSCRIBE without a topic filter")
        for topic_filter in self.topic_filters:
            check_topic_filter(topic_filter)


@dataclass(frozen=True, slots=True)
class UnsubAck:
    """One reason code for each filter in its order; none before MQTT 5."""

    packet_type: ClassVar = PacketType.UNSUBACK

    packet_id: int
    reason_codes: tuple[int, ...] = ()
    properties: Properties = EMPTY

    def __post_init__(self) -> None:
        _check_packet_id(self.packet_id)


@dataclass(frozen=True, slots=True)
class PingReq:
    """A client shows that it lives."""

    packet_type: ClassVar = PacketType.PINGREQ


@dataclass(frozen=True, slots=True)
class PingResp:
    """The server does too."""

    packet_type: ClassVar = PacketType.PINGRESP


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The last packet on a link; before MQTT 5 only a client sends it, without a reason."""

    packet_type: ClassVar = PacketType.DISCONNECT

    reason_code: int = 0
    properties: Properties = EMPTY


@dataclass(frozen=True, slots=True)
class Auth:
    """One step of an extended authentication, MQTT 5 only."""

    packet_type: ClassVar = PacketType.AUTH

    reason_code: int = 0
    properties: Properties = EMPTY

    def __post_init__(self) -> None:
        # §3.15.2.2.2 asks for the method, §3.15.2.1 lets a plain success be empty.
        if (self.reason_code or self.properties != EMPTY) and self.properties.authentication_method is None:
            raise ProtocolError("an AUTH without authentication_method")


Packet = (
    Connect
    | ConnAck
    | Publish
    | PubAck
    | PubRec
    | PubRel
    | PubComp
    | Subscribe
    | SubAck
    | Unsubscribe
    | UnsubAck
    | PingReq
    | PingResp
    | Disconnect
    | Auth
)
