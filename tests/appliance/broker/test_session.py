from hypothesis import given
from hypothesis import strategies as st

from appliance.broker.message import Message
from appliance.broker.session import Session


def delivery(payload=b"1", qos=1):
    return Message("a", payload, qos), qos, False, (), None


def test_a_new_session_has_nothing():
    session = Session("a", "someone")
    assert (session.client_id, session.username) == ("a", "someone")
    assert Session("a").username is None
    assert session.waiting is False
    assert (session.expiry_s, session.queued_bytes, session.window, session.next_packet_id) == (0, 0, 1, 1)
    assert not any((session.subscriptions, session.incoming, session.in_flight, session.resend, session.queue))


def test_packet_ids_start_at_one_and_count_up():  # [MQTT-2.3.1-2]
    session = Session("a")
    assert [session.take_packet_id() for _ in range(3)] == [1, 2, 3]


@given(st.sets(st.integers(1, 65_535), max_size=50), st.integers(1, 65_535))
def test_an_id_in_flight_is_never_given(in_flight, start):
    session = Session("a")
    session.in_flight = dict.fromkeys(in_flight, delivery())
    session.next_packet_id = start
    for _ in range(5):
        packet_id = session.take_packet_id()
        assert packet_id not in session.in_flight
        assert 1 <= packet_id <= 65_535
        session.in_flight[packet_id] = delivery()


def test_the_last_free_id_of_65535_is_found():
    session = Session("a")
    session.in_flight = {number: delivery() for number in range(1, 65_536) if number != 40_000}
    session.next_packet_id = 40_001
    assert session.take_packet_id() == 40_000


def test_the_queue_is_bounded_in_messages_and_bytes():
    session = Session("a")
    ten, fifteen, sixteen, one = (delivery(b"1" * (size - 1)) for size in (10, 15, 16, 1))  # with a topic of one
    assert session.enqueue(ten, max_messages=2, max_bytes=25)
    assert session.waiting
    assert not session.enqueue(sixteen, max_messages=2, max_bytes=25)
    assert session.enqueue(fifteen, max_messages=2, max_bytes=25)
    assert not session.enqueue(one, max_messages=2, max_bytes=100)
    assert session.queued_bytes == 25
    assert session.dequeue() == ten
    assert session.queued_bytes == 15


def test_messages_whose_time_is_over_are_swept_out_together_and_not_too_often():
    session = Session("a")
    for number, expires_at in enumerate([None, 10.5, 12.0, 10.75, 30.0]):
        message = Message("a", b"%d" % number, 1, expires_at=expires_at)
        assert session.enqueue((message, 1, False, (), None), max_messages=5, max_bytes=100)
    assert len(session.drop_expired(10.99)) == 0
    assert len(session.drop_expired(11.0)) == 2
    assert len(session.drop_expired(12.99)) == 0
    assert len(session.drop_expired(20.0)) == 1
    assert [delivery[0].payload for delivery in session.queue] == [b"0", b"4"]
    assert session.queued_bytes == 4
    queue = session.queue
    assert len(session.drop_expired(30.99)) == 0
    assert session.queue is queue  # not even looked at
    assert len(session.drop_expired(31.0)) == 1
    assert len(session.drop_expired(1e9)) == 0
    assert Session("b").drop_expired(1e9) == []


def test_a_session_without_a_queue_shares_none_with_others():
    one, other = Session("a"), Session("b")
    one.enqueue(delivery(), max_messages=1, max_bytes=25)
    assert len(one.queue) == 1
    assert not other.queue
    assert not Session("c").queue


def test_coming_back_lines_up_what_was_not_acknowledged():  # [MQTT-4.4.0-1]
    session = Session("a")
    session.resume()
    assert not session.waiting
    for packet_id in (7, 3, 9):
        session.in_flight[packet_id] = delivery()
    del session.in_flight[3]
    session.resume()
    assert session.resend == [9, 7]  # taken from the end
    assert session.waiting
    assert session.in_flight_now() == 0
    assert session.resend.pop() == 7
    assert session.in_flight_now() == 1


def test_releases_may_go_before_the_messages_they_are_lined_up_with():  # [MQTT-3.3.4-10] of 5
    session = Session("a")
    released = (None, 2, False, (), None)
    session.in_flight = {7: delivery(), 3: released, 9: delivery(), 1: released}
    session.resume()
    assert session.take_releases() == [3, 1]
    assert sorted(session.resend) == [7, 9]
    assert session.take_releases() == []
