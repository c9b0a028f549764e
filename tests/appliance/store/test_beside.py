"""A damaged database read where nothing can be written beside it."""

import os
import sqlite3

import pytest

from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag
from appliance.store import beside
from appliance.store.beside import read_anyway, read_beside
from appliance.store.database import StoreError
from appliance.store.group import Group
from appliance.store.opening import open_ledger

RETAINED = int(RouteFlag.RETAINED)


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A database with one retained message, whose table of wills cannot be read."""
    memory = tmp_path / "memory"
    memory.mkdir()
    monkeypatch.setattr(beside, "IN_MEMORY", memory)
    path = tmp_path / "data" / "appliance.db"
    ledger = open_ledger(path, site="home", max_series=9)
    ledger.write(Group(1, [(Message("t", b"kept", 1, True), RETAINED, 1.0, None)], run=7, now=1.0, at=1e9))
    ledger.finish()
    ledger.close()
    connection = sqlite3.connect(path)
    (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'wills'").fetchone()
    connection.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * 1024)
        file.write(b"\xff" * 1024)
    yield path
    assert list(memory.iterdir()) == []


def test_it_gives_what_a_salvage_keeps_and_leaves_the_file_alone(path):
    before = {one.name: one.read_bytes() for one in path.parent.iterdir()}
    found = read_beside(path, 5.0, "malformed")
    assert {topic: message.payload for topic, message in found.image.retained.items()} == {"t": b"kept"}
    assert {one.name: one.read_bytes() for one in path.parent.iterdir()} == before


def test_without_the_notes_of_the_last_start_too(path):
    path.with_name("appliance.db.lock").unlink()
    assert read_beside(path, 5.0, "malformed").image.retained.keys() == {"t"}


def test_it_says_why_it_cannot(path, monkeypatch):
    def refuse(*_arguments, **_options):
        raise StoreError("no") from OSError(5, "Input/output error")

    monkeypatch.setattr(beside, "rescue", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        read_beside(path, 5.0, "malformed")


def test_a_file_of_a_newer_version_is_none_of_ours(path, monkeypatch):
    def refuse(*_arguments, **_options):
        raise StoreError("update this installation")

    monkeypatch.setattr(beside, "rescue", refuse)
    with pytest.raises(StoreError, match="update"):
        read_beside(path, 5.0, "malformed")


def test_where_there_is_no_memory_to_write_in_it_takes_the_usual_place(path, monkeypatch, tmp_path):
    monkeypatch.setattr(beside, "IN_MEMORY", tmp_path / "nowhere")
    monkeypatch.setenv("TMPDIR", os.fspath(tmp_path))
    assert read_beside(path, 5.0, "malformed").image.retained.keys() == {"t"}


def test_what_is_damaged_is_read_all_the_same(path, caplog):
    found = read_anyway(path, 5.0)
    assert (found.image.retained.keys(), found.is_all) == ({"t"}, True)
    assert "cannot be mended where nothing can be written" in caplog.text


def test_what_cannot_be_read_at_all_is_nothing(path, monkeypatch, caplog):
    def fail(*_arguments):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(beside, "read_beside", fail)
    found = read_anyway(path, 5.0)
    assert (found.image.retained, found.is_all) == ({}, False)
    assert min(found.next_number, found.next_key) > 1_000_000_000  # nobody used them before
    assert "nothing of" in caplog.text


def test_what_is_not_there_is_no_damage(path):
    with pytest.raises(sqlite3.OperationalError):
        read_anyway(path.with_name("nothing"), 5.0)
