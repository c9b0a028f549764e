"""The step that notes how readings are retained, on files that are there already."""

import sqlite3
from contextlib import closing

from keeper import AT, TOPIC, Keeper, backlog, retained

from appliance.store.database import STEP_NAMES, create
from appliance.store.retaining import NOT_KNOWN

BEFORE = {name for name in STEP_NAMES if name < "0006"}


def test_what_is_there_stays_and_is_not_known(tmp_path):
    path = tmp_path / "appliance.db"
    create(path, BEFORE).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO series (id, topic, kind) VALUES (5, ?, 'number')", (TOPIC,))
        connection.execute("INSERT INTO stretches (id, epoch_id, quality) VALUES (3, 1, 'ok')")
    keeper = Keeper(path)
    assert keeper.ask("SELECT series_id, tick, state FROM retaining").fetchall() == [(5, 0, NOT_KNOWN)]
    fields = "id, epoch_id, run_id, clock, quality, bundled"
    assert keeper.ask(f"SELECT {fields} FROM stretches").fetchall() == [(3, 1, None, None, "ok", None)]
    keeper.restart()
    assert keeper.ask("SELECT count(*) FROM retaining").fetchone() == (1,)
    keeper.stop()


def test_the_index_of_stretches_is_still_used(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db")
    asked = "SELECT id FROM stretches WHERE epoch_id = 1 AND run_id IS 1 AND bundled IS NULL"
    (plan,) = keeper.ask(f"EXPLAIN QUERY PLAN {asked}").fetchall()
    assert "stretches_by_epoch" in plan[-1]
    keeper.write(retained(1), backlog((AT - 9, 1, 2)))
    assert keeper.ask("SELECT bundled FROM stretches ORDER BY id").fetchall() == [(None,), (1,)]
    keeper.stop()
