"""Where files are, for whom."""

import os
from pathlib import Path

import pytest

from appliance import places

HOME = Path("/home/ada")


@pytest.fixture(autouse=True)
def user(monkeypatch, tmp_path):
    for name in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: HOME)
    monkeypatch.setattr(places.os, "geteuid", lambda: os.getuid() + 1)
    monkeypatch.setattr(places, "SYSTEM_DATA_DIR", tmp_path / "lib")
    monkeypatch.setattr(places, "SYSTEM_RUNTIME_DIR", tmp_path / "run")


def test_a_user_keeps_data_at_home():
    assert places.usual_data_dir() == HOME / ".local/share/appliance"
    assert places.demo_data_dir() == HOME / ".local/share/appliance-demo"


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [("/mnt/data", Path("/mnt/data")), ("relative", HOME / ".local/share"), ("", HOME / ".local/share")],
)
def test_xdg_data_home(monkeypatch, chosen, expected):
    monkeypatch.setenv("XDG_DATA_HOME", chosen)
    assert places.data_home() == expected


@pytest.mark.parametrize("who", [0, os.getuid()])
def test_root_and_its_user_share_an_installed_services_directory(monkeypatch, tmp_path, who):
    monkeypatch.setattr(places.os, "geteuid", lambda: who)
    assert places.usual_data_dir() == HOME / ".local/share/appliance"
    (tmp_path / "lib").mkdir()
    assert places.usual_data_dir() == tmp_path / "lib"


def test_systemd_names_the_directories(monkeypatch):
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/one:/var/lib/two")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/one")
    assert places.usual_data_dir() == Path("/var/lib/one")
    assert places.control_path(Path("/d")) == Path("/run/one/control.sock")


def test_files_lie_beside_each_other_otherwise():
    assert places.control_path(Path("/d")) == Path("/d/control.sock")
    assert places.database_path(Path("/d")) == Path("/d/appliance.db")


def test_a_named_directory_is_the_only_one_asked(tmp_path):
    assert list(places.control_paths(Path("/d"))) == [Path("/d/control.sock")]
    assert list(places.database_paths(Path("/d"))) == [Path("/d/appliance.db")]
    assert list(places.control_paths(tmp_path / "lib")) == [
        tmp_path / "lib/control.sock",
        tmp_path / "run/control.sock",  # a system service's socket is not beside its data
    ]


def test_the_system_s_service_answers_where_systemd_wants_it_wherever_its_data_are(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "SYSTEM_CONFIG", tmp_path / "appliance.toml")
    disk = Path("/srv/disk")
    asked = [disk / "control.sock", tmp_path / "run/control.sock"]
    assert list(places.control_paths(disk, tmp_path / "appliance.toml")) == asked
    assert list(places.control_paths(disk, tmp_path / "other.toml")) == asked[:1]


def test_the_spare_place_is_asked_where_the_owner_of_the_data_made_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    data = tmp_path / "data"
    data.mkdir()
    spare = places.spare_control_dir(data, data.stat().st_uid)
    assert list(places.control_paths(data)) == [data / "control.sock"]
    spare.mkdir(mode=0o700)
    assert list(places.control_paths(data)) == [data / "control.sock", spare / "control.sock"]
    spare.chmod(0o755)  # others could have put something there
    assert list(places.control_paths(data)) == [data / "control.sock"]
    spare.rmdir()
    spare.symlink_to(data)
    assert list(places.control_paths(data)) == [data / "control.sock"]


def test_the_system_service_is_asked_before_the_users_own(tmp_path):
    assert list(places.control_paths(None)) == [
        tmp_path / "run/control.sock",
        tmp_path / "lib/control.sock",
        HOME / ".local/share/appliance/control.sock",
        HOME / ".local/share/appliance-demo/control.sock",
    ]
    assert [path.parent.name for path in places.database_paths(None)] == ["lib", "appliance", "appliance-demo"]


def test_present(tmp_path, monkeypatch):
    assert places.present(tmp_path)
    assert not places.present(tmp_path / "none")

    def refuse(_):
        raise PermissionError

    monkeypatch.setattr(Path, "exists", refuse)
    assert not places.present(tmp_path)
