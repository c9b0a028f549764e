"""The kill -9 loop: a service is killed at any moment of its work, and asked afterwards for all it acknowledged."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.brokers import BrokerError
from tests.crash.facts import Facts, Faults, Ledger
from tests.crash.house import House
from tests.crash.peer import Silent
from tests.crash.victim import Victim

MOST_S = 0.3  # between the first packet and the end
DURING_START = 0.1  # share of the rounds in which the next start is killed too
DURING_RETURN = 0.2  # share of those in which it is killed again while its clients come back
RETURN_S = 0.05
START_S = 0.6
SLACK_S = 5.0  # the clock of the rows and ours
DATABASE = "appliance.db"


@dataclass
class Killed:
    """What came of it."""

    rounds: int = 0
    starts_killed: int = 0
    returns_killed: int = 0
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
    progress: Callable[[Killed], None] | None = None,
) -> Killed:
    """Kill so often, on one data directory; ends early once so many faults were found.

    gentle: only the links are cut, so that whatever is found is a fault of the judge.
    """
    dice = random.Random(seed)
    killed = Killed()
    ledger = Ledger(Facts(killed.faults))
    house = House(ledger, dice)
    with TemporaryDirectory(prefix="kill-") as directory:
        scratch = Path(directory)
        data = scratch / "data"
        victim = Victim(scratch, data, bug=bug)
        try:
            house.move_in(victim.port)
            earlier = began_at = time.time()
            while killed.rounds < rounds and killed.faults.counts.total() < most_faults:
                earlier, began_at = began_at, time.time()
                house.traffic(victim.port, dice.uniform(0, MOST_S))
                if gentle:
                    house.hang_up()
                    time.sleep(0.4)
                else:
                    victim.kill()
                killed.rounds += 1
                house.last_words()
                killed.tracebacks += "Traceback" in victim.last_words()
                if not gentle and dice.random() < DURING_START:
                    killed.starts_killed += 1
                    kill_start(scratch, data, dice.uniform(0, START_S), bug)
                if not gentle:
                    victim = Victim(scratch, data, bug=bug)
                    if dice.random() < DURING_RETURN:
                        killed.returns_killed += 1
                        house.stir(victim.port, dice.uniform(0, RETURN_S))
                        victim.kill()
                        house.last_words()
                        victim = Victim(scratch, data, bug=bug)
                house.check(victim.port, data / DATABASE, since_at=earlier - SLACK_S)
                killed.acknowledged, killed.delivered = house.facts.acknowledged, house.facts.delivered
                if progress is not None:
                    progress(killed)
            house.check_history(data / DATABASE, since_at=0)
        except (Silent, BrokerError) as error:
            killed.faults.add("ended early", f"round {killed.rounds}: {error}; its log: {victim.last_words()}")
        finally:
            house.close()
            victim.kill()
    return killed


def kill_start(scratch: Path, data: Path, after_s: float, bug: str) -> None:
    """Start it and kill it before it can have got far."""
    config = scratch / "appliance.toml"
    module = ["tests.crash.planted", bug] if bug else ["appliance"]
    command = [sys.executable, "-m", *module, "run", "--config", str(config), "--data", str(data), "--mqtt-port", "0"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
