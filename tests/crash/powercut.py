"""Power cuts: a service's writes and flushes are recorded, and from them every state made that a cut may leave."""

import math
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
from appliance.store.missing import Missing
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
    salvaged: int = 0  # of them, where the damage was real
    missing_s: float = 0.0  # longest tail that a lying card lost
    told: int = 0  # states of lying cards of which a number of seconds was told
    untold_s: float = 0.0  # the most of a tail that was not among them
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
    """Choose when the power fails, in the order of time: the operations that were kept, and those that there were.

    An honest card has kept all of them that were flushed, a lying one those up to an earlier flush.
    """
    flushes = [number for number, op in enumerate(ops) if op.kind == FLUSH]
    found = []
    for number in range(states):
        position = dice.randint(0, len(ops))
        flushed = bisect_right(flushes, position - 1)
        if number % LYING or not flushed:
            found.append((position, position))
        else:
            found.append((flushes[max(0, flushed - dice.randint(1, MOST_DROPPED))], position))
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
    for position, until in moments(ops, states, dice):
        if cut.found() >= most_faults:
            break
        disk.go_on(position)
        seen = bisect_right(positions, position)
        facts.faults = Faults()  # what clients saw while it was recorded is no matter of the cut
        for _, kind, peer, details in entries[applied:seen]:
            facts.apply(kind, peer, details)
        applied = seen
        lies = until > position
        lost_s = (ops[position].ns / 1e9, ops[until - 1].ns / 1e9) if lies else None
        cut.states += 1
        cut.lies += lies
        if lost_s is not None:
            cut.missing_s = max(cut.missing_s, lost_s[1] - lost_s[0])
        write_out(disk.lie() if lies and dice.random() < 0.5 else disk.cut(dice), state)
        faults = cut.lying if lies else cut.faults
        if cut.states % every:
            facts.faults = faults
            told = examine(facts, state / DATABASE, may_alarm=lies)
            if lost_s is not None:
                cut.told += told is not None and told.seconds is not None
                if facts.acknowledged:  # else nothing is left that could know of any time
                    cut.untold_s = max(cut.untold_s, untold_s(told, *lost_s))
        else:
            cut.services += 1
            whole = facts_at(entries[:seen])
            whole.faults = faults
            start(whole, state, dice, scratch, may_alarm=lies)
        cut.salvaged += lies and any(state.glob("*.corrupt-*.json"))
    cut.acknowledged += facts.acknowledged


def examine(facts: Facts, database: Path, *, may_alarm: bool = False) -> Missing | None:
    """Open one state in this process and hold it to what was acknowledged by then; gives what it says of its end.

    may_alarm: some of what was to be flushed is there and some is not, so it may be damaged in truth.
    """
    told: list[Missing] = []
    try:
        image = load(database, told.append)
        check_store(facts, image, database)
        if not may_alarm:
            _find_alarm(facts, database)
    except (StoreError, sqlite3.Error) as error:
        facts.faults.add("did not open", str(error))
    return told[-1] if told else None


def untold_s(told: Missing | None, from_s: float, to_s: float) -> float:
    """Give how many seconds of a tail, by the monotonic clock, are not among those that may be missing."""
    if told is None or told.seconds is None:
        return to_s - from_s
    ahead_s = time.time() - time.monotonic()
    to_told_s = math.ceil(told.at) - ahead_s  # as they are said, in whole seconds
    return max(0.0, to_told_s - told.seconds - from_s) + max(0.0, to_s - to_told_s)


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


def start(facts: Facts, state: Path, dice: random.Random, scratch: Path, *, may_alarm: bool = False) -> None:
    """Start a whole service on the state and let the clients come back."""
    house = House(Ledger(facts), dice)
    victim = None
    try:
        victim = Victim(scratch, state)
        house.check(victim.port, state / DATABASE, since_at=0)
        if not may_alarm:
            _find_alarm(facts, state / DATABASE)
        if "Traceback" in victim.last_words():
            facts.faults.add("errors of the service's own", victim.last_words()[-300:])
    except (Silent, BrokerError) as error:
        facts.faults.add("did not open", str(error))
    finally:
        house.close()
        if victim is not None:
            victim.kill()
