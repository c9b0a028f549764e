"""A question reads one state of the file and ends in time."""

import pytest
from keeper import Keeper, number

from appliance.store import asking as module
from appliance.store.asking import asking
from appliance.store.database import StoreError


@pytest.fixture
def keeper(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db")
    yield keeper
    keeper.stop()


def test_one_state_for_the_whole_answer(keeper):
    keeper.write(number(1))
    count = "SELECT count(*) FROM history"
    with asking(keeper.path) as connection:
        assert connection.execute(count).fetchone() == (1,)
        keeper.write(number(2))
        assert connection.execute(count).fetchone() == (1,)
    with asking(keeper.path) as connection:
        assert connection.execute(count).fetchone() == (2,)
        assert connection.execute("SELECT value_sum('x')").fetchone()


def test_it_cannot_write(keeper):
    with pytest.raises(StoreError, match="cannot be written"), asking(keeper.path) as connection:
        connection.execute("DELETE FROM series")


def test_it_ends_in_time(keeper, monkeypatch):
    monkeypatch.setattr(module, "STEPS_BETWEEN_LOOKS", 100)
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    with pytest.raises(StoreError, match="took too long"), asking(keeper.path, timeout_s=0.0) as connection:
        connection.execute(endless)


def test_no_file(tmp_path):
    with pytest.raises(StoreError, match="cannot be opened"), asking(tmp_path / "none.db"):
        pass
