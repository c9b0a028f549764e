import dataclasses
from typing import get_args

import pytest

from appliance.mqtt.errors import MalformedPacket, ProtocolError, TopicFilterInvalid, TopicNameInvalid
from appliance.mqtt.packets import (
    Auth,
    ConnAck,
    Connect,
    Packet,
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
from appliance.mqtt.properties import Properties
from appliance.mqtt.types import PacketType, QoS, ReasonCode, Version

SUBSCRIPTION = Subscription("a")

WRONG = [
    ("will topic", lambda: Will("a/#"), TopicNameInvalid, "wildcard"),
    ("password alone", lambda: Connect(password=b"p", version=Version.MQTT_3_1_1), ProtocolError, "user name"),
    (
        "refused with a session",
        lambda: ConnAck(session_present=True, reason_code=5),
        ProtocolError,
        "session is present",
    ),
    ("no topic", lambda: Publish(""), ProtocolError, "neither a topic name nor a topic alias"),
    ("wildcard", lambda: Publish("a/+"), TopicNameInvalid, "wildcard"),
    (
        "packet id at QoS 0",
        lambda: Publish("a", packet_id=1),
        ProtocolError,
        "a packet id goes with QoS 1 and 2",
    ),  # [MQTT-2.2.1-2]
    ("no packet id at QoS 1", lambda: Publish("a", qos=QoS.AT_LEAST_ONCE), ProtocolError, "a packet id goes with QoS"),
    ("packet id 0", lambda: Publish("a", qos=QoS.AT_LEAST_ONCE, packet_id=0), ProtocolError, "packet id 0"),
    (
        "packet id 65,536",
        lambda: Publish("a", qos=QoS.EXACTLY_ONCE, packet_id=65_536),
        ProtocolError,
        "packet id 65536",
    ),
    ("dup at QoS 0", lambda: Publish("a", dup=True), MalformedPacket, "DUP"),
    ("puback", lambda: PubAck(0), ProtocolError, "packet id 0"),
    ("pubrec", lambda: PubRec(65_536), ProtocolError, "packet id 65536"),
    ("pubrel", lambda: PubRel(0), ProtocolError, "packet id 0"),
    ("pubcomp", lambda: PubComp(-1), ProtocolError, "packet id -1"),
    ("subscribe", lambda: Subscribe(0, (SUBSCRIPTION,)), ProtocolError, "packet id 0"),
    ("empty subscribe", lambda: Subscribe(1, ()), ProtocolError, "without a topic filter"),
    ("filter", lambda: Subscription("a#"), TopicFilterInvalid, "wildcard"),
    ("shared no local", lambda: Subscription("$share/g/a", no_local=True), ProtocolError, "No Local"),
    ("retain handling", lambda: Subscription("a", retain_handling=3), ProtocolError, "retain handling 3"),
    ("suback", lambda: SubAck(0, (0,)), ProtocolError, "packet id 0"),
    ("empty suback", lambda: SubAck(1, ()), ProtocolError, "without a reason code"),
    ("unsubscribe", lambda: Unsubscribe(0, ("a",)), ProtocolError, "packet id 0"),
    ("empty unsubscribe", lambda: Unsubscribe(1, ()), ProtocolError, "without a topic filter"),
    ("bad unsubscribe", lambda: Unsubscribe(1, ("a", "")), TopicFilterInvalid, "empty"),
    ("unsuback", lambda: UnsubAck(0), ProtocolError, "packet id 0"),
    ("auth", lambda: Auth(ReasonCode.CONTINUE_AUTHENTICATION), ProtocolError, "authentication_method"),
    ("auth in words", lambda: Auth(properties=Properties(reason_string="w")), ProtocolError, "authentication_method"),
]


@pytest.mark.parametrize(("make", "error", "says"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_wrong_packet_cannot_be_made(make, error, says):
    with pytest.raises(error, match=says):
        make()


RIGHT = [
    Will("a/b", qos=QoS.EXACTLY_ONCE),
    Connect(username="u", password=b"p", version=Version.MQTT_3_1_1),
    ConnAck(session_present=True),
    ConnAck(reason_code=5),
    Publish("a"),
    Publish("a", qos=QoS.AT_LEAST_ONCE, dup=True, packet_id=65_535),
    PubAck(1),
    Subscription("$share/g/a"),
    Subscription("a", no_local=True, retain_handling=2),
    Subscribe(1, (SUBSCRIPTION, SUBSCRIPTION)),
    SubAck(65_535, (0, 0x80)),
    Unsubscribe(1, ("a", "b/#")),
    UnsubAck(1),
    Auth(ReasonCode.RE_AUTHENTICATE, Properties(authentication_method="m")),
]


@pytest.mark.parametrize("packet", RIGHT, ids=lambda packet: type(packet).__name__)
def test_a_right_packet_equals_its_copy(packet):
    assert dataclasses.replace(packet) == packet


def test_there_is_one_packet_for_every_type():
    assert sorted(kind.packet_type for kind in get_args(Packet)) == sorted(PacketType)


@pytest.mark.parametrize("kind", [*get_args(Packet), Will, Subscription], ids=lambda kind: kind.__name__)
def test_packets_are_frozen_and_small(kind):
    assert dataclasses.fields(kind) is not None
    assert kind.__dataclass_params__.frozen
    assert "__slots__" in vars(kind)


def test_a_packet_cannot_be_changed():
    packet = Publish("a")
    with pytest.raises(dataclasses.FrozenInstanceError):
        packet.topic = "b"


def test_equal_fields_of_another_type_are_not_equal():
    assert PubAck(1) == PubAck(1)
    assert PubAck(1) != PubRec(1)


def test_what_mqtt_5_allows():
    assert Connect(password=b"p").password == b"p"
    assert Publish("", properties=Properties(topic_alias=1)).topic == ""
    assert Auth().reason_code == ReasonCode.SUCCESS
