import json

import pytest

from sensors.ranges import MAX_RANGES, extended, remembered


def of(*numbers):
    ranges = []
    for number in numbers:
        ranges = extended(ranges, number)
    return ranges


def test_numbers_in_a_row_are_one_range():
    assert of(4, 5, 6, 6, 9) == [(4, 6), (9, 9)]
    assert of(9, 4) == [(9, 9), (4, 4)]


def test_the_list_is_a_new_one():
    before = of(4)
    extended(before, 5)
    assert before == [(4, 4)]


def test_the_newest_are_remembered():
    ranges = of(*range(0, 200, 2))
    assert len(ranges) == MAX_RANGES
    assert ranges[-1] == (198, 198)


def test_what_was_written_is_read():
    assert remembered(json.dumps(of(1, 2, 5))) == [(1, 2), (5, 5)]


@pytest.mark.parametrize("text", ["[[1]]", "nonsense", "7", '[["a", "b"]]', "[[1e999, 1]]", "[" * 100_000, None])
def test_what_somebody_else_wrote_is_no_range(text):
    assert remembered(text) == []
