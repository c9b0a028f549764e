"""A damaged database never stops a start: salvaged, put aside, told; interrupted at any point and taken up again."""

import logging
import shutil
import sqlite3
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from storage.home import NAME, build, held, open_home, spoil

from appliance.store import dbpages, salvage
from appliance.store import rescue as module
from appliance.store.aside import damages
from appliance.store.damage import log_of
from appliance.store.database import STEP_NAMES, Database, StoreError, create
from appliance.store.group import Group
from appliance.store.harms import OVERWRITTEN, UNREADABLE
from appliance.store.rescue import complete, open_sound
from appliance.store.suspicion import is_suspect, suspect


@pytest.fixture
def home(tmp_path):
    build(tmp_path / "home", topics=20, rounds=2)
    path = tmp_path / "home" / NAME
    Database.open(path).close()
    return path


def test_it_starts_keeps_the_bad_file_and_says_so(home, caplog):
    bad = spoil(home)
    with caplog.at_level(logging.ERROR), closing(open_sound(home)) as database:
        assert database.connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    (damage,) = damages(home)
    assert Path(damage.aside).read_bytes() == bad
    assert damage.kept > 50
    assert damage.line() in caplog.text
    caplog.clear()
    open_sound(home).close()
    assert not caplog.records  # said once, in the log
    assert len(damages(home)) == 1


def test_what_is_suspected_is_salvaged_at_the_next_start(home):
    with closing(open_sound(home)) as database:
        database.suspect("a row was not what was written")
    assert damages(home) == []
    open_sound(home).close()
    assert [damage.why for damage in damages(home)] == [UNREADABLE]
    open_sound(home).close()
    assert len(damages(home)) == 1


def test_a_changed_letter_in_the_schema_is_noticed(home):
    open_sound(home).close()  # notes what it is
    home.write_bytes(home.read_bytes().replace(b"quantity TEXT", b"quantitz TEXT"))
    with closing(open_sound(home)) as database:
        assert database.connection.execute("SELECT count(quantity) FROM series").fetchone() == (0,)
    assert [damage.why for damage in damages(home)] == [UNREADABLE]


def test_two_in_one_second_are_both_kept(home):
    for at in (30_000, 20_000):
        spoil(home, at)
        open_sound(home).close()
    assert len(damages(home)) == 2


def test_only_the_newest_three_are_kept_and_the_owner_is_told(home, caplog):
    for at in (20_000, 22_000, 24_000, 30_000):
        oldest = [damage.aside for damage in damages(home)][:1]
        spoil(home, at)
        open_sound(home).close()
    assert len(damages(home)) == 3
    asides = [one for one in home.parent.iterdir() if ".corrupt-" in one.name]
    assert len({one.name.removesuffix(".json").removesuffix("-wal") for one in asides}) == 3
    assert len(oldest) == 1
    assert caplog.text.count("was deleted: only the newest 3 damaged files are kept") == 1


def interrupted(monkeypatch, number):
    """Let the renames and flushes of a rescue end at one of them, as a power cut does."""
    left = [number]

    class Cut(BaseException):
        pass

    def counted(real):
        def call(*arguments):
            if not left[0]:
                raise Cut
            left[0] -= 1
            return real(*arguments)

        return call

    monkeypatch.setattr(Path, "rename", counted(Path.rename))
    monkeypatch.setattr(module, "_to_disk", counted(module._to_disk))
    monkeypatch.setattr(module, "tell", counted(module.tell))
    return Cut


@pytest.mark.parametrize("number", range(8))
def test_an_interruption_at_any_point_is_taken_up(tmp_path, monkeypatch, number):
    build(tmp_path / "home", topics=20, rounds=2)
    home = tmp_path / "home" / NAME
    spoil(home)
    with monkeypatch.context() as patch:
        cut = interrupted(patch, number)
        try:
            open_sound(home).close()
        except cut:
            pass
        else:
            assert number >= 5
    ledger = open_home(home)
    try:
        found = held(ledger.load(time.monotonic()), home)
    finally:
        ledger.close()
    assert found.corrupt == 0
    assert found.total > 50
    (damage,) = damages(home)
    assert Path(damage.aside).stat().st_size
    assert not home.with_name(f"{NAME}.salvaged").exists()


def test_a_newer_file_is_refused_even_if_it_is_damaged(home):
    with closing(Database.open(home)) as database:
        database.connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('appliance', '9999_x', '')"
        )
    spoil(home)
    with pytest.raises(StoreError, match="written by a newer version"):
        open_sound(home)
    assert damages(home) == []


def test_no_room_for_the_new_file_is_told_in_one_line(home, monkeypatch):
    def full(_path, _steps):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "create", full)
    bad = spoil(home)
    with pytest.raises(StoreError, match=r"is damaged \(.*no room to save .*free up to 1 MB"):
        open_sound(home)
    assert home.read_bytes() == bad


