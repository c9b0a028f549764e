"""Which sequence numbers are here: in memory, in the table, and after a restart from the staged rows."""

import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.store.received import MAX_RUNS, Received


def connect():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE received (run_id, first_seq, last_seq, PRIMARY KEY (run_id, first_seq))")
    connection.execute("CREATE TABLE stretches (id INTEGER PRIMARY KEY, run_id)")
    connection.execute("CREATE TABLE journal (id INTEGER PRIMARY KEY, seq, stretch_id)")
    return connection


@pytest.fixture
def connection():
    connection = connect()
    yield connection
    connection.close()


def ranges(connection):
    return connection.execute("SELECT * FROM received ORDER BY run_id, first_seq").fetchall()


def test_neighbours_share_one_range(connection):
    received = Received(connection)
    assert [received.add(1, seq) for seq in (1, 2, 5, 6, 5, 1)] == [True, True, True, True, False, False]
    received.save()
    assert ranges(connection) == [(1, 1, 2), (1, 5, 6)]
    assert [received.add(1, seq) for seq in (4, 3, 3)] == [True, True, False]
    received.save()
    assert ranges(connection) == [(1, 1, 6)]
    assert Received(connection).add(1, 6) is False


def test_saving_again_writes_nothing(connection):
    received = Received(connection)
    received.add(1, 1)
    received.save()
    before = connection.total_changes
    received.save()
    assert connection.total_changes == before


def test_staged_rows_are_known_at_a_start(connection):
    connection.execute("INSERT INTO stretches VALUES (7, 3), (8, NULL)")
    connection.execute("INSERT INTO journal (seq, stretch_id) VALUES (4, 7), (NULL, 8), (5, 7)")
    received = Received(connection)
    assert (received.add(3, 4), received.add(3, 5), received.add(3, 6)) == (False, False, True)


def test_more_runs_than_stay_in_memory(connection):
    received = Received(connection)
    for run_id in range(MAX_RUNS + 5):
        assert received.add(run_id, 1)
    assert not received.add(0, 1)  # what is not written yet stays
    received.save()
    assert not any(received.add(run_id, 1) for run_id in range(MAX_RUNS + 5))
    assert len(ranges(connection)) == MAX_RUNS + 5


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.integers(0, 12) | st.just(2**62) | st.just(None)), max_size=60),
)
def test_a_set_of_numbers_in_the_fewest_ranges(numbers):
    connection = connect()
    received = Received(connection)
    seen = set()
    for run_id, seq in numbers:
        if seq is None:
            received.save()
            received = Received(connection)
        else:
            assert received.add(run_id, seq) == ((run_id, seq) not in seen)
            seen.add((run_id, seq))
    received.save()
    held = [(run_id, seq) for run_id, first, last in ranges(connection) for seq in range(first, last + 1)]
    assert sorted(held) == sorted(seen)
    assert len(ranges(connection)) == sum((run_id, seq - 1) not in seen for run_id, seq in seen)
    connection.close()


def test_a_run_can_be_written_alone(connection):
    received = Received(connection)
    received.add(1, 4)
    received.add(2, 7)
    received.save_run(2)
    assert ranges(connection) == [(2, 7, 7)]
    received.save()
    assert ranges(connection) == [(1, 4, 4), (2, 7, 7)]
