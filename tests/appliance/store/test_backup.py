"""Copies of the database, made while it is written to, put back, and cut at every step."""

import fcntl
import os
import shutil
import sqlite3
import stat
import threading

import pytest
from keeper import Keeper, number

from appliance.store import backup as module
from appliance.store.backup import backup, check, restore
from appliance.store.database import Database, StoreError

SOME = 400


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "d" / "appliance.db"
    fill(path, "one")
    return path


def fill(path, word, rows=SOME):
    database = Database.open(path)
    with database.transaction():
        database.connection.execute("DELETE FROM runs")
        database.connection.executemany(
            "INSERT INTO runs (agent, run) VALUES (?, ?)", ((f"{word} {number}", "x" * 100) for number in range(rows))
        )
    database.close()


def content(path):
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return {agent.split()[0] for (agent,) in connection.execute("SELECT agent FROM runs")}, connection.execute(
            "SELECT count(*) FROM runs"
        ).fetchone()[0]
    finally:
        connection.close()


def test_a_copy_is_whole_and_private(database, tmp_path):
    target = tmp_path / "copy.db"
    assert backup(database, target) == target.stat().st_size
    assert content(target) == ({"one"}, SOME)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.db", "d"]


def test_a_copy_of_what_is_being_written_is_of_one_moment(database, tmp_path):
    """Two tables are changed in one transaction again and again; a copy never shows one without the other."""
    writer = Database.open(database)
    writer.close()
    stop = threading.Event()

    def write():
        mine = Database.open(database)
        number = 0
        while not stop.is_set():
            number += 1
            with mine.transaction():
                mine.connection.execute("INSERT INTO runs (agent, run) VALUES ('two', ?)", (number,))
                mine.connection.execute("INSERT INTO series (topic, kind) VALUES (?, 'text')", (f"t/{number}",))
        mine.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(5):
            target = tmp_path / f"{number}.db"
            backup(database, target)
            connection = sqlite3.connect(target)
            (runs,) = connection.execute("SELECT count(*) FROM runs WHERE agent = 'two'").fetchone()
            (series,) = connection.execute("SELECT count(*) FROM series").fetchone()
            connection.close()
            assert runs == series
    finally:
        stop.set()
        thread.join()


def test_how_far_it_is_is_told(database, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STEPS_BETWEEN_LOOKS", 100)
    told = []
    backup(database, tmp_path / "copy.db", tell=told.append)
    assert told
    assert all(0 <= share <= 1 for share in told)


def test_what_is_there_is_replaced_only_when_asked(database, tmp_path):
    target = tmp_path / "copy.db"
    target.write_text("precious")
    with pytest.raises(StoreError, match="--force"):
        backup(database, target)
    assert target.read_text() == "precious"
    backup(database, target, replace=True)
    assert content(target) == ({"one"}, SOME)


def test_a_file_made_meanwhile_is_not_replaced(database, tmp_path, monkeypatch):
    target = tmp_path / "copy.db"
    monkeypatch.setattr(module, "check", lambda *_, **__: target.write_text("precious"))
    with pytest.raises(StoreError, match="is there already"):
        backup(database, target)
    assert target.read_text() == "precious"


@pytest.mark.parametrize("end", ["", "-wal"])
def test_the_database_is_never_its_own_copy(database, end):
    with pytest.raises(StoreError, match="itself"):
        backup(database, database.with_name(database.name + end), replace=True)
    assert content(database) == ({"one"}, SOME)


def test_wrong_places(database, tmp_path):
    with pytest.raises(StoreError, match="is a directory"):
        backup(database, tmp_path)
    with pytest.raises(StoreError, match="cannot be used"):
        backup(database, tmp_path / "none" / "copy.db")
    with pytest.raises(StoreError, match="cannot be opened"):
        backup(tmp_path / "none.db", tmp_path / "copy.db")


def test_too_little_room_is_said_before_anything_is_written(database, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 4096))
    with pytest.raises(StoreError, match=r"has 0 MB free and the copy needs \d+ MB: free some space"):
        backup(database, tmp_path / "copy.db")
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_two_at_once(database, tmp_path):
    part = tmp_path / "copy.db.part"
    with part.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="another process"):
            backup(database, tmp_path / "copy.db")


def test_a_copy_is_put_back_and_the_present_one_aside(database, tmp_path):
    copy = tmp_path / "copy.db"
    backup(database, copy)
    fill(database, "two", 7)
    aside, damaged_rows = restore(copy, database, at=0.0)
    assert damaged_rows == 0
    assert aside.name == "appliance.db.before-restore-19700101T000000"
    assert content(database) == ({"one"}, SOME)
    assert content(aside) == ({"two"}, 7)
    Database.open(database).close()


