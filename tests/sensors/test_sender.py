import json

import msgspec
import pytest

from sensors.link import PACKET_OVERHEAD_BYTES
from sensors.outbox import WRITE_AFTER_S, Outbox
from sensors.ranges import numbers
from sensors.sender import BACKLOG_EVERY_S, BACKLOG_READINGS, LIVE_FOR_S, QUOTA_WAIT_S, REFUSED_WAIT_S, Sender
from sensors.sensor import Outgoing
from sensors.topics import AgentTopics

TIME = "2026-11-22T20:05:51.120Z"
TEMPERATURE = Outgoing("home/kitchen/temperature", "21.40", "ok", is_event=False)
PRESS = Outgoing("home/hall/doorbell", "press", "ok", is_event=True)
DOOR = Outgoing("home/hall/door", "ON", "ok", is_event=False)


class FakeLink:
    """Takes messages while `up`."""

    def __init__(self):
        self.up = True
        self.max_packet_bytes = 10_000
        self.sent = []

    def fits(self, topic, payload):
        return len(topic) + len(payload) + PACKET_OVERHEAD_BYTES <= self.max_packet_bytes

    def publish(self, topic, payload, **flags):
        if not self.up or not self.fits(topic, payload):
            return False
        self.sent.append((topic, payload, flags))
        return True


@pytest.fixture
def link():
    return FakeLink()


@pytest.fixture
def outbox(tmp_path):
    outbox = Outbox(tmp_path / "house.outbox")
    yield outbox
    outbox.close(0.0)


@pytest.fixture
def sender(link, outbox):
    return Sender(AgentTopics("home", "house"), outbox, link)


def tell(sender, out, now=0.0):
    sender.reading(out, now, time=TIME, clock="synced")


def test_a_live_reading(sender, link, outbox):
    tell(sender, TEMPERATURE)
    ((topic, payload, flags),) = link.sent
    assert (topic, payload) == ("home/kitchen/temperature", b"21.40")
    assert flags["retain"] is True
    assert flags["good_until"] == LIVE_FOR_S
    assert dict(flags["properties"]) == {
        "agent": "house",
        "run": outbox.run,
        "seq": "1",
        "time": TIME,
        "quality": "ok",
        "clock": "synced",
    }
    sender.acknowledged(flags["tokens"], 0, 0.1)
    assert outbox.waiting == 0


def test_events_are_not_retained(sender, link):
    tell(sender, PRESS)
    assert link.sent[0][2]["retain"] is False


def test_without_a_connection_readings_wait_and_travel_later_in_order(sender, link, outbox):
    link.up = False
    for out in (TEMPERATURE, DOOR, PRESS):
        tell(sender, out)
    link.up = True
    sender.connected(10.0)
    assert sender.next_deadline() <= 10.5
    sender.tick(10.4)
    assert link.sent == []
    sender.tick(10.5)
    ((topic, payload, flags),) = link.sent
    assert topic == "home/devices/house/backlog"
    assert flags["retain"] is False
    assert dict(flags["properties"]) == {"agent": "house", "run": outbox.run}
    assert b'"value":21.40' in payload
    facts = {"time": TIME, "quality": "ok", "clock": "synced"}
    assert json.loads(payload) == [
        {"topic": "home/kitchen/temperature", "value": 21.4, "seq": 1, **facts},
        {"topic": "home/hall/door", "value": "ON", "seq": 2, **facts},
        {"topic": "home/hall/doorbell", "value": "press", "seq": 3, **facts},
    ]
    sender.acknowledged(flags["tokens"], 0x10, 11.0)  # nobody listens there: taken nevertheless
    assert outbox.waiting == 0


@pytest.mark.parametrize("code", ["0042", "nan", "1_000", "+1", "٤٢", "-inf", "1e999"])
def test_an_event_that_looks_like_a_number_spoils_no_backlog(sender, link, code):
    link.up = False
    for out in (TEMPERATURE, Outgoing("home/hall/keypad", code, "ok", is_event=True)):
        tell(sender, out)
    link.up = True
    sender.connected(10.0)
    sender.tick(11.0)
    ((_, payload, _),) = link.sent
    assert [reading["value"] for reading in msgspec.json.decode(payload)] == [21.4, code]


def test_one_backlog_message_at_a_time_and_not_too_fast(sender, link):
    link.up = False
    for _ in range(250):
        tell(sender, TEMPERATURE)
    link.up = True
    sender.connected(0.0)
    sender.tick(1.0)
    sender.tick(2.0)
    assert len(link.sent) == 1
    sizes = []
    now = 2.0
    while len(link.sent) > len(sizes):
        sizes.append(len(json.loads(link.sent[-1][1])))
        sender.acknowledged(link.sent[-1][2]["tokens"], 0, now)
        sender.tick(now + BACKLOG_EVERY_S / 2)
        assert len(link.sent) == len(sizes)
        now += BACKLOG_EVERY_S
        sender.tick(now)
    assert sum(sizes) == 250
    assert max(sizes) <= BACKLOG_READINGS


