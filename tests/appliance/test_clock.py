import pytest

from appliance import clock
from appliance.clock import clock_quality, rfc3339

TIMES = [
    (0.0, "1970-01-01T00:00:00.000Z"),
    (1_795_377_951.12, "2026-11-22T20:05:51.120Z"),
    (1_795_377_951.9996, "2026-11-22T20:05:52.000Z"),  # no 60th second, no fourth digit
    (4_102_444_800.5, "2100-01-01T00:00:00.500Z"),
]


@pytest.mark.parametrize(("at", "text"), TIMES)
def test_rfc3339(at, text):
    assert rfc3339(at) == text


def test_the_kernel_is_asked():
    assert clock_quality() in ("synced", "unsynced")


STATES = [
    (0, False, "synced"),
    (1, False, "synced"),
    (5, True, "unsynced"),
    (-1, True, "synced"),
    (-1, False, "unsynced"),
]


@pytest.mark.parametrize(("state", "timesyncd", "quality"), STATES)
def test_quality_follows_the_kernel_and_then_timesyncd(state, timesyncd, quality, monkeypatch, tmp_path):
    monkeypatch.setattr(clock, "_adjtimex", lambda _timex: state)
    monkeypatch.setattr(clock, "_TIMESYNCD_SAYS_SYNCED", tmp_path if timesyncd else tmp_path / "absent")
    assert clock_quality() == quality
