"""What a broker's reason codes mean to an agent, and what a person can do about them. MQTT 5, §2.4."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

DISCONNECT_WITH_WILL: Final = 0x04
REFUSED: Final = 0x80  # from here on: the broker did not take the message
UNSPECIFIED_ERROR: Final = 0x80
NOT_AUTHORIZED: Final = 0x87
SESSION_TAKEN_OVER: Final = 0x8E
TOPIC_NAME_INVALID: Final = 0x90
QUOTA_EXCEEDED: Final = 0x97
PAYLOAD_FORMAT_INVALID: Final = 0x99

NEVER_TAKEN: Final[Mapping[int, str]] = MappingProxyType(
    {
        NOT_AUTHORIZED: "not authorized",
        TOPIC_NAME_INVALID: "topic name invalid",
        PAYLOAD_FORMAT_INVALID: "payload format invalid",
    }
)
"""The broker would say it of the same message again, until a person changes something."""

_CURES: Final = {
    0x84: "it does not speak MQTT 5; use a broker that does",
    0x85: "it does not accept this client id; give the agent another name (agent = …)",
    0x86: "check broker.username and the file broker.password_file, or pair this agent anew with `sensors pair`",
    0x87: "pair this agent with `sensors pair`, or check broker.username and that this user may publish to {will}",
    0x8A: "this client or user is banned there",
    0x95: "it accepts only smaller packets",
}


def cure(reason_code: int, will: str) -> str:
    """Say what to do when a broker answers with this to a CONNECT that had a will to this topic."""
    return _CURES.get(reason_code, "look into the broker's log").format(will=will)
