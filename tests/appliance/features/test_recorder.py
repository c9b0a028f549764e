"""The recorder: which topics are history, and what agents call their readings."""

import json

import pytest

from appliance.auth.acl import Granted
from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag
from appliance.devices import Device, Measurement, encode_about
from appliance.features.recorder import MOST_BARRED, Recorder

TOPIC = "home/kitchen/temperature"
ABOUT = "home/devices/house/about"
DEVICE = Device(agent="house", site="home", sensors=(Measurement(topic=TOPIC, kind="temperature", unit="°C"),))


class Local:
    """A client inside the process with some retained messages."""

    def __init__(self, *retained):
        self.retained = retained
        self.deliver = None
        self.topic_filter = None

    def subscribe(self, topic_filter, deliver):
        self.topic_filter, self.deliver = topic_filter, deliver
        for message in self.retained:
            deliver(message)
        return self.unsubscribe

    def unsubscribe(self):
        self.deliver = None


@pytest.fixture
def learnt():
    return []


@pytest.fixture
def recorder(learnt):
    return Recorder(learnt.append, site="home")


def test_classify(recorder):
    assert recorder.classify(TOPIC) is RouteFlag.RECORD
    assert recorder.classify("home/devices/house/backlog") is RouteFlag.RECORD | RouteFlag.BUNDLE
    assert recorder.classify("home/devices/house/about") is RouteFlag.NONE
    assert recorder.classify("home/kitchen/relay/set") is RouteFlag.NONE


def test_abouts_are_learnt_retained_and_live_and_bad_ones_named(recorder, learnt, caplog):
    local = Local(Message(ABOUT, encode_about(DEVICE), 1, True))
    recorder.start(local)
    assert local.topic_filter == "home/devices/+/about"
    local.deliver(Message(ABOUT, encode_about(DEVICE), 1, True))
    local.deliver(Message(ABOUT, b"", 1, True))
    local.deliver(Message("home/devices/shed/about", b"{", 1, True))
    recorder.close()
    recorder.close()
    assert learnt == [DEVICE, DEVICE]
    assert local.deliver is None
    assert "home/devices/shed/about: not an about message" in caplog.text


def test_of_an_about_is_learnt_what_is_recorded_and_what_its_publisher_may_say(learnt):
    other = Device(agent="house", site="home", sensors=(*DEVICE.sensors, Measurement(topic=ABOUT + "/x", kind="text")))
    read = []
    recorder = Recorder(learnt.append, site="home", read=lambda message: read.append(message.topic) or other)
    local = Local(Message(ABOUT, b"whatever", 1, True))
    recorder.start(local)
    assert (learnt, read) == ([DEVICE], [ABOUT])  # no place in the history is taken up by what never comes there
    recorder.start(local)  # as what counts is another by now
    assert (learnt, read) == ([DEVICE] * 2, [ABOUT] * 2)
    recorder.close()
    assert local.deliver is None


def test_what_a_backlog_holds_of_others_is_named_and_logged_once(recorder, caplog):
    rights = Granted(["home/kitchen/#"], [])
    payload = json.dumps(
        [{"topic": TOPIC, "value": 1}] + 2 * [{"topic": "home/attic/temperature", "value": 2}]
    ).encode()
    for _ in range(2):
        assert recorder.inspect("home/devices/house/backlog", payload, rights) == ["home/attic/temperature"]
    (line,) = caplog.messages
    assert line.startswith("home/devices/house/backlog: refused, it holds readings of home/attic/temperature")
    assert recorder.inspect("home/devices/shed/backlog", payload, rights) == ["home/attic/temperature"]
    assert len(caplog.messages) == 2
    assert recorder.inspect("home/devices/shed/backlog", b"[{", rights) == []


def test_the_log_of_what_backlogs_hold_of_others_is_bounded(recorder, caplog):
    for number in range(MOST_BARRED + 5):
        payload = json.dumps([{"topic": f"home/{number}/x", "value": 1}]).encode()
        assert recorder.inspect("home/devices/house/backlog", payload, Granted([], [])) == [f"home/{number}/x"]
    assert len(caplog.messages) == MOST_BARRED
