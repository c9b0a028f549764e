import math
from itertools import pairwise

import pytest
from edges import play
from hypothesis import given
from hypothesis import strategies as st

from sensors.debounce import Debounce

SETTLE_S = 0.05
HIGH, LOW = True, False

BOUNCES = [
    ([(1.0, HIGH)], [(1.05, HIGH)]),
    ([(1.0, HIGH), (1.01, LOW)], []),  # a spike
    ([(1.0, HIGH), (1.01, LOW), (1.02, HIGH)], [(1.07, HIGH)]),
    ([(1.0, HIGH), (1.01, LOW), (1.02, HIGH), (1.03, LOW)], []),  # the burst ends where it began
    ([(1.0, HIGH), (2.0, LOW)], [(1.05, HIGH), (2.05, LOW)]),
    ([(1.0, HIGH), (1.05, LOW)], [(1.05, HIGH), (1.1, LOW)]),  # stayed for exactly the time
    ([(1.0, HIGH), (1.01, HIGH), (1.04, HIGH)], [(1.05, HIGH)]),  # lost edges: the same level twice
]


@pytest.mark.parametrize(("edges", "decided"), BOUNCES)
def test_a_level_counts_when_it_stays(edges, decided):
    assert play(Debounce(level=LOW, settle_s=SETTLE_S), edges) == decided


def test_without_a_settling_time_every_edge_counts():
    judge = Debounce(level=LOW, settle_s=0)
    assert play(judge, [(1.0, HIGH), (1.001, LOW), (1.002, HIGH)]) == [(1.0, HIGH), (1.001, LOW), (1.002, HIGH)]


def test_endless_chatter_is_believed_now_and_then():
    judge = Debounce(level=LOW, settle_s=SETTLE_S)
    edges = [(1 + i * 0.03, i % 2 == 0) for i in range(100)]  # three seconds, never still
    decided = play(judge, edges)
    assert 2 <= len(decided) <= 4
    assert decided[-1][1] is edges[-1][1]


bursts = st.lists(st.tuples(st.floats(min_value=0, max_value=0.4), st.booleans()), max_size=60)


@given(bursts, st.booleans(), st.sampled_from([0.0, 0.02, SETTLE_S, 0.3]))
def test_the_last_level_of_any_burst_is_always_told(steps, start, settle_s):
    now, edges = 100.0, []
    for wait, level in steps:
        now += wait
        edges.append((now, level))
    decided = play(Debounce(level=start, settle_s=settle_s), edges, start)
    states = [start, *(state for _, state in decided)]
    assert states[-1] is (edges[-1][1] if edges else start)
    assert all(a is not b for a, b in pairwise(states))
    assert all(earlier[0] <= later[0] for earlier, later in pairwise(decided))
    if edges and decided:
        assert decided[-1][0] <= edges[-1][0] + settle_s + 1e-6


@given(bursts, st.sampled_from([0.0, 0.02, SETTLE_S]))
def test_edges_that_are_judged_late_decide_the_same(steps, settle_s):
    """As the kernel's own times do: nobody looks at the deadlines between two edges."""
    now, edges = 100.0, []
    for wait, level in steps:
        now += wait
        edges.append((now, level))
    punctual = Debounce(level=LOW, settle_s=settle_s, longest_unrest_s=math.inf)
    in_time = [state for _, state in play(punctual, edges)]
    late = Debounce(level=LOW, settle_s=settle_s, longest_unrest_s=math.inf)
    states = [late.seen(now, level) for now, level in edges]
    states.append(late.seen(now + 10, edges[-1][1] if edges else LOW))
    assert [state for state in states if state is not None] == in_time
    assert late.since == punctual.since


def test_it_knows_when_the_contact_closed():
    judge = Debounce(level=LOW, settle_s=SETTLE_S)
    assert judge.since == -math.inf
    play(judge, [(1.0, HIGH), (1.01, LOW), (1.02, HIGH), (3.0, HIGH)])
    assert judge.since == 1.02
