"""What is retained of a device, and how it is forgotten."""

import asyncio
import json

import pytest
from webserver import page

from appliance.broker.message import Message
from appliance.devices import Device, Measurement, encode_about
from appliance.features.web.forget import Traces
from appliance.mqtt.properties import Properties, encode_property_block

HALL, BATH, DOOR = "home/hall/temperature", "home/bath/temperature", "home/hall/door"


def own(agent, leaf, payload=b"x"):
    return Message(f"home/devices/{agent}/{leaf}", payload, 1, True)


def about(agent, *topics):
    sensors = tuple(Measurement(topic=topic, kind=topic.rpartition("/")[2]) for topic in topics)
    return own(agent, "about", encode_about(Device(agent=agent, site="home", sensors=sensors)))


def reading(topic, by=None):
    said = b"" if by is None else encode_property_block(Properties(user_property=(("agent", by), ("run", "r"))))
    return Message(topic, b"21.4", 1, True, said)


PI = [about("pi", HALL, BATH), own("pi", "availability", b"offline"), own("pi", "health", b"{}"),
      own("pi", "hall/availability", b"online"), own("pi", "gone/availability", b"offline")]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "forgotten"),
    [
        ([reading(HALL), reading(BATH, "pi"), reading(DOOR)], {HALL, BATH}),
        ([reading(DOOR, "pi")], {DOOR}),  # of a sensor that its agent had once
        ([reading(HALL, "other")], set()),  # the sensor moved to another computer
        ([reading(HALL), about("other", HALL)], set()),
        ([reading(HALL, "pi"), about("other", HALL)], {HALL}),
        ([own("pi2", "about", b"no JSON"), own("pi2", "availability"), reading(HALL)], {HALL}),
        ([Message(HALL, b"1", 1, True, b"\xff")], {HALL}),  # properties that are none
    ],
)
def test_what_is_a_devices_own(more, forgotten):
    found = Traces("home", PI + more).of("pi")
    assert set(found) == {message.topic for message in PI} | forgotten
    assert len(found) == len(set(found))


def test_who_is_online():
    traces = Traces("home", [*PI, own("attic", "availability", b"online"), own("hall", "x/availability", b"online")])
    assert traces.agents == {"pi", "attic", "hall"}
    assert traces.online == {"attic"}  # a sensor alone is not


def forget(tmp_path, messages, **body):
    """Ask once; gives the answer and what is retained afterwards."""

    async def scenario():
        async with page(tmp_path) as served:
            for message in messages:
                served.local.publish(message.topic, message.payload, retain=True)
            answer = await served.ask(
                "/api/forget", "POST", {"Content-Type": "application/json"}, json.dumps(body).encode()
            )
            rooms = (await served.ask("/api/rooms")).json
            return answer, {message.topic for message in served.local.retained("#")}, rooms

    return asyncio.run(scenario())


def test_a_device_is_forgotten_and_off_the_page(tmp_path):
    other = [about("attic", DOOR), reading(DOOR)]
    answer, left, rooms = forget(tmp_path, [*PI, reading(HALL), *other], agent="pi")
    assert (answer.status, answer.json) == (200, {"agent": "pi", "cleared": 6})
    assert left == {message.topic for message in other}
    assert [device["agent"] for device in rooms["devices"]] == ["attic"]
    assert [value["topic"] for value in rooms["values"]] == [DOOR]


def test_of_another_site(tmp_path):
    theirs = Message("test/devices/pi/about", b"{}", 1, True)
    answer, left, _ = forget(tmp_path, [*PI, theirs], agent="pi", site="test")
    assert answer.json == {"agent": "pi", "cleared": 1}
    assert left == {message.topic for message in PI}


ATTIC = [own("attic", "availability", b"online")]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"agent": "attic"}, 409, "attic is online; stop its agent first (`systemctl stop sensors` there)"),
        ({"agent": "atic"}, 404, "no device of home is called 'atic'; did you mean attic?"),
        ({"agent": "xyz"}, 404, "there are attic, pi"),
        ({"agent": "pi", "site": "away"}, 404, "no device of away is called 'pi'; there are none"),
        ({"agent": "#"}, 400, "one level of a topic"),
        ({"agent": ""}, 400, "one level of a topic"),
        ({"agent": "pi/hall"}, 400, "one level of a topic"),
        ({"agent": "pi", "site": "$SYS"}, 400, "one level of a topic"),
        ({"device": "pi"}, 400, 'send {"agent": "attic"}'),
    ],
)
def test_what_is_not_forgotten(tmp_path, body, status, says):
    answer, left, _ = forget(tmp_path, [*PI, *ATTIC], **body)
    assert answer.status == status
    assert says in answer.json["error"]
    assert len(left) == 6
