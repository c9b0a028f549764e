"""Power cuts: a service's writes and flushes are recorded, and from them every state made that a cut may leave."""

import random
import sys
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from appliance.store.database import StoreError
from tests.benchmarks.brokers import BrokerError
from tests.crash.facts import Entry, Facts, Faults, Ledger
from tests.crash.house import House
from tests.crash.image import check_store
from tests.crash.kill import DATABASE
from tests.crash.oplog import FLUSH, Disk, Op, Recorder, operations, write_out
from tests.crash.peer import Silent
from tests.crash.store import load
from tests.crash.victim import Victim

STATES_A_RECORDING = 500
BURSTS = 4
BURST_S = 0.3
EVERY = 50  # of the states start a whole service
MEMORY = Path("/dev/shm")


@dataclass
class Cut:
    """What came of it."""

    states: int = 0
    services: int = 0
    operations: int = 0
    flushes: int = 0
    acknowledged: int = 0
    lies: int = 0
    unopened: int = 0
    missing_s: float = 0.0  # longest tail that a lying card lost
    faults: Faults = field(default_factory=Faults)


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """Give a directory in memory where there is one: thousands of states are written there."""
    with TemporaryDirectory(prefix="cut-", dir=MEMORY if MEMORY.is_dir() else None) as directory:
        yield Path(directory)


def record(scratch: Path, dice: random.Random, *, bug: str = "", bursts: int = BURSTS) -> tuple[list[Op], list[Entry]]:
    """Let a home live on a new data directory for a while; gives what was written and what clients saw."""
    data = scratch / "data"
    recorder = Recorder(scratch, data)
    ledger = Ledger(Facts(Faults()), keep=True, position=recorder.position)
    house = House(ledger, dice)
    victim = None
    try:
        victim = Victim(scratch, data, bug=bug, env=recorder.env)
        house.move_in(victim.port)
        for burst in range(bursts):
            began_at = time.time()
            house.traffic(victim.port, BURST_S)
            if burst < bursts - 1:
                house.hang_up()
                house.last_words()
                house.check(victim.port, data / DATABASE, since_at=began_at - 5)
    finally:
        house.close()
        if victim is not None:
            victim.kill()
        recorder.close()
    return operations(recorder.log), ledger.entries


def campaign(
    states: int, *, seed: int = 1, bug: str = "", every: int = EVERY, progress: Callable[[Cut], None] | None = None
) -> Cut:
    """Check so many states, half as many of lying cards; of `every` so many one through the whole service."""
    dice = random.Random(seed)
    cut = Cut()
    while cut.states < states:
        with scratch_directory() as scratch:
            wanted = min(STATES_A_RECORDING, states - cut.states)
            ops, entries = record(scratch, dice, bug=bug)
            cut.operations += len(ops)
            cut.flushes += sum(op.kind == FLUSH for op in ops)
            check(cut, ops, entries, wanted, dice, scratch, every=every, bug=bug)
            if progress is not None:
                progress(cut)
    return cut


def check(
    cut: Cut, ops: list[Op], entries: list[Entry], states: int, dice: random.Random, scratch: Path, *, every: int,
    bug: str,
) -> None:  # fmt: skip
    """Cut the power at so many moments, in the order of time."""
    positions = [entry[0] for entry in entries]
    disk, facts, applied = Disk(ops), Facts(Faults()), 0
    state = scratch / "state"
    state.mkdir()
    for position in sorted(dice.randint(0, len(ops)) for _ in range(states)):
        disk.go_on(position)
        seen = bisect_right(positions, position)
        for _, kind, peer, details in entries[applied:seen]:
            facts.apply(kind, peer, details)
        applied = seen
        cut.states += 1
        lies = dice.random() < 0.0
        write_out(disk.lie() if lies else disk.cut(dice), state)
        whole = cut.states % every == 0
        examine(cut, facts, entries[:seen], state, whole=whole, bug=bug, dice=dice, scratch=scratch)
    cut.acknowledged += facts.acknowledged


def examine(
    cut: Cut, facts: Facts, entries: list[Entry], state: Path, *, whole: bool, bug: str, dice: random.Random,
    scratch: Path,
) -> None:  # fmt: skip
    """Open one state and hold it to what was acknowledged by then."""
    ours = facts_at(entries)
    ours.faults = cut.faults
    if whole:
        cut.services += 1
        start(ours, state, dice, scratch)
        return
    try:
        if ours.acknowledged or (state / DATABASE).exists():
            check_store(ours, load(state / DATABASE), state / DATABASE)
    except StoreError as error:
        cut.unopened += 1
        cut.faults.add("did not open", str(error))


def facts_at(entries: list[Entry]) -> Facts:
    """Give what had been seen by then."""
    facts = Facts(Faults())
    for _, kind, peer, details in entries:
        facts.apply(kind, peer, details)
    return facts


def start(facts: Facts, state: Path, dice: random.Random, scratch: Path) -> None:
    """Start a whole service on the state and let the clients come back."""
    house = House(Ledger(facts), dice)
    victim = None
    try:
        victim = Victim(scratch, state)
        house.check(victim.port, state / DATABASE, since_at=0)
        if "Traceback" in victim.last_words():
            facts.faults.add("errors of the service's own", victim.last_words()[-300:])
    except (Silent, BrokerError) as error:
        facts.faults.add("did not open", str(error))
    finally:
        house.close()
        if victim is not None:
            victim.kill()


if __name__ == "__main__":
    began = time.time()
    done = campaign(int(sys.argv[1]), bug=sys.argv[2] if len(sys.argv) > 2 else "")
    print(done.states, done.services, done.operations, done.flushes, done.acknowledged, dict(done.faults.counts), time.time() - began)
    for kind, examples in done.faults.examples.items():
        print(kind, *examples, sep="\n    ")
