import grp
import os
import pwd
from importlib.machinery import PathFinder

import pytest

from sensors.hw.permissions import CONTAINERS, has_library, is_container, lgpio_library, nodes, owner_of, user_name


def device(root, name, mode=0o660):
    (root / "dev").mkdir(exist_ok=True)
    path = root / "dev" / name
    path.touch()
    path.chmod(mode)
    return path


def test_device_files_of_pins_and_buses_are_found_with_their_group(tmp_path):
    for name in ("gpiochip0", "i2c-1", "sda"):
        device(tmp_path, name)
    group = grp.getgrgid(os.getegid()).gr_name
    assert [(node.path, node.group, node.may_open) for node in nodes(tmp_path)] == [
        ("/dev/gpiochip0", group, True),
        ("/dev/i2c-1", group, True),
    ]


def test_what_may_not_be_opened_is_told(tmp_path, monkeypatch):
    device(tmp_path, "gpiochip0")
    monkeypatch.setattr(os, "access", lambda *_: False)
    (node,) = nodes(tmp_path)
    assert not node.may_open


def test_who_was_added_to_the_group_is_a_member_before_the_next_login(tmp_path, monkeypatch):
    device(tmp_path, "gpiochip0")
    members = [user_name()]
    monkeypatch.setattr(grp, "getgrgid", lambda number: grp.struct_group(("gpio", "x", number, members)))
    (node,) = nodes(tmp_path)
    assert (node.group, node.is_member) == ("gpio", True)
    members.clear()
    (node,) = nodes(tmp_path)
    assert not node.is_member


def test_a_group_without_a_name_is_its_number(tmp_path, monkeypatch):
    def unknown(number):
        (tmp_path / "dev/i2c-1").unlink()  # nor is it there any more
        raise KeyError(number)

    device(tmp_path, "i2c-1")
    monkeypatch.setattr(grp, "getgrgid", unknown)
    (node,) = nodes(tmp_path)
    assert node.group == str(os.getegid())


@pytest.mark.parametrize("mark", CONTAINERS)
def test_a_container_is_known_by_its_mark(tmp_path, mark):
    assert not is_container(tmp_path)
    (tmp_path / mark).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / mark).touch()
    assert is_container(tmp_path)


def test_the_owner_of_a_file(tmp_path, monkeypatch):
    assert owner_of(tmp_path) == pwd.getpwuid(os.geteuid()).pw_name == user_name()
    assert owner_of(tmp_path / "none") == ""

    def unknown(number):
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert owner_of(tmp_path) == user_name() == str(os.geteuid())


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("import os\n\ndef gpiochip_open(gpiochip):\n    return 0\n", "there"),
        ("# 0.0.0.2\n", "stub"),
        (None, "missing"),
    ],
)
def test_the_library_is_looked_at_without_importing_it(tmp_path, source, what):
    if source is not None:
        (tmp_path / "lgpio.py").write_text(source)
    assert lgpio_library(lambda name: PathFinder.find_spec(name, [str(tmp_path)])) == what
    assert not list(tmp_path.glob("**/.lgd-nfy*"))


def test_whether_a_library_is_installed():
    assert has_library("json")
    assert not has_library("a_library_that_nobody_has")


def test_a_folder_without_code_is_a_stub(tmp_path):
    (tmp_path / "lgpio").mkdir()
    assert lgpio_library(lambda name: PathFinder.find_spec(name, [str(tmp_path)])) == "stub"
