from appliance.broker.message import Message
from appliance.broker.ports import NoJournal, RouteFlag
from appliance.broker.records import Left


def test_without_a_journal_nothing_is_waited_for():
    journal = NoJournal()
    journal.append(Message("a", b""), RouteFlag.RECORD | RouteFlag.RETAINED, 0.0)
    journal.note(Left(1))
    assert (journal.group, journal.take_number(), journal.take_key()) == (0, 0, 0)
    assert not journal.refuses


def test_flags_are_told_apart():
    assert len({int(flag) for flag in RouteFlag}) == 4
    assert RouteFlag.RECORD | RouteFlag.BRIDGE != RouteFlag.RECORD | RouteFlag.RETAINED
