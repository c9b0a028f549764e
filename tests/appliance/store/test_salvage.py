"""What is put into a new file, out of a damaged one: rows judged, referred to, made up for."""

from contextlib import ExitStack, closing

import pytest
from storage.home import NAME, build

from appliance.store.damage import open_both
from appliance.store.database import Database, create
from appliance.store.dbpages import open_pages
from appliance.store.retaining import LOST, NOT_KNOWN, RETAINED, Retaining
from appliance.store.salvage import Salvage, read_roots
from appliance.store.schema import step_names
from appliance.store.spelling import PLAIN


@pytest.fixture
def home(tmp_path):
    build(tmp_path / "home", topics=20, rounds=2)
    return tmp_path / "home" / NAME


def salvaged(home, tmp_path, spoil=lambda _path, _roots: None):
    """Damage the file and salvage it; gives how many rows each table has, before and after, and the salvage."""
    with closing(Database.open(home)) as database:
        connection = database.connection
        roots = dict(connection.execute("SELECT name, rootpage FROM sqlite_master WHERE rootpage > 0"))
        before = rows_of(connection)
    spoil(home, roots)
    with ExitStack() as files:
        file, log = open_both(home, None, files)
        pages = open_pages(file, log, page_size=1024)
        new = files.enter_context(closing(create(tmp_path / "new.db", step_names())))
        salvage = Salvage(pages, read_roots(pages, roots), new)
        salvage.state()
        list(salvage.bulk())
        salvage.finish()
        assert new.execute("PRAGMA foreign_key_check").fetchall() == []
        assert new.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        triggers = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger'"
        assert new.execute(triggers).fetchone()[0] > 0
        return before, rows_of(new), salvage


def rows_of(connection):
    names = connection.execute(
        "SELECT name FROM pragma_table_list WHERE type = 'table' AND schema = 'main' AND name NOT LIKE 'sqlite%'"
        " AND name <> '_sqlite_migrations'"
    ).fetchall()
    return {name: connection.execute(f'SELECT * FROM "{name}"').fetchall() for (name,) in names}


def zero(page, size=1024):
    def spoil(path, _roots):
        with path.open("r+b") as file:
            file.seek((page - 1) * size)
            file.write(bytes(size))

    return spoil


def zero_root(name):
    return lambda path, roots: zero(roots[name])(path, roots)


def test_a_whole_file_is_copied_whole(home, tmp_path):
    before, after, salvage = salvaged(home, tmp_path)
    assert before == after
    assert salvage.lost.total() == salvage.lost_pages == 0


def test_without_its_first_page_the_notes_lead_to_every_table(home, tmp_path):
    before, after, salvage = salvaged(home, tmp_path, zero(1))
    assert before == after
    assert salvage.lost_pages == 0


def test_a_lost_row_of_a_series_comes_back_from_its_index(home, tmp_path):
    before, after, _ = salvaged(home, tmp_path, zero_root("series"))
    assert [(row[0], row[1]) for row in after["series"]] == [(row[0], row[1]) for row in before["series"]]
    assert after["readings"] == before["readings"]


def test_a_series_of_which_nothing_is_left_keeps_its_numbers_under_another_name(home, tmp_path):
    def spoil(path, roots):
        zero_root("series")(path, roots)
        zero_root("sqlite_autoindex_series_1")(path, roots)

    before, after, _ = salvaged(home, tmp_path, spoil)
    assert after["readings"] == before["readings"]
    assert {row[1] for row in after["series"]} == {f"salvaged/series_{row[0]}" for row in before["series"]}


def test_lost_epochs_and_stretches_lose_no_readings(home, tmp_path):
    def spoil(path, roots):
        zero_root("epochs")(path, roots)
        zero_root("stretches")(path, roots)

    before, after, _ = salvaged(home, tmp_path, spoil)
    assert after["readings"] == before["readings"]
    assert any(row[1] == "salvaged" for row in after["epochs"])


def test_leaves_that_nothing_leads_to_are_found(home, tmp_path):
    before, after, salvage = salvaged(home, tmp_path, zero_root("retained"))
    assert salvage.lost_pages == 1
    lost = set(before["retained"]) - set(after["retained"])
    assert set(after["retained"]) <= set(before["retained"])
    assert len(lost) < len(before["retained"]) / 3  # an index's inner page holds rows too


def test_a_changed_row_is_left_out_and_counted(home, tmp_path):
    def spoil(path, _roots):
        with closing(Database.open(path)) as database:
            database.connection.execute("UPDATE retained SET payload = ? WHERE topic = 'home/room3/note'", (b"?",))

    before, after, salvage = salvaged(home, tmp_path, spoil)
    assert salvage.lost["retained"] == salvage.lost.total() == 1
    (lost,) = set(before["retained"]) - set(after["retained"])
    assert lost[0] == "home/room3/note"


def test_where_it_is_lost_how_readings_were_retained_it_is_not_known(home, tmp_path):
    with closing(Database.open(home)) as database:
        Retaining(database.connection, lambda: 7).retain(1, PLAIN, None, None)
    before, after, _ = salvaged(home, tmp_path)
    assert [row[:3] for row in after["retaining"]] == [(1, 7, RETAINED)]
    assert after["retaining"] == before["retaining"]
    (tmp_path / "new.db").unlink()
    before, after, salvage = salvaged(home, tmp_path, zero_root("retaining"))
    assert salvage.lost_pages > 0
    rows = [row[:3] for row in after["retaining"]]
    assert rows == [(series_id, 0, NOT_KNOWN) for series_id, *_ in before["series"]]
    assert dict(row[:2] for row in after["marks"]).keys() - dict(row[:2] for row in before["marks"]).keys() == {LOST}
    for name in before.keys() - {"retaining", "marks"}:
        assert after[name] == before[name]
