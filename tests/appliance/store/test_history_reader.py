"""Rows, charts and last values come out, over what is moved and what is staged, whatever the clock did."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keeper import AT, TOPIC, Keeper, backlog, number, origin, said

from appliance.broker.message import Message
from appliance.clock import SYNCED, UNSYNCED
from appliance.store.database import StoreError
from appliance.store.history_reader import HistoryReader

ATTIC = "home/attic/temperature"


@pytest.fixture
def keeper(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db")
    yield keeper
    keeper.stop()


@pytest.fixture(params=["staged", "moved", "both"])
def settle(request):
    """Move all of what was written, nothing, or the first half of it."""

    def act(keeper):
        if request.param == "moved":
            keeper.move()
        elif request.param == "both":
            while keeper.step(keeper.cut() // 2):
                pass

    return act


def numbers(values, at=AT, topic=TOPIC):
    return [(topic, "number", at + n, float(n)) for n in values]


def test_rows_come_back_as_they_were(keeper, settle):
    keeper.write(
        number(21.4, properties=origin(7, at=AT, quality="ok", clock="synced")),
        number(-0.5, properties=origin(8, at=AT + 0.001, quality="suspect", clock="synced")),
        number(3.14159, properties=said(time="2026-09-21T14:13:20.002Z")),
        number("press", properties=said(time="2026-09-21T14:13:20.003Z")),
    )
    settle(keeper)
    first, second, third, last = sorted(keeper.reader.rows(TOPIC, AT - 1, AT + 1, 10), key=lambda row: row.seq or 99)
    assert (first.at, first.value, first.text, first.quality, first.clock) == (AT, 21.4, None, "ok", "synced")
    assert (first.agent, first.run, first.seq, first.received) == ("house", "r1", 7, AT)
    assert (second.at, second.value, second.quality, second.clock) == (AT + 0.001, -0.5, "suspect", "synced")
    assert (third.at, third.value, third.clock) == (AT + 0.002, 3.14159, None)
    assert (last.value, last.text, last.quality, last.agent, last.run, last.seq) == (None, "press", "ok", *[None] * 3)


def test_rows_are_the_newest_of_the_stretch_oldest_first(keeper, settle):
    keeper.record(numbers([3, 1, 4, 0, 5, 9, 2, 6, 8, 7]))
    settle(keeper)
    reader = keeper.reader
    ask = lambda since, until, limit: [row.value for row in reader.rows(TOPIC, since, until, limit)]  # noqa: E731
    assert ask(AT, AT + 9, 99) == list(range(10))
    assert ask(AT + 2, AT + 4, 99) == [2, 3, 4]  # both ends belong to it
    assert ask(AT, AT + 9, 3) == [7, 8, 9]
    assert ask(AT, AT + 9, 0) == ask(AT, AT + 9, -1) == []
    assert ask(AT + 9, AT, 99) == []
    assert ask(float("-inf"), float("inf"), 99) == list(range(10))
    assert reader.rows("home/elsewhere", AT, AT + 9, 99) == []


def test_a_chart_has_min_mean_and_max_of_equal_stretches(keeper, settle):
    keeper.record((TOPIC, "number", AT + second, second % 60) for second in range(0, 3600, 2))
    settle(keeper)
    chart = keeper.reader.chart(TOPIC, AT, AT + 3600, 60)
    assert chart.bucket_s == pytest.approx(60, abs=0.1)
    assert len(chart.buckets) == 60
    assert sum(bucket.count for bucket in chart.buckets) == 1800
    first = chart.buckets[0]
    assert (first.at, first.min, first.mean, first.max, first.count) == (AT, 0, pytest.approx(29, abs=1), 58, 31)
    assert chart.before is None


def test_a_chart_of_few_readings_gives_them_as_they_are(keeper, settle):
    keeper.record(
        [
            (TOPIC, "number", AT - 7, 20.5),
            (TOPIC, "number", AT + 1, 21.23456),
            (TOPIC, "number", AT + 3000, 22.5),
        ]
    )
    keeper.advance(2)
    keeper.write(number("offline?"))
    settle(keeper)
    chart = keeper.reader.chart(TOPIC, AT, AT + 3600, 500)
    assert [(bucket.at, bucket.mean, bucket.count) for bucket in chart.buckets] == [
        (AT + 1, 21.23456, 1),
        (AT + 3000, 22.5, 1),
    ]
    assert (chart.before.at, chart.before.value) == (AT - 7, 20.5)


NO_CHART = [(TOPIC, AT, AT - 1, 10), ("home/elsewhere", AT, AT + 9, 10), (TOPIC, AT + 5, AT + 9, 10)]


@pytest.mark.parametrize(("topic", "since", "until", "points"), NO_CHART)
def test_a_chart_of_nothing_is_empty(keeper, topic, since, until, points):
    keeper.write(number(1))
    assert keeper.reader.chart(topic, since, until, points).buckets == []


@settings(max_examples=30, deadline=None)
@given(
    offsets=st.lists(st.integers(0, 5_000), max_size=40),
    since=st.integers(0, 5_000),
    span=st.integers(0, 6_000),
    points=st.integers(-1, 50),
    moved=st.integers(0, 40),
)
def test_any_chart_holds_each_reading_of_its_stretch_once_in_at_most_its_points(
    tmp_path_factory, offsets, since, span, points, moved
):
    keeper = Keeper(tmp_path_factory.mktemp("chart") / "appliance.db")
    keeper.record((TOPIC, "number", AT + offset / 1000, offset) for offset in offsets)
    keeper.step(moved)
    chart = keeper.reader.chart(TOPIC, AT + since / 1000, AT + (since + span) / 1000, points)
    keeper.stop()
    inside = sorted(offset for offset in offsets if since <= offset <= since + span)
    assert len(chart.buckets) <= max(1, points)
    assert sum(bucket.count for bucket in chart.buckets) == len(inside)
    assert sum(bucket.mean * bucket.count for bucket in chart.buckets) == pytest.approx(sum(inside))
    if inside:
        assert min(bucket.min for bucket in chart.buckets) == inside[0]
        assert max(bucket.max for bucket in chart.buckets) == inside[-1]
    assert [bucket.at for bucket in chart.buckets] == sorted({bucket.at for bucket in chart.buckets})


def clocks(keeper):
    """A life with a set clock, a boot whose clock is set late, and a step back of an hour."""
    keeper.write(number(0), number(0, ATTIC))
    keeper.restart(boot="boot 2", at=5.0, quality=UNSYNCED)
    keeper.write(number(1))
    keeper.advance(60)
    keeper.write(number(2))
    keeper.at, keeper.quality = AT + 7_200, SYNCED
    keeper.write(number(3))
    keeper.advance(1_800)
    keeper.at -= 3_600
    keeper.write(number(4))
    keeper.write(backlog((AT + 3_600, 1, 1.5)))
    return [(0, AT), (1.5, AT + 3_600), (1, AT + 7_140), (2, AT + 7_200), (3, AT + 7_200), (4, AT + 5_400)]


def test_whatever_the_clock_did_a_time_finds_its_rows(keeper, settle):
    truth = clocks(keeper)
    settle(keeper)
    for since, until in [(0, 1e11), (AT, AT + 5_000), (AT + 5_000, AT + 6_000), (AT + 7_100, AT + 7_150)]:
        expected = sorted(value for value, at in truth if since <= at <= until)
        rows = keeper.reader.rows(TOPIC, since, until)
        assert sorted(row.value for row in rows) == expected
        assert sum(bucket.count for bucket in keeper.reader.chart(TOPIC, since, until, 7).buckets) == len(expected)
    at = {row.value: row.at for row in keeper.reader.rows(TOPIC, 0, 1e11)}
    assert [at[value] for value, _ in truth] == pytest.approx([at for _, at in truth], abs=0.01)
    chart = keeper.reader.chart(TOPIC, AT, AT + 9_000, 10)
    assert [bucket.at for bucket in chart.buckets] == sorted(bucket.at for bucket in chart.buckets)


def test_the_last_of_every_topic(keeper, settle):
    clocks(keeper)
    settle(keeper)
    assert {topic: row.value for topic, row in keeper.reader.latest().items()} == {TOPIC: 4, ATTIC: 0}
    assert [series.last_at for series in keeper.reader.topics()] == pytest.approx([AT, AT + 5_400], abs=0.01)


def test_the_clock_of_a_row_says_what_its_time_rests_on(keeper):
    keeper.write(number(0, properties=origin(0, clock="synced")), number(1, properties=origin(1, clock="unsynced")))
    keeper.restart(boot="boot 2", at=5.0, quality=UNSYNCED)
    keeper.write(number(2), number(3, properties=origin(3, clock="synced")))
    assert [row.clock for row in keeper.reader.rows(TOPIC, 0, 1e11)] == ["synced", "unsynced", "unsynced", "unsynced"]
    keeper.at, keeper.quality = AT + 100, SYNCED
    keeper.look()
    assert [row.clock for row in keeper.reader.rows(TOPIC, 0, 1e11)] == ["synced", "unsynced", "redated", "redated"]


def test_questions_read_neighbours_and_never_scan_the_readings(keeper):
    asked = []
    clocks(keeper)
    keeper.move()
    question = HistoryReader(keeper.path)._question()
    with question as ask:
        ask._ask = lambda statement, values=(): asked.append((statement, values)) or real(statement, values)
        real = keeper.database.connection.execute
        ask.newest(1, ask.spans(0, 10**13), 9)
        ask.raw_buckets(1, int(AT * 1000), int(AT * 1000) + 9_000_000, 3_000_000)
        ask.last_rows([1, 2])
    plans = [
        row[3]
        for statement, values in asked
        for row in keeper.ask(f"EXPLAIN QUERY PLAN {statement}", values)
        if "FROM readings" in statement
    ]
    assert any(
        step.startswith("SEARCH readings USING PRIMARY KEY (series_id=? AND tick>? AND tick<?)") for step in plans
    )
    assert not [step for step in plans if step.startswith(("SCAN readings", "USE TEMP B-TREE FOR ORDER"))]


def test_a_damaged_row_is_never_given(keeper):
    keeper.record(numbers(range(10)))
    keeper.write(number("press"))
    keeper.move()
    keeper.ask("UPDATE readings SET value = 99000 WHERE value = 5000")
    keeper.ask("UPDATE readings SET value = 'dress' WHERE value = 'press'")
    assert [row.value for row in keeper.reader.rows(TOPIC, 0, 1e11)] == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert max(bucket.max for bucket in keeper.reader.chart(TOPIC, AT, AT + 9, 3).buckets) == 9
    keeper.ask("UPDATE readings SET tick = tick + 1 WHERE value = 9000")
    assert keeper.reader.latest()[TOPIC].value == 8


def test_a_question_that_takes_too_long_is_ended_with_the_cure(keeper):
    keeper.record(numbers(range(20_000)))
    keeper.move()
    reader = HistoryReader(keeper.path, timeout_s=-1)
    with pytest.raises(StoreError, match="took too long: ask for a shorter time"):
        reader.chart(TOPIC, AT, AT + 20_000, 2)


def test_reading_while_a_transaction_is_open_sees_the_state_before_it(keeper):
    keeper.write(number(1))
    keeper.ask("BEGIN IMMEDIATE")
    keeper.ask("DELETE FROM journal")
    assert keeper.values() == [1]
    keeper.ask("COMMIT")
    assert keeper.values() == []


def test_a_row_of_no_series_is_none(keeper):
    keeper.write(Message("home/kitchen/relay", b"", retain=True), number(1))
    keeper.ask("INSERT INTO journal (kind, topic) VALUES (1, ?)", (TOPIC,))
    assert keeper.values() == [1]
    assert list(keeper.reader.latest()) == [TOPIC]


def test_no_history_yet(tmp_path):
    with pytest.raises(StoreError, match="cannot be opened"):
        HistoryReader(tmp_path / "appliance.db").topics()


@pytest.mark.parametrize("damage", ["value = value + 1", "tick = tick + 16", "stretch_id = 7", "checksum = NULL"])
def test_a_damaged_row_that_is_staged_is_never_given(keeper, damage):
    keeper.write(number(1), number(2), number(3))
    keeper.ask("PRAGMA foreign_keys = OFF")
    keeper.ask(f"UPDATE journal SET {damage} WHERE id = 3")
    assert keeper.values() == [1, 2]
    assert keeper.reader.latest()[TOPIC].value == 2
    assert sum(bucket.count for bucket in keeper.reader.chart(TOPIC, AT - 9, AT + 9, 3).buckets) == 2


def test_a_damaged_row_of_another_number_makes_room_for_the_one_before(keeper):
    keeper.write(number(1.23456), number(2.34567))
    keeper.move()
    keeper.ask("UPDATE readings SET value = 2.34568 WHERE value = 2.34567")
    assert keeper.reader.latest()[TOPIC].value == 1.23456
    assert [row.value for row in keeper.reader.rows(TOPIC, 0, 1e11, 1)] == [1.23456]


def test_a_day_of_several_stretches_with_its_end_staged(keeper):
    keeper.write(*(number(n, properties=origin(n, quality="ok")) for n in range(80)))
    keeper.write(*(number(n, properties=origin(n, quality="suspect")) for n in range(80, 160)))
    keeper.move()
    keeper.write(*(number(n, properties=origin(n)) for n in range(160, 170)))
    rows = keeper.reader.rows(TOPIC, AT - 9, AT + 9)
    assert [row.value for row in rows] == [row.seq for row in rows] == list(range(170))
    assert [row.quality for row in rows] == ["ok"] * 80 + ["suspect"] * 80 + ["ok"] * 10
    assert all(row.received == row.at for row in rows)
    assert keeper.reader.rows(TOPIC, AT - 9, AT + 9, 165) == rows[-165:]
    assert keeper.reader.rows(TOPIC, AT - 9, AT + 9, 170) == rows
