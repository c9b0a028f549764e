"""Readings in, once each; rows, charts and latest values out."""

import random
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.devices import Device, Measurement
from appliance.store.database import Database, StoreError
from appliance.store.history import MAX_CACHED_RUNS, History, HistoryReader, Tally
from appliance.store.readings import Measured, Origin, Value

TOPIC = "home/kitchen/temperature"
AT = 1_790_000_000.0


@pytest.fixture
def database(tmp_path):
    database = Database.open(tmp_path / "appliance.db")
    yield database
    database.close()


@pytest.fixture
def reader(database):
    return HistoryReader(database.path)


def number(at, value, topic=TOPIC, origin=None, **said):
    return Measured(at, [Value(topic, "number", value)], origin=origin, **said)


def write(database, *measured, max_series=100):
    with database.transaction():
        return History(database.connection, max_series=max_series).append(measured)


def test_rows_come_back_as_they_were(database, reader):
    write(
        database,
        number(AT, 21.4, origin=Origin("house", "r1", 7), quality="ok", clock="synced"),
        number(AT + 0.001, -0.5, origin=Origin("house", "r1", 8), quality="suspect", clock="unsynced"),
        Measured(AT + 0.002, [Value(TOPIC, "text", None, "press")]),
    )
    first, second, third = reader.rows(TOPIC, AT, AT + 1, 10)
    assert (first.at, first.value, first.text, first.quality, first.clock) == (AT, 21.4, None, "ok", "synced")
    assert (first.agent, first.run, first.seq) == ("house", "r1", 7)
    assert (second.at, second.value, second.quality, second.clock) == (AT + 0.001, -0.5, "suspect", "unsynced")
    assert (third.value, third.text, third.quality, third.clock) == (None, "press", "ok", None)
    assert (third.agent, third.run, third.seq) == (None, None, None)


def test_rows_are_the_newest_of_the_stretch_oldest_first(database, reader):
    write(database, *(number(AT + n, n) for n in random.sample(range(10), 10)))
    ask = lambda since, until, limit: [row.value for row in reader.rows(TOPIC, since, until, limit)]  # noqa: E731
    assert ask(AT, AT + 9, 99) == list(range(10))
    assert ask(AT + 2, AT + 4, 99) == [2, 3, 4]  # both ends belong to it
    assert ask(AT, AT + 9, 3) == [7, 8, 9]
    assert ask(AT, AT + 9, 0) == ask(AT, AT + 9, -1) == []
    assert ask(AT + 9, AT, 99) == []
    assert ask(float("-inf"), float("inf"), 99) == list(range(10))
    assert reader.rows("home/elsewhere", AT, AT + 9, 99) == []


def test_readings_of_one_millisecond_all_stay_and_keep_their_order(database, reader):
    write(database, *(number(AT, n) for n in range(5)))
    write(database, number(AT, 5))
    assert [row.value for row in reader.rows(TOPIC, AT, AT, 99)] == [0, 1, 2, 3, 4, 5]


def test_the_same_origin_twice_is_the_same_reading_twice(database, reader):
    live = [number(AT + seq, seq, origin=Origin("house", "r1", seq)) for seq in (1, 2, 5, 6)]
    assert write(database, *live) == Tally(rows=4)
    backlog = [number(AT + seq, seq, origin=Origin("house", "r1", seq)) for seq in range(8)]
    assert write(database, *backlog) == Tally(rows=4, duplicates=4)  # a new History: as after a restart
    assert write(database, *live, *backlog) == Tally(duplicates=12)
    assert [row.value for row in reader.rows(TOPIC, AT, AT + 9, 99)] == list(range(8))
    assert database.connection.execute("SELECT first_seq, last_seq FROM received").fetchall() == [(0, 7)]


def test_another_run_or_agent_is_another_reading(database):
    origins = [Origin("house", "r1", 1), Origin("house", "r2", 1), Origin("shed", "r1", 1)]
    assert write(database, *(number(AT, 1, origin=origin) for origin in origins)).rows == 3


def test_all_values_of_one_message_share_its_origin(database):
    values = [Value(f"node/{n}", "number", n) for n in range(3)]
    origin = Origin("house", "r1", 1)
    assert write(database, Measured(AT, values, origin=origin), Measured(AT, values, origin=origin)) == Tally(3, 3)


