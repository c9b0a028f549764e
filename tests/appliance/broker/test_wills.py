import pytest
from journal import RecordingJournal
from virtual import VirtualServer

from appliance.broker.notes import Notes
from appliance.broker.ports import NoJournal
from appliance.broker.records import WillGone, WillKept
from appliance.broker.session import Session
from appliance.broker.wills import Wills
from appliance.mqtt.packets import Disconnect, Will
from appliance.mqtt.properties import Properties, decode_properties
from appliance.mqtt.types import QoS


class Told(list):
    def __call__(self, message, _rights, session, now):
        self.append((message.topic, session.client_id, now))
        self.message = message


def session_for(expiry_s=100.0):
    session = Session("a")
    session.expiry_s = expiry_s
    return session


def will(delay_s=None, **properties):
    return Will("t", b"gone", QoS(1), properties=Properties(will_delay_interval=delay_s, **properties))


def lose(wills, session, will, now=0):
    """A client came with this will, and is lost."""
    wills.leave(session, wills.keep(session, will), now)


@pytest.mark.parametrize(
    ("delay_s", "expiry_s", "told_at"),
    [
        (None, 100, 0),
        (0, 100, 0),
        (10, 100, 10),
        (10, 0, 0),  # a session that ends with its link
        (100, 10, 10),  # whichever ends first, §3.1.3.2.2
    ],
)
def test_when_a_will_is_told(delay_s, expiry_s, told_at):
    told = Told()
    wills = Wills(told, Notes(NoJournal()))
    lose(wills, session_for(expiry_s), will(delay_s))
    assert wills.next_deadline() == (told_at or None)
    if told_at:
        wills.tick(told_at - 0.1)
        assert told == []
        wills.tick(told_at)
    assert told == [("t", "a", told_at)]
    assert (len(wills), wills.next_deadline()) == (0, None)


def test_a_client_that_is_back_in_time_revokes_it():  # [MQTT-3.1.3-9]
    told = Told()
    wills = Wills(told, Notes(NoJournal()))
    session = session_for()
    lose(wills, session, will(10))
    wills.revoke(session)
    wills.revoke(session)
    wills.tick(1000)
    wills.end(session, 1000)
    assert (told, len(wills), wills.next_deadline()) == ([], 0, None)


def test_the_end_of_the_session_tells_it_at_once_and_once():
    told = Told()
    wills = Wills(told, Notes(NoJournal()))
    session = session_for()
    lose(wills, session, will(10))
    wills.end(session, 5)
    wills.end(session, 6)
    wills.tick(1000)
    assert told == [("t", "a", 5)]


def test_the_servers_own_intervals_are_not_part_of_what_readers_get():
    told = Told()
    lose(Wills(told, Notes(NoJournal())), session_for(0), will(5, message_expiry_interval=9, content_type="x"))
    assert decode_properties(told.message.properties) == Properties(content_type="x")
    assert told.message.payload == b"gone"


@pytest.mark.parametrize("told_at", [3, 10])
def test_its_life_begins_when_it_is_told(told_at):  # §3.1.3.2.4
    told = Told()
    wills = Wills(told, Notes(NoJournal()))
    session = session_for()
    lose(wills, session, will(10, message_expiry_interval=60))
    if told_at == 10:
        wills.tick(10)
    else:
        wills.end(session, told_at)
    assert told.message.expires_at == told_at + 60


def test_while_nothing_can_be_stored_only_a_durable_session_has_its_will_written_down():
    journal = RecordingJournal()
    journal.refuses = True
    wills = Wills(Told(), Notes(journal))
    durable = session_for()
    durable.key = journal.take_key()
    for session in (session_for(0.0), durable):
        wills.drop(wills.keep(session, will()))
    assert [(type(record), record.key) for record in journal.records] == [(WillKept, 1), (WillGone, 1)]
    assert journal.take_key() == 2


def test_a_will_that_came_meanwhile_is_written_down_later():
    journal = RecordingJournal()
    journal.refuses = True
    server = VirtualServer(journal=journal)
    client = server.client("a", will=will())
    server.client("b")
    assert journal.records == []
    journal.refuses = False
    server.broker.can_store()
    server.broker.can_store()
    assert [(type(record), record.key) for record in journal.records] == [(WillKept, 1)]
    client.send(Disconnect())
    assert journal.records[1:] == [WillGone(1)]
