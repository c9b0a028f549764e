from appliance.broker.message import Message
from appliance.broker.ports import NoJournal, RouteFlag


def test_without_a_journal_nothing_is_waited_for():
    assert NoJournal().append(Message("a", b""), RouteFlag.RECORD | RouteFlag.RETAINED) == 0


def test_flags_are_told_apart():
    assert len({int(flag) for flag in RouteFlag}) == 4
    assert RouteFlag.RECORD | RouteFlag.BRIDGE != RouteFlag.RECORD | RouteFlag.RETAINED
