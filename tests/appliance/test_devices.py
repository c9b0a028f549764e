import json

import pytest

from appliance.broker.message import Message
from appliance.devices import (
    Device,
    Measurement,
    SensorHealth,
    as_told,
    decode_about,
    decode_health,
    device_topic,
    encode_about,
    narrowed,
)

HOUSE = Device(
    agent="attic",
    site="home",
    name="Dachboden-Fühler",
    version="0.1.0",
    sensors=(
        Measurement(topic="home/attic/temperature", kind="temperature", unit="°C", interval_s=30.0, model="DHT22"),
        Measurement(topic="home/attic/fan", kind="relay", role="switch", command_topic="home/attic/fan/set"),
    ),
)


def test_there_and_back():
    assert decode_about(encode_about(HOUSE)) == HOUSE


def test_what_is_not_said_is_not_sent():
    assert json.loads(encode_about(Device(agent="a", site="home"))) == {"agent": "a", "site": "home"}


def test_a_newer_agent_may_say_more():
    assert decode_about(b'{"agent": "a", "site": "home", "colour": "red"}') == Device(agent="a", site="home")


@pytest.mark.parametrize(
    ("payload", "word"),
    [
        (b"", "about"),
        (b"{", "about"),
        (b"[]", "object"),
        (b'{"site": "home"}', "agent"),
        (b'{"agent": 1, "site": "home"}', "agent"),
        (b'{"agent": "a", "site": "home", "sensors": [{"topic": "x", "kind": "y", "role": "god"}]}', "role"),
        (b"\xff\xfe", "about"),
    ],
)
def test_anything_else_says_what_is_wrong(payload, word):
    with pytest.raises(ValueError, match=word):
        decode_about(payload)


def test_topics():
    assert device_topic("home", "attic", "about") == "home/devices/attic/about"


def test_how_the_sensors_of_a_health_message_do():
    said = {"a": {"online": True, "trouble": "once"}, "b": {"online": False, "cause": "crc", "trouble": "dead"}}
    assert decode_health(json.dumps({"uptime_s": 1, "sensors": said}).encode()) == {
        "a": SensorHealth(online=True, trouble="once"),
        "b": SensorHealth(online=False, cause="crc", trouble="dead"),
    }
    assert decode_health(b"{}") == {}
    for strange in (b'{"sensors": [1]}', b'{"sensors": {"\xff": {}}}'):
        with pytest.raises(ValueError, match=r"not a health message|utf-8"):
            decode_health(strange)


def test_a_device_with_some_of_its_sensors_alone():
    one, other = (Measurement(topic=topic, kind="temperature") for topic in ("home/a/x", "home/b/x"))
    device = Device(agent="attic", site="home", name="Attic", sensors=(one, other))
    assert narrowed(device, lambda topic: topic == "home/b/x") == Device(
        agent="attic", site="home", name="Attic", sensors=(other,)
    )
    assert narrowed(device, lambda _: True, "barn").agent == "barn"
    assert as_told(Message("home/devices/attic/about", encode_about(device))) == device
