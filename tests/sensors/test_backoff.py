from random import Random

from hypothesis import given
from hypothesis import strategies as st

from sensors.backoff import Backoff


@given(st.integers(0, 2**32), st.integers(1, 40))
def test_backoff_doubles_with_jitter_up_to_a_minute(seed, attempts):
    backoff = Backoff(Random(seed))
    for attempt in range(attempts):
        whole = min(2.0**attempt, 60.0)
        assert whole / 2 <= backoff.wait_s() <= whole


def test_backoff_can_be_asked_for_more_and_begins_again():
    backoff = Backoff(Random(1))
    assert 15.0 <= backoff.wait_s(least_span_s=30.0) <= 30.0
    backoff.wait_s()
    backoff.reset()
    assert backoff.wait_s() <= 1.0


def test_two_agents_do_not_knock_in_step():
    assert Backoff(Random(1)).wait_s() != Backoff(Random(2)).wait_s()
