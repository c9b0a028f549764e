"""Our broker and Mosquitto side by side on loopback: `python -m tests.benchmarks`."""

import argparse
import json
import os
import platform
import pstats
import resource
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from .brokers import (
    BrokerError,
    BrokerProcess,
    mosquitto_version,
    python_version,
    start_mosquitto,
    start_ours,
)
from .generator import CountError
from .scenarios import SCENARIOS, Figures, Scenario

RSS = "rss"
OURS, THEIRS = "appliance", "mosquitto"

Measured = dict[tuple[str, str], list[Figures]]
"""(scenario, broker) -> its figures, one set a round."""


def arguments(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds to take the median of (3)")
    parser.add_argument("--seconds", type=float, default=1.2, help="measured per scenario, broker and round (1.2)")
    parser.add_argument("--quick", action="store_true", help="one round of 0.4 s: shows that it works, not how well")
    parser.add_argument("--only", action="append", choices=[s.name for s in SCENARIOS], help="run these only")
    parser.add_argument("--python", default=sys.executable, help="the Python that runs our broker")
    parser.add_argument("--command", help="another command that starts our broker; {port} stands for its port")
    parser.add_argument("--ours-only", action="store_true", help="leave Mosquitto out")
    parser.add_argument("--mosquitto-only", action="store_true", help="leave our broker out")
    parser.add_argument("--profile", action="store_true", help="profile our broker alone; its figures are then slower")
    parser.add_argument("--no-pin", action="store_true", help="let the kernel place broker and load on one core")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there too")
    return parser.parse_args(argv)


def measure(scenario: Scenario, broker: BrokerProcess, seconds: float) -> Figures:
    """Run one scenario; a broken count or a dead broker is told with its name."""
    try:
        return scenario.run(broker, seconds)
    except (CountError, OSError) as error:
        broker.check()
        raise CountError(f"{scenario.name} on {broker.name}: {error}; {broker.last_words()}") from error


def keep_apart(brokers: list[BrokerProcess]) -> None:
    """Give the brokers one core and the load the others, so that every run finds the same conditions."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        for broker in brokers:
            broker.pin(cores[-1:])
        os.sched_setaffinity(0, cores[:-1])


def one_round(options: argparse.Namespace, chosen: list[Scenario], number: int, measured: Measured) -> None:
    """Start fresh brokers and run every scenario on each, ours first in every other round."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        scratch = Path(directory)
        profile = scratch / "profile" if options.profile else None
        brokers: list[BrokerProcess] = []
        cores = os.sched_getaffinity(0)
        try:
            if not options.mosquitto_only:
                ours = start_ours(scratch, python=options.python, command=options.command, profile=profile)
                brokers.append(ours)
            if not (options.ours_only or options.profile):
                brokers.append(start_mosquitto(scratch))
            if not options.no_pin:
                keep_apart(brokers)
            for scenario in chosen:
                for broker in brokers if number % 2 else reversed(brokers):
                    measured[scenario.name, broker.name].append(measure(scenario, broker, options.seconds))
            for broker in brokers:
                measured[RSS, broker.name].append({"bytes": broker.rss_bytes() / 1e6})
        finally:
            os.sched_setaffinity(0, cores)
            for broker in brokers:
                broker.stop()
        if profile is not None:
            pstats.Stats(str(profile)).sort_stats("tottime").print_stats(40)


def table(measured: Measured, chosen: list[Scenario]) -> str:
    """Lay the medians out; a ratio is the median of the rounds' own ratios, because both ran a moment apart."""
    resident = Scenario(name=RSS, title="memory at the end", run=chosen[0].run, figure="bytes", unit="MB")
    lines = [
        f"{'':34} {'appliance':>22} {'mosquitto':>22} {'ratio':>7}  goal",
        "-" * 96,
    ]
    for row in (*chosen, resident):
        ours, theirs = (
            [figures[row.figure] for figures in measured.get((row.name, name), [])] for name in (OURS, THEIRS)
        )
        shown = [
            _cell(row, values, measured.get((row.name, name), [])) for values, name in ((ours, OURS), (theirs, THEIRS))
        ]
        ratio = f"{statistics.median(a / b for a, b in zip(ours, theirs, strict=True)):.2f}" if ours and theirs else ""
        goal = f"≤ {row.goal:g} x" if row.goal else f"≤ {row.absolute_goal:g} {row.unit}" if row.absolute_goal else ""
        lines.append(f"{row.title:34} {shown[0]:>22} {shown[1]:>22} {ratio:>7}  {goal}".rstrip())
    return "\n".join(lines)


def _cell(row: Scenario, values: list[float], rounds: list[Figures]) -> str:
    if not values:
        return "-"
    value = statistics.median(values)
    shown = f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    if "per_s" not in rounds[0] or row.figure != "cpu_us":
        return f"{shown} {row.unit}"
    return f"{statistics.median(f['per_s'] for f in rounds):,.0f}/s {shown} {row.unit}"


def main(argv: list[str]) -> int:
    """Measure and print; 1 when a broker failed or a message was lost."""
    options = arguments(argv)
    if options.quick:
        options.rounds, options.seconds = 1, 0.4
    if options.profile:
        options.rounds = 1
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else max(soft, 8192), hard))
    chosen = [s for s in SCENARIOS if not options.only or s.name in options.only]
    measured: Measured = defaultdict(list)
    try:
        print(f"appliance: {options.command or 'Python ' + python_version(options.python) + ', ' + options.python}")
        if not (options.ours_only or options.profile):
            print(f"mosquitto: {mosquitto_version()}")
        print(f"machine:   {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        print("CPU is that of the broker process, all threads, per delivered message; every message was counted.\n")
        began = time.monotonic()
        for number in range(1, options.rounds + 1):
            one_round(options, chosen, number, measured)
            print(f"round {number} of {options.rounds}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    except (BrokerError, CountError) as error:
        print(f"no figures: {error}", file=sys.stderr)
        return 1
    print(table(measured, chosen))
    if options.json is not None:
        options.json.write_text(json.dumps({"/".join(key): rounds for key, rounds in measured.items()}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
