import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sensors.calibration import UNCHANGED, line_of
from sensors.treatment import Treatment

LINES = [
    ({}, [(21.3, 21.3)]),
    ({"offset": -0.5}, [(21.3, 20.8), (0.0, -0.5)]),
    ({"scale": 1.02}, [(50.0, 51.0), (-10.0, -10.2)]),
    ({"scale": 2.0, "offset": 1.0}, [(3.0, 7.0)]),  # first the factor
    ({"calibrate": ((0.5, 0.0), (98.2, 100.0))}, [(0.5, 0.0), (98.2, 100.0), (49.35, 50.0)]),
    ({"calibrate": ((100.0, 0.0), (0.0, 10.0))}, [(100.0, 0.0), (50.0, 5.0)]),  # a probe that counts down
]


@pytest.mark.parametrize(("keys", "pairs"), LINES)
def test_numbers_are_moved_onto_the_line(keys, pairs):
    line = line_of(Treatment(**keys))
    for reads, true in pairs:
        assert line.at(reads) == pytest.approx(true, abs=1e-12)


def test_without_calibration_not_a_bit_changes():
    line = line_of(Treatment())
    assert line is not None
    assert line == UNCHANGED
    assert [line.at(number) for number in (0.1 + 0.2, 5, -0.0)] == [0.1 + 0.2, 5, 0.0]


numbers = st.floats(-1000, 1000)


@given(numbers, numbers, numbers, numbers)
def test_both_points_are_on_the_line(reads, true, reads_too, true_too):
    assume(abs(reads - reads_too) > 1e-3)
    assume(true != true_too)
    line = line_of(Treatment(calibrate=((reads, true), (reads_too, true_too))))
    assert line.at(reads) == true
    assert line.at(reads_too) == pytest.approx(true_too, rel=1e-9, abs=1e-9)


@given(numbers, st.floats(0.1, 10), numbers, numbers)
def test_order_and_distance_are_kept(offset, scale, one, other):
    line = line_of(Treatment(offset=offset, scale=scale))
    assert line.at(one) - line.at(other) == pytest.approx((one - other) * scale, abs=1e-9)
    assert math.isfinite(line.at(one))
