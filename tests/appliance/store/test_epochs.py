"""Epochs in the database: a start takes up the clock where the rows left it."""

import pytest
from keeper import AT, TOPIC, Keeper, backlog, number

from appliance.clock import SYNCED, UNSYNCED
from appliance.store.epochs import BOOT_ID_VARIABLE, boot_id, load_clock

BUILT = 1_700_000_000.0
YEARS = 10 * 365 * 86_400.0


@pytest.fixture
def keeper(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db")
    yield keeper
    keeper.stop()


def epochs(keeper):
    return keeper.ask("SELECT boot, clock, offset_ms, age_ms FROM epochs WHERE id > 1 ORDER BY id").fetchall()


def test_the_boot_has_a_name_that_a_sandbox_may_give(monkeypatch):
    assert boot_id() == boot_id()
    assert len(boot_id()) == 36
    monkeypatch.setenv(BOOT_ID_VARIABLE, "boot of the sandbox")
    assert boot_id() == "boot of the sandbox"


def test_a_boot_has_one_name_whether_systemd_or_the_kernel_says_it(monkeypatch):
    of_the_kernel = boot_id()
    monkeypatch.setenv(BOOT_ID_VARIABLE, of_the_kernel.replace("-", ""))  # as a unit's %b
    assert boot_id() == of_the_kernel


def test_without_a_name_no_two_boots_are_the_same(monkeypatch, tmp_path):
    monkeypatch.setattr("appliance.store.epochs.BOOT_ID_FILE", tmp_path / "none")
    assert boot_id() != boot_id()


def test_every_start_is_an_epoch(keeper):
    keeper.write(number(1))
    keeper.restart(off_s=60)
    keeper.restart(off_s=60, boot="boot 2")
    assert [(boot, clock, offset_ms, round(age_ms, -2)) for boot, clock, offset_ms, age_ms in epochs(keeper)] == [
        ("boot 1", SYNCED, 0, 0),
        ("boot 1", SYNCED, 0, 60_000),
        ("boot 2", SYNCED, 0, 120_000),
    ]


def test_the_clock_goes_on_behind_the_last_staged_row(keeper):
    keeper.advance(500)
    keeper.write(number(1), number(2), number(3))
    keeper.restart(boot="boot 2", at=0.0, quality=UNSYNCED)
    keeper.write(number(4))
    assert keeper.in_order() == [1, 2, 3, 4]
    assert epochs(keeper)[-1] == ("boot 2", UNSYNCED, 0, 500_000)


def test_and_behind_the_last_moved_one(keeper):
    keeper.advance(500)
    keeper.write(number(1), number(2), number(3))
    keeper.move()
    keeper.restart(boot="boot 2", at=0.0, quality=UNSYNCED)
    keeper.write(number(4))
    assert keeper.in_order() == [1, 2, 3, 4]
    assert epochs(keeper)[-1] == ("boot 2", UNSYNCED, 0, 500_000)


def test_a_backlog_from_the_future_does_not_drag_the_clock_along(keeper):
    keeper.restart(boot="boot 2", at=BUILT, quality=UNSYNCED)
    keeper.write(backlog((AT + YEARS, 1, 21.4)))
    keeper.restart(boot="boot 3", at=AT + 60, quality=SYNCED)
    assert epochs(keeper)[-1][:3] == ("boot 3", SYNCED, 0)


def test_setting_the_clock_changes_the_offset_and_no_row(keeper):
    keeper.restart(boot="boot 2", at=BUILT, quality=UNSYNCED)
    for value in range(4):
        keeper.advance(60)
        keeper.write(number(value))
        if value == 1:
            keeper.move()
    before = keeper.ask("SELECT tick, value FROM history ORDER BY tick").fetchall()
    staged = keeper.ask("SELECT * FROM journal").fetchall()
    truth = AT + 10_000
    keeper.at, keeper.quality = truth, SYNCED
    assert keeper.look()
    assert not keeper.look()
    assert keeper.ask("SELECT tick, value FROM history ORDER BY tick").fetchall() == before
    assert keeper.ask("SELECT * FROM journal").fetchall() == staged
    rows = keeper.reader.rows("home/kitchen/temperature", 0, 1e11)
    assert [row.at for row in rows] == pytest.approx([truth - 180, truth - 120, truth - 60, truth], abs=0.01)
    assert {row.clock for row in rows} == {"redated"}


def test_a_failed_transaction_leaves_the_clock_as_it_was(keeper):
    keeper.restart(boot="boot 2", at=BUILT, quality=UNSYNCED)
    before = epochs(keeper)
    keeper.at, keeper.quality = AT, SYNCED
    keeper.ask("BEGIN")
    keeper.history.look(keeper.now, keeper.at)
    keeper.ask("ROLLBACK")
    assert epochs(keeper) == before
    clock = load_clock(keeper.database.connection, boot="boot 2", quality=lambda: UNSYNCED)
    clock.begin(keeper.now, keeper.at)
    assert not clock.is_trusted  # and would be set again


def test_a_clock_that_is_set_again_and_again_before_anything_is_summed_up(tmp_path):
    keeper = Keeper(tmp_path / "unset.db", at=BUILT, quality=UNSYNCED)
    for step, at in enumerate((BUILT, AT, AT + YEARS / 4, AT)):
        keeper.at = at + step
        keeper.write(number(step))
        keeper.advance(1)
    assert keeper.in_order() == [0, 1, 2, 3]
    assert [row.at for row in keeper.reader.rows(TOPIC, 0, 1e11)] == [AT, AT + 1, AT + 2, AT + 3]
    keeper.stop()


def test_a_clock_set_by_hand_again_and_again(tmp_path):
    keeper = Keeper(tmp_path / "new.db", at=BUILT + YEARS, quality=UNSYNCED)
    for value in range(4):
        keeper.write(number(value))
        keeper.at += 3_600
    assert keeper.in_order() == keeper.values() == [0, 1, 2, 3]
    keeper.stop()
