import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sensors import scratch as module
from sensors.scratch import scratch

HELD = """
import sys
from sensors.scratch import scratch
with scratch("house-") as directory:
    (directory / "outbox").touch()
    print(directory, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def other(temporary):
    """Another process that has such a directory."""
    process = subprocess.Popen(
        [sys.executable, "-c", HELD],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        directory = Path(process.stdout.readline().strip())
        yield process, directory
        process.kill()


def test_it_goes_with_everything_in_it(temporary):
    def play():
        with scratch("house-") as directory:
            (directory / "outbox").touch()
            raise ValueError("in between")

    with pytest.raises(ValueError, match="in between"):
        play()
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_left_is_cleared_away_by_the_next(temporary, other):
    process, directory = other
    with scratch("house-") as mine:
        assert sorted(temporary.iterdir()) == sorted([mine, directory])  # it lives
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(directory.iterdir())
    with scratch("house-") as mine:
        assert list(temporary.iterdir()) == [mine]
    assert list(temporary.iterdir()) == []


def test_what_is_not_its_own_stays(temporary, monkeypatch):
    for name in ("hut-1", "house-of-somebody"):
        (temporary / name).mkdir()
    (temporary / "house-of-cards").touch()
    (temporary / "house-elsewhere").symlink_to(temporary / "hut-1")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with scratch("house-"):
        pass
    assert {path.name for path in temporary.iterdir()} == {
        *("hut-1", "house-of-somebody", "house-of-cards", "house-elsewhere")
    }


def test_one_that_was_cleared_away_before_it_was_locked_is_made_again(monkeypatch):
    real, made = tempfile.mkdtemp, []

    def mkdtemp(**keys):
        made.append(real(**keys))
        if len(made) == 1:
            Path(made[0]).rmdir()
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
    with scratch("house-") as directory:
        assert [str(directory)] == made[1:]


def test_one_that_is_cleared_away_while_it_waits_for_the_lock_is_made_again(temporary, monkeypatch):
    real, taken = fcntl.flock, []

    def flock(descriptor, how):
        real(descriptor, how)
        if not taken:
            next(temporary.iterdir()).rmdir()
        taken.append(how)

    monkeypatch.setattr(module.fcntl, "flock", flock)
    with scratch("house-") as directory:
        assert directory.is_dir()
    assert taken == [fcntl.LOCK_EX, fcntl.LOCK_EX]


def test_without_locks_nothing_is_cleared_away(temporary, monkeypatch):
    (temporary / "house-left").mkdir()

    def refuse(_descriptor, _how):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(module.fcntl, "flock", refuse)
    with scratch("house-") as directory:
        assert directory.is_dir()
    assert [path.name for path in temporary.iterdir()] == ["house-left"]
