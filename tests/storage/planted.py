"""Faults of a careless store, put in to see that they are caught."""

from collections.abc import Generator
from contextlib import contextmanager, nullcontext

from appliance.store import state_tables, wholeness
from appliance.store.checksum import checksum
from appliance.store.staged import Staging

nothing = nullcontext


class Anything(int):
    """A number that is equal to whatever it is held against."""

    __hash__ = int.__hash__

    def __eq__(self, _other):
        return True


@contextmanager
def unverified() -> Generator[None]:
    """Believe every checksum."""
    kept = state_tables.checksum, wholeness.checksum, Staging.is_whole
    state_tables.checksum = wholeness.checksum = lambda *fields: Anything(checksum(*fields))
    Staging.is_whole = lambda _self, _row: True
    try:
        yield
    finally:
        state_tables.checksum, wholeness.checksum, Staging.is_whole = kept
