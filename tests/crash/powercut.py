"""Power cuts: a service's writes and flushes are recorded, and from them every state made that a cut may leave."""

import random
import sqlite3
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

STATES_A_RECORDING = 100
BURSTS = 4
BURST_S = 0.15
EVERY = 50  # of the states start a whole service
LYING = 5  # one of so many states is of a lying card
MOST_DROPPED = 20  # flushes
MEMORY = Path("/dev/shm")


@dataclass
class Cut:
    """What came of it."""

    states: int = 0
    services: int = 0
    recordings: int = 0
    operations: int = 0
    flushes: int = 0
    acknowledged: int = 0
    lies: int = 0
    missing_s: float = 0.0  # longest tail that a lying card lost
    faults: Faults = field(default_factory=Faults)
    lying: Faults = field(default_factory=Faults)  # of states that lying cards left

    def found(self) -> int:
        """Give how many faults there are."""
        return self.faults.counts.total() + self.lying.counts.total()


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """Give a directory in memory where there is one: thousands of states are written there."""
    with TemporaryDirectory(prefix="cut-", dir=MEMORY if MEMORY.is_dir() else None) as directory:
        yield Path(directory)


def record(scratch: Path, dice: random.Random, *changes: str, bursts: int = BURSTS) -> tuple[list[Op], list[Entry]]:
    """Let a home live on a new data directory for a while; gives what was written and what clients saw."""
    data = scratch / "data"
    recorder = Recorder(scratch, data)
    ledger = Ledger(Facts(Faults()), keep=True, position=recorder.position)
    house = House(ledger, dice)
    victim = None
    try:
        victim = Victim(scratch, data, *changes, env=recorder.env)
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
    states: int,
    *,
    seed: int = 1,
    bug: str = "",
    every: int = EVERY,
    most_faults: int = 100_000,
    progress: Callable[[Cut], None] | None = None,
) -> Cut:
    """Check so many states, some of lying cards; of `every` so many one through the whole service.

    Ends early once so many faults were found.
    """
    dice = random.Random(seed)
    cut = Cut()
    while cut.states < states and cut.found() < most_faults:
        with scratch_directory() as scratch:
            wanted = min(STATES_A_RECORDING, states - cut.states)
            restless = "restless" if cut.recordings % 2 == 0 else ""
            cut.recordings += 1
            ops, entries = record(scratch, dice, bug, restless, bursts=2 if bug else BURSTS)
            cut.operations += len(ops)
            cut.flushes += sum(op.kind == FLUSH for op in ops)
            check(cut, ops, entries, wanted, dice, scratch, every=every, most_faults=most_faults)
            if progress is not None:
                progress(cut)
    return cut


def moments(ops: list[Op], states: int, dice: random.Random) -> list[tuple[int, int]]:
    """Choose when the power fails, in the order of time: the operations before it, and the nanoseconds before that
    moment from which a lying card has kept nothing; -1 for an honest one.
    """
    flushes = [number for number, op in enumerate(ops) if op.kind == FLUSH]
    found = []
    for number in range(states):
        position = dice.randint(0, len(ops))
        flushed = bisect_right(flushes, position - 1)
        if number % LYING or not flushed:
            found.append((position, -1))
        else:
            kept = flushes[max(0, flushed - dice.randint(1, MOST_DROPPED))]
            found.append((kept, ops[position - 1].ns - ops[kept].ns))
    return sorted(found)


def check(
    cut: Cut,
    ops: list[Op],
    entries: list[Entry],
    states: int,
    dice: random.Random,
    scratch: Path,
    *,
    every: int,
    most_faults: int,
) -> None:
    """Cut the power so often."""
    positions = [entry[0] for entry in entries]
    disk, facts, applied = Disk(ops), Facts(Faults()), 0
    state = scratch / "state"
    state.mkdir()
    for position, missing_ns in moments(ops, states, dice):
        if cut.found() >= most_faults:
            break
        disk.go_on(position)
        seen = bisect_right(positions, position)
        facts.faults = Faults()  # what clients saw while it was recorded is no matter of the cut
        for _, kind, peer, details in entries[applied:seen]:
            facts.apply(kind, peer, details)
        applied = seen
        lies = missing_ns >= 0
        cut.states += 1
        cut.lies += lies
        cut.missing_s = max(cut.missing_s, missing_ns / 1e9)
        write_out(disk.lie() if lies and dice.random() < 0.5 else disk.cut(dice), state)
        faults = cut.lying if lies else cut.faults
        if cut.states % every:
            facts.faults = faults
            examine(facts, state / DATABASE)
        else:
            cut.services += 1
            whole = facts_at(entries[:seen])
            whole.faults = faults
            start(whole, state, dice, scratch)
    cut.acknowledged += facts.acknowledged


def examine(facts: Facts, database: Path) -> None:
    """Open one state in this process and hold it to what was acknowledged by then."""
    try:
        image = load(database)
        check_store(facts, image, database)
        _find_alarm(facts, database)
    except (StoreError, sqlite3.Error) as error:
        facts.faults.add("did not open", str(error))


def _find_alarm(facts: Facts, database: Path) -> None:
    """See that nobody was told of damage: losing what was not flushed is none."""
    for aside in database.parent.glob("*.corrupt-*.json"):
        facts.faults.add("told of damage where is none", aside.read_text())


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
        _find_alarm(facts, state / DATABASE)
        if "Traceback" in victim.last_words():
            facts.faults.add("errors of the service's own", victim.last_words()[-300:])
    except (Silent, BrokerError) as error:
        facts.faults.add("did not open", str(error))
    finally:
        house.close()
        if victim is not None:
            victim.kill()
