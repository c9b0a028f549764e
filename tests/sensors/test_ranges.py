import json

import pytest

from sensors.ranges import MAX_RANGES, Range, extended, numbers, remembered, times


def of(*gone, clock="synced"):
    ranges = []
    for number in gone:
        ranges = extended(ranges, number, f"at {number}", clock)
    return ranges


def test_numbers_in_a_row_are_one_range():
    assert numbers(of(4, 5, 6, 6, 9)) == [(4, 6), (9, 9)]
    assert numbers(of(9, 4)) == [(9, 9), (4, 4)]
    assert numbers([]) == []


def test_a_range_has_the_times_of_its_first_and_last():
    assert times(of(4, 5, 6, 5, 9)) == [("at 4", "at 6", "synced"), ("at 9", "at 9", "synced")]
    set_then = extended(of(4, clock="unsynced"), 5, "at 5", "synced")
    assert times(set_then) == [("at 4", "at 4", "unsynced"), ("at 5", "at 5", "synced")]


def test_the_list_is_a_new_one():
    before = of(4)
    extended(before, 5, "at 5", "synced")
    assert before == [Range(4, 4, "at 4", "at 4", "synced")]


def test_the_newest_are_remembered():
    ranges = of(*range(0, 200, 2))
    assert len(ranges) == MAX_RANGES
    assert numbers(ranges)[-1] == (198, 198)


def test_what_was_written_is_read():
    assert remembered(json.dumps(of(1, 2, 5))) == of(1, 2, 5)
    assert remembered("[[1, 2], [5, 5]]") == [Range(1, 2), Range(5, 5)]  # as they were written once


@pytest.mark.parametrize(
    "text",
    ["[[1]]", "nonsense", "7", '[["a", "b"]]', "[[1, 2, 3, 4, 5, 6]]", "[[1e999, 1]]", "[" * 100_000, None],
)
def test_what_somebody_else_wrote_is_no_range(text):
    assert remembered(text) == []
