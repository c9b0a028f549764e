"""Each promise in seconds: counts and bytes must hold; and each harness must catch the careless broker."""

import subprocess
import sys
from pathlib import Path

import pytest
from promises.finding import Finding
from promises.flat import slope
from promises.fuzz import streams

ROOT = Path(__file__).parents[2]

BREAKS = {
    "P6": ["corrupt payloads served"],
    "P7": ["acknowledged and lost"],
    "P14": ["rows farther than 1 s from their time", "messages expired"],
    "P15": [
        "listeners of a home's configuration before setup",
        "of them that answer without TLS 1.2",
        "ways in without an account",
        "secret files that others may read",
        "pieces of them on a second computer",
        "pieces of them on a copy of the card",
    ],
    "P8": ["errors of the broker's own", "memory of a stranger who says", "memory of a client that does not read"],
    "P9": ["divergences from the model"],
    "P10": ["memory risen", "links without CONNECT that were cut"],
    "P11": ["memory risen over the second half"],
    "P12": ["of them lost", "other users who got the id"],
    "P13": [
        *(
            f"rights gone: {way}, after the answer"
            for way in (
                "live, read",
                "live, published",
                "QoS 2 that is pending",
                "queued",
                "begun and not answered",
                "retained, read",
                "retained, left behind",
                "wills",
                "open page",
            )
        ),
        *(f"account gone: {way}, after the answer" for way in ("live, read", "wills", "open page")),
    ],
}


def run(*arguments):
    """Hold a broker to promises; gives the exit code and what was shown."""
    command = [sys.executable, "-m", "tests.promises", "--small", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize("promise", BREAKS)
def test_the_promise_holds(promise):
    code, shown = run(promise)
    assert "holds" in shown
    assert code == 0, shown


@pytest.mark.parametrize("promise", BREAKS)
def test_a_careless_broker_is_caught(promise):
    code, shown = run(promise, "--planted", "--connects", "4000", "--messages", "40000")
    assert code == 1, shown
    broken = [line.strip() for line in shown.splitlines() if line.endswith("BROKEN")]
    for what in BREAKS[promise]:
        assert any(line.startswith(what) for line in broken), shown


@pytest.mark.soak
@pytest.mark.parametrize("promise", BREAKS)
def test_the_promise_holds_at_length(promise):
    command = [sys.executable, "-m", "tests.promises", promise]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


FINDINGS = [
    (Finding("a", 1, most=1), True),
    (Finding("a", 1.01, most=1), False),
    (Finding("a", 1, least=1), True),
    (Finding("a", 0, least=1), False),
    (Finding("a", 7), True),  # only told
]


@pytest.mark.parametrize(("finding", "holds"), FINDINGS)
def test_a_bound_is_inclusive(finding, holds):
    assert finding.holds is holds
    assert str(finding).endswith("BROKEN") is not holds


def test_the_slope_of_a_leak():
    assert slope([(0, 5), (1_000, 2_005), (2_000, 4_005)]) == 2
    assert slope([(0, 7), (1_000, 7)]) == 0


def test_the_same_seed_gives_the_same_streams():
    first, again = streams(3), streams(3)
    found = [next(first) for _ in range(200)]
    assert found == [next(again) for _ in range(200)]
    assert len(set(found)) > 150
