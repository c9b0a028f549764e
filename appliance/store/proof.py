"""Proves a history: an agent numbers its readings, so every number that has no row can be named and explained."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from appliance.store.asking import asking
from appliance.store.calendar import Calendar
from appliance.store.database import StoreError
from appliance.store.gap_reader import gaps_between
from appliance.store.gaps import AGENT, AGENT_OFFLINE, CAUSES, DROPPED
from appliance.store.holes import Gap
from appliance.store.pages import pages
from appliance.store.readings import LAST_AT

MAX_READINGS: Final = 10_000_000  # in memory at once, 16 bytes each
RESERVED: Final = 1_000  # numbers that an agent reserves at once, and wastes when its power is cut

WAITS: Final = "still with the agent"
REFUSED: Final = "refused"
PRUNED: Final = "pruned by retention"
CUT: Final = "agent cut"
LOST: Final = "never arrived"
EXPLANATIONS: Final = {
    WAITS: "the agent keeps it until it can be sent",
    REFUSED: "received, but of a topic beyond history.max_series or with a value that is no reading",
    PRUNED: "received, and older than what is kept",
    CUT: "numbers that the agent had reserved when its power was cut; up to its last 5 s may be among them",
    LOST: "nothing explains it",
}

Range = tuple[int, int]
"""First and last number, both included."""


class Missing(NamedTuple):
    """Numbers without a row; `since_at` and `until_at` are the times of the rows around them, where there are any."""

    first_seq: int
    last_seq: int
    cause: str
    detail: str
    since_at: float | None
    until_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProof:
    """One life of the agent's outbox, from the first number that should be here to the last that arrived."""

    run: str
    first_seq: int
    last_seq: int
    rows: int
    missing: list[Missing]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """All runs of an agent, and the gaps of its time."""

    agent: str
    since_at: float | None
    runs: list[RunProof]
    gaps: list[Gap]

    @property
    def is_explained(self) -> bool:
        """Whether every missing number has its cause."""
        return all(one.cause != LOST for run in self.runs for one in run.missing)


@dataclass(slots=True)
class Seen:
    """What is known of one run."""

    run: str
    seqs: "array[int]" = field(default_factory=lambda: array("q"))
    times: dict[int, float] = field(default_factory=dict)  # of numbers beside a missing one
    received: list[Range] = field(default_factory=list)
    dropped: list[tuple[Range, str]] = field(default_factory=list)
    rows: int = 0


def prove(
    path: Path, agent: str, since_at: float | None, *, at: float, waiting: int | None = None
) -> Proof | None:
    """Match an agent's numbers with its rows; None if it never sent any. `at` is now. StoreError.

    `waiting` is how many readings the agent says it still keeps, None where nobody can be asked.
    """
    with asking(path) as connection:
        names = dict(connection.execute("SELECT id, run FROM runs WHERE agent = ? ORDER BY id", (agent,)))
        series = [series_id for (series_id,) in connection.execute("SELECT id FROM series ORDER BY id")]
        gaps = [
            gap
            for gap in gaps_between(connection, Calendar(connection), since_at or 0.0, LAST_AT)
            if gap.scope != AGENT or gap.name == agent
        ]
    if not names:
        return None
    seen = {run: Seen(run) for run in names.values()}
    for series_id in series:
        for page in pages(path, series_id, since_at or 0.0, LAST_AT):
            for row in page:
                if row.agent == agent and row.seq is not None and row.run in seen:
                    one = seen[row.run]
                    one.seqs.append(row.seq)
                    one.rows += 1
            if sum(len(one.seqs) for one in seen.values()) > MAX_READINGS:
                raise StoreError(f"more than {MAX_READINGS} readings of {agent} in that time: say a shorter --since")
    _note_received(path, names, seen, agent)
    offline = any(gap.cause == AGENT_OFFLINE and gap.until_at is None for gap in gaps)
    newest = [*names.values()][-1]
    runs = []
    for run in names.values():
        keeps = run == newest and (offline or bool(waiting))
        proof = _prove_run(path, series, agent, seen[run], keeps=keeps, whole=since_at is None, gaps=gaps)
        if proof is not None:
            runs.append(proof)
    return Proof(agent=agent, since_at=since_at, runs=runs, gaps=[gap for gap in gaps if gap.since_at <= at])
