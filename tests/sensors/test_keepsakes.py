"""What is put is there after a restart; a card is written to rarely; a damaged file begins anew."""

import os
import stat

import pytest

from sensors.keepsakes import RETRY_S, WRITE_EVERY_S, Keepsakes


@pytest.fixture
def path(tmp_path):
    return tmp_path / "home-pi.kept"


def test_what_was_put_is_there_again(path):
    kept = Keepsakes(path)
    kept.put("rain", "total", 12.5)
    kept.put("pump", "state", True)
    kept.write(0.0)
    again = Keepsakes(path)
    assert again.get("rain", "total") == 12.5
    assert again.get("pump", "state") is True
    assert again.get("pump", "other") is None
    assert again.get("nobody", "total") is None


def test_it_is_written_at_most_once_a_minute(path):
    kept = Keepsakes(path)
    assert kept.next_deadline() is None
    kept.put("rain", "total", 1)
    kept.tick(100.0)
    assert Keepsakes(path).get("rain", "total") == 1
    kept.put("rain", "total", 2)
    assert kept.next_deadline() == 100.0 + WRITE_EVERY_S
    kept.tick(100.0 + WRITE_EVERY_S - 1)
    assert Keepsakes(path).get("rain", "total") == 1
    kept.tick(100.0 + WRITE_EVERY_S)
    assert Keepsakes(path).get("rain", "total") == 2


def test_the_content_is_on_the_disk_before_it_takes_the_old_one_s_place(path, monkeypatch):
    """A power cut must not leave an empty file."""
    kept, steps = Keepsakes(path), []
    fsync = os.fsync

    def synced(descriptor):
        status = os.fstat(descriptor)
        steps.append(("directory", path.exists()) if stat.S_ISDIR(status.st_mode) else ("file", status.st_size))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    kept.put("rain", "total", 12.5)
    kept.write(0.0)
    assert steps == [("file", path.stat().st_size), ("directory", True)]


def test_what_is_urgent_is_written_at_the_next_turn(path):
    kept = Keepsakes(path)
    kept.put("rain", "total", 1)
    kept.tick(100.0)
    kept.put("pump", "state", True, urgent=True)
    kept.tick(100.1)
    assert Keepsakes(path).get("pump", "state") is True


def test_the_same_again_is_not_written(path):
    kept = Keepsakes(path)
    kept.put("pump", "state", True)
    kept.write(0.0)
    kept.put("pump", "state", True, urgent=True)
    assert kept.next_deadline() is None
    kept.put("pump", "state", 1)  # another kind of value, equal to Python
    assert kept.next_deadline() is not None


def test_a_disk_that_refuses_is_told_and_tried_again(path):
    kept = Keepsakes(path.parent / "gone" / "home-pi.kept")
    kept.put("rain", "total", 1, urgent=True)
    kept.tick(10.0)
    assert "cannot be written" in kept.problem
    assert kept.next_deadline() == 10.0 + RETRY_S
    kept.put("pump", "state", True, urgent=True)
    assert kept.next_deadline() == 10.0 + RETRY_S
    (path.parent / "gone").mkdir()
    kept.tick(10.0 + RETRY_S)
    assert not kept.problem
    assert Keepsakes(path.parent / "gone" / "home-pi.kept").get("rain", "total") == 1


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1}', b"\xff\xfe", b"[]"])
def test_a_damaged_file_is_kept_aside_and_begun_anew_and_that_is_said(path, content):
    path.write_bytes(content)
    kept = Keepsakes(path)
    assert kept.get("rain", "total") is None
    assert "is damaged; totals begin at nothing, it is kept aside as home-pi.kept.damaged" in kept.problem
    assert path.read_bytes() == content  # for whoever only looks
    kept.put("rain", "total", 1, urgent=True)
    assert kept.next_deadline() == 0.0  # the disk does its work
    kept.write(0.0)
    assert "is damaged; totals begin at nothing" in kept.problem  # the totals are still wrong
    assert Keepsakes(path).get("rain", "total") == 1
    assert path.with_name("home-pi.kept.damaged").read_bytes() == content
    assert not Keepsakes(path).problem


def test_totals_that_could_not_be_read_today_are_not_written_over(path, monkeypatch):
    path.write_bytes(b'{"rain": {"total": 12345.6}}')
    with monkeypatch.context() as disk:
        disk.setattr("pathlib.Path.read_bytes", lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        kept = Keepsakes(path)
    assert "cannot be read (Input/output error); totals begin at nothing, it is kept aside" in kept.problem
    kept.put("rain", "total", 0.0)
    kept.write(0.0)
    assert Keepsakes(path.with_name("home-pi.kept.damaged")).get("rain", "total") == 12345.6


def test_without_a_path_nothing_is_written():
    kept = Keepsakes()
    kept.put("rain", "total", 1, urgent=True)
    kept.tick(0.0)
    assert kept.get("rain", "total") == 1
    assert kept.next_deadline() is None
