"""What a peer can do wrong, each with the reason it is told.

    MqttError
    ├── MalformedPacket            cannot be parsed
    │   ├── TopicFilterInvalid
    │   └── TopicNameInvalid
    ├── ProtocolError              parsed, but not allowed, or not here and now
    ├── UnsupportedVersion         a CONNECT of a level that we do not speak
    ├── ReceiveMaximumExceeded
    ├── QuotaExceeded
    ├── TopicAliasInvalid
    └── PacketTooLarge

The text is one sentence for the log. Anything else that the pure parts raise is our own bug.
"""

from typing import ClassVar

from appliance.mqtt.types import ReasonCode, Version


class MqttError(Exception):
    """The peer broke the protocol; `reason` is what it is told before the link closes."""

    reason: ClassVar[ReasonCode]


class MalformedPacket(MqttError):
    """The bytes are not a packet of this version. §4.13."""

    reason = ReasonCode.MALFORMED_PACKET


class TopicFilterInvalid(MalformedPacket):
    """A topic filter that §4.7 does not allow."""

    reason = ReasonCode.TOPIC_FILTER_INVALID


class TopicNameInvalid(MalformedPacket):
    """A topic name that §4.7 does not allow."""

    reason = ReasonCode.TOPIC_NAME_INVALID


class ProtocolError(MqttError):
    """A packet that can be read but says what it must not, or comes when it must not. §4.13."""

    reason = ReasonCode.PROTOCOL_ERROR


class UnsupportedVersion(MqttError):
    """A CONNECT for a protocol that we do not speak; `dialect` is the one its sender is likeliest to understand."""

    reason = ReasonCode.UNSUPPORTED_PROTOCOL_VERSION

    def __init__(self, message: str, dialect: Version) -> None:
        super().__init__(message)
        self.dialect = dialect


class ReceiveMaximumExceeded(MqttError):
    """More unacknowledged QoS 1 and 2 messages than were allowed."""

    reason = ReasonCode.RECEIVE_MAXIMUM_EXCEEDED


class QuotaExceeded(MqttError):
    """More than one client may ask for at a time."""

    reason = ReasonCode.QUOTA_EXCEEDED


class TopicAliasInvalid(MqttError):
    """A topic alias of 0, above the maximum, or never set."""

    reason = ReasonCode.TOPIC_ALIAS_INVALID


class PacketTooLarge(MqttError):
    """A packet larger than we said we would take."""

    reason = ReasonCode.PACKET_TOO_LARGE
