"""Proves a history: an agent numbers its readings, so every number that has no row can be named and explained."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from heapq import merge
from pathlib import Path
from typing import Final, NamedTuple

from appliance.clock import rfc3339
from appliance.store.asking import asking
from appliance.store.calendar import Calendar
from appliance.store.database import StoreError
from appliance.store.gap_reader import gaps_between
from appliance.store.gaps import AGENT, AGENT_OFFLINE, DAMAGED, DROPPED, HUB, NEVER_GIVEN, RESTORED, SERIES, UNKEPT
from appliance.store.holes import Gap
from appliance.store.pages import numbers
from appliance.store.reading_rows import TICKS_PER_MS
from appliance.store.readings import LAST_AT

ROWS_AT_ONCE: Final = 100_000  # in memory, of all topics together
SMALLEST_PAGE: Final = 500
MOST_RANGES: Final = 100_000
RESERVED: Final = 1_000  # numbers that an agent reserves at once, and wastes when its power is cut
UNSAVED_S: Final = 6.0  # a little longer than an agent keeps readings in memory alone
SLIVER_S: Final = 0.001  # a gap that only touches a row is none of the next hole

WAITS: Final = "still with the agent"
MAY_WAIT: Final = "may still be with the agent"
REFUSED: Final = "refused"
PRUNED: Final = "pruned by retention"
CUT: Final = "agent cut"
UNSAVED: Final = "lost with the agent"
LOST: Final = "never arrived"
GONE: Final = "received and gone"
UNEXPLAINED: Final = (LOST, GONE)
EXPLANATIONS: Final = {
    WAITS: "the agent keeps it until it can be sent",
    REFUSED: "received, but no reading, or of a topic beyond history.max_series or not the agent's to publish to",
    PRUNED: "received, and older than what is kept",
    CUT: "numbers that the agent had reserved when its power was cut; up to its last 5 s may be among them",
    NEVER_GIVEN: "the agent had reserved them and was killed or its power cut; of its last 5 s some may be among them",
    UNSAVED: "it had them for less than 5 s when it was killed or its power cut, and had not written them yet",
    DROPPED: "the agent had to drop it, for want of room or because the broker refused it, and said so",
    DAMAGED: "the database was damaged there",
    RESTORED: "it came after the backup that was put back",
    LOST: "nothing explains it",
    GONE: "it was acknowledged, its row is not there, and nothing explains it",
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

    def told(self) -> dict[str, object]:
        """Give it as the API and the command line show it."""
        return {
            "first_seq": self.first_seq,
            "last_seq": self.last_seq,
            "cause": self.cause,
            "detail": self.detail,
            "since": self.since_at,
            "until": self.until_at,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProof:
    """One life of the agent's outbox, from the first number that should be here to the last that arrived.

    Numbers that were never given to a reading are not missing.
    """

    run: str
    first_seq: int
    last_seq: int
    rows: int
    missing: list[Missing]
    never_given: list[Missing]

    def told(self) -> dict[str, object]:
        """Give it as the API and the command line show it."""
        return {
            "run": self.run,
            "first_seq": self.first_seq,
            "last_seq": self.last_seq,
            "rows": self.rows,
            "missing": [one.told() for one in self.missing],
            "never_given": [one.told() for one in self.never_given],
        }


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
        return all(one.cause not in UNEXPLAINED for run in self.runs for one in run.missing)

    def told(self) -> dict[str, object]:
        """Give it as the API and the command line show it."""
        return {
            "agent": self.agent,
            "since": self.since_at,
            "explained": self.is_explained,
            "runs": [run.told() for run in self.runs],
            "gaps": [gap.told() for gap in self.gaps],
        }


class Covered:
    """Numbers of one run that have a row, as closed ranges, with the times of the rows at their ends.

    Cheap where numbers come nearly in order, whatever their count.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.firsts: list[int] = []
        self.lasts: list[int] = []
        self.first_at: list[float] = []
        self.last_at: list[float] = []

    def add(self, seq: int, at: float) -> None:
        """Take in a row; several may have one number."""
        self.rows += 1
        firsts, lasts = self.firsts, self.lasts
        after = bisect_right(firsts, seq)
        if after and seq <= lasts[after - 1]:
            return
        joins_before = after > 0 and lasts[after - 1] == seq - 1
        joins_after = after < len(firsts) and firsts[after] == seq + 1
        if joins_before and joins_after:
            lasts[after - 1], self.last_at[after - 1] = lasts[after], self.last_at[after]
            del firsts[after], lasts[after], self.first_at[after], self.last_at[after]
        elif joins_before:
            lasts[after - 1], self.last_at[after - 1] = seq, at
        elif joins_after:
            firsts[after], self.first_at[after] = seq, at
        else:
            firsts.insert(after, seq)
            lasts.insert(after, seq)
            self.first_at.insert(after, at)
            self.last_at.insert(after, at)

    def holes(self, first: int, last: int) -> Iterator[tuple[Range, float | None, float | None]]:
        """Give what is missing between two numbers, and the times of the rows before and after it."""
        before: float | None = None
        following = first
        for start, end, start_at, end_at in zip(self.firsts, self.lasts, self.first_at, self.last_at, strict=True):
            if start > following:
                yield (following, start - 1), before, start_at
            following, before = max(following, end + 1), end_at
        if following <= last:
            yield (following, last), before, None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What else is known of a run: numbers that arrived, and numbers that the agent says it dropped or never gave."""

    received: list[Range]
    dropped: list[Range]
    unused: list[Range]  # each to the end of what was reserved at one time
    waiting: int | None  # how many readings the agent says it keeps, of its newest run; None where it says nothing
    away_at: float | None = None  # since when the agent is offline; None of one that is here, or of an older run
    contact_at: float = 0.0  # when it was last seen to come
    cuts: tuple[tuple[Range, float], ...] = ()  # what was reserved at a cut, and the time of its last row


def prove(path: Path, agent: str, since_at: float | None, *, waiting: int | None = None) -> Proof | None:
    """Match an agent's numbers with its rows from one time on, or all; None if it never sent any. StoreError.

    `waiting` is how many readings the agent says it still keeps, None where nobody can be asked.
    """
    begins_at = since_at or 0.0
    with asking(path) as connection:
        names = dict(connection.execute("SELECT id, run FROM runs WHERE agent = ? ORDER BY id", (agent,)))
        series = [series_id for (series_id,) in connection.execute("SELECT id FROM series ORDER BY id")]
        received = connection.execute(
            "SELECT run_id, first_seq, last_seq FROM received"
            " WHERE run_id IN (SELECT id FROM runs WHERE agent = ?) ORDER BY first_seq",
            (agent,),
        ).fetchall()
        dropped = connection.execute(
            "SELECT run, first_seq, last_seq, cause FROM gaps"
            " WHERE scope = ? AND name = ? AND cause IN (?, ?) AND first_seq IS NOT NULL",
            (AGENT, agent, DROPPED, NEVER_GIVEN),
        ).fetchall()
        between = gaps_between(connection, Calendar(connection), begins_at, LAST_AT)
        topics = {topic for (topic,) in connection.execute("SELECT topic FROM series WHERE agent = ?", (agent,))}
    if not names:
        return None
    gaps = sorted((gap for gap in between if _concerns(gap, agent, topics)), key=lambda gap: gap.since_at)
    covered = _covered(path, series, agent, begins_at)
    away = [gap for gap in gaps if gap.cause == AGENT_OFFLINE]
    away_at = max((gap.since_at for gap in away if gap.until_at is None), default=None)
    contact_at = max((gap.until_at for gap in away if gap.until_at is not None), default=0.0)
    newest = max(names)
    runs = [
        _run_proof(
            run,
            covered.get(run, Covered()),
            Told(
                received=[(first, last) for of, first, last in received if of == run_id],
                dropped=[(first, last) for of, first, last, why in dropped if of == run and why == DROPPED],
                unused=[(first, last) for of, first, last, why in dropped if of == run and why == NEVER_GIVEN],
                waiting=waiting if run_id == newest else 0,
                away_at=away_at if run_id == newest else None,
                contact_at=contact_at,
            ),
            gaps,
            is_whole=since_at is None,
        )
        for run_id, run in names.items()
        if run in covered or since_at is None
    ]
    return Proof(agent=agent, since_at=since_at, runs=runs, gaps=gaps)


def _covered(path: Path, series: list[int], agent: str, since_at: float) -> dict[str, Covered]:
    """Read all numbers of the agent, those of all topics together in order of time, so that few ranges are open."""
    page_rows = max(SMALLEST_PAGE, ROWS_AT_ONCE // max(1, len(series)))
    found: dict[str, Covered] = {}
    stretches: dict[int, tuple[str, int] | None] = {}  # run and offset_ms, None where it is another agent's
    for tick, seq, stretch_id in merge(*(numbers(path, one, since_at, page_rows=page_rows) for one in series)):
        if stretch_id not in stretches:
            stretches |= _stretches(path, agent, stretch_id)
        stretch = stretches[stretch_id]
        if stretch is None:
            continue
        run, offset_ms = stretch
        at = (tick // TICKS_PER_MS + offset_ms) / 1000
        if at < since_at:
            continue
        if run not in found:
            found[run] = Covered()
        found[run].add(seq, at)
        if len(found[run].firsts) > MOST_RANGES:
            raise StoreError(f"{agent} numbers its readings without any order; say a shorter --since")
    return found


def _stretches(path: Path, agent: str, stretch_id: int) -> dict[int, tuple[str, int] | None]:
    """Look up all stretches of the agent, and the one that was met."""
    with asking(path) as connection:
        rows = connection.execute(
            "SELECT stretches.id, run, offset_ms FROM stretches JOIN epochs ON epochs.id = epoch_id"
            " JOIN runs ON runs.id = run_id WHERE agent = ?",
            (agent,),
        ).fetchall()
    return {stretch_id: None, **{known: (run, offset_ms) for known, run, offset_ms in rows}}


def _run_proof(run: str, covered: Covered, told: Told, gaps: list[Gap], *, is_whole: bool) -> RunProof:
    ends = [last for _, last in told.received] + covered.lasts
    starts = covered.firsts[:1] if not is_whole else [first for first, _ in told.received] + covered.firsts
    first, last = min(starts, default=0), max(ends, default=-1)
    holes = list(covered.holes(first, last))
    told = replace(
        told,
        cuts=tuple(
            (one, since_at)
            for one in told.unused
            for (begins, ends), since_at, _ in holes
            if begins <= one[1] <= ends and since_at is not None
        ),
    )
    found = [
        Missing(*piece, cause, _detail(cause, told), since_at, until_at)
        for hole, since_at, until_at in holes
        for piece, cause in _explained(hole, told, since_at, until_at, gaps)
    ]
    return RunProof(
        run=run,
        first_seq=first,
        last_seq=last,
        rows=covered.rows,
        missing=[one for one in found if one.cause != NEVER_GIVEN],
        never_given=[one for one in found if one.cause == NEVER_GIVEN],
    )


def _explained(
    hole: Range, told: Told, since_at: float | None, until_at: float | None, gaps: list[Gap]
) -> Iterator[tuple[Range, str]]:
    """Cut missing numbers into pieces of one cause each, in order."""
    marked = [(piece, _why_gone(gaps, since_at, until_at)) for piece in _inside(told.received, hole)]
    undone = _cause_between(gaps, (RESTORED,), since_at, until_at) or _cause_between(
        [gap for gap in gaps if gap.scope == HUB], (DAMAGED,), since_at, until_at
    )
    for gone in _outside(told.received, hole):
        marked += [(piece, DROPPED) for piece in _inside(told.dropped, gone)]
        # Numbers are given in order: of what was reserved, those behind the last that came.
        unused = [(max(first, gone[0]), last) for first, last in told.unused if gone[0] <= last <= gone[1]]
        if undone:
            unused = []  # some of them may have come and gone
        for left in _outside(told.dropped, gone):
            marked += [(piece, NEVER_GIVEN) for piece in _inside(unused, left)]
        for lost in _outside(sorted([*told.dropped, *unused]), gone):
            cause = undone or _why_missing(lost, told, until_at, was_away=_was_away(gaps, since_at, until_at))
            marked.append((lost, cause))
    yield from sorted(marked)


def _why_missing(lost: Range, told: Told, until_at: float | None, *, was_away: bool) -> str:
    """Say where numbers are that never came; what speaks for a cause goes before what is only possible."""
    count = lost[1] - lost[0] + 1
    for (first, last), last_at in told.cuts:
        if first <= lost[0] <= lost[1] <= last and until_at is not None and until_at >= last_at - UNSAVED_S:
            return UNSAVED
    says = WAITS if told.away_at is None else MAY_WAIT
    if told.waiting and count <= told.waiting:
        return says
    if count <= RESERVED and was_away:
        return CUT
    if told.waiting:
        return says
    # Nobody knows what it keeps: what it had all the time of its last visit to send is not with it.
    is_recent = until_at is None or until_at > told.contact_at
    return MAY_WAIT if told.waiting is None and told.away_at is not None and is_recent else LOST


def _detail(cause: str, told: Told) -> str:
    """Say more of a cause."""
    if cause == MAY_WAIT and told.away_at is not None:
        return f"offline since {rfc3339(told.away_at)}"
    return EXPLANATIONS[cause]


def _concerns(gap: Gap, agent: str, topics: set[str]) -> bool:
    """Whether a gap is one of everything, of the agent, or of one of its topics."""
    return gap.scope in {HUB, UNKEPT} or gap.name == agent or (gap.scope == SERIES and gap.name in topics)


def _why_gone(gaps: list[Gap], since_at: float | None, until_at: float | None) -> str:
    """Say why what was received between two rows has none."""
    if since_at is None:  # older than any row: retention took it, unless damage reaches up to that row
        reaches = any(
            gap.cause == DAMAGED and until_at is not None and gap.until_at is not None and gap.until_at >= until_at
            for gap in gaps
        )
        return DAMAGED if reaches else PRUNED
    if cause := _cause_between(gaps, (DAMAGED, RESTORED), since_at, until_at):
        return cause
    refused = [gap for gap in gaps if gap.cause == DROPPED and gap.scope == UNKEPT]
    return REFUSED if _cause_between(refused, (DROPPED,), since_at, until_at) else GONE


def _cause_between(
    gaps: list[Gap], causes: tuple[str, ...], since_at: float | None, until_at: float | None
) -> str | None:
    """Give the cause of the first gap of these causes that shares time with what lies between two rows."""
    begins, ends = since_at or 0.0, LAST_AT if until_at is None else until_at
    least_s = SLIVER_S if ends - begins > 2 * SLIVER_S else -SLIVER_S
    for gap in gaps:
        shared_s = min(ends, LAST_AT if gap.until_at is None else gap.until_at) - max(begins, gap.since_at)
        if gap.cause in causes and shared_s > least_s:
            return gap.cause
    return None


def _was_away(gaps: list[Gap], since_at: float | None, until_at: float | None) -> bool:
    """Whether the agent went offline between two rows."""
    if since_at is None or until_at is None:
        return False
    return any(
        gap.cause == AGENT_OFFLINE and gap.since_at < until_at and (gap.until_at is None or gap.until_at > since_at)
        for gap in gaps
    )


def _inside(ranges: list[Range], hole: Range) -> list[Range]:
    """Give the parts of ranges that lie in a hole; ranges are in order, or overlap."""
    cut = ((max(first, hole[0]), min(last, hole[1])) for first, last in sorted(ranges))
    joined: list[Range] = []
    for first, last in cut:
        if joined and first <= joined[-1][1]:
            first = joined[-1][1] + 1  # noqa: PLW2901 the rest of it
        if first <= last:
            joined.append((first, last))
    return joined


def _outside(ranges: list[Range], hole: Range) -> list[Range]:
    """Give the parts of a hole that lie in no range."""
    left: list[Range] = []
    following = hole[0]
    for first, last in _inside(ranges, hole):
        if first > following:
            left.append((following, first - 1))
        following = last + 1
    if following <= hole[1]:
        left.append((following, hole[1]))
    return left
