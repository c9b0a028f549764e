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
    monkeypatch.setattr(private_file.os, "chown", lambda _what, user, group: given.append((user, group)))
    make_folder(tmp_path / "tls")
    write(tmp_path / "tls" / "key", b"")
    owner = tmp_path.stat()
    assert given == [(owner.st_uid, owner.st_gid)] * 2


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
