"""Every number of an agent has a row or a cause."""

import pytest
from keeper import AT, TOPIC, Keeper, backlog, number, origin

from appliance.clock import rfc3339
from appliance.store import proof as module
from appliance.store.database import StoreError
from appliance.store.gaps import (
    AGENT,
    AGENT_OFFLINE,
    BEYOND_SERIES,
    DAMAGED,
    DROPPED,
    HUB,
    NEVER_GIVEN,
    RESTORED,
    SERIES,
    UNKEPT,
    GapNote,
    Gaps,
)
from appliance.store.proof import CUT, GONE, LOST, MAY_WAIT, PRUNED, REFUSED, UNSAVED, UNSAVED_S, WAITS, prove


@pytest.fixture
def keeper(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db")
    yield keeper
    keeper.stop()


def send(keeper, *seqs, topic=TOPIC, run="r1"):
    keeper.write(*(number(seq, topic, origin(seq, run=run)) for seq in seqs), apart_s=1.0)


def note(keeper, *notes):
    with keeper.database.transaction():
        Gaps(keeper.database.connection).write(notes, keeper.clock.tick)


def shown(proof):
    return [(one.first_seq, one.last_seq, one.cause) for run in proof.runs for one in run.missing]


def test_nothing_is_missing(keeper):
    send(keeper, 1, 2, 3)
    keeper.move()
    send(keeper, 5, 4, 6, topic="home/b/t")  # of several topics, not in order
    proof = prove(keeper.path, "house", None)
    (run,) = proof.runs
    assert (run.run, run.first_seq, run.last_seq, run.rows, run.missing) == ("r1", 1, 6, 6, [])
    assert proof.is_explained


def test_an_agent_nobody_knows(keeper):
    send(keeper, 1)
    assert prove(keeper.path, "attic", None) is None


def test_what_never_arrived_has_its_time(keeper):
    send(keeper, 1, 2, 5, 6, 9)
    proof = prove(keeper.path, "house", None)
    assert shown(proof) == [(3, 4, LOST), (7, 8, LOST)]
    assert [(one.since_at, one.until_at) for one in proof.runs[0].missing] == [(AT + 2, AT + 3), (AT + 4, AT + 5)]
    assert not proof.is_explained
    keeper.write(backlog((AT + 2.3, 3, 1), (AT + 2.6, 4, 1), (AT + 4.3, 7, 1), (AT + 4.6, 8, 1)))
    assert shown(prove(keeper.path, "house", None)) == []


def test_what_the_agent_still_has(keeper):
    send(keeper, 1, 4)
    keeper.advance(5)
    note(keeper, GapNote(AGENT, "house", AGENT_OFFLINE, keeper.now, None))
    proof = prove(keeper.path, "house", None)
    assert shown(proof) == [(2, 3, MAY_WAIT)]
    assert proof.runs[0].missing[0].detail == f"offline since {rfc3339(keeper.at)}"
    assert shown(prove(keeper.path, "house", None, waiting=2)) == [(2, 3, MAY_WAIT)]
    assert shown(prove(keeper.path, "house", None, waiting=0)) == [(2, 3, LOST)]  # its last word before it went
    note(keeper, GapNote(AGENT, "house", AGENT_OFFLINE, None, keeper.now))
    assert shown(prove(keeper.path, "house", None)) == [(2, 3, LOST)]
    assert shown(prove(keeper.path, "house", None, waiting=2)) == [(2, 3, WAITS)]
    assert shown(prove(keeper.path, "house", None, waiting=0)) == [(2, 3, LOST)]
    send(keeper, 1, run="r2")  # a new outbox: of the old one nothing is kept
    assert shown(prove(keeper.path, "house", None, waiting=2)) == [(2, 3, LOST)]


@pytest.mark.parametrize("waiting", [None, 0, 3])
def test_an_agent_that_is_away_is_not_blamed_for_what_has_another_cause(keeper, waiting):
    def away(seconds=None):
        note(keeper, GapNote(AGENT, "house", AGENT_OFFLINE, keeper.now, None))
        keeper.advance(60)
        if seconds is not None:
            note(keeper, GapNote(AGENT, "house", AGENT_OFFLINE, None, keeper.now))

    send(keeper, 1, 2)
    opened = keeper.now
    keeper.advance(60)
    note(keeper, GapNote(HUB, "", RESTORED, opened, keeper.now))
    send(keeper, 10, 11)
    keeper.advance(60)
    send(keeper, 21)
    away(60)
    send(keeper, 1001, 1002, 1010)
    expected = [(3, 9, RESTORED), (12, 20, LOST), (22, 1000, CUT)]
    last = (1003, 1009, LOST)
    assert shown(prove(keeper.path, "house", None, waiting=0)) == [*expected, last]
    away()
    if waiting is None:
        last = (1003, 1009, MAY_WAIT)  # of its last visit
    elif waiting:
        expected[1], last = (12, 20, MAY_WAIT), (1003, 1009, MAY_WAIT)  # it said that it keeps some
    proof = prove(keeper.path, "house", None, waiting=waiting)
    assert shown(proof) == [*expected, last]
    assert proof.is_explained == bool(waiting)


def test_what_the_agent_dropped_and_said_so(keeper):
    send(keeper, 1, 2, 9, 10)
    note(keeper, GapNote(AGENT, "house", DROPPED, keeper.now, keeper.now, "full", "r1", 3, 6))
    assert shown(prove(keeper.path, "house", None)) == [(3, 6, DROPPED), (7, 8, LOST)]
    note(keeper, GapNote(AGENT, "house", DROPPED, keeper.now, keeper.now, "full", "r1", 5, 8))
    assert shown(prove(keeper.path, "house", None)) == [(3, 6, DROPPED), (7, 8, DROPPED)]
    note(keeper, GapNote(AGENT, "house", DROPPED, keeper.now, keeper.now, "full", "r2", 1, 99))  # another outbox
    assert prove(keeper.path, "house", None).is_explained


def test_numbers_that_the_agent_never_gave_are_not_missing(keeper):
    def unused(first, last, run="r1"):
        return GapNote(AGENT, "house", NEVER_GIVEN, keeper.now, keeper.now, "", run, first, last)

    send(keeper, 1, 2, 7, 8)
    note(keeper, unused(6, 1000), unused(1, 9, run="r2"))  # what it had kept last was 5
    send(keeper, 1001)
    note(keeper, unused(1001, 2000))
    send(keeper, 2003)
    proof = prove(keeper.path, "house", None)
    assert shown(proof) == [(3, 6, LOST), (2001, 2002, LOST)]  # some of it may be older than the cut
    assert [(one.first_seq, one.last_seq) for one in proof.runs[0].never_given] == [(9, 1000), (1002, 2000)]
    assert proof.gaps == []  # it is none
    assert proof.told()["runs"][0]["never_given"][0]["cause"] == NEVER_GIVEN
    note(keeper, GapNote(AGENT, "house", DROPPED, keeper.now, keeper.now, "full", "r1", 3, 12))
    send(keeper, 2002)
    (run,) = prove(keeper.path, "house", None).runs
    assert [(one.first_seq, one.last_seq, one.cause) for one in run.missing] == [
        (3, 6, DROPPED),
        (9, 12, DROPPED),
        (2001, 2001, LOST),
    ]
    assert [(one.first_seq, one.last_seq) for one in run.never_given] == [(13, 1000), (1002, 2000)]


@pytest.mark.parametrize(("later_s", "cause"), [(UNSAVED_S - 2, UNSAVED), (UNSAVED_S + 1, LOST)])
def test_what_the_agent_had_not_written_when_it_was_killed(keeper, later_s, cause):
    send(keeper, 1, 2, 5)
    keeper.advance(later_s)
    send(keeper, 6)
    note(keeper, GapNote(AGENT, "house", NEVER_GIVEN, keeper.now, keeper.now, "", "r1", 3, 1000))
    assert shown(prove(keeper.path, "house", None)) == [(3, 4, LOST)]  # nothing came since: it may be there
    send(keeper, 1001)
    proof = prove(keeper.path, "house", None)
    assert shown(proof) == [(3, 4, cause)]
    assert proof.is_explained == (cause == UNSAVED)
    assert [(one.first_seq, one.last_seq) for one in proof.runs[0].never_given] == [(7, 1000)]


def test_what_a_restored_backup_lacks_was_maybe_given(keeper):
    send(keeper, 1, 2)
    opened = keeper.now
    keeper.advance(60)
    note(keeper, GapNote(HUB, "", RESTORED, opened, keeper.now))
    send(keeper, 1001)
    note(keeper, GapNote(AGENT, "house", NEVER_GIVEN, keeper.now, keeper.now, "", "r1", 1, 1000))
    assert shown(prove(keeper.path, "house", None)) == [(3, 1000, RESTORED)]


def test_numbers_reserved_when_the_power_of_the_agent_was_cut(keeper):
    send(keeper, 1, 2)
    note(keeper, GapNote(AGENT, "house", AGENT_OFFLINE, keeper.now, None))
    keeper.advance(60)
    note(keeper, GapNote(AGENT, "house", AGENT_OFFLINE, None, keeper.now))
    send(keeper, 1001, 1002, 1005, 3500)
    assert shown(prove(keeper.path, "house", None)) == [(3, 1000, CUT), (1003, 1004, LOST), (1006, 3499, LOST)]


def test_what_was_received_and_has_no_row(keeper):
    keeper.history.names._max_series = 1
    send(keeper, 1, 2)
    send(keeper, 3, 4, topic="home/too/many")
    assert shown(prove(keeper.path, "house", None)) == [(3, 4, GONE)]  # nothing says that they were refused
    assert not prove(keeper.path, "house", None).is_explained
    note(keeper, GapNote(UNKEPT, "", DROPPED, keeper.now - 2, None, BEYOND_SERIES))
    assert shown(prove(keeper.path, "house", None)) == [(3, 4, REFUSED)]  # before anything is moved
    send(keeper, 5)
    assert shown(prove(keeper.path, "house", None)) == [(3, 4, REFUSED)]
    keeper.move()
    assert shown(prove(keeper.path, "house", None)) == [(3, 4, REFUSED)]
    keeper.ask("DELETE FROM readings WHERE seq <= 2")
    assert shown(prove(keeper.path, "house", None)) == [(1, 4, PRUNED)]


def test_what_was_destroyed(keeper):
    send(keeper, 1, 2, 3, 4, 5, 6)
    keeper.move()
    keeper.ask("DELETE FROM readings WHERE seq IN (2, 3)")
    assert shown(prove(keeper.path, "house", None)) == [(2, 3, GONE)]
    note(keeper, GapNote(SERIES, "home/other", DAMAGED, keeper.now - 5, keeper.now - 2))  # of somebody else
    assert shown(prove(keeper.path, "house", None)) == [(2, 3, GONE)]
    keeper.ask("UPDATE series SET agent = 'house'")
    note(keeper, GapNote(SERIES, TOPIC, DAMAGED, keeper.now - 5, keeper.now - 2))
    assert shown(prove(keeper.path, "house", None)) == [(2, 3, DAMAGED)]
    assert prove(keeper.path, "house", None).is_explained
    keeper.ask("DELETE FROM readings WHERE seq IN (1, 5)")  # 1 to 3 are before all: damage reaches up to 4
    assert shown(prove(keeper.path, "house", None)) == [(1, 3, DAMAGED), (5, 5, GONE)]


@pytest.mark.parametrize("cause", [DAMAGED, RESTORED])
def test_what_is_not_even_known_any_more(keeper, cause):
    send(keeper, 1, 2)
    opened = keeper.now
    keeper.advance(60)
    note(keeper, GapNote(HUB, "", cause, opened, keeper.now))
    send(keeper, 5, 6, 9)
    assert shown(prove(keeper.path, "house", None)) == [(3, 4, cause), (7, 8, LOST)]


def test_what_is_lost_of_topics_without_a_series_is_told_too(keeper):
    send(keeper, 1)
    note(keeper, GapNote(UNKEPT, "", DROPPED, keeper.now, keeper.now, "more series"))
    assert [gap.scope for gap in prove(keeper.path, "house", None).gaps] == [UNKEPT]


def test_a_run_of_which_all_is_pruned(keeper):
    send(keeper, 1, 2)
    keeper.move()
    keeper.ask("DELETE FROM readings")
    assert shown(prove(keeper.path, "house", None)) == [(1, 2, PRUNED)]
    assert prove(keeper.path, "house", AT).runs == []


def test_from_one_time_on(keeper):
    send(keeper, 1, 3, 5)
    keeper.advance(600)
    send(keeper, 6, 8)
    assert shown(prove(keeper.path, "house", AT + 300)) == [(7, 7, LOST)]
    (run,) = prove(keeper.path, "house", AT + 300).runs
    assert (run.first_seq, run.last_seq, run.rows) == (6, 8, 2)


def test_several_values_of_one_number(keeper):
    from appliance.broker.message import Message

    keeper.write(Message("home/x/json", b'{"a": 1, "b": 2}', properties=origin(1)))
    (run,) = prove(keeper.path, "house", None).runs
    assert (run.rows, run.first_seq, run.last_seq) == (2, 1, 1)


def test_numbers_without_order_do_not_fill_the_memory(keeper, monkeypatch):
    monkeypatch.setattr(module, "MOST_RANGES", 3)
    send(keeper, 1, 3, 5, 7, 9)
    with pytest.raises(StoreError, match="without any order"):
        prove(keeper.path, "house", None)


def test_many_topics_in_small_pages(keeper, monkeypatch):
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 4)
    monkeypatch.setattr(module, "SMALLEST_PAGE", 1)
    for seq in range(1, 41):
        send(keeper, seq, topic=f"home/r{seq % 4}/t")
    (run,) = prove(keeper.path, "house", None).runs
    assert (run.rows, run.missing) == (40, [])