def test_history_is_copied_only_as_far_as_there_is_room(home, monkeypatch):
    bad = spoil(home)
    monkeypatch.setattr(salvage, "BATCH_ROWS", 4)
    monkeypatch.setattr(module, "SPARE_BYTES", 1 << 62)
    with closing(open_sound(home)) as database:
        assert database.connection.execute("SELECT count(*) FROM retained").fetchone()[0]
    (damage,) = damages(home)
    assert not damage.is_finished
    assert Path(damage.aside).read_bytes() == bad


def test_what_a_try_left_is_removed(home, monkeypatch):
    building = home.with_name(f"{NAME}.salvaging")
    building.write_bytes(b"left")
    open_sound(home).close()
    assert not building.exists()
    spoil(home)
    monkeypatch.setattr(module, "tell", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StoreError, match="no room to save"):
        open_sound(home)
    assert not building.exists()


@pytest.mark.parametrize("steps", range(1, len(STEP_NAMES)))
def test_a_power_cut_between_two_steps_of_the_schema_is_no_damage(tmp_path, steps):
    path = tmp_path / NAME
    with closing(create(path, set(sorted(STEP_NAMES)[:steps]))) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("INSERT INTO series (topic, kind) VALUES ('t', 'number')")
        if steps < 3:
            connection.execute("INSERT INTO readings (series_id, at_ms, nth, value) VALUES (1, 5, 0, 1.5)")
    with closing(open_sound(path)) as database:
        assert database.connection.execute("SELECT count(*) FROM readings").fetchone() == (int(steps < 3),)
    assert damages(path) == []


@pytest.fixture
def killed(tmp_path):
    """The files as kill -9 leaves them, with something in the log."""
    (tmp_path / "run").mkdir()
    ledger = open_home(tmp_path / "run" / NAME)
    ledger.load(time.monotonic())
    for group in (Group(1, run=1), Group(2, run=1)):
        ledger.write(group)
    shutil.copytree(tmp_path / "run", tmp_path / "killed")
    ledger.close()
    return tmp_path / "killed" / NAME


def lacks(path):
    found = []
    open_sound(path, on_lack=found.append).close()
    return [lack.text for lack in found]


def test_a_log_that_somebody_moved_into_the_file_is_not_missed(killed):
    with closing(sqlite3.connect(killed)) as other:
        assert other.execute("SELECT count(*) FROM marks").fetchone()[0]
    assert not log_of(killed).exists()
    assert lacks(killed) == []


def test_a_log_that_was_deleted_is_missed(tmp_path):
    (tmp_path / "run").mkdir()
    ledger = open_home(tmp_path / "run" / NAME)
    ledger.load(time.monotonic())
    ledger.write(Group(1, run=1))
    ledger.settle()
    ledger.write(Group(2, run=1))
    shutil.copytree(tmp_path / "run", tmp_path / "killed")
    ledger.close()
    log_of(tmp_path / "killed" / NAME).unlink()
    assert [text.endswith("-wal is gone") for text in lacks(tmp_path / "killed" / NAME)] == [True]


@pytest.mark.parametrize("rights", [0o600, 0o640])
def test_the_new_file_and_the_account_have_the_rights_of_the_old(home, rights):
    home.chmod(rights)
    spoil(home)
    open_sound(home).close()
    (damage,) = damages(home)
    assert [path.stat().st_mode & 0o777 for path in (home, Path(f"{damage.aside}.json"))] == [rights] * 2


def test_what_a_try_left_is_not_put_over_a_database_that_came_since(home, tmp_path, caplog):
    build(tmp_path / "other", topics=10, rounds=1)
    left = home.with_name(f"{NAME}.salvaged")
    left.write_bytes((tmp_path / "other" / NAME).read_bytes())
    before = home.read_bytes()
    complete(home)
    assert home.read_bytes() == before
    assert not left.exists()
    assert "was left of another database and is removed" in caplog.text


def test_a_note_of_a_reader_has_the_file_salvaged(home):
    suspect(home)
    open_sound(home).close()
    assert [damage.why for damage in damages(home)] == [UNREADABLE]
    assert not is_suspect(home)


def test_a_file_that_text_was_written_over_is_put_aside(home):
    home.write_text("dear diary, " * 20)
    open_sound(home).close()
    (damage,) = damages(home)
    assert damage.why == OVERWRITTEN
    assert Path(damage.aside).read_text().startswith("dear diary")


def test_history_is_not_looked_through_to_see_whose_a_log_is(tmp_path, monkeypatch):
    build(tmp_path / "home", topics=20, rounds=2)
    home = tmp_path / "home" / NAME
    walked = []
    real = dbpages.Pages.rows
    monkeypatch.setattr(dbpages.Pages, "rows", lambda self, root, harm: walked.append(root) or real(self, root, harm))
    with ExitStack() as files:
        _, roots, _ = module.look(home, None, files)
    assert roots["journal"] in walked
    assert not {roots[name] for name in salvage.BULK} & set(walked)
