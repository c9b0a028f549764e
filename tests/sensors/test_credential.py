"""The file of what an agent got when it was paired."""

import os
import stat

import pytest

from sensors import credential
from sensors.credential import Credential, CredentialError

KEPT = Credential(username="attic", secret="very secret", address="192.168.1.5", port=8883, name="hub.local")


def test_it_is_read_as_it_was_written_and_for_its_owner_alone(tmp_path):
    path, ca = tmp_path / "new" / "home-attic.credential", tmp_path / "new" / "home-attic.ca.pem"
    credential.write(path, KEPT, ca, "PEM")
    assert credential.read(path) == KEPT
    assert ca.read_text() == "PEM"
    for file in (path, ca):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert sorted(path.parent.iterdir()) == [ca, path]


def test_a_later_one_takes_its_place(tmp_path):
    path, ca = tmp_path / "a.credential", tmp_path / "a.ca.pem"
    path.write_text("old")
    path.chmod(0o644)
    credential.write(path, KEPT, ca, "")
    assert credential.read(path) == KEPT
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not ca.exists()


def test_without_a_file_there_is_none(tmp_path):
    assert credential.read(tmp_path / "a.credential") is None
    assert credential.read(tmp_path / "nowhere" / "a.credential") is None


@pytest.mark.parametrize("text", ["", "very secret", "{}", '{"username": "", "secret": "very secret"}', "[" * 5_000])
def test_what_is_none_is_told_without_its_content(tmp_path, text):
    path = tmp_path / "a.credential"
    path.write_text(text)
    with pytest.raises(CredentialError, match="holds no credential; pair anew with `sensors pair`") as why:
        credential.read(path)
    assert "very secret" not in str(why.value)


def test_what_cannot_be_written_leaves_what_was_there(tmp_path, monkeypatch):
    path, ca = tmp_path / "a.credential", tmp_path / "a.ca.pem"
    credential.write(path, KEPT, ca, "")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CredentialError, match="cannot be written"):
        credential.write(path, KEPT, ca, "")
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == [path]
    assert credential.read(path) == KEPT


def test_a_directory_in_its_place_is_told(tmp_path):
    with pytest.raises(CredentialError, match="cannot be read"):
        credential.read(tmp_path)
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(CredentialError, match="cannot be written"):
        credential.write(blocked / "a.credential", KEPT, blocked / "a.ca.pem", "")
