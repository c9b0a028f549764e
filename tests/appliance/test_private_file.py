"""Files of secrets: whole or not at all, and nobody else's."""

import os
from threading import Thread
from types import SimpleNamespace

import pytest

from appliance import private_file
from appliance.private_file import edit, make_folder, read, remove, shut_out, write


def mode(path):
    return path.stat().st_mode & 0o777


def test_what_is_written_is_its_owners_alone_whatever_the_umask(tmp_path):
    path = tmp_path / "secret"
    before = os.umask(0)
    try:
        write(path, b"one")
    finally:
        os.umask(before)
    assert (read(path), mode(path)) == (b"one", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_what_an_interrupted_write_left_is_in_nobodys_way(tmp_path):
    left = tmp_path / ".secret.new"
    left.write_bytes(b"half")
    write(tmp_path / "secret", b"whole")
    assert (read(tmp_path / "secret"), left.exists()) == (b"whole", False)


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "secret"
    write(path, b"before")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(private_file.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(path, b"after")
    assert (read(path), list(tmp_path.iterdir())) == (b"before", [path])


def test_who_writes_waits_for_who_edits(tmp_path):
    path = tmp_path / "secret"
    other = Thread(target=write, args=(path, b"written"))

    def change(before):
        other.start()
        other.join(0.2)
        assert other.is_alive()
        return before + b"edited"

    assert edit(path, change)
    other.join()
    assert (read(path), list(tmp_path.iterdir())) == (b"written", [path])


def test_what_is_removed_leaves_nothing_behind(tmp_path):
    path = tmp_path / "secret"
    assert not remove(path)
    assert not remove(tmp_path / "no folder" / "secret")
    write(path, b"one")
    for name in (".secret.new", ".secret.123.new"):
        (tmp_path / name).write_bytes(b"half")
    assert remove(path)
    assert (read(path), list(tmp_path.iterdir())) == (None, [])


def test_a_folder_is_its_owners_alone(tmp_path):
    make_folder(tmp_path / "data" / "tls")
    assert mode(tmp_path / "data" / "tls") == 0o700
    (tmp_path / "data" / "tls").chmod(0o750)
    make_folder(tmp_path / "data" / "tls")
    assert mode(tmp_path / "data" / "tls") == 0o750


def test_what_root_makes_belongs_to_the_services_user(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(private_file.os, "geteuid", lambda: 0)
    monkeypatch.setattr(private_file.os, "fchown", lambda _what, user, group: given.append((user, group)))
    make_folder(tmp_path / "tls")
    write(tmp_path / "tls" / "key", b"")
    owner = tmp_path.stat()
    assert given == [(owner.st_uid, owner.st_gid)] * 2


USER = os.geteuid() or 990  # somebody else than root
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="plants links of another user's, which wants root")


@pytest.fixture
def planted(tmp_path):
    """Give a folder of a service's user, a place that is not theirs, and what plants a link of theirs."""
    theirs, elsewhere = tmp_path / "theirs", tmp_path / "elsewhere"
    for folder in (theirs, elsewhere):
        folder.mkdir()
    os.chown(theirs, USER, USER)

    def plant(name, target):
        (theirs / name).symlink_to(target)
        os.chown(theirs / name, USER, USER, follow_symlinks=False)
        return theirs / name

    return SimpleNamespace(theirs=theirs, elsewhere=elsewhere, plant=plant)


@AS_ROOT
def test_root_writes_nothing_where_a_link_of_the_services_user_leads(planted):
    file = planted.plant("accounts.json", planted.elsewhere / "nologin")
    folder = planted.plant("tls", planted.elsewhere)
    (planted.elsewhere / "key").write_bytes(b"before")
    for refused in (
        lambda: edit(file, lambda _: b"{}"),
        lambda: read(file),
        lambda: write(folder / "key", b"after"),
        lambda: edit(folder / "key", lambda _: b"after"),
        lambda: remove(folder / "key"),
    ):
        with pytest.raises(PermissionError, match="root follows no link that another user has made"):
            refused()
    make_folder(folder)
    assert [(path.name, path.read_bytes()) for path in planted.elsewhere.iterdir()] == [("key", b"before")]
    assert planted.elsewhere.stat().st_uid == 0


@AS_ROOT
def test_a_folder_that_is_swapped_while_root_writes_takes_nothing_along(planted):
    """What was opened is what is written in, and what counts for the owner."""
    (planted.theirs / "tls").mkdir()
    os.chown(planted.theirs / "tls", USER, USER)
    (planted.theirs / "tls" / "key").write_bytes(b"")

    def swap(_before):
        (planted.theirs / "tls").rename(planted.theirs / "moved")
        planted.plant("tls", planted.elsewhere)
        return b"secret"

    edit(planted.theirs / "tls" / "key", swap)
    assert list(planted.elsewhere.iterdir()) == []
    assert (planted.theirs / "moved" / "key").read_bytes() == b"secret"


@AS_ROOT
def test_a_link_of_roots_own_is_followed(planted):
    (planted.elsewhere / "data").mkdir()
    link = planted.theirs.parent / "link"
    link.symlink_to(planted.elsewhere / "data")
    write(link / "key", b"one")
    assert (read(link / "key"), edit(link / "key", lambda before: before + b"two")) == (b"one", True)
    assert (planted.elsewhere / "data" / "key").read_bytes() == b"onetwo"


@pytest.mark.parametrize(
    ("we", "owner", "name"),
    [(0, 990, "sensors"), (0, 0, ""), (990, 990, ""), (990, 0, ""), (0, 4_000_000_000, "")],
    ids=["root in its place", "root's own", "itself", "not our business", "nobody here"],
)
def test_who_could_not_open_what_root_makes(monkeypatch, we, owner, name):
    def getpwuid(number):
        if number != 990:
            raise KeyError(number)
        return SimpleNamespace(pw_name="sensors")

    monkeypatch.setattr("pwd.getpwuid", getpwuid)
    monkeypatch.setattr(private_file.os, "geteuid", lambda: we)
    assert shut_out(owner) == name
