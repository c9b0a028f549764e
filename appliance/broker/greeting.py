"""What the server answers to a CONNECT, in the client's own dialect."""

from dataclasses import replace

from appliance.broker.session import Session
from appliance.mqtt import codec
from appliance.mqtt.packets import ConnAck, Connect, Will
from appliance.mqtt.properties import Properties, encode_property_block
from appliance.mqtt.types import ReasonCode, Version
from appliance.settings import Limits


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


def connack(connect: Connect, session: Session, *, present: bool, limits: Limits) -> bytes:
    """Let the client in, and tell an MQTT 5 client what it may expect."""
    if connect.version is not Version.MQTT_5:
        # A 3.1 client knows no Session Present.
        present = present and connect.version is Version.MQTT_3_1_1
        return codec.encode(ConnAck(session_present=present), connect.version)
    wished_s = connect.properties.session_expiry_interval or 0
    properties = Properties(
        session_expiry_interval=int(session.expiry_s) if wished_s != session.expiry_s else None,  # [MQTT-3.2.2-10]
        receive_maximum=limits.receive_maximum,
        maximum_packet_size=limits.max_packet_bytes,
        topic_alias_maximum=limits.topic_alias_maximum or None,
        assigned_client_identifier=None if connect.client_id else session.client_id,  # [MQTT-3.2.2-16]
    )
    return codec.encode(ConnAck(session_present=present, properties=properties), Version.MQTT_5)


def refused(version: Version, reason: ReasonCode) -> bytes:
    """Turn the client away."""
    return codec.encode(ConnAck(reason_code=reason), version)


def will_properties(will: Will) -> bytes:
    """Give what of the will's properties its readers receive; its delay and its expiry are the server's to count."""
    return encode_property_block(replace(will.properties, will_delay_interval=None, message_expiry_interval=None))
