"""P6: whatever happened to its files, the service serves, nothing corrupt among it, and says what it lost."""

import logging
import shutil
import tempfile
import time
from argparse import Namespace
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from appliance.store.aside import damages
from appliance.store.database import StoreError
from tests.promises.finding import Finding
from tests.storage import planted
from tests.storage.corpus import Case, cases
from tests.storage.home import NAME, Held, build, held, open_home

UNSEEN = {"log cut off", "log of an earlier time"}  # may leave a state that was whole once: a tail is missing
UNTOUCHED = ("lock file empty", "lock file of garbage", "lock file taken away")
TOLD_EVERY = 500


@dataclass
class Corpus:
    """What became of damaged files."""

    files: int = 0
    refused: int = 0
    salvaged: int = 0
    whole: int = 0  # nothing was missing
    slowest_s: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def fault(self, kind: str, example: str, count: int = 1) -> None:
        """Note something that must not be."""
        self.counts[kind] += count
        self.examples.setdefault(f"{kind} {self.counts[kind]}", example)


class Ear(logging.Handler):
    """Hears what the owner is told."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.heard.append(record.getMessage())


def run(options: Namespace) -> list[Finding]:
    """Hold the store to P6."""
    with planted.unverified() if options.planted else planted.nothing():
        found = campaign(min(options.damaged, 300) if options.planted else options.damaged, options.seed)
    for kind, example in found.examples.items():
        print(f"  {kind}: {example}", flush=True)
    kinds = ("did not start", "corrupt payloads served", "damaged files not kept", "losses that nobody was told of",
             "foreign files not refused", "damaged again after the salvage")  # fmt: skip
    return [
        Finding("damaged data directories", found.files),
        Finding("of them salvaged", found.salvaged, least=1),
        Finding("of them nothing missing", found.whole, least=1),
        Finding("foreign files refused with the cure", found.refused, least=1),
        Finding("slowest start", found.slowest_s, "s", most=10, timed=True),
        *(Finding(kind, found.counts[kind], most=0) for kind in kinds),
    ]


def campaign(count: int, seed: int = 1) -> Corpus:
    """Damage a home so often and open it each time."""
    found = Corpus()
    ear = Ear()
    log = logging.getLogger("appliance")
    propagates, log.propagate = log.propagate, False
    log.addHandler(ear)
    scratch = Path(tempfile.mkdtemp(prefix="appliance-corpus-"))
    try:
        good = scratch / "good"
        everything = build(good)
        build(scratch / "other", seed=1)
        build(scratch / "earlier", rounds=2)
        for case in islice(cases(good, scratch / "other", scratch / "earlier", seed), count):
            ear.heard.clear()
            _try(found, case, good, scratch / "work", everything, ear.heard)
            if count > TOLD_EVERY and found.files % TOLD_EVERY == 0:
                print(f"  … {found.files} directories, {found.counts.total()} faults", flush=True)
    finally:
        log.removeHandler(ear)
        log.propagate = propagates
        shutil.rmtree(scratch)
    return found


def _try(found: Corpus, case: Case, good: Path, work: Path, everything: Held, heard: list[str]) -> None:
    case.make(good, work)
    found.files += 1
    path = work / NAME
    began = time.monotonic()
    try:
        image_held = _load(path)
    except StoreError as error:
        if case.kind.startswith("foreign") and "move it away" in str(error) and path.exists():
            found.refused += 1
        else:
            found.fault("did not start", f"{case.kind}: {error}")
        return
    except Exception as error:  # noqa: BLE001 whatever it is must be found
        found.fault("did not start", f"{case.kind}: {error!r}")
        return
    found.slowest_s = max(found.slowest_s, time.monotonic() - began)
    if case.kind.startswith("foreign"):
        found.fault("foreign files not refused", case.kind)
    if image_held.corrupt:
        found.fault("corrupt payloads served", case.kind, image_held.corrupt)
    asides = [Path(damage.aside) for damage in damages(path)]
    found.salvaged += bool(asides)
    if image_held == everything:
        found.whole += 1
    elif not heard and case.kind not in UNSEEN:
        lost = everything.total - image_held.total
        found.fault("losses that nobody was told of", f"{case.kind}: {lost} of {everything.total}")
    if any("damaged" in line for line in heard) and not asides:
        found.fault("damaged files not kept", case.kind)
    if asides:
        heard.clear()
        again = _load(path)
        if again != image_held or heard:
            found.fault("damaged again after the salvage", f"{case.kind}: {heard}")


def _load(path: Path) -> Held:
    """Start from these files as the service does."""
    ledger = open_home(path)
    try:
        image = ledger.load(time.monotonic())
        if ledger.damaged:
            ledger.close()
            ledger = open_home(path)
            image = ledger.load(time.monotonic())
        return held(image, path)
    finally:
        ledger.close()
