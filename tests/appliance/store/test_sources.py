"""Sources: who publishes is worked out once for all messages that tell the same."""

import pytest
from groups import AT, provenance, user_property
from keeper import Keeper

from appliance.store.names import Names
from appliance.store.sources import MAX_CACHED, Sources
from appliance.store.templates import apart


@pytest.fixture
def keeper(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db")
    yield keeper
    keeper.stop()


@pytest.fixture
def sources(keeper):
    return Sources(Names(keeper.database.connection, 9))


def find(sources, properties):
    parts = apart(properties)
    assert parts is not None
    return sources.find(properties, parts)


def test_one_source_for_all_messages_of_a_frame(sources, keeper):
    one = find(sources, provenance(1, AT))
    assert find(sources, provenance(2, AT + 5)) is one
    assert (one.run_id, one.unsynced, one.frame.quality) == (1, False, "ok")
    other = find(sources, provenance(1, AT, clock="unsynced"))
    assert (other.run_id, other.unsynced) == (1, True)
    assert keeper.ask("SELECT agent, run FROM runs").fetchall() == [("house", "0a1b2c3d4e5f")]


def test_who_gives_no_name_has_no_run(sources):
    assert find(sources, provenance(1, AT, agent="")).run_id is None
    assert sources.nobody.run_id is None


def test_what_may_be_mistaken_is_no_source(sources):
    twice = provenance(1, AT) + user_property("seq", "9") + user_property("time", "then")
    assert find(sources, twice + b"\x26") is None
    assert find(sources, twice + b"\x26") is None  # nor the second time


def test_they_are_bounded(sources):
    for n in range(MAX_CACHED + 1):
        find(sources, provenance(1, AT, quality=f"q{n}"))
    assert len(sources.known) == 1
