"""The seam between when and how: whatever is written with has everything that is asked of a ledger."""

import inspect

import pytest
from ledgers import Disk

from appliance.store.ledger import Ledger
from appliance.store.opening import open_ledger

CALLS = {name for name, _ in inspect.getmembers(Ledger, inspect.isfunction) if not name.startswith("_")}
ATTRIBUTES = set(Ledger.__annotations__)


def test_what_is_asked():
    assert {"close", "finish", "load", "settle", "step", "suspect", "trim", "write"} == CALLS
    assert {"damaged", "last_stamp", "next_key", "next_number", "short_of_space"} == ATTRIBUTES


@pytest.mark.parametrize(
    "open_one",
    [lambda path: open_ledger(path, site="home", max_series=9), lambda path: Disk(path).open()],
    ids=["the real one", "the one of the tests"],
)
def test_it_is_there(tmp_path, open_one):
    ledger = open_one(tmp_path / "appliance.db")
    try:
        assert all(callable(getattr(ledger, name)) for name in CALLS)
        assert all(hasattr(ledger, name) for name in ATTRIBUTES)
        assert len(ledger.last_stamp) == 2
        assert ledger.short_of_space is False
    finally:
        ledger.close()
        ledger.close()
