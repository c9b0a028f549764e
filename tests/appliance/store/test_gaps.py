"""Gaps written down: opened, closed, once each; a stop, a cut, and damage."""

import pytest
from keeper import Keeper

from appliance.store.checksum import checksum
from appliance.store.gaps import (
    AGENT,
    AGENT_OFFLINE,
    BROKER_DOWN,
    CUT,
    DAMAGED,
    DROPPED,
    HUB,
    MAX_DETAIL_CHARS,
    STOPPED,
    GapNote,
    Gaps,
    Measured,
    prune,
)

OFFLINE = (AGENT, "attic", AGENT_OFFLINE)


@pytest.fixture
def keeper(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db")
    yield keeper
    keeper.stop()


def rows(keeper):
    return keeper.ask("SELECT scope, name, cause, detail, from_tick, to_tick FROM gaps ORDER BY id").fetchall()


def write(keeper, *notes, gaps=None):
    with keeper.database.transaction():
        gaps = gaps or Gaps(keeper.database.connection)
        gaps.write(notes, lambda now: int(now * 10))
    return gaps


def test_a_gap_opens_once_and_closes_once(keeper):
    write(keeper, GapNote(*OFFLINE, 1.0, None), GapNote(*OFFLINE, 2.0, None))
    assert rows(keeper) == [(*OFFLINE, "", 10, None)]
    write(keeper, GapNote(*OFFLINE, 3.0, None))  # a new Gaps, as after a restart
    write(keeper, GapNote(*OFFLINE, None, 4.0), GapNote(*OFFLINE, None, 5.0))
    assert rows(keeper) == [(*OFFLINE, "", 10, 40)]
    write(keeper, GapNote(*OFFLINE, 6.0, None))
    assert rows(keeper) == [(*OFFLINE, "", 10, 40), (*OFFLINE, "", 60, None)]


def test_a_gap_that_is_over_and_one_that_never_was(keeper):
    write(keeper, GapNote(AGENT, "attic", DROPPED, 1.0, 2.0, "full", "r1", 5, 9), GapNote(*OFFLINE, None, None))
    write(keeper, GapNote(*OFFLINE, None, 3.0))
    assert rows(keeper) == [(AGENT, "attic", DROPPED, "full", 10, 20)]
    assert keeper.ask("SELECT run, first_seq, last_seq FROM gaps").fetchall() == [("r1", 5, 9)]


def test_readings_that_an_agent_names_again_are_put_down_once(keeper):
    named = GapNote(AGENT, "attic", DROPPED, 1.0, 2.0, "full", "r1", 5, 9)
    write(keeper, named, named, named._replace(first_seq=6))
    write(keeper, named, named._replace(last_seq=10), named._replace(run="r2"))
    kept = keeper.ask("SELECT run, first_seq, last_seq FROM gaps").fetchall()
    assert kept == [("r1", 5, 9), ("r1", 5, 10), ("r2", 5, 9)]


def test_what_an_agent_measured_has_its_place_where_it_is_believed(keeper):
    dropped = GapNote(AGENT, "attic", DROPPED, 8.0, 9.0, "full", "r1", 5, 9, Measured(100.0, 200.0, "synced"))
    other = dropped._replace(run="r2", measured=Measured(100.0, 200.0, "unsynced"))
    with keeper.database.transaction():
        Gaps(keeper.database.connection).write(
            [dropped, other, other._replace(run="r3", measured=None)],
            lambda now: int(now * 10),
            lambda measured: (1, 2) if measured.clock == "synced" else None,
        )
    assert [row[-2:] for row in rows(keeper)] == [(1, 2), (80, 90), (80, 90)]


def test_no_gap_ends_before_it_began(keeper):
    write(keeper, GapNote(*OFFLINE, 5.0, None), GapNote(*OFFLINE, None, 4.0), GapNote(HUB, "", DROPPED, 9.0, 8.0))
    assert [row[-2:] for row in rows(keeper)] == [(50, 50), (90, 90)]


def test_different_details_are_different_gaps_and_are_bounded(keeper):
    write(keeper, *(GapNote(HUB, "", DROPPED, 1.0, None, detail) for detail in ("a", "b", "x" * 999, "x" * 998)))
    assert [row[3] for row in rows(keeper)] == ["a", "b", "x" * MAX_DETAIL_CHARS]
    write(keeper, GapNote(HUB, "", DROPPED, None, 2.0, "x" * 997))
    assert rows(keeper)[-1][-1] == 20


def test_a_stranger_cannot_open_gaps_without_end(keeper, monkeypatch):
    monkeypatch.setattr("appliance.store.gaps.MAX_OPEN", 3)
    write(keeper, *(GapNote(AGENT, f"a{number}", AGENT_OFFLINE, 1.0, None) for number in range(9)))
    assert len(rows(keeper)) == 3


def begin(keeper, last_tick, tick):
    with keeper.database.transaction():
        Gaps(keeper.database.connection).begin(last_tick, tick)


def test_a_clean_stop_and_the_start_after_it(keeper):
    begin(keeper, None, 10)
    assert rows(keeper) == []  # a new file: nothing was before
    with keeper.database.transaction():
        gaps = Gaps(keeper.database.connection)
        gaps.end(50)
        gaps.end(51)
    assert rows(keeper) == [(HUB, "", BROKER_DOWN, STOPPED, 50, None)]
    begin(keeper, 49, 90)
    assert rows(keeper) == [(HUB, "", BROKER_DOWN, STOPPED, 50, 90)]


def test_a_cut_begins_with_what_is_on_disk(keeper):
    write(keeper, GapNote(HUB, "", DROPPED, 1.0, None, "full"), GapNote(*OFFLINE, 2.0, None))
    begin(keeper, 40, 90)
    assert rows(keeper) == [
        (HUB, "", DROPPED, "full", 10, 40),  # nobody was there to see it end
        (*OFFLINE, "", 20, None),  # it may still be away
        (HUB, "", BROKER_DOWN, CUT, 40, 90),
    ]


def test_every_row_says_whether_it_is_whole(keeper):
    write(keeper, GapNote(*OFFLINE, 1.0, None), GapNote(AGENT, "attic", DROPPED, 1.0, 2.0, "full", "r1", 5, 9))
    write(keeper, GapNote(*OFFLINE, None, 3.0))
    begin(keeper, 40, 90)
    columns = "scope, name, cause, detail, from_tick, to_tick, run, first_seq, last_seq"
    kept = keeper.ask(f"SELECT {columns}, checksum FROM gaps").fetchall()
    assert len(kept) == 3
    for *fields, told in kept:
        assert checksum(*fields) == told
        assert checksum(*fields[:-1], "else") != told


def test_the_view_has_readable_times(keeper):
    tick = keeper.clock.tick(keeper.now)
    with keeper.database.transaction():
        Gaps(keeper.database.connection).write([GapNote(*OFFLINE, 0.0, None)], lambda _: tick)
    (row,) = keeper.ask("SELECT since, until, cause, name FROM gap_times").fetchall()
    assert row == ("2026-09-21T14:13:20.000Z", None, AGENT_OFFLINE, "attic")


def test_old_gaps_and_the_oldest_of_too_many_are_thrown_away(keeper):
    write(keeper, *(GapNote(*OFFLINE, n, n + 1, str(n)) for n in range(10)), GapNote(*OFFLINE, 0, None))

    def prune_to(before_tick, limit, most):
        with keeper.database.transaction():
            gone = prune(keeper.database.connection, before_tick, limit, most)
        return gone, [detail for *_, detail, _, _ in rows(keeper)]

    assert prune_to(10, 5, 99) == (0, [*"0123456789", ""])
    assert prune_to(31, 2, 99) == (2, [*"23456789", ""])
    assert prune_to(31, 2, 99) == (1, [*"3456789", ""])
    assert prune_to(0, 2, 5) == (2, [*"56789", ""])
    assert prune_to(0, 9, 5) == (1, [*"6789", ""])
    assert prune_to(10**6, 9, 0) == (4, [""])


def test_what_a_salvage_left_open_while_it_ran_is_over_where_it_runs_on(keeper):
    gaps = write(keeper, GapNote(HUB, "", DAMAGED, 1.0, None, "torn"), GapNote(*OFFLINE, 2.0, None))
    assert gaps.are_of_absence
    gaps.back(40)
    assert not gaps.are_of_absence
    assert rows(keeper) == [(HUB, "", DAMAGED, "torn", 10, 40), (*OFFLINE, "", 20, None)]
