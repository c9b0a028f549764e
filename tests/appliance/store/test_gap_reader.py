"""Gaps as chart, command line and page ask for them."""

import pytest
from keeper import AT, TOPIC, Keeper

from appliance.clock import SYNCED, UNSYNCED
from appliance.devices import Device, Measurement
from appliance.store.gap_reader import JOINED_S, GapReader
from appliance.store.gaps import (
    AGENT,
    AGENT_OFFLINE,
    BROKER_DOWN,
    CLOCK_UNSET,
    DROPPED,
    HUB,
    NEVER_GIVEN,
    SENSOR_FAILING,
    SERIES,
    UNKEPT,
    GapNote,
    Gaps,
)

DEVICE = Device(agent="house", site="home", sensors=(Measurement(topic=TOPIC, kind="temperature"),))


@pytest.fixture
def keeper(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db")
    keeper.learn(DEVICE)
    yield keeper
    keeper.stop()


def note(keeper, scope, name, cause, since_s, until_s):
    """Times in seconds after the start."""
    begins = keeper.now
    closed = None if until_s is None else begins + until_s
    with keeper.database.transaction():
        Gaps(keeper.database.connection).write(
            [GapNote(scope, name, cause, begins + since_s, closed)], keeper.clock.tick
        )


def seen(gaps):
    return [
        (gap.cause, round(gap.since_at - AT, 1), None if gap.until_at is None else round(gap.until_at - AT, 1))
        for gap in gaps
    ]


def test_the_gaps_of_a_topic_are_its_own_its_agents_and_the_hubs(keeper):
    note(keeper, AGENT, "house", AGENT_OFFLINE, 100, 200)
    note(keeper, AGENT, "other", AGENT_OFFLINE, 100, 200)
    note(keeper, SERIES, TOPIC, SENSOR_FAILING, 300, 330)
    note(keeper, SERIES, "home/else", SENSOR_FAILING, 300, 310)
    note(keeper, HUB, "", BROKER_DOWN, 400, 450)
    note(keeper, UNKEPT, "", DROPPED, 460, 470)  # of topics without a series: this one has one
    note(keeper, AGENT, "house", AGENT_OFFLINE, 500, None)
    reader = GapReader(keeper.path)
    assert seen(reader.of(TOPIC, [], AT, AT + 1000)) == [
        (AGENT_OFFLINE, 100, 200),
        (SENSOR_FAILING, 300, 330),
        (BROKER_DOWN, 400, 450),
        (AGENT_OFFLINE, 500, None),
    ]
    assert seen(reader.of(TOPIC, [], AT + 150, AT + 305)) == [(AGENT_OFFLINE, 150, 200), (SENSOR_FAILING, 300, 305)]
    filled = [AT + 10.0 * step for step in range(44)]
    assert seen(reader.of(TOPIC, filled, AT, AT + 1000)) == [(AGENT_OFFLINE, 500, None)]
    assert seen(reader.of("home/unknown", [], AT, AT + 1000)) == [(BROKER_DOWN, 400, 450)]


def test_the_last_of_all(keeper):
    for number in range(5):
        note(keeper, AGENT, f"a{number}", AGENT_OFFLINE, number * 100, number * 100 + 50)
    note(keeper, AGENT, "house", AGENT_OFFLINE, 20, None)
    reader = GapReader(keeper.path)
    assert [gap.name for gap in reader.last(0, AT + 900, limit=2)] == ["a4", "a3"]
    assert [gap.name for gap in reader.last(AT + 300, AT + 340)] == ["a3", "house"]
    assert reader.last(AT - 50, AT - 1) == []


def test_a_clock_that_nobody_has_set_is_a_gap_until_it_is_set(keeper):
    keeper.restart(boot="boot 2", at=AT + 10, quality=UNSYNCED)
    reader = GapReader(keeper.path)
    (gap,) = reader.of(TOPIC, [AT + 11, AT + 12, AT + 13], 0, AT + 1e6)  # readings do not fill it
    assert (gap.cause, gap.until_at) == (CLOCK_UNSET, None)
    keeper.advance(30)
    keeper.at, keeper.quality = AT + 5000, SYNCED
    keeper.look()
    assert reader.of(TOPIC, [], 0, AT + 1e6) == []


def drop(keeper, since_s, until_s, *numbers, why="full", name="house"):
    note = GapNote(AGENT, name, DROPPED, keeper.now + since_s, keeper.now + until_s, why, "r1", *numbers)
    with keeper.database.transaction():
        Gaps(keeper.database.connection).write([note], keeper.clock.tick)


def test_what_is_dropped_range_by_range_is_one_gap_where_it_lies_close_together(keeper):
    for number in range(13):
        drop(keeper, 10.0 * number, 10.0 * number, 2 * number, 2 * number)
    drop(keeper, 50, 60, 100, 104)  # within
    drop(keeper, 60, 60, 105, 105, why="refused")
    drop(keeper, 60, 60, 106, 106, name="attic")
    drop(keeper, 120.0 + JOINED_S, 700, 200, 299)
    drop(keeper, 701.0 + JOINED_S, 1002, 300, 300)
    drop(keeper, 10, 10, 400, 401, why="full: 2 readings dropped")  # as it was once written
    told = [
        (gap.name, gap.detail, gap.since_at - AT, gap.until_at - AT) for gap in GapReader(keeper.path).last(0, AT * 2)
    ]
    assert sorted(told) == [
        ("attic", "full: 1 reading dropped", 60, 60),
        ("house", "full: 1 reading dropped", 701 + JOINED_S, 1002),
        ("house", "full: 118 readings dropped", 0, 700),
        ("house", "full: 2 readings dropped", 10, 10),
        ("house", "refused: 1 reading dropped", 60, 60),
    ]
    assert seen(GapReader(keeper.path).of(TOPIC, [AT - 5, AT - 4, AT - 3, AT + 703], AT - 5, AT + 900)) == [
        (DROPPED, 0, 700)
    ]


def test_numbers_that_were_never_given_are_no_gap(keeper):
    note(keeper, AGENT, "house", NEVER_GIVEN, 10, 10)
    assert GapReader(keeper.path).last(0, AT + 100) == []


def test_a_damaged_row_is_never_told(keeper):
    note(keeper, HUB, "", BROKER_DOWN, 400, 450)
    keeper.ask("UPDATE gaps SET cause = 'broker down!'")
    assert GapReader(keeper.path).last(0, AT + 900) == []


def test_the_list_of_all_names_what_has_no_series(keeper):
    note(keeper, UNKEPT, "", DROPPED, 10, 20)
    assert [(gap.scope, gap.cause) for gap in GapReader(keeper.path).last(AT, AT + 100)] == [(UNKEPT, DROPPED)]


def test_the_status_is_told_of_the_last_day(keeper):
    reader = GapReader(keeper.path)
    assert reader.news(AT + 10) == {"day": 0, "lasting": 0, "newest": None, "clock_unset": False}
    note(keeper, HUB, "", BROKER_DOWN, 100, 200)
    note(keeper, AGENT, "house", AGENT_OFFLINE, 90_000, None)
    news = reader.news(AT + 90_010)
    assert (news["day"], news["lasting"], news["newest"]["name"]) == (1, 1, "house")
    assert reader.news(AT + 86_500)["day"] == 1  # a day after the first, before the second
    keeper.restart(boot="boot 2", at=AT + 90_020, quality=UNSYNCED)
    news = reader.news(AT + 90_030)
    assert (news["clock_unset"], news["newest"]["cause"]) == (True, CLOCK_UNSET)
