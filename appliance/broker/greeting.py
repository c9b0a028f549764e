"""What the server answers to a CONNECT and when it fails, in the client's own dialect."""

from collections.abc import Sequence
from dataclasses import replace

from appliance.broker.connection import Connection
from appliance.broker.origin import is_another_agents
from appliance.broker.rights import Rights
from appliance.broker.session import Session
from appliance.mqtt import codec
from appliance.mqtt.packets import ConnAck, Connect, Disconnect, PubAck, PubRec, SubAck
from appliance.mqtt.properties import Properties
from appliance.mqtt.publish import is_utf8
from appliance.mqtt.types import ReasonCode, Version
from appliance.settings import Limits

SITE = "site"  # user property of CONNECT and CONNACK: the first level of the topics of who says it
MAX_WORDS = 200  # letters of a reason string
MOST_TOPICS = 20  # that an answer names

Worded = ConnAck | Disconnect | PubAck | PubRec | SubAck
WHY_NOT_SUBSCRIBED = {
    ReasonCode.TOPIC_FILTER_INVALID: "a topic filter has too many levels",
    ReasonCode.QUOTA_EXCEEDED: "this client has as many subscriptions as it may",
    ReasonCode.NOT_AUTHORIZED: "this user may read nothing there",
}


def refusal(connect: Connect, limits: Limits) -> tuple[ReasonCode, str] | None:
    """Say why this CONNECT cannot be let in, whoever it comes from; None when it can."""
    if not connect.client_id:
        if connect.version is Version.MQTT_3_1:  # where ids have 1 to 23 letters; longer ones are let in as everywhere
            return ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, "no client id"
        if not connect.clean_start and connect.version is not Version.MQTT_5:  # [MQTT-3.1.3-8] of 3.1.1
            return ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, "no client id and no clean session"
    if len(connect.client_id.encode()) > limits.max_client_id_bytes:
        return ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, f"a client id of more than {limits.max_client_id_bytes} bytes"
    if connect.will is not None and connect.will.topic.startswith("$"):
        return ReasonCode.NOT_AUTHORIZED, f"a will to {connect.will.topic[:60]}: $-topics are the server's own"
    if connect.will is not None and connect.will.topic.count("/") >= limits.max_topic_levels:
        return ReasonCode.TOPIC_NAME_INVALID, f"a will to a topic of more than {limits.max_topic_levels} levels"
    if (
        connect.will is not None
        and connect.will.properties.payload_format_indicator
        and not is_utf8(connect.will.payload)
    ):
        return ReasonCode.PAYLOAD_FORMAT_INVALID, "a will that calls itself text and is not UTF-8"  # §3.1.3.2.3
    if connect.properties.authentication_method is not None:  # [MQTT-4.12.0-1]
        return ReasonCode.BAD_AUTHENTICATION_METHOD, "an authentication method, and none is offered here"
    return None


def not_entitled(
    connect: Connect, known: Session | None, rights: Rights, *, accounts: bool, site: str = ""
) -> tuple[ReasonCode, str] | None:
    """Say why this user cannot be let in as the client it says to be; None when it can."""
    if connect.will is not None and not rights.may_publish(connect.will.topic):
        why = f"a will to {connect.will.topic[:60]}, where this user may not publish"
        theirs = next((value for name, value in connect.properties.user_property if name == SITE), site)
        if theirs != site:  # an agent's rights are on its hub's site
            why += f": this is the hub of site {site}, not {theirs[:64]}"
        return ReasonCode.NOT_AUTHORIZED, why
    if accounts and known is not None and known.username != connect.username:
        # An id belongs to who used it first, or anybody could take anybody's messages. Unchecked names prove nothing.
        return ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, "this client id is another user's"
    will_topic = "" if connect.will is None else connect.will.topic
    if accounts and is_another_agents(connect.client_id, will_topic, rights, site):  # who may be away just now
        return ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, "this client id is another agent's"
    return None


def keep_alive_s(connect: Connect, limits: Limits) -> int:
    """Give the keep-alive that is in force; an older client cannot be told of any but its own. MQTT 5 §3.2.2.3.14"""
    wished_s, most_s = connect.keep_alive_s, limits.max_keep_alive_s
    if connect.version is Version.MQTT_5 and most_s and not 0 < wished_s <= most_s:
        return most_s
    return wished_s


