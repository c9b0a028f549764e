"""What was retained at a moment of the past."""

import json
import random
import sqlite3
from contextlib import closing

import pytest
from keeper import AT, TOPIC, Keeper, backlog, number, origin, retained

from appliance.clock import UNSYNCED
from appliance.devices import Device, Measurement
from appliance.store.asking import asking
from appliance.store.database import STEP_NAMES, StoreError, create
from appliance.store.reading_rows import LATE_CHECK, prepare
from appliance.store.retaining import lose
from appliance.store.travel import Held, Holdings, Past, held_at, published

DEVICE = Device(
    agent="house",
    site="home",
    sensors=(
        Measurement(topic="home/hall/door", kind="door", role="binary_sensor"),
        Measurement(topic="home/hall/bell", kind="bell", role="event"),
    ),
)
SOON_S = 0.1  # each start within one boot may put the ticks a millisecond ahead
DOOR, BELL, LAMP = "home/hall/door", "home/hall/bell", "z/lamp"


@pytest.fixture
def keeper(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db")
    yield keeper
    keeper.stop()


def held(keeper, at=None, *filters):
    return held_at(keeper.path, filters or ("#",), keeper.at + SOON_S if at is None else at)


def shown(keeper, at=None):
    """Topics and payloads, all of which are known to have been retained."""
    found = held(keeper, at)
    assert all(one.sure for one in found.values)
    return {one.topic: one.payload for one in found.values}


def test_the_state_of_a_moment(keeper):
    keeper.write(retained("20.5"), retained("ON", DOOR), number("press", BELL))
    keeper.advance(60)
    keeper.move()
    keeper.write(retained("21"), retained("OFF", DOOR), retained("idle", "home/mower/state"))
    before = [Held(DOOR, "ON", AT, sure=True), Held(TOPIC, "20.5", AT, sure=True)]
    now = [
        Held(DOOR, "OFF", AT + 60, sure=True),
        Held(TOPIC, "21", AT + 60, sure=True),
        Held("home/mower/state", "idle", AT + 60, sure=True),
    ]
    assert held(keeper, AT - 1) == Holdings([], [], [])
    assert held(keeper, AT + 59, "home/#").values == before
    assert held(keeper, AT + 60).values == now
    assert held(keeper, AT + 60, "home/+/door").values == now[:1]
    assert held(keeper, AT + 60, TOPIC, "home/hall/#", "home/+/door").values == now[:2]
    assert held(keeper, AT + 60, "none/#").values == []


@pytest.mark.parametrize("moves", [False, True])
@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("apart_s", [0.0, 60.0])
def test_each_change_is_seen_at_its_time(keeper, moves, restarts, apart_s):
    messages = [
        (number("1"), {}),
        (retained("2"), {TOPIC: "2"}),
        (number("3"), {TOPIC: "2"}),
        (number("4"), {TOPIC: "2"}),
        (retained("5"), {TOPIC: "5"}),
        (retained("6"), {TOPIC: "6"}),
        (retained(""), {}),
        (number("7"), {}),
        (retained(""), {}),
        (retained("8"), {TOPIC: "8"}),
        (retained(""), {}),
        (retained("8"), {TOPIC: "8"}),
        (number(""), {TOPIC: "8"}),  # without retain it deletes nothing
    ]
    expected = []
    for message, state in messages:
        keeper.write(message)
        expected.append((keeper.at + SOON_S, state))
        if moves:
            keeper.move()
        if restarts:
            keeper.restart(off_s=0.5)
        keeper.advance(apart_s)
    if apart_s:
        assert [(at, shown(keeper, at)) for at, _ in expected] == expected
    assert shown(keeper) == {TOPIC: "8"}


def test_a_burst_in_one_turn_keeps_its_order(keeper):
    keeper.write(*[retained(payload) for payload in ("1", "", "2", "", "3")], number("4"))
    assert shown(keeper) == {TOPIC: "3"}
    keeper.write(retained("5"), number("6"), retained(""))
    assert shown(keeper) == {}
    keeper.write(retained("7", properties=origin(1, at=AT - 100)), retained(""))
    assert shown(keeper) == {}
    keeper.write(retained(""), retained("8", properties=origin(2, at=AT - 100)))
    assert shown(keeper) == {TOPIC: "8"}


def test_what_counts_is_when_a_message_arrived(keeper):
    keeper.write(retained("1", properties=origin(1, at=AT)))
    keeper.advance(100)
    keeper.write(retained("2", properties=origin(2, at=AT + 10)))  # 90 s on its way
    keeper.advance(1)
    keeper.write(retained("3", properties=origin(3, at=AT + 5)))  # overtaken
    keeper.advance(1)
    keeper.write(retained("4", properties=origin(4, at=AT + 150)))  # a clock that goes fast
    for move in (lambda: None, keeper.move):
        move()
        told = [shown(keeper, AT + after_s)[TOPIC] for after_s in (0, 11, 99.999, 100, 101, 101.999, 102, 150)]
        assert told == ["1", "1", "1", "2", "3", "3", "4", "4"]


def test_a_backlog_never_was_a_retained_value(keeper):
    keeper.write(retained("1", properties=origin(1, at=AT)))
    keeper.advance(600)
    keeper.write(backlog((AT + 100, 2, 2), (AT + 200, 3, 3), (AT + 599, 4, 4)))
    keeper.write(backlog((AT + 300, 5, "OFF", {"topic": DOOR})))
    for move in (lambda: None, keeper.move):
        move()
        assert shown(keeper, AT + 250) == {TOPIC: "1"}
        assert shown(keeper) == {TOPIC: "1"}
    keeper.write(retained("", "home/devices/house/backlog"), number("5"), retained(""))
    assert shown(keeper) == {}


def test_what_never_was_retained_is_not_shown(keeper):
    keeper.learn(DEVICE)
    keeper.write(number("21"), number("press", BELL), number('{"temperature": 3}', LAMP))
    assert held(keeper) == Holdings([], [], [])
    assert keeper.ask("SELECT count(*) FROM retaining").fetchone() == (0,)
    keeper.write(retained("press", BELL))  # its publisher's choice
    assert shown(keeper) == {BELL: "press"}


def test_a_message_of_several_values_is_shown_as_these(keeper):
    keeper.write(retained('{"state": "ON", "level": 10.0, "deep": {"x": true}}', LAMP))
    keeper.write(retained("9", f"{LAMP}/own"))
    own = {f"{LAMP}/own": "9"}
    first = {f"{LAMP}/state": "ON", f"{LAMP}/level": "10", f"{LAMP}/deep/x": "ON"}
    assert shown(keeper) == first | own
    keeper.write(number('{"state": "OFF"}', LAMP))
    assert shown(keeper) == first | own
    keeper.write(retained('{"state": "OFF"}', LAMP))  # in place of the whole message
    assert shown(keeper) == {f"{LAMP}/state": "OFF"} | own
    keeper.restart(off_s=0.5)
    keeper.write(retained("5", LAMP))
    assert shown(keeper) == {LAMP: "5"} | own
    keeper.write(retained('{"state": "ON"}', LAMP))
    assert shown(keeper) == {f"{LAMP}/state": "ON"} | own
    keeper.write(retained("", LAMP))
    assert shown(keeper) == own
    keeper.write(retained('{"own": 1}', LAMP))
    keeper.write(retained("", LAMP))
    assert shown(keeper) == {}


def test_a_message_that_is_no_reading_is_told(keeper):
    keeper.write(retained("21"))
    keeper.advance(1)
    keeper.write(retained("unavailable"))
    keeper.write(retained("unavailable"), retained(b"\xff".decode("latin-1"), "home/never/a"))
    keeper.advance(1)
    keeper.write(retained("22"))
    assert shown(keeper, AT) == {TOPIC: "21"}
    assert held(keeper, AT + 1.1) == Holdings([Held("home/never/a", "ÿ", AT + 1, sure=True)], [], [TOPIC])
    assert shown(keeper)[TOPIC] == "22"
    assert keeper.ask("SELECT count(*) FROM retaining").fetchone() == (4,)


def test_a_message_expires(keeper):
    until = lambda seconds: {"expires_at": keeper.now + seconds}  # noqa: E731
    keeper.write(retained("1", **until(100)))
    keeper.advance(60)
    keeper.write(retained("2", **until(100)), number("3", **until(5)))
    keeper.move()
    assert keeper.ask("SELECT count(*) FROM retaining WHERE state = 1").fetchone() == (1,)  # they last as long
    keeper.restart(off_s=0.5)
    assert shown(keeper, AT + 59) == {TOPIC: "1"}
    assert shown(keeper, AT + 159) == {TOPIC: "2"}
    assert shown(keeper, AT + 161) == {}
    keeper.advance(200)
    keeper.write(retained("4"))
    keeper.advance(9999)
    assert shown(keeper) == {TOPIC: "4"}
    keeper.write(retained("5", **until(10)))
    assert shown(keeper) == {TOPIC: "5"}
    assert shown(keeper, keeper.at + 11) == {}


def test_time_without_power_expires_nothing_while_the_clock_is_not_set(keeper):
    keeper.write(retained("1", expires_at=keeper.now + 100))
    keeper.restart(boot="boot 2", off_s=3600, quality=UNSYNCED)
    keeper.write(retained("2", DOOR))
    assert shown(keeper) == {TOPIC: "1", DOOR: "2"}
    keeper.advance(101)
    assert shown(keeper) == {DOOR: "2"}


def test_readings_are_redated_with_what_is_noted_of_them(tmp_path):
    keeper = Keeper(tmp_path / "late.db", at=AT - 10**8, quality=UNSYNCED)
    keeper.write(retained("1"))
    keeper.advance(60)
    keeper.write(retained(""))
    keeper.advance(60)
    keeper.at, keeper.quality = AT, "synced"
    keeper.look()
    keeper.write(retained("2"))
    assert [shown(keeper, AT + after_s) for after_s in (-121, -119, -59, 0)] == [{}, {TOPIC: "1"}, {}, {TOPIC: "2"}]
    keeper.stop()


def test_a_clock_that_was_put_back_shows_what_came_last(keeper):
    keeper.write(retained("1"))
    keeper.advance(3_600)
    keeper.write(retained("2"))
    keeper.at -= 1_800  # it had gone fast
    keeper.look()
    keeper.advance(60)
    keeper.write(retained("3"))
    assert shown(keeper) == {TOPIC: "3"}
    assert shown(keeper, AT + 1_830) == {TOPIC: "2"}  # the clock shows that time for the second time
    assert shown(keeper, AT + 1_000) == {TOPIC: "1"}


def test_nothing_is_scanned(keeper):
    keeper.write(*(retained(str(n)) for n in range(9)), number("1"))
    keeper.move()
    asked = []
    with asking(keeper.path) as connection:
        connection.set_trace_callback(asked.append)
        past = Past(connection, round((AT + 1) * 16_000))
        past.add(Holdings([], [], []), 1, TOPIC, "number", is_ours=False)
        connection.set_trace_callback(None)
        plans = [
            row[3] for one in asked if one.strip()[0] == "S" for row in connection.execute(f"EXPLAIN QUERY PLAN {one}")
        ]
    assert [step for step in plans if step.startswith("SEARCH readings USING PRIMARY KEY (series_id=? AND tick>? AND")]
    assert [step for step in plans if step.startswith("SEARCH retaining USING PRIMARY KEY (series_id=? AND tick<?)")]
    assert not [step for step in plans if step.startswith(("SCAN readings", "SCAN retaining", "SCAN stretches"))]


@pytest.mark.parametrize(
    "payloads",
    [
        ("21.50", "21.55", "21.00"),
        ("21.0", "21.5", "-3.25"),
        ("21", "21.5", "1013.25"),
        ("online", "offline"),
        ("true", "false"),
        ("Off", "On"),
        ("0.30000000000000004", "1e-07"),
        ("ON", "7", "OFF", "7.10", "idle"),
    ],
)
def test_values_in_the_bytes_that_they_came_in(keeper, payloads):
    for payload in payloads:
        keeper.write(retained(payload))
        assert shown(keeper) == {TOPIC: payload}
    keeper.move()
    assert shown(keeper) == {TOPIC: payloads[-1]}


def test_readings_that_are_gone_are_told(keeper):
    keeper.write(retained("1"), number("2", DOOR))
    keeper.move()
    keeper.ask("DELETE FROM readings")
    assert held(keeper) == Holdings([], [TOPIC], [])


def test_after_damage_nothing_is_sure(keeper):
    keeper.write(retained("1"), number("2"), retained("3", DOOR))
    keeper.move()
    keeper.ask("UPDATE readings SET value = value + 1 WHERE value = 3000")
    assert held(keeper).lost == [DOOR]
    keeper.ask("UPDATE retaining SET spelling = 4 WHERE state = 2")
    assert held(keeper).values == [Held(TOPIC, "2", AT, sure=False)]
    keeper.ask("DELETE FROM retaining WHERE state = 2 OR series_id = 2")
    with keeper.database.transaction():
        lose(keeper.database.connection)
    assert held(keeper).values == [Held(TOPIC, "2", AT, sure=False)]
    assert held(keeper).lost == []
    keeper.restart(off_s=0.5)
    keeper.write(retained("4"), retained("5", DOOR))
    # The first goes on as it was, as far as is known.
    assert [(one.payload, one.sure) for one in held(keeper).values] == [("5", True), ("4", False)]


@pytest.mark.parametrize("table", ["journal", "readings"])
def test_a_reading_of_before_does_not_stand_for_one_that_is_gone(keeper, table):
    keeper.write(number("1"))
    keeper.advance(1)
    keeper.write(retained("2"))
    if table == "readings":
        keeper.move()
    keeper.ask(f"UPDATE {table} SET value = value + 1 WHERE value = 2000")
    assert held(keeper) == Holdings([], [TOPIC], [])


def test_of_an_older_history_the_last_reading_counts(tmp_path):
    path = tmp_path / "appliance.db"
    create(path, STEP_NAMES - {"0006_retaining"}).close()
    with pytest.raises(StoreError, match="start the service once"):
        held_at(path, ["#"], AT)
    with closing(sqlite3.connect(path)) as connection, connection:
        prepare(connection)
        series = [(1, TOPIC, "number"), (2, DOOR, "binary"), (3, "home/remote/action", "text")]
        connection.executemany("INSERT INTO series (id, topic, kind) VALUES (?, ?, ?)", series)
        connection.execute("INSERT INTO stretches (id, epoch_id, template) VALUES (1, 1, NULL)")
        rows = [(1, 1500, 0), (2, 1000, 0), (3, "single", 0), (1, 9000, 400_000)]  # the last came in a backlog
        for place, (series_id, value, late_ms) in enumerate(rows):
            connection.execute(
                "INSERT INTO readings SELECT series_id, tick, value, NULL, late_check, stretch_id FROM"
                f" (SELECT *, {LATE_CHECK} AS late_check FROM (SELECT ? AS series_id, ? AS tick, ? AS value,"
                " NULL AS seq, ? AS late_ms, 1 AS stretch_id))",
                (series_id, round((AT - 9) * 16_000) + place, value, late_ms),
            )
    keeper = Keeper(path)
    keeper.learn(DEVICE)
    keeper.write(number("press", BELL))
    assert keeper.ask("SELECT count(*), sum(state) FROM retaining").fetchone() == (3, 0)
    unsure = [Held(DOOR, "ON", AT - 9, sure=False), Held(TOPIC, "1.5", AT - 9, sure=False)]
    assert held(keeper) == Holdings(unsure, [], [])  # and no event
    keeper.advance(10)
    keeper.write(number("2"))
    assert held(keeper).values == unsure  # this one is known not to have been retained
    keeper.restart(off_s=0.5)
    keeper.advance(10)
    keeper.write(retained("3"), retained("", DOOR))
    (now,) = held(keeper).values
    assert (now.payload, now.sure) == ("3", True)
    assert held(keeper, AT + 19).values == unsure
    keeper.stop()


@pytest.mark.parametrize("seed", range(8))
def test_it_is_what_a_broker_held_at_each_moment(tmp_path, seed):
    """Against a dict, as the broker keeps one, through moves and restarts."""
    dice = random.Random(seed)
    keeper = Keeper(tmp_path / "appliance.db")
    broker = {}  # topic -> what it holds, and until when
    moments = []
    topics = [TOPIC, DOOR, LAMP, f"{LAMP}/own"]
    seq = 0
    for _ in range(120):
        messages = []
        apart_s = dice.choice((0.0, 0.0, 0.01))
        first_at = keeper.at
        for place in range(dice.choice((1, 1, 2, 4))):
            topic = dice.choice(topics)
            payload = dice.choice(["", "ON", "unavailable", *(f"{dice.uniform(0, 99):.2f}" for _ in range(6))])
            if topic == LAMP and dice.random() < 0.7:
                payload = json.dumps({key: dice.randrange(99) for key in dice.sample("abc", dice.randrange(1, 4))})
            is_retained = dice.random() < 0.5
            properties, expires_at, ends = b"", None, float("inf")
            if dice.random() < 0.3:
                seq += 1
                arrives = first_at + (place + 1) * apart_s
                measured = arrives - dice.uniform(-50, 250) if apart_s else arrives
                properties = origin(seq, at=round(measured, 3), clock="synced")
            if dice.random() < 0.2:
                life_s = dice.choice((3, 30))
                expires_at = keeper.now + (place + 1) * apart_s + life_s
                ends = first_at + (place + 1) * apart_s + life_s
            messages.append(number(payload, topic, properties, retain=is_retained, expires_at=expires_at))
            if is_retained:
                broker[topic] = (payload, ends)
        if dice.random() < 0.2:
            seq += 1
            measured = keeper.at - dice.uniform(0, 400)
            messages.append(backlog((round(measured, 3), seq, 77)))
        keeper.write(*messages, apart_s=apart_s)
        moments.append((keeper.at + SOON_S, dict(broker)))
        keeper.advance(dice.choice((0.2, 0.5, 20.0)))
        if dice.random() < 0.1:
            keeper.move()
        if dice.random() < 0.1:
            keeper.restart(boot=dice.choice((None, f"boot {dice.random()}")), off_s=dice.choice((0.2, 40.0)))
    for at, then in moments:
        expected = {}
        unrecorded = set()
        for topic, (payload, ends) in then.items():
            if payload.startswith("{"):
                leaves = {f"{topic}/{key}": str(value) for key, value in json.loads(payload).items()}
                expected |= leaves if at < ends else {}
            elif payload == "unavailable":
                unrecorded |= {topic}
            elif payload and at < ends:
                expected[topic] = payload
        found = held(keeper, at)
        assert {one.topic: one.payload for one in found.values} == expected, at - AT
        assert found.lost == []
        assert set(found.unrecorded) <= unrecorded
    keeper.stop()


@pytest.mark.parametrize(
    ("kind", "value", "text", "payload"),
    [
        ("number", 21.0, None, "21"),
        ("number", -0.125, None, "-0.125"),
        ("number", 21.4, None, "21.4"),
        ("number", 1013.2500000001, None, "1013.2500000001"),
        ("number", 1e21, None, "1e+21"),
        ("binary", 1.0, None, "ON"),
        ("binary", 0.0, None, "OFF"),
        ("text", None, "press", "press"),
        ("number", None, "late", "late"),
        ("text", None, None, ""),
    ],
)
def test_values_as_they_may_have_been_published(kind, value, text, payload):
    assert published(kind, value, text) == payload
