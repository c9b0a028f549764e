from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.timespan import parse_span, parse_time, rfc3339

AT = 1_800_000_000.0

SPANS = [
    ("90s", 90.0),
    ("30m", 1_800.0),
    ("1h", 3_600.0),
    ("1h30m", 5_400.0),
    ("1.5h", 5_400.0),
    ("7d", 604_800.0),
    ("2w", 1_209_600.0),
    ("0s", 0.0),
]

TIMES = [
    ("now", AT),
    ("1h", AT - 3_600),
    (" 7d ", AT - 604_800),
    ("2026-11-22T20:00:00Z", datetime(2026, 11, 22, 20, tzinfo=UTC).timestamp()),
    ("2026-11-22T21:00:00+01:00", datetime(2026, 11, 22, 20, tzinfo=UTC).timestamp()),
    ("2026-11-22T20:00:00.250Z", datetime(2026, 11, 22, 20, tzinfo=UTC).timestamp() + 0.25),
    ("2026-11-22", datetime(2026, 11, 22).astimezone().timestamp()),
    ("2026-11-22T20:00", datetime(2026, 11, 22, 20).astimezone().timestamp()),
]

NOT_TIMES = [
    "",
    "h",
    "1",
    "-1h",
    "1y",
    "yesterday",
    "1h ago",
    "999999999w",
    "2026-13-01",
    "٣h",
    "0001-01-01T00:00+14:00x",
]


@pytest.mark.parametrize(("text", "seconds"), SPANS)
def test_span(text, seconds):
    assert parse_span(text) == seconds


@pytest.mark.parametrize(("text", "expected"), TIMES)
def test_time(text, expected):
    assert parse_time(text, AT) == expected


@pytest.mark.parametrize("text", NOT_TIMES)
def test_what_is_no_time_says_what_is(text):
    with pytest.raises(ValueError, match="write"):
        parse_time(text, AT)


@given(st.text())
def test_any_text_is_a_time_or_a_value_error(text):
    with suppress(ValueError):
        assert isinstance(parse_time(text, AT), float)


@given(st.integers(min_value=0, max_value=4_000_000_000_000))
def test_a_time_written_out_reads_back(milliseconds):
    assert round(parse_time(rfc3339(milliseconds / 1000), AT) * 1000) == milliseconds
