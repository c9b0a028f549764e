"""The kill -9 loop: a service is killed at any moment of its work, and asked afterwards for all it acknowledged."""

import random
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.brokers import BrokerError
from tests.crash.facts import Facts, Faults, Ledger
from tests.crash.house import House
from tests.crash.peer import Silent
from tests.crash.victim import Victim, command

MOST_S = 0.3  # between the first packet and the end
DURING_START = 0.1  # share of the rounds in which the next start is killed too
DURING_RETURN = 0.2  # share of those in which it is killed again while its clients come back
RETURN_S = 0.05
DURING_STOP = 0.1  # share of the rounds in which it has been told to stop
STOP_S = 0.15
RESTLESS = 0.5  # share of the starts in which it moves and checkpoints all the time
START_S = 0.6
SLACK_S = 5.0  # the clock of the rows and ours
DATABASE = "appliance.db"


@dataclass
class Killed:
    """What came of it."""

    rounds: int = 0
    starts_killed: int = 0
    returns_killed: int = 0
    stops_killed: int = 0
    acknowledged: int = 0
    delivered: int = 0
    tracebacks: int = 0
    faults: Faults = field(default_factory=Faults)


def campaign(
    rounds: int,
    *,
    seed: int = 1,
    bug: str = "",
    gentle: bool = False,
    most_faults: int = 200,
    of_kinds: tuple[str, ...] = (),
    progress: Callable[[Killed], None] | None = None,
) -> Killed:
    """Kill so often, on one data directory; ends early once so many faults were found, of some kinds or of all.

    gentle: only the links are cut, so that whatever is found is a fault of the judge.
    """
    dice = random.Random(seed)
    killed = Killed()
    ledger = Ledger(Facts(killed.faults))
    house = House(ledger, dice)
    with TemporaryDirectory(prefix="kill-") as directory:
        scratch = Path(directory)
        data = scratch / "data"

        def start() -> Victim:
            return Victim(scratch, data, bug, "restless" if dice.random() < RESTLESS else "")

        victim = start()
        try:
            house.move_in(victim.port)
            earlier = began_at = time.time()
            while killed.rounds < rounds and killed.faults.count(of_kinds) < most_faults:
                earlier, began_at = began_at, time.time()
                house.traffic(victim.port, dice.uniform(0, MOST_S))
                if gentle:
                    house.hang_up()
                    time.sleep(0.4)
                elif dice.random() < DURING_STOP:
                    killed.stops_killed += 1
                    victim.kill_while_it_stops(dice.uniform(0, STOP_S))
                else:
                    victim.kill()
                killed.rounds += 1
                house.last_words()
                killed.tracebacks += "Traceback" in victim.last_words()
                if not gentle and dice.random() < DURING_START:
                    killed.starts_killed += 1
                    kill_start(scratch, data, dice.uniform(0, START_S), bug)
                if not gentle:
                    victim = start()
                    if dice.random() < DURING_RETURN:
                        killed.returns_killed += 1
                        house.stir(victim.port, dice.uniform(0, RETURN_S))
                        victim.kill()
                        house.last_words()
                        victim = start()
                house.check(victim.port, data / DATABASE, since_at=earlier - SLACK_S)
                killed.acknowledged, killed.delivered = house.facts.acknowledged, house.facts.delivered
                if progress is not None:
                    progress(killed)
            house.check_history(data / DATABASE, since_at=0)
            house.check_view(data / DATABASE)
            for aside in data.glob("*.corrupt-*.json"):
                killed.faults.add("told of damage where is none", aside.read_text())
        except (Silent, BrokerError) as error:
            killed.faults.add("ended early", f"round {killed.rounds}: {error}; its log: {victim.last_words()}")
        finally:
            house.close()
            victim.kill()
    return killed


def kill_start(scratch: Path, data: Path, after_s: float, bug: str) -> None:
    """Start it and kill it before it can have got far."""
    process = subprocess.Popen(
        command(scratch, data, 0, bug),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
