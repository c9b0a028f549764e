"""P1 to P5 and P16: what was acknowledged is there after kill -9, after a power cut and after a card that lied.

One campaign serves all of P1 to P4: each looks at its own kinds of faults.
"""

from argparse import Namespace
from functools import cache

from tests.crash import kill, powercut, startup
from tests.crash.facts import Faults
from tests.promises.finding import Finding
from tests.storage import planted

KINDS = {
    "P1": ("acknowledged and lost", "payloads that nobody sent", "answers to what was not sent", "out of order"),
    "P2": ("QoS 2 lost", "QoS 2 duplicates", "repeated without DUP or the original id"),
    "P3": ("retained value wrong", "subscriptions wrong", "Session Present wrong", "wills lost"),
    "P4": ("history rows lost", "history rows twice", "history out of order"),
}  # fmt: skip
ALWAYS = ("ended early", "did not open", "told of damage where is none", "errors of the service's own")
PLANTED = {  # what each promise must notice: in the kill loop, and when the power is cut
    "P1": ("early", "unflushed"),
    "P2": ("forgetful", "forgetful"),
    "P3": ("swapped", "hurried"),
    "P4": ("unrecorded", "unrecorded"),
    "P5": ("", "in_place"),
    "P16": ("hasty", ""),
}
SHOWN = {  # by which the kill loop must notice it; one bug may show in several ways
    "P1": ("acknowledged and lost",),
    "P2": ("QoS 2 duplicates",),
    "P3": ("subscriptions wrong", "retained value wrong"),
    "P4": ("history rows lost",),
}
PLANTED_ROUNDS, PLANTED_STATES = 30, 300  # at most: the first fault ends it
PLANTED_TURNS = 3
TRUSTING_STATES = 40
LYING_STATES = 500  # a fifth of them of a card that lies: enough that a bug shows more than once
MOST_FAULTS = 5_000
TOLD_EVERY = 50  # rounds


def run(name: str, options: Namespace) -> list[Finding]:
    """Hold the service to one of P1 to P4."""
    kill_bug, cut_bug = PLANTED[name] if options.planted else ("", "")
    rounds = min(options.rounds, PLANTED_ROUNDS) if options.planted else options.rounds
    states = min(options.states, PLANTED_STATES) if options.planted else options.states
    shown = SHOWN[name] if options.planted else ()
    killed, cut = killed_by(rounds, options.seed, kill_bug, shown), cut_by(states, options.seed, cut_bug)
    kinds = KINDS[name] + ALWAYS
    tell(killed.faults, kinds)
    tell(cut.faults, kinds)
    return [
        Finding("kill -9: rounds", killed.rounds, least=None if options.planted else rounds),
        Finding("starts that were killed too", killed.starts_killed),
        Finding("returns of the clients that were", killed.returns_killed),
        Finding("stops that were", killed.stops_killed),
        Finding("messages acknowledged", killed.acknowledged, least=1),
        Finding("messages delivered", killed.delivered, least=1),
        *findings(killed.faults, kinds),
        Finding("power cuts: states", cut.states, least=states),
        Finding("of them through the whole service", cut.services),
        Finding("writes and flushes recorded", cut.operations),
        Finding("flushes", cut.flushes),
        Finding("messages acknowledged", cut.acknowledged),
        *findings(cut.faults, kinds),
    ]


def lying(options: Namespace) -> list[Finding]:
    """Hold the service to P5."""
    bug = PLANTED["P5"][1] if options.planted else ""
    states = LYING_STATES if options.planted else options.states
    cut = cut_by(states, options.seed, bug)
    kinds = tuple(kind for kinds in KINDS.values() for kind in kinds) + ALWAYS
    tell(cut.lying, kinds)
    told = cut
    if options.planted:
        with planted.trusting():
            told = powercut.campaign(TRUSTING_STATES, seed=options.seed)
    return [
        Finding("states of a card that dropped its last flushes", cut.lies, least=1),
        Finding("of them damaged, so that they were salvaged", cut.salvaged, most=max(1, cut.lies // 100)),
        Finding("longest tail missing", cut.missing_s, "s"),
        Finding("states of which a number of seconds was told", told.told, least=1),
        Finding("seconds missing and not told", told.untold_s, "s", most=0),
        *findings(cut.lying, kinds),
    ]


def start(options: Namespace) -> list[Finding]:
    """Hold the service to P16."""
    retained, queued = options.retained, options.queued
    started = startup.measure(retained=retained, queued=queued, bug=PLANTED["P16"][0] if options.planted else "")
    return [
        Finding("retained messages", started.retained, least=retained),
        Finding("messages queued for an absent client", started.queued, least=queued),
        Finding("from the start to CONNACK, after kill -9", started.killed_s, "s", most=3, timed=True),
        Finding("processor time of it", started.killed_cpu_s, "s"),
        Finding("from the start to CONNACK, after a clean stop", started.stopped_s, "s", most=3, timed=True),
        Finding("processor time of it", started.stopped_cpu_s, "s"),
    ]


def findings(faults: Faults, kinds: tuple[str, ...]) -> list[Finding]:
    """Give a bound of none for each kind."""
    return [Finding(kind, faults.counts[kind], most=0) for kind in kinds if kind not in ALWAYS or faults.counts[kind]]


def tell(faults: Faults, kinds: tuple[str, ...]) -> None:
    """Show examples of what was found."""
    for kind in kinds:
        for example in faults.examples.get(kind, ()):
            print(f"  {kind}: {example}", flush=True)


@cache
def killed_by(rounds: int, seed: int, bug: str, shown: tuple[str, ...]) -> kill.Killed:
    """Run the kill loop once for all that ask; with a bug, until it shows."""

    def progress(killed: kill.Killed) -> None:
        if killed.rounds % TOLD_EVERY == 0 and rounds > TOLD_EVERY:
            print(f"  … {killed.rounds} rounds, {killed.faults.counts.total()} faults", flush=True)

    most_faults = 1 if bug else MOST_FAULTS
    for turn in range(PLANTED_TURNS if bug else 1):  # a careless broker may end one before it has shown what is sought
        killed = kill.campaign(
            rounds, seed=seed + turn, bug=bug, most_faults=most_faults, of_kinds=shown, progress=progress
        )
        if killed.faults.count(shown):
            break
        tell(killed.faults, ALWAYS)
    if killed.tracebacks:
        killed.faults.add("errors of the service's own", "a traceback in its log", killed.tracebacks)
    return killed


@cache
def cut_by(states: int, seed: int, bug: str) -> powercut.Cut:
    """Cut the power so often once for all that ask."""

    def progress(cut: powercut.Cut) -> None:
        if states > cut.states:
            print(f"  … {cut.states} states, {cut.faults.counts.total()} faults", flush=True)

    return powercut.campaign(states, seed=seed, bug=bug, progress=progress)
