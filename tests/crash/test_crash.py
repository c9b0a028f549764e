"""Each promise of durability in seconds, and a planted bug that breaks it; and who judges finds no fault in itself."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash import kill
from tests.promises.durable import PLANTED, SHOWN

ROOT = Path(__file__).parents[2]

BREAKS = {  # what the kill loop sees of it, and what the power cut does
    "P1": (SHOWN["P1"], "acknowledged and lost"),
    "P2": (SHOWN["P2"], "QoS 2 duplicates"),
    "P3": (SHOWN["P3"], "subscriptions wrong"),
    "P4": (SHOWN["P4"], "history rows lost"),
    "P5": ("seconds missing and not told", ""),
    "P16": ("retained messages", ""),
}


def run(*arguments):
    """Hold a service to promises; gives the exit code and what was shown."""
    command = [sys.executable, "-m", "tests.promises", "--small", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def test_the_promises_hold():
    code, shown = run(*PLANTED)
    assert code == 0, shown
    assert shown.count("\nP") == len(PLANTED) - 1
    assert "kill -9: rounds                                                     30" in shown
    assert "power cuts: states                                                 200" in shown


@pytest.mark.parametrize("promise", BREAKS)
def test_a_planted_bug_is_caught(promise):
    code, shown = run(promise, "--planted")
    assert code == 1, shown
    for part, what in zip(shown.split("power cuts:"), BREAKS[promise], strict=False):
        broken = [line.strip() for line in part.splitlines() if line.endswith("BROKEN")]
        assert any(line.startswith(what) for line in broken), shown
    assert shown.count("BROKEN") > (promise == "P5")  # that has two bugs: one is of what is told alone


def test_the_judge_finds_nothing_where_only_links_were_cut():
    killed = kill.campaign(3, gentle=True)
    assert not killed.faults.counts, killed.faults.examples
    assert killed.rounds == 3
    assert killed.acknowledged > 100
    assert not killed.tracebacks


@pytest.mark.soak
def test_the_promises_hold_at_length():
    command = [sys.executable, "-m", "tests.promises", *PLANTED]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
