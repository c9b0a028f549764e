"""One service at a time uses a data directory; one that cannot be used is told with the cure."""

import errno
import os

import pytest

from appliance import data_dir
from appliance.data_dir import held
from appliance.exits import CommandError, Exit


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.EACCES, "give it to this user"),
        (errno.EROFS, "mount its disk writable"),
        (errno.ENOSPC, "free some space"),
        (errno.EIO, "check its path, its rights and its disk"),
    ],
)
def test_a_data_directory_that_cannot_be_written(tmp_path, monkeypatch, number, cure):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(data_dir.os, "open", refuse)  # root may write anywhere, so a mode proves nothing
    with pytest.raises(CommandError) as caught, held(tmp_path):
        pass
    assert str(caught.value).endswith(f"; {cure}, or choose another with --data")
    assert caught.value.exit_code == Exit.DATA


def test_a_full_disk_keeps_no_service_from_starting_and_others_out_all_the_same(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(data_dir.os, "pwrite", refuse)
    with held(tmp_path):
        with pytest.raises(CommandError) as caught, held(tmp_path):
            pass
        assert caught.value.exit_code == Exit.UNAVAILABLE


def test_a_lock_that_root_makes_belongs_to_whom_the_directory_does(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("os.fchown", lambda what, *owner: given.append((os.fstat(what).st_ino, owner)))
    with held(tmp_path):
        folder = tmp_path.stat()
        assert given == [((tmp_path / data_dir.LOCK).stat().st_ino, (folder.st_uid, folder.st_gid))]


def test_a_link_in_the_place_of_the_lock_is_not_written_through(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("somebody else's")
    data = tmp_path / "data"
    data.mkdir()
    (data / "appliance.lock").symlink_to(victim)
    with pytest.raises(CommandError, match=r"remove the link appliance\.lock in it"), held(data):
        pass
    assert victim.read_text() == "somebody else's"
