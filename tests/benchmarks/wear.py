"""What a day of readings writes to the card: `python -m tests.benchmarks.wear`.

The real ledger on a real disk, every flush a real one; only the time between readings is left out: one simulated
second follows another at once. Each home runs twice, with the wear budget and without it. Bytes are the kernel's own
counts for this process, and those of the device, to which all other programs write too. Without the budget one hour
writes what the next one does, so that a few of them stand for the day.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from appliance.broker.message import Message
from appliance.broker.ports import RouteFlag
from appliance.clock import SYNCED, rfc3339
from appliance.store.group import Group
from appliance.store.opening import open_ledger
from appliance.store.sqlite_ledger import SqliteLedger
from appliance.store.wear import MB, WINDOW_S, Budget, Counter, device_counter, process_counter

DAY_S = 86_400
BEGAN_AT = 1_795_377_600.0
FLAGS = int(RouteFlag.RETAINED | RouteFlag.RECORD)
STEPS_A_SECOND = 20  # pieces of what may wait, as many as a fifth of a second holds
BUDGET_MB = 200.0
FREE_HOURS = 6.0  # without the budget; enough for roll-ups and the log to come round several times


@dataclass(frozen=True)
class Home:
    """How many sensors, how often each is read, and what a day of it may write."""

    sensors: int
    every_s: int
    most_mb: float

    def __str__(self) -> str:
        return f"{self.sensors} sensors, a reading every {self.every_s} s"


HOMES = (Home(30, 60, 200), Home(200, 30, 500))


@dataclass
class Day:
    """What was done and what it wrote."""

    readings: int = 0
    commits: int = 0
    commit_bytes: int = 0
    written_bytes: int = 0
    device_bytes: int | None = None
    file_bytes: int = 0
    seconds: float = 0.0


class Clock:
    """Simulated time, monotonic and wall."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        """Give the time that decides."""
        return self.now

    def wall(self) -> float:
        """Give the time that is written down."""
        return BEGAN_AT + self.now


def reading(sensor: int, seq: int, at: float) -> Message:
    """Give what an agent of ours sends."""
    pairs = {"agent": f"agent{sensor % 4}", "run": "0a1b2c3d4e5f", "seq": str(seq), "time": rfc3339(at),
             "quality": "ok", "clock": SYNCED}  # fmt: skip
    block = b"".join(
        b"\x26" + b"".join(len(part).to_bytes(2, "big") + part for part in (name.encode(), value.encode()))
        for name, value in pairs.items()
    )
    value = 20 + (seq * 7 + sensor) % 60 / 10
    return Message(f"home/room{sensor}/temperature", b"%.1f" % value, 1, True, block, None, f"agent{sensor % 4}")


def live(home: Home, hours: float, directory: Path, budget_mb: float | None, *, evenly: bool = False) -> Day:
    """Let so many hours pass in an empty home."""
    clock, day = Clock(), Day()
    own, device = process_counter(), device_counter(directory)
    budget = Budget(budget_mb or 1_000_000.0, clock.now)
    path = directory / "appliance.db"
    began = time.monotonic()
    first, first_device = own() or 0, device()
    ledger = open_ledger(
        path,
        site="home",
        max_series=2_000,
        boot="wear",
        quality=lambda: SYNCED,
        clock=clock.monotonic,
        wall_clock=clock.wall,
    )
    try:
        ledger.load(clock.now)
        _pass(home, hours, clock, ledger, budget, own, day, evenly)
        ledger.finish()
    finally:
        ledger.close()
    day.written_bytes = (own() or 0) - first
    if first_device is not None:
        day.device_bytes = (device() or 0) - first_device
    day.file_bytes = path.stat().st_size
    day.seconds = time.monotonic() - began
    return day


def arrivals(home: Home, *, evenly: bool) -> list[tuple[float, int]]:
    """Give when in each round which sensor is read: wherever its agent happened to start, or all evenly apart."""
    dice = random.Random(home.sensors)
    gap_s = home.every_s / home.sensors
    return sorted((n * gap_s if evenly else dice.uniform(0, home.every_s), n) for n in range(home.sensors))


def _pass(
    home: Home, hours: float, clock: Clock, ledger: SqliteLedger, budget: Budget, own: Counter, day: Day, evenly: bool
) -> None:
    count = round(home.sensors * hours * 3_600 / home.every_s)
    times = arrivals(home, evenly=evenly)
    seqs = [0] * 4
    group = Group(1, run=5)
    before = own() or 0
    start = clock.now
    rested = clock.now
    for number in range(count):
        turn, place = divmod(number, home.sensors)
        within_s, sensor = times[place]
        seqs[sensor % 4] += 1
        at = start + turn * home.every_s + within_s
        if group.entries and at >= group.entries[0][2] + max(WINDOW_S, budget.window_s(clock.now)):
            unspent = own() or 0
            group = _commit(group, clock, ledger, day)
            after = own() or 0
            day.commit_bytes += after - unspent
            budget.spend(after - before, clock.now)
            before = after
        clock.now = at
        if at >= rested + 1:
            rested = at
            for _ in range(STEPS_A_SECOND):
                if not ledger.step():
                    break
        message = reading(sensor, seqs[sensor % 4], clock.wall() - 0.05)
        group.entries.append((message, FLAGS, clock.now, None))
        day.readings += 1
    _commit(group, clock, ledger, day)


def _commit(group: Group, clock: Clock, ledger: SqliteLedger, day: Day) -> Group:
    group.now, group.at = clock.now, clock.wall()
    ledger.write(group)
    day.commits += 1
    return Group(group.number + 1, run=group.run)


def main(argv: list[str]) -> int:
    """Measure and print; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.wear", description=__doc__)
    parser.add_argument("--hours", type=float, default=24.0, help="of simulated time (24); figures are for a day")
    parser.add_argument("--sensors", type=int, choices=[home.sensors for home in HOMES], help="of the one home to run")
    parser.add_argument("--directory", type=Path, help="on the disk that is to be measured (the usual temporary one)")
    parser.add_argument("--evenly", action="store_true", help="the worst case: no two readings close to each other")
    options = parser.parse_args(argv)
    print(f"{'':55} {'commits':>9} {'MB of them':>10} {'MB a day':>9} {'device MB':>10} {'goal':>6}")
    missed = False
    for home in (home for home in HOMES if options.sensors in (None, home.sensors)):
        for budget_mb in (BUDGET_MB, None):
            hours = options.hours if budget_mb else min(options.hours, FREE_HOURS)
            scratch = Path(tempfile.mkdtemp(prefix="appliance-wear-", dir=options.directory))
            try:
                day = live(home, hours, scratch, budget_mb, evenly=options.evenly)
            finally:
                shutil.rmtree(scratch)
            scale = 24 / hours
            mb = day.written_bytes * scale / MB
            device = "-" if day.device_bytes is None else f"{day.device_bytes * scale / MB:,.0f}"
            held = budget_mb is None or mb <= home.most_mb
            missed |= not held
            name = f"{home}{'' if budget_mb is None else ', with the budget'}"
            outcome = "" if budget_mb is None else "holds" if held else "MISSED"
            print(
                f"{name:55} {day.commits * scale:>9,.0f} {day.commit_bytes * scale / MB:>10,.0f}"
                f" {mb:>9,.0f} {device:>10} {home.most_mb:>6,.0f} {outcome}"
                f"   {day.file_bytes / day.readings:.1f} B of file a reading, {day.seconds:.0f} s",
                flush=True,
            )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
