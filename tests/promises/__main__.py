"""The promises, each with its numbers: `python -m tests.promises P1 P8`, or `all`."""

import argparse
import os
import resource
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

from tests.promises import (
    clock,
    conformance,
    corruption,
    crowd,
    disk,
    durable,
    first_start,
    flat,
    fuzz,
    revocation,
    takeover,
)
from tests.promises.finding import Finding
from tests.promises.target import Target, target

Promise = Callable[[Target, argparse.Namespace], list[Finding]]

PROMISES: dict[str, tuple[str, Promise]] = {
    "P1": ("acknowledged means on disk", lambda _broker, o: durable.run("P1", o)),
    "P2": ("exactly once across a crash", lambda _broker, o: durable.run("P2", o)),
    "P3": ("retained messages and sessions", lambda _broker, o: durable.run("P3", o)),
    "P4": ("the history", lambda _broker, o: durable.run("P4", o)),
    "P5": ("a lying card", lambda _broker, o: durable.lying(o)),
    "P6": ("damaged files", lambda _broker, o: corruption.run(o)),
    "P7": ("a disk that fails", lambda _broker, o: disk.run(o)),
    "P8": (
        "any byte stream",
        lambda broker, o: [
            *fuzz.run(broker, seconds=o.seconds, count=o.streams, per_second=o.rate),
            *fuzz.costs(partial(target, planted=o.planted), o.links),
        ],
    ),
    "P9": ("the specification", lambda _broker, o: conformance.run(steps=o.steps, planted=o.planted)),
    "P10": (
        "slow and idle attackers",
        lambda broker, o: crowd.run(
            broker, seconds=o.seconds, idle=o.idle, unread=o.unread, half_open=o.half_open, shove=o.shove
        ),
    ),
    "P11": ("flat memory", lambda broker, o: flat.run(broker, count=o.connects, messages_count=o.messages)),
    "P12": (
        "takeover",
        lambda broker, o: takeover.run(broker, count=o.alternations, per_second=o.alternation_rate, seconds=o.seconds),
    ),
    "P13": ("revocation", lambda _broker, o: revocation.run(o)),
    "P14": ("clocks", lambda _broker, o: clock.run(o)),
    "P15": ("secure from the first moment", lambda _broker, o: first_start.run(o)),
    "P16": ("time to recover", lambda _broker, o: durable.start(o)),
}
THEIR_OWN = {"P1", "P2", "P3", "P4", "P5", "P6", "P7", "P13", "P14", "P15", "P16"}  # start services themselves

SMALL = {
    "seconds": 1.0, "streams": 2_000, "links": 30, "idle": 100, "unread": 100, "half_open": 20, "shove": 8_000_000,
    "steps": 5_000, "connects": 20_000, "messages": 400_000, "alternations": 1_000,
    "damaged": 600, "rounds": 30, "states": 200, "retained": 10_000, "queued": 1_000,
}  # fmt: skip


def arguments(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.promises", description=__doc__)
    parser.add_argument("which", nargs="*", default=["all"], help=f"{', '.join(PROMISES)} or all (all)")
    parser.add_argument("--planted", action="store_true", help="hold a careless broker to them: they must be BROKEN")
    parser.add_argument("--small", action="store_true", help="in seconds: counts and bytes hold, times are only told")
    parser.add_argument("--seconds", type=float, default=15.0, help="of measuring, quiet and under attack (15)")
    parser.add_argument("--streams", type=int, default=1_000_000, help="P8: broken streams (1,000,000)")
    parser.add_argument("--rate", type=float, default=500.0, help="P8: of them a second while times are taken (500)")
    parser.add_argument("--links", type=int, default=100, help="P8: links that add up to what one costs (100)")
    parser.add_argument("--steps", type=int, default=1_000_000, help="P9: random steps of the model (1,000,000)")
    parser.add_argument("--idle", type=int, default=500, help="P10: idle clients (500)")
    parser.add_argument("--unread", type=int, default=200, help="P10: clients that never read (200)")
    parser.add_argument("--half-open", type=int, default=100, help="P10: links that never finish their CONNECT (100)")
    parser.add_argument("--shove", type=int, default=20_000_000, help="P10: bytes published past them (20,000,000)")
    parser.add_argument("--connects", type=int, default=1_000_000, help="P11: connects (1,000,000)")
    parser.add_argument("--messages", type=int, default=100_000_000, help="P11: messages (100,000,000)")
    parser.add_argument("--alternations", type=int, default=20_000, help="P12: takeovers of the id (20,000)")
    parser.add_argument("--alternation-rate", type=float, default=1_000.0, help="P12: of them a second (1,000)")
    parser.add_argument("--rounds", type=int, default=1_000, help="P1 to P4: rounds of kill -9 (1,000)")
    parser.add_argument("--states", type=int, default=10_000, help="P1 to P5: states after a power cut (10,000)")
    parser.add_argument("--damaged", type=int, default=10_000, help="P6: damaged data directories (10,000)")
    parser.add_argument("--seed", type=int, default=1, help="P1 to P6: another one is another walk (1)")
    parser.add_argument("--retained", type=int, default=100_000, help="P16: retained messages (100,000)")
    parser.add_argument("--queued", type=int, default=10_000, help="P16: messages that wait for a client (10,000)")
    options = parser.parse_args(argv)
    if options.small:
        parser.set_defaults(**SMALL)
        options = parser.parse_args(argv)
    if "all" in options.which:
        options.which = list(PROMISES)
    if unknown := set(options.which) - set(PROMISES):
        parser.error(f"no such promise: {', '.join(sorted(unknown))}")
    return options


def main(argv: list[str]) -> int:
    """Hold the broker to each and print; 1 when one is broken."""
    options = arguments(argv)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8_192)), hard))
    cores = os.sched_getaffinity(0)
    broken = 0
    for name in options.which:
        title, promise = PROMISES[name]
        print(f"{name}: {title}{', by a careless broker' if options.planted else ''}", flush=True)
        users = takeover.USERS if name == "P12" else ()
        own = name in THEIR_OWN
        with nullcontext() if own else target(planted=options.planted, tls=name == "P10", users=users) as broker:
            try:
                findings = promise(broker, options)
            except (AssertionError, OSError) as error:
                findings = [Finding(f"ended early: {' '.join(str(error).split())[:200] or repr(error)}", 1, most=0)]
            finally:
                os.sched_setaffinity(0, cores)
        for finding in findings:
            print(finding, flush=True)
        broken += any(not finding.holds for finding in findings if not (options.small and finding.timed))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
