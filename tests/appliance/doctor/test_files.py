import os

import pytest

from appliance.doctor.files import file_findings, file_of


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
