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
    assert session.enqueue(delivery(), 10, max_messages=2, max_bytes=25)
    assert session.waiting
    assert not session.enqueue(delivery(), 16, max_messages=2, max_bytes=25)
    assert session.enqueue(delivery(), 15, max_messages=2, max_bytes=25)
    assert not session.enqueue(delivery(), 0, max_messages=2, max_bytes=25)
    assert session.queued_bytes == 25


def test_coming_back_lines_up_what_was_not_acknowledged():  # [MQTT-4.4.0-1]
    session = Session("a")
    session.resume()
    assert not session.waiting
    for packet_id in (7, 3, 9):
        session.in_flight[packet_id] = delivery()
    del session.in_flight[3]
    session.resume()
    assert list(session.resend) == [7, 9]
    assert session.waiting
    assert session.in_flight_now() == 0
    session.resend.popleft()
    assert session.in_flight_now() == 1
