"""Changes in how series are retained: written once each, and known again after a restart."""

import itertools

import pytest
from keeper import Keeper

from appliance.store.checksum import checksum
from appliance.store.retaining import (
    DELETED,
    NOT_KNOWN,
    PASSES,
    PASSING,
    REPLACED,
    RETAINED,
    Kept,
    Retaining,
    begin,
    prune,
)
from appliance.store.spelling import FLOAT, ON_OFF, PLAIN

A, B, C = 1, 2, 3


@pytest.fixture
def connection(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db")
    for series_id in (A, B, C):
        keeper.ask("INSERT INTO series (id, topic, kind) VALUES (?, ?, 'number')", (series_id, f"t/{series_id}"))
    yield keeper.database.connection
    keeper.stop()


@pytest.fixture
def retaining(connection):
    return Retaining(connection, itertools.count(1).__next__)


def changes(connection, series_id=A):
    asked = "SELECT tick, state, spelling, expiry_s, topic FROM retaining WHERE series_id = ? ORDER BY tick"
    return connection.execute(asked, (series_id,)).fetchall()


def test_what_goes_on_is_written_once(connection, retaining):
    for spellings in (PLAIN, PLAIN | FLOAT, PLAIN):
        retaining.retain(A, spellings, None, None)
    for _ in range(2):
        retaining.let_pass(B)  # never retained: nothing to write
        retaining.let_pass(A)
    retaining.end("t/2", B, DELETED)
    assert changes(connection) == [(1, RETAINED, PLAIN, None, None), (2, PASSING, PLAIN, None, None)]
    assert changes(connection, B) == []
    assert retaining.modes == {A: PASSES}


def test_modes_say_what_changes_nothing(retaining):
    retaining.retain(A, PLAIN | FLOAT, None, None)
    assert retaining.modes[A] == PLAIN
    retaining.retain(A, FLOAT, None, None)
    assert retaining.modes[A] == FLOAT
    retaining.retain(A, FLOAT, 60, None)
    assert retaining.modes[A] == 0  # each is looked at: it may last longer
    retaining.retain(A, FLOAT, None, "t")
    assert retaining.modes[A] == 0
    retaining.end("t/1", A, REPLACED)
    assert retaining.modes[A] == 0  # what it holds is part of the message of t
    retaining.end("t", None, DELETED)
    assert retaining.modes[A] == PASSES


def test_the_end_is_told_once(connection, retaining):
    retaining.retain(A, PLAIN, None, None)
    retaining.let_pass(A)
    for state in (DELETED, DELETED, REPLACED, REPLACED, DELETED):
        retaining.end("t/1", A, state)
    assert [state for _, state, *_ in changes(connection)] == [RETAINED, PASSING, DELETED, REPLACED, DELETED]
    retaining.end("t/2", B, REPLACED)  # never was a reading
    assert [state for _, state, *_ in changes(connection, B)] == [REPLACED]


def test_parts_of_a_message(connection, retaining):
    retaining.retain(A, PLAIN, None, "t")
    retaining.retain(B, ON_OFF, None, "t")
    retaining.end("t", None, DELETED, {A, B})
    retaining = Retaining(connection, itertools.count(10).__next__)
    retaining.end("t", None, DELETED, {B})
    assert [state for _, state, *_ in changes(connection)] == [RETAINED, DELETED]
    retaining.retain(B, PLAIN, None, None)  # its own message
    retaining.end("t", C, DELETED)
    assert changes(connection, B) == [(2, RETAINED, ON_OFF, None, "t"), (11, RETAINED, PLAIN, None, None)]


def test_all_is_known_again(connection, retaining):
    retaining.retain(A, PLAIN, None, None)
    retaining.retain(B, PLAIN, 60, None)
    retaining.let_pass(B)
    retaining.retain(C, PLAIN, None, "t")
    again = Retaining(connection, itertools.count(9).__next__)
    assert again.modes == retaining.modes == {A: PLAIN, B: PASSES, C: 0}
    assert again.last_tick == 4
    again.let_pass(A)
    again.retain(B, PLAIN, 60, None)
    assert changes(connection)[-1][:2] == (9, PASSING)
    assert changes(connection, B)[-1] == (10, RETAINED, PLAIN, 60, None)


def test_each_row_has_its_checksum(connection, retaining):
    retaining.retain(A, PLAIN, 60, "t")
    (row,) = connection.execute("SELECT * FROM retaining").fetchall()
    assert checksum(*row[:-1]) == row[-1]


def test_of_what_was_before_nothing_is_known(connection):
    begin(connection)
    assert changes(connection) == [(0, NOT_KNOWN, None, None, None)]
    retaining = Retaining(connection, itertools.count(1).__next__)
    assert retaining.modes == dict.fromkeys((A, B, C), 0)
    retaining.let_pass(A)
    retaining.retain(B, PLAIN, None, None)
    retaining.end("t/3", C, DELETED)
    assert changes(connection)[-1] == (1, PASSING, None, None, None)
    assert changes(connection, C)[-1][:2] == (3, DELETED)


def test_what_is_found_out_is_known_from_one_tick_on(connection):
    begin(connection)
    next_tick = itertools.count(5).__next__
    retaining = Retaining(connection, next_tick)
    retaining.retain(C, PLAIN, None, None)
    assert retaining.unknown() == {A, B}
    retaining.settle({A: Kept(DELETED), B: Kept(PASSING, ON_OFF, None, "t")}, next_tick())
    assert (changes(connection)[-1], changes(connection, B)[-1]) == (
        (6, DELETED, None, None, None),
        (6, PASSING, ON_OFF, None, "t"),
    )
    assert retaining.unknown() == Retaining(connection, int).unknown() == set()
    retaining.end("t", None, DELETED)
    assert changes(connection, B)[-1][1] == DELETED


def test_what_is_overtaken_goes(connection, retaining):
    for _ in range(5):
        retaining.retain(A, PLAIN, None, None)
        retaining.let_pass(A)
    retaining.retain(B, PLAIN, None, None)
    assert [prune(connection, A, 4, 2) for _ in range(3)] == [2, 1, 0]
    assert [tick for tick, *_ in changes(connection)] == [4, 5, 6, 7, 8, 9, 10]
    assert prune(connection, A, 1_000, 500) == 6
    assert [tick for tick, *_ in changes(connection)] == [10]
    assert [prune(connection, B, tick, 500) for tick in (5, 1_000)] == [0, 0]
    assert len(changes(connection, B)) == 1
