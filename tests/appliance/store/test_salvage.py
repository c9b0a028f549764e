"""A new file of what is whole in a damaged one: each row judged, what follows later included."""

import os
from contextlib import contextmanager

import pytest
from kept import Kept, every

from appliance.store.database import create
from appliance.store.dbpages import Harm, open_pages
from appliance.store.rollup import HOUR_MS, MINUTE_MS
from appliance.store.salvage import Salvage, read_roots
from appliance.store.schema import step_names

TABLES = ("series", "epochs", "stretches", "readings", "minutes", "hours", "days", "due", "floors")


@pytest.fixture
def path(tmp_path):
    """Two topics of some hours, rolled up."""
    kept = Kept(tmp_path / "appliance.db")
    for topic in ("a", "b"):
        kept.put(kept.series(topic), *every(MINUTE_MS, until_ms=5 * HOUR_MS))
    kept.after(3 * HOUR_MS)
    kept.roll()
    kept.ask("PRAGMA wal_checkpoint(TRUNCATE)")
    kept.close()
    return kept.path


@contextmanager
def salvaging(path):
    """Salvage of a file into a new one beside it."""
    file = os.open(path, os.O_RDONLY)
    new = create(path.with_name("new.db"), step_names())
    try:
        pages = open_pages(file, None, page_size=None)
        yield Salvage(pages, read_roots(pages, {}), new), new
    finally:
        new.close()
        os.close(file)


def rows(connection, table):
    return connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()


def test_a_whole_file_comes_over_as_it_is(path):
    with salvaging(path) as (salvage, new):
        salvage.state()
        assert rows(new, "readings") == []  # history follows
        assert sum(salvage.bulk()) == salvage.kept["readings"] + sum(salvage.kept[tier] for tier in TABLES[4:7])
        salvage.finish()
        copied = {table: rows(new, table) for table in TABLES}
        triggers = new.execute("SELECT count(*) FROM sqlite_master WHERE type = 'trigger'").fetchone()
    old = Kept(path)
    assert copied == {table: rows(old.database.connection, table) for table in TABLES}
    assert old.ask("SELECT count(*) FROM sqlite_master WHERE type = 'trigger'").fetchone() == triggers
    old.close()
    assert not salvage.lost.total() + salvage.lost_pages


def test_a_row_that_is_not_what_was_written_stays_behind(path):
    old = Kept(path)
    old.ask("UPDATE readings SET value = value + 1 WHERE series_id = 1 AND tick / 960000 % 7 = 0")
    changed = old.ask("SELECT changes()").fetchone()[0]
    assert 0 < changed < 300
    old.ask("PRAGMA wal_checkpoint(TRUNCATE)")
    old.close()
    with salvaging(path) as (salvage, new):
        salvage.state()
        list(salvage.bulk())
        assert salvage.lost["readings"] == changed
        assert len(rows(new, "readings")) == 2 * 300 - changed


def zero(path, *names):
    """Overwrite the first pages of tables and indexes."""
    kept = Kept(path)
    page_bytes = kept.ask("PRAGMA page_size").fetchone()[0]
    roots = [kept.ask("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0] for name in names]
    kept.close()
    with path.open("r+b") as file:
        for root in roots:
            file.seek((root - 1) * page_bytes)
            file.write(bytes(page_bytes))


def test_names_that_are_lost_are_made_up_for_by_an_index(path):
    zero(path, "series")
    with salvaging(path) as (salvage, new):
        salvage.state()
        assert salvage.lost_pages == 1
        assert [row[:3] for row in rows(new, "series")] == [(1, "a", "number"), (2, "b", "number")]


def test_history_whose_names_are_lost_keeps_its_numbers(path):
    zero(path, "series", "sqlite_autoindex_series_1")
    with salvaging(path) as (salvage, new):
        salvage.state()
        list(salvage.bulk())
        salvage.finish()
        assert [topic for _, topic, *_ in rows(new, "series")] == ["salvaged/series_1", "salvaged/series_2"]
        assert len(rows(new, "readings")) == 600
        assert new.execute("PRAGMA foreign_key_check").fetchall() == []


def test_what_is_newer_than_the_damage_is_no_parent_of_old_rows(path):
    with salvaging(path) as (first, new):
        first.state()
        file = os.open(path, os.O_RDONLY)
        pages = open_pages(file, None, page_size=None)
        later = Salvage(pages, read_roots(pages, {}), new, {**first.most(), "series": 1})
        list(later.bulk())
        os.close(file)
        assert {row[0] for row in rows(new, "readings")} == {1}
        assert later.lost["readings"] == 300


def test_without_a_page_the_new_file_is_empty_and_usable(tmp_path):
    new = create(tmp_path / "new.db", step_names())
    salvage = Salvage(None, {}, new)
    salvage.state()
    assert list(salvage.bulk()) == []
    salvage.finish()
    assert rows(new, "moving") == [(1, 0, 0)]  # what a new file begins with
    assert not salvage.kept.total()
    new.close()


def test_roots_are_read_from_the_file_or_known_from_before(path):
    file = os.open(path, os.O_RDONLY)
    pages = open_pages(file, None, page_size=None)
    roots = read_roots(pages, {"gone": 7})
    assert roots["gone"] == 7
    assert len(list(pages.rows(roots["series"], Harm()))) == 2
    os.close(file)
