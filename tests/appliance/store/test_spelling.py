"""Spellings: what is noted of a payload gives it back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.store.reading_rows import stored
from appliance.store.readings import BINARY, plain
from appliance.store.spelling import FIXED, FLOAT, ON_OFF, OTHER, PLAIN, first, spelled, spellings

ONE_DIGIT, TWO_DIGITS = 1 << FIXED, 1 << FIXED + 1


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ("21", PLAIN),
        ("21.4", PLAIN | FLOAT | ONE_DIGIT),
        ("21.0", FLOAT | ONE_DIGIT),
        ("21.50", TWO_DIGITS),
        ("-0.25", PLAIN | FLOAT | TWO_DIGITS),
        ("1e+21", PLAIN | FLOAT),
        ("1e-07", PLAIN | FLOAT),
        ("1e3", OTHER),
        ("+5", OTHER),
        ("007", OTHER),
        (" 21", OTHER),
        (".5", OTHER),
        ("0.1234567891", PLAIN | FLOAT),
    ],
)
def test_a_number(payload, expected):
    assert spellings(payload.encode(), stored(float(payload)), is_word=False) == expected


@pytest.mark.parametrize(
    ("payload", "value"), [("online", 1000), ("OFF", 0), ("False", 0), ("true", 1000), ("On", 1000), ("OFFLINE", 0)]
)
def test_a_word(payload, value):
    (spelling,) = {first(spellings(payload.encode(), value, is_word=True))}
    assert spelled(spelling, value) == payload


def test_a_publisher_keeps_to_its_words():
    both = [spellings(word, value, is_word=True) for word, value in ((b"offline", 0), (b"online", 1000))]
    assert both[0] == both[1] != ON_OFF
    assert spellings(b"oN", 1000, is_word=True) == OTHER


def test_a_text_is_as_it_is():
    assert spellings(b"idle", "idle", is_word=False) == PLAIN
    assert spellings(b" idle\n", "idle", is_word=False) == OTHER
    assert spelled(PLAIN, "idle") == spelled(OTHER, "idle") == "idle"


@given(
    st.one_of(st.floats(allow_nan=False, allow_infinity=False).map(str), st.integers().map(str), st.text(max_size=9))
)
def test_what_is_not_other_comes_back(text):
    payload = text.encode(errors="ignore")
    found = plain(payload)
    if found is None or found[2] == OTHER:
        return
    kind, value, fits = found
    assert kind == BINARY or fits != ON_OFF
    for place in range(fits.bit_length()):
        if fits >> place & 1:
            told = spelled(1 << place, value)
            assert told is not None
            assert told.encode() == payload


def test_a_spelling_that_nobody_knows():
    assert spelled(OTHER, 1000) is None
    assert first(PLAIN | FLOAT | ONE_DIGIT) == PLAIN
