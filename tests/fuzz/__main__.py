"""Bytes that nobody would send, to the parser, the broker and the service: `python -m tests.fuzz`."""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests import each other by name

from tests.fuzz.engines import Finding, has_atheris, with_atheris, with_hypothesis
from tests.fuzz.planted import plant
from tests.fuzz.targets import TARGETS


def arguments(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="*", help=f"{', '.join(TARGETS)} or socket; all of them in turn without one")
    parser.add_argument("--runs", type=int, default=0, help="executions of each target")
    parser.add_argument("--seconds", type=int, default=0, help="time for each target (60 where no runs are given)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="to repeat a run; the time of day otherwise")
    parser.add_argument("--hypothesis", action="store_true", help="without atheris, though it is there")
    parser.add_argument("--plant", action="store_true", help="with a bug on purpose, which has to be found")
    return parser.parse_args(argv)


def fuzz(target: str, options: argparse.Namespace) -> int:
    """Run one target; give the number of executions."""
    if target == "socket":
        from tests.fuzz.service import with_service

        return with_service(options.runs, options.seconds, options.seed)
    if has_atheris() and not options.hypothesis:
        return with_atheris(target, options.runs or -1, options.seconds, options.seed, plant=options.plant)
    if options.plant:
        plant()
    return with_hypothesis(TARGETS[target], target, options.runs, options.seconds, options.seed)


def main(argv: list[str]) -> int:
    """Fuzz and tell; 1 where something was found."""
    options = arguments(argv)
    if not options.runs and not options.seconds:
        options.seconds = 60
    for target in options.target or [*TARGETS, "socket"]:
        started = time.monotonic()
        try:
            executions = fuzz(target, options)
        except Finding as finding:
            print(f"{target}: a finding with seed {options.seed}: {finding}")
            return 1
        took = time.monotonic() - started
        print(f"{target}: {executions} executions in {took:.0f} s with seed {options.seed}, no finding", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
