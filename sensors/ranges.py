"""Numbers that are gone, as closed ranges with the times of their readings: the newest, within bounds. Pure."""

import json
from typing import Final, NamedTuple

MAX_RANGES: Final = 32  # that are remembered, the newest


class Range(NamedTuple):
    """Numbers in a row; when the first and the last were measured, RFC 3339, and what the clock was worth then."""

    first: int
    last: int
    since: str = ""
    until: str = ""
    clock: str = ""


Ranges = list[Range]


def extended(ranges: Ranges, number: int, time: str, clock: str) -> Ranges:
    """Give the ranges and one more number, measured at a time of a clock; the list is a new one."""
    *earlier, last = ranges or [Range(number, number, time, time, clock)]
    if last.first <= number <= last.last or (number == last.last + 1 and clock == last.clock):
        return [*earlier, last if number <= last.last else last._replace(last=number, until=time)]
    return [*earlier, last, Range(number, number, time, time, clock)][-MAX_RANGES:]


def numbers(ranges: Ranges) -> list[tuple[int, int]]:
    """Give the first and last number of each."""
    return [(one.first, one.last) for one in ranges]


def times(ranges: Ranges) -> list[tuple[str, str, str]]:
    """Give the times of these, and the clock."""
    return [(one.since, one.until, one.clock) for one in ranges]


def remembered(text: object) -> Ranges:
    """Read ranges that were written as JSON; none where somebody else wrote there."""
    try:
        return [Range(int(first), int(last), *map(str, said)) for first, last, *said in json.loads(str(text))]
    except (TypeError, ValueError, OverflowError, RecursionError):
        return []