def test_a_backlog_message_fits_what_the_broker_accepts(sender, link):
    link.up = False
    link.max_packet_bytes = 3_000
    for _ in range(200):
        tell(sender, TEMPERATURE)
    link.up = True
    sender.connected(0.0)
    for now in range(1, 100):
        sender.tick(float(now))
        sender.acknowledged(link.sent[-1][2]["tokens"], 0, float(now))
    assert max(len(payload) for _, payload, _ in link.sent) <= 3_000 - 200


def test_a_reading_larger_than_the_broker_takes_is_set_aside_and_holds_nobody_up(sender, link, outbox):
    link.max_packet_bytes = 1_000
    sender.connected(0.0)
    tell(sender, Outgoing("home/hall/keypad", "7" * 1_000, "ok", is_event=True))  # not sent live either
    assert link.sent == []
    link.up = False
    tell(sender, TEMPERATURE)
    link.up = True
    sender.tick(1.0)
    assert (outbox.set_aside, numbers(outbox.set_aside_ranges)) == (1, [(1, 1)])
    assert outbox.set_aside_why == "larger than the broker takes"
    sender.tick(1.0 + BACKLOG_EVERY_S)
    assert link.sent[-1][2]["tokens"] == (2,)
    sender.acknowledged((2,), 0, 2.0)
    assert outbox.waiting == 0


def test_a_backlog_that_is_longer_as_json_than_counted_is_taken_apart(sender, link, outbox):
    link.max_packet_bytes = 4_000
    link.up = False
    for _ in range(12):
        tell(sender, Outgoing("home/hall/keypad", "\x01" * 100, "ok", is_event=True))  # each \u0001 there
    link.up = True
    sender.connected(0.0)
    now = 1.0
    while outbox.waiting and now < 20.0:
        sent = len(link.sent)
        sender.tick(now)
        for _, _, flags in link.sent[sent:]:
            sender.acknowledged(flags["tokens"], 0, now)
        now += BACKLOG_EVERY_S
    assert (outbox.waiting, outbox.set_aside) == (0, 0)


def test_what_was_on_its_way_when_the_connection_broke_is_backlog(sender, link, outbox):
    tell(sender, TEMPERATURE)
    sender.tick(1.0)
    sender.disconnected()
    sender.connected(2.0)
    sender.tick(3.0)
    assert link.sent[-1][0] == "home/devices/house/backlog"
    sender.disconnected()
    sender.connected(4.0)
    sender.tick(5.0)
    assert len(link.sent) == 3
    assert outbox.waiting == 1


def test_what_was_live_for_too_long_is_backlog(sender, link):
    tell(sender, TEMPERATURE)
    sender.connected(0.0)
    sender.tick(1.0)
    assert len(link.sent) == 1  # on its way
    sender.unsent(link.sent[0][2]["tokens"])
    sender.tick(2.0)
    assert link.sent[-1][0] == "home/devices/house/backlog"


def test_a_full_disk_there_backs_off_and_loses_nothing(sender, link, outbox, caplog):
    sender.connected(0.0)
    for _ in range(2):
        tell(sender, TEMPERATURE)
        sender.acknowledged(link.sent[-1][2]["tokens"], 0x97, 1.0)
    assert (outbox.waiting, outbox.set_aside) == (2, 0)
    assert len(caplog.records) == 1
    sender.tick(1.0 + QUOTA_WAIT_S - 0.1)
    assert len(link.sent) == 2
    sender.tick(1.0 + QUOTA_WAIT_S)
    assert link.sent[-1][2]["tokens"] == (1, 2)
    sender.acknowledged((1, 2), 0, 40.0)
    assert outbox.waiting == 0


@pytest.mark.parametrize("code", [0x80, 0x83])
def test_a_passing_refusal_is_tried_again_later(sender, link, outbox, code):
    sender.connected(0.0)
    tell(sender, TEMPERATURE)
    sender.acknowledged((1,), code, 1.0)
    assert (outbox.waiting, outbox.set_aside) == (1, 0)
    sender.tick(REFUSED_WAIT_S)
    assert len(link.sent) == 1
    sender.tick(1.0 + REFUSED_WAIT_S)
    assert link.sent[-1][2]["tokens"] == (1,)


@pytest.mark.parametrize(
    ("code", "why"), [(0x87, "not authorized"), (0x90, "topic name invalid"), (0x99, "payload format invalid")]
)
def test_a_reading_that_is_never_taken_is_set_aside_and_holds_nobody_up(sender, link, outbox, caplog, code, why):
    link.up = False
    tell(sender, DOOR)  # waits for the backlog
    link.up = True
    sender.connected(0.0)
    for seq in (2, 3):
        tell(sender, TEMPERATURE)
        sender.acknowledged((seq,), code, 0.1)
    assert (outbox.waiting, outbox.set_aside, numbers(outbox.set_aside_ranges)) == (1, 2, [(2, 3)])
    assert outbox.set_aside_why == why
    assert len(caplog.records) == 1
    assert f"0x{code:02X}); they are set aside and counted. Check what house may publish there" in caplog.text
    sender.tick(0.5)
    assert link.sent[-1][2]["tokens"] == (1,)  # at its time: what is refused beside it costs it nothing
    sender.acknowledged((1,), 0, 0.6)
    sender.tick(1000.0)
    assert len(link.sent) == 3
    assert outbox.waiting == 0


