"""The table of the benchmark: medians, and ratios of runs that stood side by side."""

import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.__main__ import main, table
from benchmarks.scenarios import SCENARIOS

ROOT = Path(__file__).parents[2]
FAN_IN = next(scenario for scenario in SCENARIOS if scenario.name == "fan-in")


def figures(cpu_us, per_s=1000.0):
    return {"cpu_us": cpu_us, "per_s": per_s, "cpu_percent": 1.0}


def test_ratio_is_the_median_of_the_rounds_own_ratios():
    measured = {
        ("fan-in", "appliance"): [figures(1.0), figures(3.0), figures(20.0)],
        ("fan-in", "mosquitto"): [figures(10.0), figures(10.0), figures(40.0)],
    }
    row = next(line for line in table(measured, [FAN_IN]).splitlines() if line.startswith(FAN_IN.title))
    assert row.split() == ["50", "publishers", "to", "1,", "QoS", "0", "1,000/s", "3.00", "µs", "1,000/s", "10.0", "µs",
                           "0.30", "≤", "0.15", "x"]  # fmt: skip


def test_a_broker_that_was_left_out_has_no_ratio():
    row = table({("fan-in", "mosquitto"): [figures(2.0)]}, [FAN_IN]).splitlines()[2]
    assert "-" in row
    assert "0." not in row.partition("≤")[0]


def test_a_broker_that_does_not_start_gives_no_figures(capsys):
    command = f"{sys.executable} -c raise(SystemExit('no_such_broker'))"
    assert main(["--quick", "--only", "fan-in", "--ours-only", "--command", command]) == 1
    shown = capsys.readouterr()
    assert "no figures: appliance ended with 1: no_such_broker" in shown.err
    assert "µs" not in shown.out


@pytest.mark.interop
def test_every_scenario_counts_every_message():
    run = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--rounds", "1", "--seconds", "0.1"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    for scenario in SCENARIOS:
        row = next(line for line in run.stdout.splitlines() if line.startswith(scenario.title))
        assert "-" not in row, row
