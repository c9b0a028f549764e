import pytest

from sensors.edge_clock import LATEST_S, EdgeClock

EDGES = [  # when the kernel saw each and when it was told -> when it was, by our clock
    ([(10.0, 10.0), (10.1, 11.5), (10.2, 11.5)], [10.0, 10.1, 10.2]),  # one clock; two are told late
    ([(10.0, 14.0)], [10.0]),  # the first one too
    ([(70.0, 10.0), (70.1, 10.1), (70.2, 12.0)], [10.0, 10.1, 10.2]),  # a clock of its own
    ([(70.0, 12.0), (72.5, 12.6), (73.0, 13.1)], [12.0, 14.5, 15.0]),  # whose first edge was told late
    ([(10.0, 10.0), (99.0, 11.0), (99.5, 11.5)], [10.0, 11.0, 11.5]),  # set forward
    ([(99.0, 10.0), (5.0, 11.0), (5.5, 11.6)], [10.0, 11.0, 11.5]),  # set back
    ([(10.0, 10.0), (10.0, 10.0 + LATEST_S)], [10.0, 10.0]),
    ([(10.0, 10.0), (10.0, 10.1 + LATEST_S)], [10.0, 10.1 + LATEST_S]),
]


@pytest.mark.parametrize(("edges", "ours"), EDGES)
def test_an_edge_is_when_it_was_and_not_when_it_is_told(edges, ours):
    clock = EdgeClock()
    assert [clock.ours(at, told_at) for at, told_at in edges] == pytest.approx(ours)