def test_a_log_left_by_a_cut_goes_with_the_database_it_belongs_to(database, tmp_path):
    copy = tmp_path / "copy.db"
    backup(database, copy)
    kept = tmp_path / "kept"
    writing = Database.open(database)
    with writing.transaction():
        writing.connection.execute("DELETE FROM runs")
        writing.connection.execute("INSERT INTO runs (agent, run) VALUES ('cut', '')")
    shutil.copytree(database.parent, kept)  # as a pulled plug leaves it: the last transaction is in the log alone
    writing.close()
    cut = kept / database.name
    assert (kept / "appliance.db-wal").stat().st_size
    aside, _ = restore(copy, cut)
    assert content(cut) == ({"one"}, SOME)
    assert content(aside) == ({"cut"}, 1)
    assert not (kept / "appliance.db-wal").exists()


def test_into_an_empty_place(database, tmp_path):
    target = tmp_path / "new.db"
    (tmp_path / "new.db-wal").write_bytes(b"of a database that is gone")
    assert restore(database, target) == (None, 0)
    assert content(target) == ({"one"}, SOME)


def test_even_a_ruined_database_is_put_aside(database, tmp_path):
    copy = tmp_path / "copy.db"
    backup(database, copy)
    database.write_bytes(b"ruined" * 1000)
    database.with_name("appliance.db-wal").write_bytes(b"log")
    aside, _ = restore(copy, database)
    assert content(database) == ({"one"}, SOME)
    assert aside.read_bytes() == b"ruined" * 1000
    assert aside.with_name(f"{aside.name}-wal").read_bytes() == b"log"


def damage_header(path):
    path.write_bytes(b"x" * 4096)


def damage_middle(path):
    raw = bytearray(path.read_bytes())
    middle = len(raw) // 2
    raw[middle : middle + 2048] = b"\xff" * 2048
    path.write_bytes(raw)


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def execute(statement):
    def change(path):
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute(statement)
        connection.close()

    return change


BAD = [
    (damage_header, "is no database: name a file"),
    (damage_middle, "damaged|no whole database"),
    (truncate, "damaged|no whole database"),
    (execute("PRAGMA application_id = 7"), "another program"),
    (
        execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('appliance', '9999_later', '')"
        ),
        "9999_later is unknown here.*update",
    ),
    (execute("UPDATE _sqlite_migrations SET name = '0003_tickz' WHERE name = '0003_ticks'"), "damaged .*schema steps"),
]


@pytest.mark.parametrize(("spoil", "says"), BAD)
def test_what_is_no_good_copy_is_refused(database, tmp_path, spoil, says):
    copy = tmp_path / "copy.db"
    backup(database, copy)
    spoil(copy)
    fill(database, "two", 7)
    with pytest.raises(StoreError, match=says) as refused:
        restore(copy, database)
    assert str(refused.value).startswith(f"{copy} ")  # the file that was named, not the one it was copied into
    assert "a new history then begins" not in str(refused.value)
    assert content(database) == ({"two"}, 7)
    assert not [path.name for path in database.parent.iterdir() if "restore" in path.name or "part" in path.name]


def test_no_file_and_the_database_itself(database, tmp_path):
    with pytest.raises(StoreError, match="there is no file"):
        restore(tmp_path / "none", database)
    with pytest.raises(StoreError, match="the database itself"):
        restore(database, database)


def test_a_name_that_is_taken(database, tmp_path):
    copy = tmp_path / "copy.db"
    backup(database, copy)
    restore(copy, database, at=0.0)
    with pytest.raises(StoreError, match="wait a second"):
        restore(copy, database, at=0.0)


def test_a_file_system_without_links(database, tmp_path, monkeypatch):
    copy = tmp_path / "copy.db"
    backup(database, copy)
    fill(database, "two", 7)

    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    assert content(restore(copy, database).aside) == ({"two"}, 7)
    assert content(database) == ({"one"}, SOME)


def test_damaged_readings_are_counted_and_kept_back(tmp_path):
    keeper = Keeper(tmp_path / "appliance.db")
    keeper.write(*map(number, range(5)), apart_s=1.0)
    keeper.move()
    keeper.ask("UPDATE readings SET value = value + 1 WHERE value > 2000")
    keeper.stop()
    copy = tmp_path / "copy.db"
    backup(keeper.path, copy)  # the rest of it is worth keeping
    assert restore(copy, tmp_path / "new.db") == (None, 2)


def test_it_checks_what_it_copied(database, tmp_path):
    check(database)
    with pytest.raises(StoreError, match="no whole database"):
        check(tmp_path / "none.db")


# --- cut anywhere ---

