"""The view of gaps has the stretches whose time nobody knows, as those who ask for gaps are told them."""

import pytest
from keeper import AT, Keeper

from appliance.clock import SYNCED, UNSYNCED
from appliance.store.gap_reader import GapReader
from appliance.store.gaps import CLOCK_UNSET

ASKED = "SELECT since, until, cause, scope, name FROM gap_times WHERE cause = 'clock unset' ORDER BY since"


@pytest.fixture
def keeper(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db", quality=UNSYNCED)
    yield keeper
    keeper.stop()


def told(keeper):
    """Give what the API tells, in the words of the view."""
    gaps = GapReader(keeper.path).last(0, 5_000_000_000)
    return sorted(
        (seconds(gap.since_at), None if gap.until_at is None else seconds(gap.until_at), gap.cause, gap.scope, gap.name)
        for gap in gaps
        if gap.cause == CLOCK_UNSET
    )


def seconds(at):
    return round(at - AT)


def viewed(keeper):
    found = keeper.ask(
        f"SELECT strftime('%s', since) - {AT:.0f}, strftime('%s', until) - {AT:.0f}, cause, scope, name"
        " FROM gap_times WHERE cause = 'clock unset' ORDER BY since"
    )
    return found.fetchall()


def test_a_time_without_a_clock_is_one_stretch_over_several_starts(keeper):
    assert viewed(keeper) == told(keeper) == [(0, None, CLOCK_UNSET, "hub", "")]
    keeper.advance(60)
    keeper.restart(boot="boot 2", at=AT + 90)
    assert viewed(keeper) == told(keeper)
    assert len(viewed(keeper)) == 1
    keeper.advance(60)
    keeper.restart(boot="boot 3", at=AT + 500, quality=SYNCED)
    assert viewed(keeper) == told(keeper)
    ((_, until, *_),) = viewed(keeper)  # what came before stays as it was: nobody knows when
    assert until is not None
    keeper.restart(boot="boot 4", at=AT + 900, quality=UNSYNCED)
    assert viewed(keeper) == told(keeper)
    assert [until is None for _, until, *_ in viewed(keeper)] == [False, True]


def test_a_clock_that_is_set_leaves_no_such_stretch(keeper):
    keeper.advance(60)
    keeper.quality = SYNCED
    keeper.look()
    assert viewed(keeper) == told(keeper) == []
