from journal import RecordingJournal

from appliance.broker.message import Message
from appliance.broker.notes import Notes
from appliance.broker.records import Forgot, Left, Queued
from appliance.broker.session import Session


def test_a_change_is_in_the_group_that_is_open():
    journal, session = RecordingJournal(), Session("a")
    notes = Notes(journal)
    notes.note(session, Forgot(1, 2))
    assert (notes.group, session.group) == (1, 1)
    journal.close()
    notes.mention(Left(1))
    assert (notes.group, session.group) == (1, 1)  # nothing waits for that
    notes.entrust(Queued(1, 1, 1, False, (), None, 0))
    assert (notes.group, session.group) == (2, 1)  # its publisher waits, its reader does not
    notes.note(session, Forgot(1, 3))
    assert (notes.group, session.group) == (2, 2)
    assert journal.records == [Forgot(1, 2), Left(1), Queued(1, 1, 1, False, (), None, 0), Forgot(1, 3)]


def test_a_message_is_handed_over_once_and_keeps_its_number():
    journal = RecordingJournal()
    notes = Notes(journal)
    one, other = Message("a", b"1"), Message("a", b"2")
    assert [notes.number(message, 5.0) for message in (one, other, one)] == [1, 2, 1]
    assert journal.open.entries == [(one, 0, 5.0), (other, 0, 5.0)]
    assert notes.group == 1