CALLS = [
    (os, "fsync"),
    (os, "link"),
    (module.Path, "replace"),
    (module.Path, "unlink"),
    (module, "check"),
    (os, "truncate"),
]


def cut_at(number, work):
    """Do the work in a process of its own that dies at its n-th call to the system; gives whether it did."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) in {0, 9}
        return os.waitstatus_to_exitcode(status) == 9
    left = [number]

    def dying(real):
        def call(*arguments, **options):
            left[0] -= 1
            if not left[0]:
                os._exit(9)
            return real(*arguments, **options)

        return call

    for owner, name in CALLS:
        setattr(owner, name, dying(getattr(owner, name)))
    try:
        work()
        os._exit(0)
    finally:
        os._exit(1)


def test_a_cut_anywhere_in_a_backup_leaves_the_old_copy_or_the_new(database, tmp_path):
    target = tmp_path / "copy.db"
    number, seen = 1, set()
    while True:
        target.unlink(missing_ok=True)
        fill(database, "one")
        backup(database, target)
        fill(database, "two", 7)
        if not cut_at(number, lambda: backup(database, target, replace=True)):
            break
        seen.add(str(content(target)))
        assert content(target) in [({"one"}, SOME), ({"two"}, 7)]
        backup(database, target, replace=True)  # what the cut left is no obstacle
        assert content(target) == ({"two"}, 7)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.db", "d"]
        number += 1
    assert number > 4
    assert len(seen) == 2


def test_a_cut_anywhere_in_a_restore_leaves_the_old_state_or_the_new(tmp_path, database):
    copy, home = tmp_path / "copy.db", tmp_path / "home"
    backup(database, copy)
    fill(database, "two", 7)
    number, seen = 1, set()
    while True:
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(database.parent, home)
        mine = home / database.name
        if not cut_at(number, lambda path=mine: restore(copy, path, at=0.0)):
            break
        seen.add(str(content(mine)))
        assert content(mine) in [({"one"}, SOME), ({"two"}, 7)]
        Database.open(mine).close()  # a start works
        restore(copy, mine, at=1.0)
        assert content(mine) == ({"one"}, SOME)
        number += 1
    assert number > 6
    assert len(seen) == 2


def test_full_with_room_on_the_disk_means_damage(tmp_path, monkeypatch):
    keeper = Keeper(tmp_path / "a.db")
    keeper.stop()

    class Damaged:
        """A connection to a damaged file, as SQLite behaves on some."""

        def __init__(self, connection):
            self._connection = connection

        def __getattr__(self, name):
            return getattr(self._connection, name)

        def execute(self, statement, *arguments):
            if statement.startswith("VACUUM"):
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
            return self._connection.execute(statement, *arguments)

    opened = module.open_reader
    monkeypatch.setattr(module, "open_reader", lambda path: Damaged(opened(path)))
    with pytest.raises(StoreError, match=r"a.db is damaged and cannot be copied"):
        module.backup(tmp_path / "a.db", tmp_path / "copy.db")


def test_what_is_named_is_what_was_typed(database, tmp_path):
    with pytest.raises(StoreError) as refused:
        backup(database, tmp_path / "none" / "x")
    assert str(refused.value).startswith(f"{tmp_path / 'none' / 'x'} ")
    execute("INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('appliance', '9999_x', '')")(
        database
    )
    with pytest.raises(StoreError) as refused:
        backup(database, tmp_path / "copy.db")
    assert str(refused.value).startswith(f"{database} was written by a newer version")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.touch(), "is empty"),
        (lambda path: path.mkdir(), "is a directory"),
        (lambda path: path.write_text("dear diary"), "is no database"),
        (execute("CREATE TABLE recipes (name)"), "belongs"),
    ],
)
def test_what_no_backup_made_is_answered_with_what_to_name(database, tmp_path, make, says):
    make(tmp_path / "copy")
    with pytest.raises(StoreError, match=f"copy {says}.*: name a file that `appliance backup` has made$"):
        restore(tmp_path / "copy", database)


def test_nothing_of_the_database_before_is_left_beside_the_new_one(database, tmp_path):
    backup(database, tmp_path / "copy.db")
    left = [database.with_name(database.name + end) for end in (".salvaged", ".salvaging", ".suspect")]
    for one in left:
        one.touch()
    restore(tmp_path / "copy.db", database)
    assert not any(one.exists() for one in left)


def test_what_root_puts_back_belongs_to_whom_the_folder_does(database, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("os.fchown", lambda what, *owner: given.append((os.fstat(what).st_ino, owner)))
    backup(database, copy := tmp_path / "copy.db")
    assert given == []  # whoever makes a copy keeps it
    restore(copy, database)
    folder = database.parent.stat()
    assert given == [(database.stat().st_ino, (folder.st_uid, folder.st_gid))]
