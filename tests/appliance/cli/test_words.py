"""Numbers and spans as people say them."""

import pytest

from appliance.cli import words


@pytest.mark.parametrize(("number", "text"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows")])
def test_one_thing_and_more(number, text):
    assert words.counted(number, "row") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.9, "59 s"), (60, "1 min 0 s"), (3_661, "1 h 1 min"), (90_000, "1 d 1 h"), (864_000, "10 d 0 h")],
)
def test_durations(seconds, text):
    assert words.duration(seconds) == text
