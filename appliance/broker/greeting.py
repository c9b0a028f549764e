"""What the server answers to a CONNECT and to what asks for as much, in the client's own dialect."""

from dataclasses import replace

from appliance.broker.connection import Connection
from appliance.broker.session import Session
from appliance.mqtt import codec
from appliance.mqtt.errors import PacketTooLarge
from appliance.mqtt.packets import ConnAck, Connect, Disconnect, SubAck, UnsubAck, Will
from appliance.mqtt.properties import EMPTY, Properties, encode_property_block
from appliance.mqtt.types import ReasonCode, Version
from appliance.settings import Limits

MAX_WORDS = 200  # letters of a reason string


def refusal(connect: Connect, limits: Limits) -> tuple[ReasonCode, str] | None:
    """Say why this CONNECT cannot be let in, whoever it comes from; None when it can."""
    if not connect.client_id and not connect.clean_start and connect.version is not Version.MQTT_5:
        return ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, "no client id and no clean session"  # [MQTT-3.1.3-8] of 3.1.1
    if len(connect.client_id.encode()) > limits.max_client_id_bytes:
        return ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, f"a client id of more than {limits.max_client_id_bytes} bytes"
    if connect.will is not None and connect.will.topic.startswith("$"):
        return ReasonCode.NOT_AUTHORIZED, f"a will to {connect.will.topic[:60]}: $-topics are the server's own"
    if connect.will is not None and connect.will.topic.count("/") >= limits.max_topic_levels:
        return ReasonCode.TOPIC_NAME_INVALID, f"a will to a topic of more than {limits.max_topic_levels} levels"
    if connect.properties.authentication_method is not None:  # [MQTT-4.12.0-1]
        return ReasonCode.BAD_AUTHENTICATION_METHOD, "an authentication method, and none is offered here"
    return None


def misfit(connect: Connect, client_id: str, expiry_s: float, limits: Limits) -> tuple[ReasonCode, str] | None:
    """Say so where a client takes not even the CONNACK that lets it in. [MQTT-3.1.2-24]"""
    most = connect.properties.maximum_packet_size
    session = Session(client_id)
    session.expiry_s = expiry_s
    if most is None or len(connack(connect, session, present=False, limits=limits)) <= most:
        return None
    return ReasonCode.PACKET_TOO_LARGE, f"packets of {most} bytes, and a CONNACK is larger"


def keep_alive_s(connect: Connect, limits: Limits) -> int:
    """Give the keep-alive that is in force; an older client cannot be told of any but its own. MQTT 5 §3.2.2.3.14"""
    wished_s, most_s = connect.keep_alive_s, limits.max_keep_alive_s
    if connect.version is Version.MQTT_5 and most_s and not 0 < wished_s <= most_s:
        return most_s
    return wished_s


def connack(connect: Connect, session: Session, *, present: bool, limits: Limits) -> bytes:
    """Let the client in, and tell an MQTT 5 client what it may expect."""
    if connect.version is not Version.MQTT_5:
        # A 3.1 client knows no Session Present.
        present = present and connect.version is Version.MQTT_3_1_1
        return codec.encode(ConnAck(session_present=present), connect.version)
    wished_s = connect.properties.session_expiry_interval or 0
    in_force_s = keep_alive_s(connect, limits)
    properties = Properties(
        server_keep_alive=in_force_s if in_force_s != connect.keep_alive_s else None,  # [MQTT-3.1.2-21]
        session_expiry_interval=int(session.expiry_s) if wished_s != session.expiry_s else None,  # [MQTT-3.2.2-10]
        receive_maximum=limits.receive_maximum,
        maximum_packet_size=limits.max_packet_bytes,
        topic_alias_maximum=limits.topic_alias_maximum or None,
        assigned_client_identifier=None if connect.client_id else session.client_id,  # [MQTT-3.2.2-16]
    )
    return codec.encode(ConnAck(session_present=present, properties=properties), Version.MQTT_5)


def reply(packet: SubAck | UnsubAck, connection: Connection) -> bytes:
    """Write an answer that is as long as the question; PacketTooLarge where the client takes none of that size."""
    data = codec.encode(packet, connection.version)
    if connection.max_packet_bytes and len(data) > connection.max_packet_bytes:  # [MQTT-3.1.2-24]
        raise PacketTooLarge(f"an answer of {len(data)} bytes, and {connection.max_packet_bytes} are taken")
    return data


def refused(version: Version, reason: ReasonCode, why: str, max_packet_bytes: int) -> bytes:
    """Turn the client away, with the reason in words where it can be told. [MQTT-3.2.2-19]

    Empty where there is nothing that may be sent: an older client has no return code for a bad topic
    ([MQTT-3.2.2-6] of 3.1.1), and not even a bare CONNACK fits a client that takes less than five bytes.
    """
    if reason is ReasonCode.TOPIC_NAME_INVALID and version is not Version.MQTT_5:
        return b""
    return _with_words(ConnAck(reason_code=reason, properties=_words(why)), version, max_packet_bytes)


def goodbye(reason: ReasonCode, why: str, max_packet_bytes: int) -> bytes:
    """Take leave of an MQTT 5 client. [MQTT-3.14.2-3]"""
    return _with_words(Disconnect(reason, _words(why)), Version.MQTT_5, max_packet_bytes)


def _words(why: str) -> Properties:
    return Properties(reason_string="".join(char if char.isprintable() else "?" for char in why[:MAX_WORDS]))


def _with_words(packet: ConnAck | Disconnect, version: Version, max_packet_bytes: int) -> bytes:
    data = codec.encode(packet, version)
    if max_packet_bytes and len(data) > max_packet_bytes:
        data = codec.encode(replace(packet, properties=EMPTY), version)
    return data if not max_packet_bytes or len(data) <= max_packet_bytes else b""  # [MQTT-3.1.2-24]


def will_properties(will: Will) -> bytes:
    """Give what of the will's properties its readers receive; its delay and its expiry are the server's to count."""
    return encode_property_block(replace(will.properties, will_delay_interval=None, message_expiry_interval=None))
