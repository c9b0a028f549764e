from dataclasses import replace

import pytest

from appliance.auth.acl import NO_RIGHTS, Granted
from appliance.broker.greeting import (
    connack,
    goodbye,
    keep_alive_s,
    not_entitled,
    refusal,
    refused,
    session_expiry_s,
)
from appliance.broker.rights import ALL_RIGHTS
from appliance.broker.session import Session
from appliance.mqtt import codec
from appliance.mqtt.packets import ConnAck, Connect, Disconnect, Will
from appliance.mqtt.properties import Properties
from appliance.mqtt.types import ReasonCode, Version
from appliance.settings import Limits

OLD, V311, V5 = Version.MQTT_3_1, Version.MQTT_3_1_1, Version.MQTT_5
LIMITS = Limits()

CONNECTS = [
    (Connect("a", version=V311), None),
    (Connect("", clean_start=True, version=V311), None),  # [MQTT-3.1.3-6]
    (Connect("", clean_start=False, version=V311), ReasonCode.CLIENT_IDENTIFIER_NOT_VALID),  # [MQTT-3.1.3-8]
    (Connect("", clean_start=True, version=OLD), ReasonCode.CLIENT_IDENTIFIER_NOT_VALID),  # as Mosquitto
    (Connect("x" * 100, version=OLD), None),  # more than the 23 letters of 3.1, as Mosquitto
    (Connect("", clean_start=False, version=V5), None),  # MQTT 5 has no such rule
    (Connect("x" * 256, version=V5), None),
    (Connect("é" * 129, version=V5), ReasonCode.CLIENT_IDENTIFIER_NOT_VALID),  # bytes count, not letters
    (Connect("a", will=Will("$SYS/x"), version=V5), ReasonCode.NOT_AUTHORIZED),
    (  # the one way to say it, §3.2.2.2
        Connect("a", will=Will("x", b"\xff", properties=Properties(payload_format_indicator=1))),
        ReasonCode.PAYLOAD_FORMAT_INVALID,
    ),
    (Connect("a", will=Will("x", "ü".encode(), properties=Properties(payload_format_indicator=1))), None),
    (Connect("a", will=Will("x", b"\xff", properties=Properties(payload_format_indicator=0))), None),
    (Connect("a", properties=Properties(authentication_method="x")), ReasonCode.BAD_AUTHENTICATION_METHOD),
]


@pytest.mark.parametrize(("connect", "expected"), CONNECTS)
def test_who_is_let_in(connect, expected):
    answer = refusal(connect, LIMITS)
    assert (answer[0] if answer else None) == expected


@pytest.mark.parametrize(("version", "present"), [(OLD, False), (V311, True), (V5, True)])
def test_session_present_is_told_to_who_knows_it(version, present):
    packet = connack(Connect("a", version=version), "a", present=True, limits=LIMITS)
    assert codec.decode(packet, version).session_present is present


ASKS = Properties(user_property=(("site", "cabin"),))


def test_who_names_its_site_is_told_ours():
    def told(properties, version=V5):
        packet = connack(
            Connect("a", version=version, properties=properties), "a", present=False, limits=LIMITS, site="home"
        )
        return codec.decode(packet, version).properties.user_property

    assert told(ASKS) == (("site", "home"),)
    assert told(Properties()) == told(Properties(user_property=(("agent", "house"),))) == ()
    assert told(Properties(), V311) == ()


@pytest.mark.parametrize(("site", "hint"), [("home", ""), ("cabin", ": this is the hub of site home, not cabin")])
def test_whose_will_goes_to_another_site_hears_of_ours(site, hint):
    asks = Properties(user_property=(("site", site),))
    connect = Connect("a", version=V5, will=Will(f"{site}/devices/a/availability"), properties=asks)
    reason, why = not_entitled(connect, None, NO_RIGHTS, accounts=True, site="home")
    assert reason is ReasonCode.NOT_AUTHORIZED
    assert why == f"a will to {site}/devices/a/availability, where this user may not publish{hint}"


