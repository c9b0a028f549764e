"""The recorder: which topics are history, and what agents call their readings."""

import pytest

from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag
from appliance.devices import Device, Measurement, encode_about
from appliance.features.recorder import Recorder

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
