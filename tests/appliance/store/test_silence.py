"""When nothing could be known of a topic."""

import pytest
from kept import BEGIN, Kept

from appliance.store.gaps import (
    AGENT,
    AGENT_OFFLINE,
    BROKER_DOWN,
    CLOCK_UNSET,
    DAMAGED,
    DROPPED,
    HUB,
    SENSOR_FAILING,
    SERIES,
    UNKEPT,
    insert,
)
from appliance.store.rollup import NEVER_MS
from appliance.store.silence import Silences


@pytest.fixture
def kept(tmp_path):
    kept = Kept(tmp_path / "appliance.db")
    kept.series("a")
    kept.ask("UPDATE series SET agent = 'house'")
    yield kept
    kept.close()


def gap(kept, scope, name, cause, since_ms, until_ms):
    ticks = [None if ms is None else (BEGIN + ms) * 16 for ms in (since_ms, until_ms)]
    insert(kept.database.connection, (scope, name, cause, ""), *ticks)


def silences(kept, since_ms=0, until_ms=1_000_000, topic="a"):
    found = Silences(kept.database.connection).of(topic, BEGIN + since_ms, BEGIN + until_ms)
    return [(since - BEGIN, NEVER_MS if until == NEVER_MS else until - BEGIN) for since, until in found]


def test_those_of_the_topic_its_agent_and_everything(kept):
    gap(kept, HUB, "", BROKER_DOWN, 1_000, 2_000)
    gap(kept, AGENT, "house", AGENT_OFFLINE, 3_000, 4_000)
    gap(kept, SERIES, "a", SENSOR_FAILING, 5_000, 6_000)
    gap(kept, SERIES, "a", DAMAGED, 7_000, None)
    assert silences(kept) == [(1_000, 2_000), (3_000, 4_000), (5_000, 6_000), (7_000, NEVER_MS)]
    assert silences(kept, topic="b") == [(1_000, 2_000)]
    assert silences(kept, 3_500, 5_500) == [(3_000, 4_000), (5_000, 6_000)]
    assert silences(kept, 2_500, 2_900) == []


def test_what_is_no_silence_of_it(kept):
    gap(kept, AGENT, "attic", AGENT_OFFLINE, 1_000, 2_000)
    gap(kept, SERIES, "b", SENSOR_FAILING, 1_000, 2_000)
    gap(kept, HUB, "", CLOCK_UNSET, 1_000, 2_000)
    gap(kept, HUB, "", DROPPED, 1_000, 2_000)  # some of many
    gap(kept, UNKEPT, "a", BROKER_DOWN, 1_000, 2_000)
    assert silences(kept) == []


def test_those_that_meet_are_one_and_damaged_ones_are_none(kept):
    gap(kept, HUB, "", BROKER_DOWN, 1_000, 3_000)
    gap(kept, AGENT, "house", AGENT_OFFLINE, 500, 2_000)
    gap(kept, AGENT, "house", AGENT_OFFLINE, 3_000, 4_000)
    gap(kept, HUB, "", BROKER_DOWN, 6_000, 7_000)
    kept.ask("UPDATE gaps SET to_tick = to_tick + 1 WHERE from_tick = ?", ((BEGIN + 6_000) * 16,))
    assert silences(kept) == [(500, 4_000)]
