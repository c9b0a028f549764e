"""Names: each of them gets one row, in any life of the service."""

import pytest
from keeper import Keeper

from appliance.devices import Device, Measurement
from appliance.store.names import MAX_CACHED, Names
from appliance.store.readings import BINARY, NUMBER, TEXT, Frame


@pytest.fixture
def keeper(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db")
    yield keeper
    keeper.stop()


@pytest.fixture
def names(keeper):
    return Names(keeper.database.connection, 3)


def test_a_series_has_one_row_up_to_the_cap(keeper, names):
    assert [names.series_id(topic, NUMBER) for topic in ("a", "b", "a", "c", "d")] == [1, 2, 1, 3, None]
    again = Names(keeper.database.connection, 3)
    assert again.series == names.series == {"a": (1, NUMBER), "b": (2, NUMBER), "c": (3, NUMBER)}


def test_a_series_becomes_what_its_widest_value_is(keeper, names):
    for kind, widest in ((TEXT, TEXT), (BINARY, BINARY), (TEXT, BINARY), (NUMBER, NUMBER), (BINARY, NUMBER)):
        names.series_id("a", kind)
        assert keeper.ask("SELECT kind FROM series").fetchall() == [(widest,)]


def test_names_and_units_are_learnt_where_there_is_room(keeper, names):
    topics = ("a", "b", "c", "d", "e", "x" * 513)
    sensors = tuple(Measurement(topic=topic, kind="temperature", unit="°C", name="") for topic in topics)
    assert names.learn(Device(agent="house", site="home", sensors=sensors)) == 2
    assert keeper.ask("SELECT DISTINCT unit, name, quantity, agent FROM series").fetchall() == [
        ("°C", None, "temperature", "house")
    ]


def test_runs_and_stretches_are_found_again_when_they_fell_out_of_memory(names):
    runs = [names.run_id(("house", str(n))) for n in range(MAX_CACHED + 2)]
    assert runs == list(range(1, MAX_CACHED + 3))
    assert names.run_id(("house", "0")) == 1
    frame = Frame(None, "ok", "synced")
    stretches = [names.stretch_id(1, run_id, frame) for run_id in runs]
    assert len(set(stretches)) == len(runs)
    assert names.stretch_id(1, runs[0], frame) == stretches[0]


def test_what_is_told_apart_has_stretches_of_its_own(names):
    found = [
        names.stretch_id(1, None, Frame()),
        names.stretch_id(1, None, Frame(), bundled=True),
        names.stretch_id(1, None, Frame(None, "suspect")),
        names.stretch_id(1, None, Frame(None, None, "unsynced")),
        names.stretch_id(2, None, Frame()),
    ]
    assert len(set(found)) == len(found)
    assert names.stretch_id(1, None, Frame(), bundled=True) == found[1]
