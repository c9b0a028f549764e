"""What is found out at a start of series of which nothing was known."""

import sqlite3
from contextlib import closing

import pytest
from keeper import AT, TOPIC, Keeper, number, origin, retained

from appliance.broker.ports import RouteFlag
from appliance.clock import SYNCED
from appliance.store.group import Group
from appliance.store.opening import open_ledger
from appliance.store.reading_rows import prepare
from appliance.store.retaining import DELETED, NOT_KNOWN, PASSING, REPLACED, begin
from appliance.store.travel import held_at

DOOR, LAMP = "home/hall/door", "z/lamp"
RECORD, RETAINED = int(RouteFlag.RECORD), int(RouteFlag.RETAINED)


@pytest.fixture
def keeper(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db")
    yield keeper
    keeper.stop()


def unsettle(connection):
    """Have nothing known of what was before, as after the step of the schema."""
    connection.execute("DELETE FROM retaining")
    begin(connection)


def settle(keeper, *messages):
    """Start, with these messages retained."""
    with keeper.database.transaction():
        unsettle(keeper.database.connection)
    keeper.restart(off_s=5)
    with keeper.database.transaction():
        keeper.history.settle(keeper.now, lambda: {message.topic: message for message in messages})
    keeper.advance(1)


def shown(path, at):
    """What is shown, whether it is known, and what is told of beside."""
    found = held_at(path, ["#"], at)
    return {one.topic: (one.payload, one.sure) for one in found.values}, found.lost, found.unrecorded


def changes(keeper, topic=TOPIC):
    asked = "SELECT state FROM retaining JOIN series ON id = series_id WHERE series.topic = ? ORDER BY tick"
    return [state for (state,) in keeper.ask(asked, (topic,))]


@pytest.mark.parametrize("moves", [False, True])
def test_what_is_retained_is_known_from_the_start_on_and_nothing_else_is_held(keeper, moves):
    lamp = retained('{"a": 7, "on": "on"}', LAMP)
    keeper.write(retained("20.50"), number("open", DOOR), retained('{"a": 1, "b": 2}', LAMP), lamp)
    if moves:
        keeper.move()
    settle(keeper, retained("20.50"), lamp)
    before = {TOPIC: "20.5", DOOR: "open", f"{LAMP}/a": "7", f"{LAMP}/b": "2", f"{LAMP}/on": "ON"}
    assert shown(keeper.path, AT + 4) == ({topic: (payload, False) for topic, payload in before.items()}, [], [])
    now = {TOPIC: ("20.50", True), f"{LAMP}/a": ("7", True), f"{LAMP}/on": ("ON", True)}
    assert shown(keeper.path, keeper.at) == (now, [], [])
    keeper.write(number("21"), number("closed", DOOR), retained('{"a": 8}', LAMP))
    assert shown(keeper.path, keeper.at + 1) == ({TOPIC: ("20.50", True), f"{LAMP}/a": ("8", True)}, [], [])
    keeper.write(retained(""), retained("", LAMP), retained("open", DOOR))
    assert shown(keeper.path, keeper.at + 1) == ({DOOR: ("open", True)}, [], [])


def test_it_is_found_out_once_and_in_one_moment(keeper):
    keeper.write(*(number("1", f"t/{n}") for n in range(9)))
    settle(keeper)
    assert changes(keeper, "t/8") == [NOT_KNOWN, DELETED]
    assert keeper.ask("SELECT count(DISTINCT tick) FROM retaining WHERE state = ?", (DELETED,)).fetchone() == (1,)
    asked = []
    for restarts in (False, True):
        if restarts:
            keeper.restart(off_s=1)
        with keeper.database.transaction():
            keeper.history.settle(keeper.now, lambda: asked.append(1) or {})
    assert asked == []
    assert keeper.ask("SELECT count(*) FROM retaining").fetchone() == (18,)


def test_what_came_last_and_is_not_what_is_held_stays_unknown(keeper):
    keeper.write(retained("1"), number("2"), retained('{"a": 1}', LAMP), number('{"a": 2}', LAMP))
    settle(keeper, retained("1"), retained('{"a": 1}', LAMP))
    assert shown(keeper.path, keeper.at) == ({TOPIC: ("2", False), f"{LAMP}/a": ("2", False)}, [], [])
    assert changes(keeper) == [NOT_KNOWN, PASSING]
    keeper.write(number("3"), retained("", LAMP))
    assert shown(keeper.path, keeper.at + 1) == ({TOPIC: ("2", False)}, [], [])
    keeper.write(retained("4"))
    assert shown(keeper.path, keeper.at + 1) == ({TOPIC: ("4", True)}, [], [])


def test_of_two_messages_that_hold_a_value_the_one_that_came_last_counts(keeper):
    keeper.write(retained('{"a": 1}', LAMP), retained("2", f"{LAMP}/a"))
    settle(keeper, retained('{"a": 1}', LAMP), retained("2", f"{LAMP}/a"))
    keeper.write(retained("", LAMP))
    assert shown(keeper.path, keeper.at + 1) == ({f"{LAMP}/a": ("2", True)}, [], [])


def test_what_is_no_reading_and_what_is_gone_is_told(keeper):
    keeper.write(number("1"), number("1", DOOR), number("1", LAMP))
    keeper.ask(
        "DELETE FROM journal WHERE value = 1000 AND series_id = (SELECT id FROM series WHERE topic = ?)", (DOOR,)
    )
    settle(keeper, retained("{", TOPIC), retained("1", DOOR), retained('[{"a": 1}]', "home/devices/x/backlog"))
    assert shown(keeper.path, keeper.at) == ({}, [DOOR], [TOPIC])
    assert changes(keeper) == [NOT_KNOWN, REPLACED]


def test_what_is_retained_for_a_time_is_held_that_long(keeper):
    keeper.write(retained("1"), retained("1", DOOR))
    keeper.advance(10)
    settle(
        keeper,
        retained("1", expires_at=keeper.now + 5 + 20),  # 20 s from the start, which is 15 s after it came
        retained("1", DOOR, expires_at=keeper.now + 5),
    )
    start = keeper.at - 1
    assert shown(keeper.path, start + 19)[0] == {TOPIC: ("1", True)}
    keeper.advance(30)
    keeper.look()
    assert shown(keeper.path, start + 22)[0] == {}


def test_a_reading_that_arrives_with_the_start_is_not_before_it(keeper):
    keeper.write(number("1"), retained("1", DOOR))
    with keeper.database.transaction():
        unsettle(keeper.database.connection)
    keeper.restart(off_s=5)
    with keeper.database.transaction():
        keeper.history.settle(keeper.now, lambda: {DOOR: retained("1", DOOR)})
    keeper.write(retained("2", properties=origin(1, at=keeper.at - 2)), number("0", DOOR))
    assert shown(keeper.path, keeper.at + 1)[0] == {TOPIC: ("2", True), DOOR: ("1", True)}


def test_the_first_group_of_a_run_brings_it(tmp_path):
    path = tmp_path / "appliance.db"
    clock = [100.0]

    def opened():
        return open_ledger(
            path, site="home", max_series=9, boot="boot", quality=lambda: SYNCED, clock=lambda: clock[0],
            wall_clock=lambda: AT + clock[0],
        )  # fmt: skip

    def write(ledger, run, count, *messages):
        group = Group(count, run=run)
        group.now, group.at = clock[0], AT + clock[0]
        for message in messages:
            flags = RECORD | (RETAINED if message.retain else 0)
            group.entries.append((message, flags, clock[0], None))
        ledger.write(group)

    def states():
        with closing(sqlite3.connect(path)) as connection:
            return [state for (state,) in connection.execute("SELECT state FROM retaining ORDER BY tick, series_id")]

    ledger = opened()
    gone = retained("5", "home/gone")
    write(ledger, 1, 1, number("open", DOOR), gone, retained("", "home/gone"), retained('{"a":1,"b":2}', LAMP))
    write(ledger, 1, 2, retained('{"a":7}', LAMP))
    ledger.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        prepare(connection)
        unsettle(connection)
    clock[0] += 60
    ledger = opened()
    assert states() == [NOT_KNOWN] * 4  # a start writes nothing by itself
    broken = Group(1, run=2)
    broken.now, broken.at = clock[0], AT + clock[0]
    broken.entries.append((None, RECORD, clock[0], None))
    with pytest.raises(AttributeError):
        ledger.write(broken)
    assert states() == [NOT_KNOWN] * 4  # one transaction
    ledger.close()
    ledger = opened()
    write(ledger, 2, 1, number("closed", DOOR), retained('{"a": 8}', LAMP))
    clock[0] += 60
    write(ledger, 2, 2, number("open", DOOR))
    ledger.close()
    assert shown(path, AT + clock[0]) == ({f"{LAMP}/a": ("8", True)}, [], [])
    assert set(shown(path, AT + 130)[0]) == {DOOR, "home/gone", f"{LAMP}/a", f"{LAMP}/b"}
    assert states().count(DELETED) == 3
