"""The place of what an agent keeps, for whoever runs it."""

import os
import stat
from types import SimpleNamespace

import pytest

from sensors import data_dir
from sensors.data_dir import make, shut_out, usual_data_dir

US = os.getuid()
PLACES = [
    ({"STATE_DIRECTORY": "/srv/sensors:/srv/more"}, 1000, True, None, "/srv/sensors"),
    ({"HOME": "/root"}, 0, True, None, "SYSTEM"),
    ({"HOME": "/root"}, 0, False, None, "/root/.local/share/sensors"),
    ({"HOME": "/root"}, 0, False, 990, "SYSTEM"),  # the unit is installed, and was never started
    ({"HOME": "/home/u"}, 990, False, 990, "SYSTEM"),
    ({"HOME": "/home/u"}, 1000, False, 990, "/home/u/.local/share/sensors"),
    ({"HOME": "/home/u"}, US, True, None, "SYSTEM"),  # the directory is this user's: the service's own
    ({"HOME": "/home/u"}, US + 1, True, None, "/home/u/.local/share/sensors"),
    ({"XDG_DATA_HOME": "/home/u/data"}, 1000, False, None, "/home/u/data/sensors"),
]


@pytest.fixture
def system(monkeypatch, tmp_path):
    """A computer whose service has this directory, and perhaps this user."""

    def system(*, is_there, user):
        def getpwnam(name):
            assert name == "sensors"
            if user is None:
                raise KeyError(name)
            return SimpleNamespace(pw_uid=user, pw_gid=user + 1)

        folder = tmp_path if is_there else tmp_path / "lib" / "sensors"
        monkeypatch.setattr("pwd.getpwnam", getpwnam)
        monkeypatch.setattr(data_dir, "SYSTEM_DATA_DIR", folder)
        return folder

    return system


@pytest.mark.parametrize(("environment", "runs_as", "is_there", "user", "place"), PLACES)
def test_the_usual_place(system, monkeypatch, environment, runs_as, is_there, user, place):
    for name in ("STATE_DIRECTORY", "XDG_DATA_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    folder = system(is_there=is_there, user=user)
    monkeypatch.setattr("os.geteuid", lambda: runs_as)
    assert str(usual_data_dir()) == place.replace("SYSTEM", str(folder))


@pytest.mark.parametrize(
    ("runs_as", "user", "given"),
    [(0, 990, [(990, 991)]), (0, None, []), (990, 990, [])],
    ids=["root", "none", "itself"],
)
def test_what_root_makes_for_the_service_is_its_user_s(system, monkeypatch, runs_as, user, given):
    folder = system(is_there=False, user=user)
    chowned = []
    monkeypatch.setattr("os.geteuid", lambda: runs_as)
    monkeypatch.setattr("os.chown", lambda path, *owner: chowned.append((path, owner)))
    make(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [owner for path, owner in chowned if path == folder and owner == (990, 991)] == given
    make(folder)
    make(folder.parent / "another")
    assert [owner for _, owner in chowned if owner == (990, 991)] == given


@pytest.mark.parametrize(
    ("is_there", "user", "whose"),
    [(True, None, US), (False, 990, 990), (False, None, None)],
    ids=["the directory's owner", "the unit's user", "no service"],
)
def test_root_is_told_in_whose_place_it_would_keep_files(system, monkeypatch, is_there, user, whose):
    folder = system(is_there=is_there, user=user)
    monkeypatch.setattr("appliance.private_file.shut_out", "user {}".format)
    assert shut_out(folder) == ("" if whose is None else f"user {whose}")
    assert shut_out(folder.parent / "another") == ""