def session_expiry_s(connect: Connect, limits: Limits) -> int:
    """How long the session is kept without a link; never longer than our own limit."""
    if connect.version is not Version.MQTT_5:
        return 0 if connect.clean_start else limits.session_expiry_s
    return min(connect.properties.session_expiry_interval or 0, limits.session_expiry_s)


def connack(connect: Connect, client_id: str, *, present: bool, limits: Limits, site: str = "") -> bytes:
    """Let the client in, and tell an MQTT 5 client what it may expect.

    One whose CONNECT has a user property `site`, as an agent's has, is told ours the same way.
    """
    if connect.version is not Version.MQTT_5:
        # A 3.1 client knows no Session Present.
        present = present and connect.version is Version.MQTT_3_1_1
        return codec.encode(ConnAck(session_present=present), connect.version)
    wished_s = connect.properties.session_expiry_interval or 0
    kept_s = session_expiry_s(connect, limits)
    in_force_s = keep_alive_s(connect, limits)
    properties = Properties(
        server_keep_alive=in_force_s if in_force_s != connect.keep_alive_s else None,  # [MQTT-3.1.2-21]
        session_expiry_interval=kept_s if kept_s != wished_s else None,  # [MQTT-3.2.2-10]
        receive_maximum=limits.receive_maximum,
        maximum_packet_size=limits.max_packet_bytes,
        topic_alias_maximum=limits.topic_alias_maximum or None,
        assigned_client_identifier=None if connect.client_id else client_id,  # [MQTT-3.2.2-16]
        # No response information, even to who asks: there is no part of the topics that is a client's own. §3.1.2.11.6
    )
    bare = codec.encode(ConnAck(session_present=present, properties=properties), Version.MQTT_5)
    if not site or all(name != SITE for name, _ in connect.properties.user_property):
        return bare
    properties = replace(properties, user_property=((SITE, site),))
    told = codec.encode(ConnAck(session_present=present, properties=properties), Version.MQTT_5)
    most = connect.properties.maximum_packet_size
    return told if most is None or len(told) <= most else bare  # [MQTT-3.2.2-20]


def refused(version: Version, reason: ReasonCode, why: str, max_packet_bytes: int) -> bytes:
    """Turn the client away, with the reason in words where it can be told. [MQTT-3.2.2-19]

    Nothing is left to say to a client that takes not even the bare answer [MQTT-3.1.2-24], nor to an older one
    whose will goes to a bad topic, since no return code fits. [MQTT-3.2.2-6] of 3.1.1
    """
    if reason is ReasonCode.TOPIC_NAME_INVALID and version is not Version.MQTT_5:
        return b""
    answer = with_words(ConnAck(reason_code=reason), why, version, max_packet_bytes)
    return answer if not max_packet_bytes or len(answer) <= max_packet_bytes else b""


def goodbye(reason: ReasonCode, why: str, max_packet_bytes: int) -> bytes:
    """Take leave of an MQTT 5 client. [MQTT-3.14.2-3]"""
    return with_words(Disconnect(reason), why, Version.MQTT_5, max_packet_bytes)


def in_words(reason: ReasonCode) -> str:
    """Name a reason for people."""
    return reason.name.lower().replace("_", " ")


def explained(packet: PubAck | PubRec | SubAck, why: str, connection: Connection, topics: Sequence[str] = ()) -> bytes:
    """Give a failure's answer, in words for a client that wants them on every packet. [MQTT-3.1.2-29]

    `topics` are those that the failure is about; each becomes a user property `topic`, but for what is too many.
    """
    if not connection.problem_information:
        return codec.encode(packet, connection.version)
    return with_words(packet, why, connection.version, connection.max_packet_bytes, topics)  # [MQTT-3.9.2-1]


def with_words(packet: Worded, why: str, version: Version, max_packet_bytes: int, topics: Sequence[str] = ()) -> bytes:
    """Give the packet with the reason in words, or without where the client would not take it so large."""
    words = "".join(char if char.isprintable() else "?" for char in why[:MAX_WORDS])
    named = tuple(("topic", topic) for topic in topics[:MOST_TOPICS])
    data = codec.encode(replace(packet, properties=Properties(reason_string=words, user_property=named)), version)
    if max_packet_bytes and len(data) > max_packet_bytes:
        data = codec.encode(packet, version)
    return data
