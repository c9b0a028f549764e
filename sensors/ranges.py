"""Numbers that are gone, as closed ranges: the newest of them, within bounds. Pure."""

import json
from typing import Final

MAX_RANGES: Final = 32  # that are remembered, the newest

Ranges = list[tuple[int, int]]


def extended(ranges: Ranges, number: int) -> Ranges:
    """Give the ranges and one more number; the list is a new one."""
    *earlier, last = ranges or [(number, number)]
    if last[0] <= number <= last[1] + 1:
        return [*earlier, (last[0], max(number, last[1]))]
    return [*earlier, last, (number, number)][-MAX_RANGES:]


def remembered(text: object) -> Ranges:
    """Read ranges that were written as JSON; none where somebody else wrote there."""
    try:
        return [(int(first), int(last)) for first, last in json.loads(str(text))]
    except (TypeError, ValueError, OverflowError, RecursionError):
        return []
