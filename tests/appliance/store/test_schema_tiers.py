"""What the database makes due by itself, also of a history that is older than the tables."""

from kept import BEGIN, Kept, every

from appliance.store.database import Database
from appliance.store.rollup import DAY_MS, HOUR_MS
from appliance.store.schema_tiers import EPOCH_DUE, HOUR_DUE, ROLLUPS


def test_a_reading_makes_its_hour_due_and_no_other_whatever_its_clock(tmp_path):
    kept = Kept(tmp_path / "appliance.db")
    kept.put(kept.series("a"), (0, 1), (HOUR_MS - 1, 1), (5 * HOUR_MS, 1))
    kept.epoch(BEGIN, clock="unsynced")
    kept.put(kept.series("b"), (9 * HOUR_MS, 1))
    assert kept.ask("SELECT * FROM due").fetchall() == [
        (HOUR_DUE, BEGIN // HOUR_MS, 1),
        (HOUR_DUE, BEGIN // HOUR_MS + 5, 1),
        (HOUR_DUE, BEGIN // HOUR_MS + 9, 2),
    ]
    kept.close()


def test_an_epoch_with_another_time_is_due_and_what_it_had_is_known(tmp_path):
    kept = Kept(tmp_path / "appliance.db")
    kept.series("a")
    epoch = kept.epoch(BEGIN, offset_ms=5, clock="unsynced")
    kept.ask("UPDATE epochs SET last_tick = last_tick + 1 WHERE id = ?", (epoch,))
    assert kept.count("due") == 0
    for offset_ms in (9, 12):
        kept.ask("UPDATE epochs SET offset_ms = ? WHERE id = ?", (offset_ms, epoch))
    assert kept.ask("SELECT * FROM redated").fetchall() == [(epoch, 5), (epoch, 9)]
    assert kept.ask("SELECT * FROM due").fetchall() == [(EPOCH_DUE, epoch, 1)]
    kept.close()


def test_a_floor_goes_back_with_the_time_of_what_is_left(tmp_path):
    kept = Kept(tmp_path / "appliance.db")
    first = kept.epoch(BEGIN + DAY_MS, last_ms=BEGIN + 5 * DAY_MS)
    second = kept.epoch(BEGIN + 6 * DAY_MS, last_ms=BEGIN + 9 * DAY_MS)
    kept.ask(
        "INSERT INTO floors (tier, at_ms, tick) VALUES ('readings', ?, ?)",
        (BEGIN + 5 * DAY_MS + 1, (BEGIN + 5 * DAY_MS + 1) * 16),
    )
    kept.ask("UPDATE epochs SET offset_ms = ? WHERE id = ?", (-DAY_MS, first))
    assert kept.ask("SELECT at_ms FROM floors").fetchone() == (BEGIN + 5 * DAY_MS + 1,)  # nothing of it is left
    kept.ask("UPDATE epochs SET offset_ms = ? WHERE id = ?", (-DAY_MS * 3 - 1, second))
    assert kept.ask("SELECT at_ms FROM floors").fetchone() == (BEGIN + 3 * DAY_MS - HOUR_MS,)
    kept.close()


def test_a_reading_that_does_not_get_in_makes_nothing_due(tmp_path):
    kept = Kept(tmp_path / "appliance.db")
    kept.series("a")
    kept.ask("BEGIN")
    kept.ask(f"INSERT INTO readings VALUES (1, {BEGIN * 16}, 1000, NULL, 0, {kept.stretch})")
    kept.ask("ROLLBACK")
    assert kept.count("due") == 0
    kept.close()


def test_a_history_from_before_is_rolled_up_too(tmp_path):
    kept = Kept(tmp_path / "appliance.db")
    kept.put(kept.series("a"), *every(HOUR_MS, until_ms=30 * HOUR_MS))
    due = kept.ask("SELECT * FROM due").fetchall()
    for name in ("reading_is_due", "redated_is_due", "new_redated_is_due"):
        kept.ask(f"DROP TRIGGER {name}")
    for name in ("minutes", "hours", "days"):
        kept.ask(f"DROP VIEW {name}_history")
        kept.ask(f"DROP TABLE {name}")
    for name in ("due", "redated", "floors", "late", "believed"):
        kept.ask(f"DROP TABLE {name}")
    for statement in ROLLUPS:
        kept.ask(statement)
    assert kept.ask("SELECT * FROM due").fetchall() == due
    assert len(due) == 30
    kept.close()


def test_the_step_is_noted_in_the_file(tmp_path):
    database = Database.open(tmp_path / "appliance.db")
    names = database.connection.execute("SELECT name FROM _sqlite_migrations").fetchall()
    database.close()
    assert ("0004_tiers",) in names