def test_more_runs_than_are_kept_in_memory(database):
    measured = [number(AT, 1, origin=Origin("house", str(n), 1)) for n in range(MAX_CACHED_RUNS + 2)]
    assert write(database, *measured, *measured).duplicates == len(measured)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["r1", "r2"]), st.integers(0, 12) | st.just(2**62)), max_size=60))
def test_received_is_a_set_of_numbers_in_the_fewest_ranges(seqs):
    connection = sqlite3.connect(":memory:", isolation_level=None)
    from appliance.store.schema import HISTORY

    for statement in HISTORY:
        connection.execute(statement)
    history = History(connection, max_series=9)
    seen = set()
    for run, seq in seqs:
        tally = history.append([number(AT, 1, origin=Origin("house", run, seq))])
        assert tally.rows == ((run, seq) not in seen)
        seen.add((run, seq))
    held = set()
    ranges = 0
    for run, first, last in connection.execute(
        "SELECT run, first_seq, last_seq FROM received JOIN runs ON runs.id = run_id"
    ):
        held.update((run, seq) for seq in range(first, last + 1))
        ranges += 1
    assert held == seen
    assert ranges == sum((run, seq - 1) not in seen for run, seq in seen)
    connection.close()


def test_series_are_capped_and_the_cap_holds_after_a_restart(database, reader):
    four = [number(AT, n, topic=f"home/room{n}/temperature") for n in range(4)]
    assert write(database, *four, max_series=3) == Tally(rows=3, refused=1)
    assert write(database, *four, max_series=3) == Tally(rows=3, refused=1)
    assert len(reader.topics()) == 3


KINDS = [
    (["number"], "number"),
    (["binary", "binary"], "binary"),
    (["binary", "number", "binary"], "number"),  # ON, then 0.5
    (["text", "binary"], "binary"),
    (["number", "text"], "number"),
]


@pytest.mark.parametrize(("kinds", "expected"), KINDS)
def test_a_series_is_as_wide_as_its_readings(database, reader, kinds, expected):
    write(database, *(Measured(AT, [Value(TOPIC, kind, 1.0)]) for kind in kinds))
    (series,) = reader.topics()
    assert series.kind == expected


DEVICE = Device(
    agent="house",
    site="home",
    sensors=(
        Measurement(topic=TOPIC, kind="temperature", unit="°C", name="Küche"),
        Measurement(topic="home/hall/door", kind="door", role="binary_sensor"),
        Measurement(topic="home/hall/doorbell", kind="doorbell", role="event"),
        Measurement(topic="home/\nnot printable", kind="temperature"),
        Measurement(topic="x" * 600, kind="temperature"),
    ),
)


def learn(database, device, max_series=100):
    with database.transaction():
        return History(database.connection, max_series=max_series).learn(device)


def test_names_and_units_are_learnt_before_and_after_readings(database, reader):
    write(database, number(AT, 21.4))
    assert learn(database, DEVICE) == Tally()
    found = {series.topic: series for series in reader.topics()}
    assert sorted(found) == ["home/hall/door", "home/hall/doorbell", TOPIC]
    kitchen = found[TOPIC]
    assert (kitchen.unit, kitchen.name, kitchen.quantity, kitchen.agent) == ("°C", "Küche", "temperature", "house")
    assert (kitchen.kind, kitchen.last_at) == ("number", AT)
    assert [found[f"home/hall/{thing}"].kind for thing in ("door", "doorbell")] == ["binary", "text"]
    assert found["home/hall/door"].last_at is None


def test_learning_the_same_again_writes_nothing(database):
    learn(database, DEVICE)
    before = database.connection.total_changes
    learn(database, DEVICE)
    assert database.connection.total_changes == before


def test_learning_is_capped_too(database):
    assert learn(database, DEVICE, max_series=1) == Tally(refused=2)


def test_latest(database, reader):
    assert reader.latest() == {}
    write(database, number(AT, 1), number(AT - 60, 2), number(AT, 3, topic="home/attic/temperature"))
    assert {topic: row.value for topic, row in reader.latest().items()} == {"home/attic/temperature": 3, TOPIC: 1}


