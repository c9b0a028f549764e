"""P7: whichever operation of the disk fails, nothing is acknowledged that is not stored, and all else goes on."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from argparse import Namespace
from pathlib import Path

from tests.benchmarks.brokers import ROOT
from tests.promises.finding import Finding
from tests.storage.faulty import ERRORS, Orders, environment, forget

KINDS = (
    "acknowledged and lost",
    "QoS 2 duplicates",
    "payloads that nobody sent",
    "QoS 0 stood still",
    "no alarm",
    "no recovery",
    "a failed flush was tried again",
    "unclear words",
    "damaged files",
    "tracebacks",
)


def run(options: Namespace) -> list[Finding]:
    """Hold the service to P7."""
    found = visits(thorough=not options.small or options.planted, planted=options.planted)
    for kind, example in found["examples"].items():
        print(f"  {kind}: {example}", flush=True)
    return [
        Finding("runs, each with another operation failing", found["runs"], least=1),
        Finding("failures that were told", found["alarms"], least=1),
        Finding("starts that were refused in one line", found["refused_starts"]),
        Finding("slowest alarm", found["slowest_alarm_s"], "s", most=5, timed=True),
        Finding("slowest recovery", found["slowest_recovery_s"], "s", most=10, timed=True),
        *(Finding(kind, found["faults"].get(kind, 0), most=0) for kind in KINDS),
    ]


def visits(*, thorough: bool, planted: bool) -> dict:
    """Let every operation of the script fail: in every way, or each in the next way."""
    ways = [f"{error}{sticky}" for error in ERRORS for sticky in ("", "!")]
    scratch = Path(tempfile.mkdtemp(prefix="appliance-disk-"))
    orders = scratch / "orders"
    Orders(orders).close()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.storage.visit", scratch, orders, *(["planted"] if planted else []),
             *([] if thorough else ["turns"]), *ways],
            cwd=ROOT, env={**os.environ, **environment(scratch / "data", orders)}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise AssertionError(done.stderr)
        return json.loads(done.stdout)
    finally:
        shutil.rmtree(scratch)
        forget()
