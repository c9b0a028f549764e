"""Which sensors were failing when the service ended."""

import pytest
from keeper import TOPIC, Keeper

from appliance.devices import Device, Measurement
from appliance.store.database import StoreError
from appliance.store.gaps import AGENT, AGENT_OFFLINE, SENSOR_FAILING, SERIES, GapNote, Gaps
from appliance.store.open_gaps import Failing, failing

DEVICE = Device(agent="house", site="home", sensors=(Measurement(topic=TOPIC, kind="temperature"),))


def test_those_that_last_are_told_with_their_agent(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db")
    keeper.learn(DEVICE)
    assert failing(keeper.path) == []
    at = keeper.now
    notes = [
        GapNote(AGENT, "house", AGENT_OFFLINE, at + 10, None),
        GapNote(SERIES, TOPIC, SENSOR_FAILING, at + 10, at + 20),
        GapNote(SERIES, TOPIC, SENSOR_FAILING, at + 30, None, "checksum"),
        GapNote(SERIES, "home/else", SENSOR_FAILING, at + 30, None),
    ]
    with keeper.database.transaction():
        Gaps(keeper.database.connection).write(notes, keeper.clock.tick)
    assert failing(keeper.path) == [Failing(TOPIC, "house", "checksum"), Failing("home/else", "", "")]
    with keeper.database.transaction():
        keeper.database.connection.execute("ALTER TABLE gaps RENAME TO lost")
    with pytest.raises(StoreError, match="is damaged"):
        failing(keeper.path)
    keeper.stop()
