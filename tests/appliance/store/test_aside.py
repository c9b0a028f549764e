"""What is put aside, and what its owner is told."""

import time
from pathlib import Path

import pytest
from storage.home import NAME, build

from appliance.store.aside import ASIDE, TOLD, Damage, damages, forget_untrue, last_aside, lines, tell
from appliance.store.breaks import Lost
from appliance.store.damage import log_of
from appliance.store.suspicion import suspect


@pytest.fixture
def path(tmp_path):
    build(tmp_path / "home", topics=20, rounds=2)
    return tmp_path / "home" / NAME


def damage(path, **fields):
    said = {"at": 1_795_000_000.0, "why": "cut", "aside": f"{path}.corrupt-1", "kept": 5, "lost": 0, "lost_pages": 0,
            "is_finished": True, "most": {}, "roots": {}}  # fmt: skip
    return Damage(**{**said, **fields})


def test_the_owner_is_told_for_as_long_as_the_file_is_there(tmp_path):
    path = tmp_path / NAME
    one = damage(path, lost=2, lost_pages=1, is_finished=False)
    tell(one)
    assert damages(path) == []
    assert str(last_aside(path)) == one.aside
    (tmp_path / f"{NAME}.corrupt-1").touch()
    assert damages(path) == [one]
    assert one.line() == (
        "the database was damaged (cut): on 2026-11-18 11:06 UTC 5 records were kept, 2 were lost and some could not"
        f" be read, older history is still being copied; the old file is {one.aside} (delete it to end this message)"
    )
    (tmp_path / f"{NAME}.corrupt-1").unlink()
    forget_untrue(path)
    assert last_aside(path) is None
    assert list(tmp_path.iterdir()) == []
    assert time.gmtime(one.at).tm_year == 2026


def test_of_what_nothing_is_kept_no_more_is_said():
    nothing = Damage(
        at=0, why="zeros", aside="a", kept=0, lost=0, lost_pages=3, is_finished=True, most={}, roots={}
    ).line()
    assert nothing.startswith("the database was damaged (zeros): on 1970-01-01 00:00 UTC nothing could be saved of it,")


def test_the_line_says_what_a_person_wants(tmp_path):
    path = tmp_path / NAME
    one = damage(path, kept=1, lost=1, since=1_795_000_000.0, until=1_795_000_060.0, topics=["a/b"])
    assert (
        "1 record was kept, 1 was lost and readings of a/b between 2026-11-18 11:06:40 UTC and 2026-11-18 11:07:40 UTC"
        " may be missing; the old file is"
    ) in one.line()
    more = one.with_lost(Lost(1_794_999_999.0, 1_795_000_001.0, ["c/d"]))
    assert (more.since, more.until, more.topics) == (1_794_999_999.0, 1_795_000_060.0, ["a/b", "c/d"])
    assert "waits for 7 MB of free space" in damage(path, is_finished=False).line(7)


def test_damage_that_a_reader_met_is_told_until_it_is_salvaged(path):
    suspect(path)
    assert lines(path) == [
        f"{path} is damaged: what is whole of it is saved within a minute, or when the service is restarted"
    ]


def test_with_the_old_file_its_log_and_its_account_go(tmp_path):
    aside = tmp_path / f"{NAME}{ASIDE}1"
    for left in (log_of(aside), Path(f"{aside}{TOLD}")):
        left.touch()
    forget_untrue(tmp_path / NAME)
    assert list(tmp_path.iterdir()) == []
