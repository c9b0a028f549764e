import pytest

from appliance.broker.greeting import connack, goodbye, keep_alive_s, not_entitled, refusal, refused, will_message
from appliance.broker.rights import ALL_RIGHTS
from appliance.broker.session import Session
from appliance.mqtt import codec
from appliance.mqtt.packets import ConnAck, Connect, Disconnect, Will
from appliance.mqtt.properties import Properties, decode_properties
from appliance.mqtt.types import QoS, ReasonCode, Version
from appliance.settings import Limits

OLD, V311, V5 = Version.MQTT_3_1, Version.MQTT_3_1_1, Version.MQTT_5
LIMITS = Limits()

CONNECTS = [
    (Connect("a", version=V311), None),
    (Connect("", clean_start=True, version=V311), None),  # [MQTT-3.1.3-6]
    (Connect("", clean_start=False, version=V311), ReasonCode.CLIENT_IDENTIFIER_NOT_VALID),  # [MQTT-3.1.3-8]
    (Connect("", clean_start=False, version=V5), None),  # MQTT 5 has no such rule
    (Connect("x" * 256, version=V5), None),
    (Connect("é" * 129, version=V5), ReasonCode.CLIENT_IDENTIFIER_NOT_VALID),  # bytes count, not letters
    (Connect("a", will=Will("$SYS/x"), version=V5), ReasonCode.NOT_AUTHORIZED),
    (Connect("a", properties=Properties(authentication_method="x")), ReasonCode.BAD_AUTHENTICATION_METHOD),
]


@pytest.mark.parametrize(("connect", "expected"), CONNECTS)
def test_who_is_let_in(connect, expected):
    answer = refusal(connect, LIMITS)
    assert (answer[0] if answer else None) == expected


@pytest.mark.parametrize(("version", "present"), [(OLD, False), (V311, True), (V5, True)])
def test_session_present_is_told_to_who_knows_it(version, present):
    packet = connack(Connect("a", version=version), Session("a"), present=True, limits=LIMITS)
    assert codec.decode(packet, version).session_present is present


@pytest.mark.parametrize(("version", "code"), [(V311, 5), (V5, ReasonCode.NOT_AUTHORIZED)])
def test_a_refusal_in_the_clients_dialect(version, code):
    answer = codec.decode(refused(version, ReasonCode.NOT_AUTHORIZED, "who\nare you", 0), version)
    assert answer.reason_code == code
    assert answer.properties.reason_string == ("who?are you" if version is V5 else None)


def test_words_are_left_out_where_the_client_takes_no_more():  # [MQTT-3.2.2-19], [MQTT-3.14.2-3]
    assert codec.decode(refused(V5, ReasonCode.BANNED, "x" * 100, 30), V5) == ConnAck(reason_code=ReasonCode.BANNED)
    assert codec.decode(goodbye(ReasonCode.QUOTA_EXCEEDED, "x" * 100, 30), V5) == Disconnect(ReasonCode.QUOTA_EXCEEDED)
    assert codec.decode(goodbye(ReasonCode.QUOTA_EXCEEDED, "x" * 1000, 0), V5).properties.reason_string == "x" * 200


@pytest.mark.parametrize(
    ("version", "wished_s", "in_force_s"),
    [(V5, 60, 60), (V5, 0, 100), (V5, 101, 100), (V5, 100, 100), (V311, 0, 0), (V311, 65_535, 65_535)],
)
def test_the_keep_alive_has_a_ceiling_for_who_can_be_told(version, wished_s, in_force_s):  # [MQTT-3.1.2-21]
    limits = Limits(max_keep_alive_s=100)
    connect = Connect("a", keep_alive_s=wished_s, version=version)
    assert keep_alive_s(connect, limits) == in_force_s
    packet = codec.decode(connack(connect, Session("a"), present=False, limits=limits), version)
    assert packet.properties.server_keep_alive == (None if wished_s == in_force_s else in_force_s)


def test_no_ceiling():
    assert keep_alive_s(Connect("a", keep_alive_s=0), Limits(max_keep_alive_s=0)) == 0


def test_the_servers_own_intervals_are_not_part_of_a_will():
    will = Will(
        "a", b"", QoS(1), properties=Properties(will_delay_interval=5, message_expiry_interval=9, content_type="x")
    )
    message = will_message(will, "me", 1000.0)
    assert decode_properties(message.properties) == Properties(content_type="x")
    assert (message.topic, message.qos, message.expires_at, message.client_id) == ("a", 1, 1009.0, "me")


class NoWay:
    def may_publish(self, _topic):
        return False


@pytest.mark.parametrize(
    ("connect", "known", "rights", "reason"),
    [
        (Connect("a", username="ann"), None, NoWay(), None),
        (Connect("a", username="ann"), Session("a", "ann"), NoWay(), None),
        (Connect("a", username="ann"), Session("a", "bob"), ALL_RIGHTS, ReasonCode.CLIENT_IDENTIFIER_NOT_VALID),
        (Connect("a"), Session("a", ""), ALL_RIGHTS, ReasonCode.CLIENT_IDENTIFIER_NOT_VALID),
        (Connect("a", will=Will("t", b"")), None, ALL_RIGHTS, None),
        (Connect("a", will=Will("t", b"")), None, NoWay(), ReasonCode.NOT_AUTHORIZED),
        (Connect("a", will=Will("t", b"")), Session("a", "bob"), NoWay(), ReasonCode.NOT_AUTHORIZED),
    ],
)
def test_who_may_not_be_this_client(connect, known, rights, reason):
    answer = not_entitled(connect, known, rights)
    assert (answer and answer[0]) is reason
