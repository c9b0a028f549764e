"""The write-ahead log: what is whole in it, and what tells a torn end from damage."""

import os
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.store.log import FRAME_BYTES, HEAD_BYTES, add, read_log, sums_of

PAGE = 1024
STEP = PAGE + FRAME_BYTES


@pytest.fixture
def log(tmp_path):
    """Five commits in a log, as a crash leaves it; gives its bytes and where each commit ends."""
    connection = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    for pragma in (f"page_size = {PAGE}", "journal_mode = WAL", "wal_autocheckpoint = 0"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("CREATE TABLE t (a)")
    path = tmp_path / "a.db-wal"
    ends = [path.stat().st_size]
    for number in range(4):
        connection.execute("INSERT INTO t VALUES (?)", ("x" * 2500 + str(number),))
        ends.append(path.stat().st_size)
    data = path.read_bytes()
    connection.close()
    return data, ends


def read(tmp_path, data, page_size=None):
    path = tmp_path / "some-wal"
    path.write_bytes(data)
    file = os.open(path, os.O_RDONLY)
    try:
        return read_log(file, page_size=page_size)
    finally:
        os.close(file)


def flipped(data, at):
    data = bytearray(data)
    data[at] ^= 4
    return bytes(data)


def test_a_whole_log(tmp_path, log):
    data, _ = log
    found = read(tmp_path, data)
    assert (found.torn, found.damaged, found.page_size) == (False, False, PAGE)
    assert sorted(found.frames) == list(range(1, found.pages + 1))


def test_nothing_in_it(tmp_path, log):
    data, _ = log
    for nothing in (b"", data[:20], bytes(32), bytes(5000), data[:HEAD_BYTES]):
        found = read(tmp_path, nothing)
        assert found is None or not (found.frames or found.damaged or found.torn)


def test_a_cut_anywhere_tears_the_last_commit_alone(tmp_path, log):
    data, ends = log
    for size in range(HEAD_BYTES, len(data), 300):
        found = read(tmp_path, data[:size])
        whole = [end for end in ends if end <= size]
        assert not found.damaged
        frames = 0 if not whole else (whole[-1] - HEAD_BYTES) // STEP
        assert all(at < HEAD_BYTES + frames * STEP for at in found.frames.values())
        last = whole[-1] if whole else HEAD_BYTES
        assert found.torn is (size - last > FRAME_BYTES)


def test_a_flip_in_the_last_commit_is_a_torn_end(tmp_path, log):
    data, ends = log
    for at in range(ends[-2] + 30, ends[-1], 97):
        found = read(tmp_path, flipped(data, at))
        assert (found.torn, found.damaged) == (True, False)


def test_a_flip_before_is_damage_and_spoils_few_frames(tmp_path, log):
    data, ends = log
    frames = (ends[-1] - HEAD_BYTES) // STEP
    for at in range(HEAD_BYTES, ends[-3], 97):
        found = read(tmp_path, flipped(data, at))
        assert found.damaged
        assert found.pages  # the commits behind it count
    assert frames > 8


def test_a_broken_head_does_not_hide_the_frames(tmp_path, log):
    data, _ = log
    whole = read(tmp_path, data)
    for at in (*range(8), *range(16, 24)):
        found = read(tmp_path, flipped(data, at), page_size=PAGE)
        assert found.damaged
        assert len(found.frames) >= len(whole.frames) - 1
    assert read(tmp_path, bytes(HEAD_BYTES) + data[HEAD_BYTES:], page_size=PAGE).frames


def test_what_an_earlier_use_left_is_no_damage(tmp_path, log):
    data, ends = log
    older = bytearray(data[ends[0] :])
    for at in range(0, len(older), STEP):
        older[at + 8 : at + 16] = b"old salt"
    found = read(tmp_path, data[: ends[0]] + bytes(older))
    assert (found.torn, found.damaged) == (False, False)


@given(st.integers(1, 9), st.sampled_from("<>"), st.randoms(use_true_random=False))
def test_many_sums_at_once_are_those_that_are_carried_on_one_by_one(count, order, dice):
    step = FRAME_BYTES + 512
    frames = dice.randbytes(count * step)
    before = [(dice.getrandbits(32), dice.getrandbits(32)) for _ in range(count)]
    each = [frames[at : at + step] for at in range(0, len(frames), step)]
    expected = [
        add(one[FRAME_BYTES:], add(one[:8], sums, order), order) for one, sums in zip(each, before, strict=True)
    ]
    assert sums_of(frames, step, before, order) == expected
