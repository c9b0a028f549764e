import pytest

from appliance.features.web.chart import draw_line, draw_steps, longest_silence_s
from appliance.store.answers import Bucket, Chart, Row, Series
from appliance.store.holes import Gap

NUMBERS = Series(topic="home/a/t", kind="number", unit="°C", name="T", quantity="temperature", agent="a", last_at=None)
DOOR = Series(topic="home/a/door", kind="binary", unit=None, name=None, quantity="door", agent="a", last_at=None)

SILENCES = [
    ([], 1.0, 90.0),
    ([0, 10], 1.0, 90.0),  # too little to judge
    (list(range(0, 100, 10)), 1.0, 30.0),  # three missed reads of a regular sensor
    (list(range(0, 100, 10)), 60.0, 150.0),  # never finer than the buckets
    ([0, 2, 4, 6, 8, 300, 302, 304, 306, 600], 1.0, 900.0),  # speaks on change
    (list(range(10)), 0.1, 5.0),
]


@pytest.mark.parametrize(("at", "bucket_s", "expected"), SILENCES)
def test_longest_silence(at, bucket_s, expected):
    assert longest_silence_s([float(one) for one in at], bucket_s) == pytest.approx(expected, rel=0.1)


def bucket(at):
    return Bucket(at=float(at), min=1.0, mean=2.0, max=3.0, count=1)


def chart(*ats):
    return Chart(
        topic="home/a/t", since_at=0.0, until_at=1000.0, bucket_s=1.0, before=None, buckets=[bucket(at) for at in ats]
    )


def test_a_line_breaks_where_the_sensor_was_silent():
    columns = draw_line(NUMBERS, chart(0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 500, 510), [])
    assert columns.at[10] == pytest.approx(295.0)
    assert columns.mean[10] is columns.min[10] is columns.max[10] is None
    assert [one for one in columns.mean if one is None] == [None]
    assert (columns.unit, columns.quantity, columns.since, columns.until) == ("°C", "temperature", 0.0, 1000.0)
    assert columns.at == sorted(columns.at)


def test_an_empty_stretch_has_no_points():
    assert draw_line(NUMBERS, chart(), []).at == []


def row(at, value):
    return Row(at=float(at), value=value, text=None, quality="ok", clock=None, agent=None, run=None, seq=None)


def test_steps_begin_with_what_held_and_last_until_the_end():
    columns = draw_steps(DOOR, row(-50, 1.0), [row(10, 0.0), row(20, 1.0)], 0.0, 100.0, [])
    assert columns.at == [0.0, 10.0, 20.0, 100.0]
    assert columns.mean == [1.0, 0.0, 1.0, 1.0]


def test_steps_without_anything_before_begin_at_the_first_change():
    assert draw_steps(DOOR, None, [row(10, 1.0)], 0.0, 10.0, []).at == [10.0]
    assert draw_steps(DOOR, None, [], 0.0, 10.0, []).at == []
    assert draw_steps(DOOR, row(-1, None), [row(5, None)], 0.0, 10.0, []).at == []


def gap(since_at, until_at, cause="agent offline"):
    return Gap(since_at=float(since_at), until_at=until_at, cause=cause, detail="", scope="agent", name="a")


def test_a_line_breaks_at_a_gap_however_short():
    columns = draw_line(NUMBERS, chart(0, 10, 20, 30), [gap(-5, 0.0), gap(10, 20.0), gap(25, 26.0, "clock unset")])
    assert list(zip(columns.at, columns.mean, strict=True)) == [(0, 2), (10, 2), (15, None), (20, 2), (30, 2)]
    assert [one["cause"] for one in columns.gaps] == ["agent offline", "agent offline", "clock unset"]
    assert columns.gaps[1] == {
        "since": 10.0, "until": 20.0, "cause": "agent offline", "detail": "", "scope": "agent", "name": "a",
    }  # fmt: skip


def test_a_gap_before_the_first_reading_breaks_nothing():
    assert draw_line(NUMBERS, chart(10, 20), [gap(0, 9.0)]).at == [10, 20]


def test_a_state_holds_again_behind_a_gap():
    columns = draw_steps(DOOR, row(-50, 1.0), [row(80, 0.0)], 0.0, 100.0, [gap(20, 50.0), gap(60, 70.0), gap(90, 95.0)])
    assert columns.at == [0, 20, 20, 50, 60, 60, 70, 80, 90, 90, 95, 100]
    assert columns.mean == [1, 1, None, 1, 1, None, 1, 0, 0, None, 0, 0]


def test_a_step_ends_where_a_gap_begins():
    columns = draw_steps(DOOR, row(-50, 1.0), [row(10, 0.0), row(50, 1.0)], 0.0, 100.0, [gap(20, 50.0), gap(70, None)])
    assert columns.at == [0, 10, 20, 20, 50, 70, 70, 100]
    assert columns.mean == [1, 0, 0, None, 1, 1, None, None]
    assert draw_steps(DOOR, None, [], 0.0, 100.0, [gap(20, 50.0)]).at == []
    assert draw_steps(DOOR, None, [row(5, 1.0)], 0.0, 9.0, [gap(6, None, "clock unset")]).mean == [1, 1]
