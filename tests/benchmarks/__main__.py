"""Our broker and Mosquitto side by side on loopback: `python -m tests.benchmarks`."""

import argparse
import json
import os
import platform
import pstats
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from . import gates
from .brokers import (
    BrokerError,
    BrokerProcess,
    mosquitto_version,
    python_version,
    start_mosquitto,
    start_ours,
)
from .generator import CountError
from .rivals import RIVALS
from .scenarios import SCENARIOS, Figures, Scenario
from .table import FRESH, RSS, as_markdown, as_text

SETTLE_S = 0.5  # what a service still loads once it listens

Rounds = dict[tuple[str, str], list[Figures]]
"""(scenario, broker) -> its figures, one set a round."""

Failed = dict[tuple[str, str], str]
"""(scenario, broker) -> why it has no figures; only a rival may fail."""


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
    parser.add_argument(
        "--rivals", nargs="?", const=",".join(RIVALS), default="",
        help=f"measure these too, installing them below build/ when they are not there: {', '.join(RIVALS)} (all)",
    )  # fmt: skip
    parser.add_argument("--profile", action="store_true", help="profile our broker alone; its figures are then slower")
    parser.add_argument("--no-pin", action="store_true", help="let the kernel place broker and load on one core")
    parser.add_argument("--gates", action="store_true", help="measure only what waiting for the disk costs")
    parser.add_argument("--no-gates", action="store_true", help="leave that out")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there too")
    options = parser.parse_args(argv)
    options.rivals = [name for name in options.rivals.split(",") if name]
    if unknown := set(options.rivals) - set(RIVALS):
        parser.error(f"no such rival: {', '.join(sorted(unknown))}")
    return options


def measure(scenario: Scenario, broker: BrokerProcess, seconds: float) -> Figures:
    """Run one scenario; a broken count or a dead broker is told with its name."""
    try:
        return scenario.run(broker, seconds)
    except (CountError, OSError) as error:
        broker.check()
        raise CountError(f"{scenario.name} on {broker.name}: {error}; {broker.last_words()}") from error


def keep_apart(brokers: list[BrokerProcess], cores: Collection[int]) -> None:
    """Give the brokers one of these cores and the load the others, so that every run finds the same conditions."""
    cores = sorted(cores)
    if len(cores) > 1:
        for broker in brokers:
            broker.pin(cores[-1:])
        os.sched_setaffinity(0, cores[:-1])


class Field:
    """The brokers of one round; ours and Mosquitto must come through, a rival that fails begins anew."""

    def __init__(self, options: argparse.Namespace, scratch: Path, failed: Failed) -> None:
        self._pin = not options.no_pin
        self._scratch = scratch
        self._python = options.python
        self._failed = failed
        self.brokers: list[BrokerProcess] = []
        self._cores = os.sched_getaffinity(0)
        profile = scratch / "profile" if options.profile else None
        try:
            if not options.mosquitto_only:
                ours = start_ours(scratch, python=options.python, command=options.command, profile=profile)
                self.brokers.append(ours)
            if not (options.ours_only or options.profile):
                self.brokers.append(start_mosquitto(scratch))
            for name in options.rivals:
                if (FRESH.name, name) not in failed:
                    self._start_rival(name)
            time.sleep(SETTLE_S)
        except BaseException:
            self.stop()
            raise
        if self._pin:
            keep_apart(self.brokers, self._cores)

    def _start_rival(self, name: str) -> None:
        start, _ = RIVALS[name]
        try:
            self.brokers.append(start(self._scratch, self._python))
        except BrokerError as error:
            self._failed[FRESH.name, name] = str(error)

    def take(self, scenario: Scenario, broker: BrokerProcess, seconds: float) -> Figures | None:
        """Run one scenario on one broker; None when a rival failed it, now or in an earlier round."""
        if broker.name not in RIVALS:
            return measure(scenario, broker, seconds)
        if (scenario.name, broker.name) in self._failed:
            return None
        try:
            return scenario.run(broker, seconds)
        except (CountError, OSError) as error:
            self._failed[scenario.name, broker.name] = str(error)
        broker.stop()
        self.brokers.remove(broker)
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self._cores)
        self._start_rival(broker.name)
        os.sched_setaffinity(0, cores)
        if self._pin:
            keep_apart(self.brokers, self._cores)
        return None

    def stop(self) -> None:
        """End them all."""
        os.sched_setaffinity(0, self._cores)
        for broker in self.brokers:
            broker.stop()


def one_round(
    options: argparse.Namespace, chosen: list[Scenario], number: int, measured: Rounds, failed: Failed
) -> None:
    """Start fresh brokers and run every scenario on each, ours first in every other round."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        scratch = Path(directory)
        field = Field(options, scratch, failed)
        try:
            for broker in field.brokers:
                measured[FRESH.name, broker.name].append({FRESH.figure: broker.rss_bytes() / 1e6})
            for scenario in chosen:
                for broker in field.brokers[:: 1 if number % 2 else -1]:
                    if (figures := field.take(scenario, broker, options.seconds)) is not None:
                        measured[scenario.name, broker.name].append(figures)
            for broker in field.brokers:
                measured[RSS.name, broker.name].append({RSS.figure: broker.rss_bytes() / 1e6})
        finally:
            field.stop()
        if options.profile:
            pstats.Stats(str(scratch / "profile")).sort_stats("tottime").print_stats(40)


def print_gates(options: argparse.Namespace) -> int:
    """Measure our broker with the gate closed and open; 1 when it failed or a message was lost."""
    try:
        print(gates.as_text(gates.measure(options.rounds, options.seconds, options.python)))
    except (BrokerError, CountError) as error:
        print(f"no figures: {error}", file=sys.stderr)
        return 1
    return 0


def main(argv: list[str]) -> int:
    """Measure and print; 1 when a broker failed or a message was lost."""
    options = arguments(argv)
    if options.quick:
        options.rounds, options.seconds = 1, 0.4
    if options.profile:
        options.rounds = 1
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else max(soft, 8192), hard))
    if options.gates:
        return print_gates(options)
    chosen = [s for s in SCENARIOS if not options.only or s.name in options.only]
    measured: Rounds = defaultdict(list)
    failed: Failed = {}
    try:
        print(f"appliance: {options.command or 'Python ' + python_version(options.python) + ', ' + options.python}")
        if not (options.ours_only or options.profile):
            print(f"mosquitto: {mosquitto_version()}")
        print("           both without a store: what they hold is gone at the end")
        print(f"machine:   {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        print("CPU is that of the broker process, all threads, per delivered message; every message was counted.\n")
        began = time.monotonic()
        for number in range(1, options.rounds + 1):
            one_round(options, chosen, number, measured, failed)
            print(f"round {number} of {options.rounds}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    except (BrokerError, CountError) as error:
        print(f"no figures: {error}", file=sys.stderr)
        return 1
    for name in options.rivals:
        print(f"{name + ':':10} {RIVALS[name][1](options.python) or 'not here'}")
    print((as_markdown if options.markdown else as_text)(measured, chosen))
    reasons: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (row, name), why in failed.items():
        reasons[name, why].append(row)
    for (name, why), missing in reasons.items():
        print(f"\n{name} has no {', '.join(missing)}: {' '.join(why.split())[:200]}")
    if not (options.no_gates or options.only or options.profile or options.command or options.mosquitto_only):
        print()
        if code := print_gates(options):
            return code
    if options.json is not None:
        options.json.write_text(json.dumps({"/".join(key): rounds for key, rounds in measured.items()}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
