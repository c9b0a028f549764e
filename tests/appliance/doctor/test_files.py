import os
from pathlib import Path

import pytest

from appliance.doctor.files import ACCESS_LIST, File, Reader, file_findings, file_of, owner_of


@pytest.fixture
def house(tmp_path):
    """A directory that anybody could reach, but for pytest's own above it."""
    (tmp_path / "open").mkdir()
    return tmp_path / "open"


def judged(path, mode, *, is_secret, is_within_reach=True):
    path.write_text("x")
    path.chmod(mode)
    from dataclasses import replace

    file = replace(file_of(path, is_secret=is_secret), is_within_reach=is_within_reach)
    return [str(finding) for finding in file_findings([file])]


@pytest.mark.parametrize(
    ("mode", "is_secret", "words"),
    [
        (0o600, True, []),
        (0o640, True, []),  # shared with a group on purpose
        (0o644, False, []),
        (0o644, True, ["everybody may read this secret (mode 0644, of", "`sudo chmod 600"]),
        (0o660, True, ["others may change it (mode 0660, of", "`sudo chmod go-w"]),
        (0o666, False, ["others may change it (mode 0666, of", "`sudo chmod go-w"]),
    ],
)
def test_modes(house, mode, is_secret, words):
    found = judged(house / "file", mode, is_secret=is_secret)
    assert len(found) == bool(words)
    assert all(word in found[0] for word in words)


def test_a_secret_that_nobody_reaches_is_one(house):
    assert judged(house / "file", 0o644, is_secret=True, is_within_reach=False) == []
    house.chmod(0o700)
    assert not file_of(house / "file", is_secret=True).is_within_reach


def test_its_owner_is_named_as_far_as_there_is_a_name(house):
    (house / "file").write_text("")
    if os.geteuid() == 0:
        assert file_of(house / "file", is_secret=False).owner == "root"
        os.chown(house / "file", 54_321, -1)
        assert file_of(house / "file", is_secret=False).owner == "54321"
    assert file_of(house / "none", is_secret=False) is None
    assert file_of(house / "file" / "none", is_secret=False) is None


SERVICE = Reader("appliance", 900, frozenset({900, 901}))


@pytest.mark.parametrize(
    ("mode", "user", "group", "may"),
    [
        (0o600, 0, 0, False),  # as root makes one
        (0o600, 900, 900, True),
        (0o200, 900, 900, False),
        (0o640, 0, 901, True),  # by its group
        (0o640, 0, 902, False),
        (0o604, 0, 901, False),  # as the kernel has it
        (0o644, 0, 0, True),
    ],
)
def test_what_the_service_may_not_read_is_told(mode, user, group, may):
    file = File(Path("/etc/appliance/passwords"), mode, "root", is_secret=False, user=user, group=group)
    found = [str(one) for one in file_findings([file], SERVICE)]
    assert bool(found) is not may
    assert may or "the service's user appliance may not read it" in found[0]
    assert may or "`sudo chown appliance /etc/appliance/passwords`" in found[0]
    assert file.may_be_read(Reader("root", 0, frozenset()))


def test_who_may_read_beside_the_mode_is_not_doubted(house, monkeypatch):
    (house / "hub.key").touch(0o640)
    service = Reader("appliance", os.getuid() + 1, frozenset())
    assert list(file_findings([file_of(house / "hub.key", is_secret=True)], service))
    monkeypatch.setattr(os, "listxattr", lambda _path: [ACCESS_LIST])
    assert not list(file_findings([file_of(house / "hub.key", is_secret=True)], service))


def test_the_services_user_is_whose_the_data_are(house):
    assert owner_of(house).user == os.getuid()
    assert owner_of(house / "none") is None
