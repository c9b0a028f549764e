"""Random steps against the reference model for as long as you like: `python -m tests.model --steps 1000000`."""

import argparse
import sys
import time
import traceback
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # as pytest has it

from model.rules import shown
from model.walk import HarnessError, fault, shortest, walk
from model.world import Durable


def main(argv=None, flaw=None):
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000, help="how many steps to do (10000)")
    parser.add_argument("--seed", type=int, default=1, help="which walk (1)")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.add_argument("--crashes", action="store_true", help="with a journal, and a power cut now and then")
    options = parser.parse_args(argv)
    began = time.monotonic()

    def progress(done):
        if not options.quiet:
            rate = done / (time.monotonic() - began)
            print(f"\r{done:,} of {options.steps:,} steps, {rate:,.0f} a second ", end="", file=sys.stderr, flush=True)

    try:
        flaw = flaw or (Durable() if options.crashes else None)
        trace = walk(options.seed, options.steps, flaw=flaw, progress=progress)
    except HarnessError as error:
        print(f"seed {options.seed}: no verdict, the model itself failed in\n\n{shown(error.trace)}\n")
        traceback.print_exception(error.__cause__, file=sys.stdout)
        return 2
    if not options.quiet:
        print(file=sys.stderr)
    if trace is None:
        print(f"seed {options.seed}: {options.steps:,} steps, no divergence")
        return 0
    trace = shortest(trace, flaw)
    error = fault(trace, flaw)
    print(f"seed {options.seed}: divergence, shown by {len(trace)} steps of\n\n{shown(trace)}\n")
    print(f"{type(error).__name__}: {error}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