def test_the_site_is_left_out_where_the_client_takes_no_more():  # [MQTT-3.2.2-20]
    def size(most):
        asks = replace(ASKS, maximum_packet_size=most)
        return len(connack(Connect("a", version=V5, properties=asks), "a", present=False, limits=LIMITS, site="home"))

    whole = size(None)
    assert size(whole) == whole
    assert size(whole - 1) == whole - len("\x26\0\4site\0\4home")


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
    packet = codec.decode(connack(connect, "a", present=False, limits=limits), version)
    assert packet.properties.server_keep_alive == (None if wished_s == in_force_s else in_force_s)


def test_no_ceiling():
    assert keep_alive_s(Connect("a", keep_alive_s=0), Limits(max_keep_alive_s=0)) == 0


@pytest.mark.parametrize(("most", "size"), [(0, 108), (108, 108), (107, 5), (5, 5), (4, 0)])
def test_a_refusal_is_no_larger_than_the_client_takes(most, size):  # [MQTT-3.1.2-24]
    assert len(refused(V5, ReasonCode.BANNED, "x" * 100, most)) == size


@pytest.mark.parametrize("asked", [None, 0, 1])
def test_there_is_no_response_information(asked):  # "MAY", MQTT 5 §3.1.2.11.6; as Mosquitto
    connect = Connect("a", properties=Properties(request_response_information=asked))
    packet = codec.decode(connack(connect, "a", present=False, limits=LIMITS), V5)
    assert packet.properties.response_information is None


@pytest.mark.parametrize(
    ("version", "clean", "wished_s", "kept_s"),
    [
        (OLD, True, None, 0),
        (OLD, False, None, 604_800),
        (V311, True, None, 0),
        (V311, False, None, 604_800),
        (V5, True, None, 0),
        (V5, False, None, 0),
        (V5, True, 60, 60),  # of MQTT 5, Clean Start says nothing of the end
        (V5, False, 604_801, 604_800),
        (V5, False, 0xFFFF_FFFF, 604_800),  # "does not expire" is more than we promise
    ],
)
def test_how_long_a_session_is_kept(version, clean, wished_s, kept_s):
    properties = Properties(session_expiry_interval=wished_s)
    connect = Connect("a", clean_start=clean, version=version, properties=properties)
    assert session_expiry_s(connect, LIMITS) == kept_s
    if version is V5:
        packet = codec.decode(connack(connect, "a", present=False, limits=LIMITS), V5)
        assert packet.properties.session_expiry_interval == (None if (wished_s or 0) == kept_s else kept_s)


class NoWay:
    agent = None

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
    answer = not_entitled(connect, known, rights, accounts=True)
    assert (answer and answer[0]) is reason


@pytest.mark.parametrize(
    ("client_id", "agent", "will", "reason"),
    [
        ("sensors-home-attic", "attic", "", None),
        ("sensors-home-attic", "cellar", "", ReasonCode.CLIENT_IDENTIFIER_NOT_VALID),
        ("sensors-home-attic", "cellar", "home/devices/cellar/availability", ReasonCode.CLIENT_IDENTIFIER_NOT_VALID),
        ("sensors-home-attic", "", "", ReasonCode.CLIENT_IDENTIFIER_NOT_VALID),  # somebody's who is no agent
        ("sensors-home-hall", "cellar", "", None),  # of which it has the topics too
        ("sensors-home-2-attic", "cellar", "home-2/devices/attic/availability", None),  # of another site
        ("sensors-home-attic", None, "", None),  # by rules without a role, and for who is anybody
        ("sensors-cabin-attic", "cellar", "", None),  # nobody's here
    ],
)
def test_no_device_takes_the_place_of_another_agent(client_id, agent, will, reason):
    connect = Connect(client_id, username="x", will=Will(will) if will else None)
    rights = Granted(["home/devices/hall/#", "+/devices/+/availability"], [], agent=agent)
    answer = not_entitled(connect, None, rights, accounts=True, site="home")
    assert (answer and answer[0]) is reason
    assert not_entitled(connect, None, rights, accounts=False, site="home") is None


def test_names_that_nobody_checked_bind_nobody():
    assert not_entitled(Connect("a", username="ann"), Session("a", "bob"), ALL_RIGHTS, accounts=False) is None
