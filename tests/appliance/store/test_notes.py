"""What the lock file says: written, read back, and nothing that makes no sense believed."""

import os

import pytest

from appliance.store.notes import Notes, read_notes, write_notes

NOTES = Notes(page_size=1024, roots={"series": 4}, steps=["0001_history"], is_open=True)


def read(path):
    file = os.open(f"{path}.lock", os.O_RDONLY)
    try:
        return read_notes(file)
    finally:
        os.close(file)


def test_they_come_back_and_a_shorter_text_leaves_nothing_of_a_longer_one(tmp_path):
    path = tmp_path / "a.db"
    (tmp_path / "a.db.lock").write_bytes(b"?" * 5000)
    write_notes(path, NOTES)
    assert read(path) == NOTES


@pytest.mark.parametrize("text", [b"", b"\xff\x00", b"{}", b'{"page_size": "x"}', b"[" * 2000])
def test_an_odd_file_says_nothing(tmp_path, text):
    (tmp_path / "a.db.lock").write_bytes(text)
    assert read(tmp_path / "a.db") is None
