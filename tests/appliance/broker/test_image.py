import pytest
from durable import WHO, House, random_actions
from journal import RecordingJournal, image_of, plain

from appliance.broker.image import Image
from appliance.broker.message import Message
from appliance.broker.records import (
    Back,
    Done,
    Dropped,
    Ended,
    Forgot,
    Left,
    Opened,
    Queued,
    Received,
    Released,
    Replayed,
    Sent,
    Subscribed,
    Unsubscribed,
    WillGone,
    WillKept,
    WillWaits,
)
from appliance.broker.topictree import Grant

RETAINED = 1
WILL = WillKept(7, "a", None, "w", b"gone", 1, False, b"", 5, None)


def message(number, payload=b"x", topic="t"):
    one = Message(topic, payload, 1)
    one.number = number
    return one


def image_with(*records, numbers=range(1, 10)):
    image = Image()
    for number in numbers:
        image.append(message(number), 0)
    for record in (Opened(1, "a", "ann", 60.0), *records):
        image.apply(record)
    image.settle()
    return image


def queued(number, packet_id=0, qos=1):
    return Queued(1, number, qos, False, (), None, packet_id)


def line(image):
    return [(one.number, one.packet_id) for one in image.sessions[1].deliveries]


def test_messages_on_their_way_stand_in_flight_and_then_in_line():
    image = image_with(queued(1, 8), queued(2), queued(3), Sent(1, 2, 9), queued(4))
    assert line(image) == [(1, 8), (2, 9), (3, 0), (4, 0)]
    assert set(image.messages) == {1, 2, 3, 4}
    for record in (Done(1, 8), Dropped(1, 3)):
        image.apply(record)
    assert set(image.messages) == {1, 2, 3, 4}  # decided after the batch
    image.settle()
    assert line(image) == [(2, 9), (4, 0)]
    assert set(image.messages) == {2, 4}


def test_what_the_client_has_is_an_id_without_a_message():
    image = image_with(queued(1, 8, qos=2), Released(1, 8))
    (delivery,) = image.sessions[1].deliveries
    assert (delivery.message, delivery.packet_id, delivery.number) == (None, 8, 1)
    assert image.messages == {}


def test_a_session_is_what_was_said_last():
    image = image_with(
        Subscribed(1, "a", 1, False, True, 5, True),
        Subscribed(1, "b", 2, True, False, 0, True),
        Subscribed(1, "c", 0, False, False, 0, True),
        Replayed(1, "a"),
        Unsubscribed(1, "b"),
        Received(1, 3),
        Received(1, 4),
        Forgot(1, 3),
        Opened(1, "a", "ann", 90.0),
    )
    (session,) = image.sessions.values()
    assert (session.client_id, session.username, session.expiry_s) == ("a", "ann", 90.0)
    assert session.subscriptions == {"a": Grant(1, False, True, 5), "c": Grant(0)}
    assert (session.replays, session.incoming, session.away_s) == ({"c"}, {4}, None)
    image.apply(Ended(1))
    assert image.sessions == {}


def test_time_away_counts_from_when_it_was_said():
    image = image_with()
    image.apply(Left(1), 5.0)
    assert image.sessions[1].away_s == 5.0
    image.apply(Left(1, 10.0), 2.0)
    assert image.sessions[1].away_s == 12.0
    image.apply(Back(1))
    assert image.sessions[1].away_s is None


def test_wills_wait_are_told_and_are_kept():
    image = Image()
    image.apply(WillWaits(7, 5.0))
    assert image.wills == {}
    image.apply(WILL)
    assert (image.wills[7].will, image.wills[7].due_s) == (WILL, None)
    image.apply(WillWaits(7, 5.0), 2.0)
    assert image.wills[7].due_s == 3.0
    image.apply(WillGone(7))
    image.apply(WillGone(7))
    assert image.wills == {}


def test_the_last_message_of_a_topic_is_kept_until_an_empty_one():
    image = Image()
    image.append(message(0, b"1"), RETAINED)
    image.append(message(0, b"2"), RETAINED)
    image.append(message(0, b"3"), 0)
    assert image.retained["t"].payload == b"2"
    image.append(message(0, b""), RETAINED)
    image.append(message(0, b"", "u"), RETAINED)
    assert image.retained == {}


@pytest.mark.parametrize(
    "record",
    [
        Left(9), Back(9), Ended(9), Subscribed(9, "a", 0, False, False, 0, False), Replayed(9, "a"),
        Unsubscribed(9, "a"), Queued(9, 1, 1, False, (), None, 0), Sent(9, 1, 1), Dropped(9, 1), Released(9, 1),
        Done(9, 1), Received(9, 1), Forgot(9, 1), WillGone(9), WillWaits(9, 1.0), Replayed(1, "z"),
        Unsubscribed(1, "z"), Sent(1, 99, 1), Dropped(1, 99), Released(1, 99), Done(1, 99), Forgot(1, 99),
    ],
)  # fmt: skip
def test_what_speaks_of_something_unknown_changes_nothing(record):
    image = image_with(Subscribed(1, "a", 1, False, False, 0, True), queued(1, 8), queued(2))
    before = plain(image)
    image.apply(record)
    assert plain(image) == before


def test_a_message_whose_content_is_lost_has_none():
    image = image_with(queued(1), queued(2, 8), numbers=())
    assert [one.message for one in image.sessions[1].deliveries] == [None, None]


def test_a_packet_id_that_was_used_again_is_whose_it_is_now():
    records = (
        queued(1, 8, qos=2),
        Released(1, 8),
        Done(1, 8),
        queued(2),
        Sent(1, 2, 8),
        queued(3),
        queued(4, 9, qos=2),
    )
    image = image_with(*records)
    before = plain(image)
    for start in range(len(records)):
        for record in records[start:]:
            image.apply(record)
        assert plain(image) == before
        assert image.messages.keys() == {2, 3, 4}


def groups_of(seed):
    """What a house has had written down in a while."""
    house = House()
    for name, arguments in [("connect", {"who": who}) for who in WHO] + list(random_actions(seed, 150)):
        house.do(name, arguments)
    house.close()
    house.commit(None)
    return house.journal.written


@pytest.mark.parametrize("seed", range(12))
def test_records_may_be_applied_again(seed):
    groups = groups_of(seed)
    once = plain(image_of(groups))
    assert plain(image_of(groups, image=image_of(groups))) == once
    for start in range(0, len(groups), 3):
        newer = image_of(groups)
        newer.settle()
        assert plain(image_of(groups[start:], image=newer)) == once


@pytest.mark.parametrize("seed", range(6))
def test_a_record_that_was_lost_does_no_more_harm(seed):
    """Any one group can be missing: what it said is, and nothing raises."""
    groups = groups_of(seed)
    for missing in range(len(groups)):
        plain(image_of(groups[:missing] + groups[missing + 1 :]))


def test_an_empty_journal_gives_an_empty_image():
    assert plain(RecordingJournal().image()) == {"sessions": {}, "wills": {}, "retained": {}}