def test_a_chart_has_min_mean_and_max_of_equal_stretches(database, reader):
    write(database, *(number(AT + second, second % 60) for second in range(0, 3600, 2)))
    chart = reader.chart(TOPIC, AT, AT + 3600, 60)
    assert chart.bucket_s == pytest.approx(60, abs=0.1)
    assert len(chart.buckets) == 60
    assert sum(bucket.count for bucket in chart.buckets) == 1800
    first = chart.buckets[0]
    assert (first.at, first.min, first.mean, first.max, first.count) == (AT, 0, pytest.approx(29, abs=1), 58, 31)
    assert chart.before is None


def test_a_chart_of_few_readings_gives_them_as_they_are(database, reader):
    write(
        database,
        number(AT - 7, 20.5),
        number(AT + 1, 21.5),
        Measured(AT + 2, [Value(TOPIC, "text", None, "offline?")]),
        number(AT + 3000, 22.5),
    )
    chart = reader.chart(TOPIC, AT, AT + 3600, 500)
    assert [(bucket.at, bucket.mean, bucket.count) for bucket in chart.buckets] == [
        (AT + 1, 21.5, 1),
        (AT + 3000, 22.5, 1),
    ]
    assert (chart.before.at, chart.before.value) == (AT - 7, 20.5)


NO_CHART = [(TOPIC, AT, AT - 1, 10), ("home/elsewhere", AT, AT + 9, 10), (TOPIC, AT + 5, AT + 9, 10)]


@pytest.mark.parametrize(("topic", "since", "until", "points"), NO_CHART)
def test_a_chart_of_nothing_is_empty(database, reader, topic, since, until, points):
    write(database, number(AT, 1))
    assert reader.chart(topic, since, until, points).buckets == []


@settings(max_examples=40, deadline=None)
@given(
    offsets=st.lists(st.integers(0, 5_000), max_size=40),
    since=st.integers(0, 5_000),
    span=st.integers(0, 6_000),
    points=st.integers(-1, 50),
)
def test_any_chart_holds_each_reading_of_its_stretch_once_in_at_most_its_points(
    tmp_path_factory, offsets, since, span, points
):
    database = Database.open(tmp_path_factory.mktemp("chart") / "appliance.db")
    write(database, *(number(AT + offset / 1000, offset) for offset in offsets))
    chart = HistoryReader(database.path).chart(TOPIC, AT + since / 1000, AT + (since + span) / 1000, points)
    database.close()
    inside = sorted(offset for offset in offsets if since <= offset <= since + span)
    assert len(chart.buckets) <= max(1, points)
    assert sum(bucket.count for bucket in chart.buckets) == len(inside)
    assert sum(bucket.mean * bucket.count for bucket in chart.buckets) == pytest.approx(sum(inside))
    if inside:
        assert min(bucket.min for bucket in chart.buckets) == inside[0]
        assert max(bucket.max for bucket in chart.buckets) == inside[-1]
    assert [bucket.at for bucket in chart.buckets] == sorted({bucket.at for bucket in chart.buckets})


def test_rows_and_charts_read_neighbours_and_never_sort(database):
    asked = []
    write(database, number(AT, 1))
    for statement in (
        "SELECT at_ms FROM history WHERE topic = ? AND at_ms BETWEEN 1 AND 2 ORDER BY at_ms DESC, nth DESC LIMIT 9",
    ):
        asked += [row[3] for row in database.connection.execute(f"EXPLAIN QUERY PLAN {statement}", (TOPIC,))]
    assert not [step for step in asked if "TEMP B-TREE" in step or step.startswith("SCAN")]


def test_a_question_that_takes_too_long_is_ended_with_the_cure(database):
    write(database, *(number(AT + n, n) for n in range(20_000)))
    reader = HistoryReader(database.path, timeout_s=-1)
    with pytest.raises(StoreError, match="took too long: ask for a shorter time"):
        reader.chart(TOPIC, AT, AT + 20_000, 2)


def test_reading_while_a_transaction_is_open_sees_the_state_before_it(database, reader):
    write(database, number(AT, 1))
    with database.transaction():
        History(database.connection, max_series=9).append([number(AT + 1, 2)])
        assert [row.value for row in reader.rows(TOPIC, AT, AT + 9, 9)] == [1]
    assert [row.value for row in reader.rows(TOPIC, AT, AT + 9, 9)] == [1, 2]


def test_no_history_yet(tmp_path):
    with pytest.raises(StoreError, match="cannot be opened"):
        HistoryReader(tmp_path / "appliance.db").topics()
