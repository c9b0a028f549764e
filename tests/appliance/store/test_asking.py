"""A question reads one state of the file and ends in time."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from keeper import Keeper, number

from appliance.store import asking as module
from appliance.store.asking import Asker, asking
from appliance.store.database import StoreError
from appliance.store.suspicion import is_suspect


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


COUNT = "SELECT count(*) FROM history"


def test_a_connection_that_is_kept_sees_what_was_written_since(keeper):
    asker = Asker(keeper.path, keeps=True)
    for number_of_rows in (1, 2):
        keeper.write(number(number_of_rows))
        with asker.question() as connection:
            assert connection.execute(COUNT).fetchone() == (number_of_rows,)
            kept = connection
    with asker.question() as connection:
        assert connection is kept
        with asker.question() as other:  # each question has one to itself
            assert other is not kept
    asker.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        kept.execute(COUNT)


def test_a_connection_that_is_kept_holds_nothing_up(keeper):
    keeper.write(number(1))
    asker = Asker(keeper.path, keeps=True)
    with asker.question() as connection:
        assert connection.execute(COUNT).fetchone() == (1,)
    keeper.write(number(2))
    assert keeper.database.checkpoint("TRUNCATE")
    assert keeper.path.with_name("appliance.db-wal").stat().st_size == 0
    asker.close()


def test_a_question_that_failed_keeps_nothing(keeper):
    asker = Asker(keeper.path, keeps=True)
    with pytest.raises(StoreError), asker.question() as failed:
        failed.execute("SELECT * FROM nowhere")
    with asker.question() as connection:
        assert connection is not failed
    asker.close()


def test_a_file_in_the_place_of_another_is_opened_anew(keeper, tmp_path):
    asker = Asker(keeper.path, keeps=True)
    keeper.write(number(1))
    with asker.question() as connection:
        assert connection.execute(COUNT).fetchone() == (1,)
    keeper.stop()
    for part in tmp_path.glob("appliance.db*"):
        part.rename(tmp_path / f"aside-{part.name}")
    keeper.start()
    with asker.question() as connection:
        assert connection.execute(COUNT).fetchone() == (0,)
    asker.close()


def test_many_threads_ask_at_once(keeper):
    keeper.write(*(number(n) for n in range(50)))
    asker = Asker(keeper.path, keeps=True)

    def count(_):
        with asker.question() as connection:
            return connection.execute(COUNT).fetchone()

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(count, range(100))) == {(50,)}
    asker.close()
    with asker.question() as connection:  # may be asked on, and keeps nothing
        assert connection.execute(COUNT).fetchone() == (50,)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute(COUNT)


def test_where_the_log_was_deleted_it_is_opened_anew(keeper):
    """The log that a connection has open may be another than the one that is written now."""
    keeper.write(number(1))
    asker = Asker(keeper.path, keeps=True)
    try:
        with asker.question() as connection:
            kept = connection
        with closing(sqlite3.connect(keeper.path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        keeper.path.with_name(f"{keeper.path.name}-wal").unlink()
        with asker.question() as connection:
            assert connection is not kept
    finally:
        asker.close()


def test_damage_that_is_met_is_noted_for_the_service(keeper):
    keeper.write(number(1))
    keeper.database.checkpoint("TRUNCATE")
    (root,) = keeper.ask("SELECT rootpage FROM sqlite_master WHERE name = 'readings'").fetchone()
    with keeper.path.open("r+b") as file:
        file.seek((root - 1) * 1024)
        file.write(b"\xff" * 1024)
    with (
        pytest.raises(StoreError, match=r"is damaged: restart the service, which saves what is whole"),
        asking(keeper.path) as connection,
    ):
        connection.execute("SELECT * FROM readings").fetchall()
    assert is_suspect(keeper.path)


def test_what_another_version_has_not_is_no_damage(keeper):
    with pytest.raises(StoreError), asking(keeper.path) as connection:
        connection.execute("SELECT * FROM later")
    assert not is_suspect(keeper.path)