@pytest.mark.parametrize(("code", "set_aside"), [(0x87, [(1, 1), (3, 3)]), (0x99, [(3, 3)])])
def test_what_is_refused_live_is_not_sent_with_the_backlog_to_be_left_out_there(sender, link, outbox, code, set_aside):
    link.up = False
    tell(sender, TEMPERATURE)
    tell(sender, DOOR)
    link.up = True
    sender.connected(0.0)
    tell(sender, TEMPERATURE)
    sender.acknowledged((3,), code, 0.1)
    sender.tick(0.5)
    assert link.sent[-1][2]["tokens"] == ((2,) if code == 0x87 else (1, 2))
    assert sorted(numbers(outbox.set_aside_ranges)) == set_aside
    sender.disconnected()
    sender.connected(1.0)  # somebody may have granted it meanwhile
    link.up = False
    tell(sender, TEMPERATURE)
    link.up = True
    sender.tick(2.0)
    assert 4 in link.sent[-1][2]["tokens"]


def waiting(sender, link, count):
    link.up = False
    for _ in range(count):
        tell(sender, TEMPERATURE)
    link.up = True
    sender.connected(0.0)


def test_readings_wait_for_the_right_to_send_a_backlog(sender, link, outbox):
    waiting(sender, link, 3)
    sender.tick(1.0)
    sender.acknowledged((1, 2, 3), 0x87, 1.0)
    assert (outbox.waiting, outbox.set_aside) == (3, 0)
    sender.tick(REFUSED_WAIT_S)
    assert len(link.sent) == 1
    sender.tick(1.0 + REFUSED_WAIT_S)
    assert link.sent[-1][2]["tokens"] == (1, 2, 3)


def test_of_a_backlog_that_is_refused_for_some_topics_those_are_set_aside_and_the_rest_is_sent(
    sender, link, outbox, caplog
):
    link.up = False
    for out in (TEMPERATURE, DOOR, TEMPERATURE, PRESS):
        tell(sender, out)
    link.up = True
    sender.connected(0.0)
    sender.tick(1.0)
    sender.acknowledged((1, 2, 3, 4), 0x87, 1.0, [TEMPERATURE.topic, "home/devices/house/backlog"])
    assert (outbox.waiting, outbox.set_aside, numbers(outbox.set_aside_ranges)) == (2, 2, [(1, 1), (3, 3)])
    assert outbox.set_aside_why == "not authorized"
    (line,) = caplog.messages
    assert line.startswith("the broker refuses readings of home/kitchen/temperature (reason code 0x87); they are set")
    tell(sender, TEMPERATURE, 1.0)
    sender.unsent((5,))  # waits for the backlog, and is not sent there to be refused again
    sender.tick(1.0 + BACKLOG_EVERY_S)
    assert link.sent[-1][2]["tokens"] == (2, 4)
    sender.acknowledged((2, 4), 0, 2.0)
    assert (outbox.waiting, numbers(outbox.set_aside_ranges)) == (0, [(1, 1), (3, 3), (5, 5)])


def test_topics_that_are_not_in_the_backlog_it_is_not_refused_for(sender, link, outbox):
    waiting(sender, link, 2)
    sender.tick(1.0)
    sender.acknowledged((1, 2), 0x87, 1.0, ["home/attic/x"])
    assert (outbox.waiting, outbox.set_aside) == (2, 0)
    sender.tick(REFUSED_WAIT_S)
    assert len(link.sent) == 1


def test_of_a_backlog_with_one_bad_reading_only_that_one_is_set_aside(sender, link, outbox):
    waiting(sender, link, 9)
    bad, now, told = 6, 1.0, 0
    while outbox.waiting:
        sender.tick(now)
        assert len(link.sent) == told + 1
        told += 1
        tokens = link.sent[-1][2]["tokens"]
        sender.acknowledged(tokens, 0x99 if bad in tokens else 0, now)
        now += BACKLOG_EVERY_S
    assert (outbox.set_aside, numbers(outbox.set_aside_ranges)) == (1, [(bad, bad)])
    assert told < 12
    waiting(sender, link, 9)
    sender.tick(1_000.0)
    assert len(link.sent[-1][2]["tokens"]) == 9  # whole again


def test_rows_of_a_backlog_that_arrived_are_gone_before_the_next_is_sent(sender, link, outbox):
    waiting(sender, link, 3)
    sender.tick(WRITE_AFTER_S)
    assert outbox._stored_count == 3
    sender.acknowledged((1, 2, 3), 0, WRITE_AFTER_S)
    assert outbox._stored_count == 0


def test_the_disk_has_its_turn(sender, link):
    link.up = False
    tell(sender, TEMPERATURE)
    assert sender.next_deadline() == WRITE_AFTER_S
    sender.tick(WRITE_AFTER_S)
    assert sender.next_deadline() is None
