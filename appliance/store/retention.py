"""What is thrown away: readings and rollups that are old enough, and the oldest of them when there is no room.

A decision moves a floor (the table `floors`) and then the rows below it go, some hundred in a transaction. Nothing goes
before it was rolled up. Age is the age of the service, which no jump of a clock moves, and only a clock that is
believed (belief.py) lets anything go for its age. Where the clock is not set, the age of the service alone decides:
what it has kept through so many days of running is old in any clock. Pages that become free are used again, so the file
needs no VACUUM. The tables of the broker's state are never touched.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from appliance.store import gaps, retaining
from appliance.store.belief import Belief, believe
from appliance.store.chores import Terms
from appliance.store.database import Database
from appliance.store.hubclock import BEFORE_EPOCH
from appliance.store.reading_rows import TICKS_PER_MS
from appliance.store.rollup import DAY_MS, HOUR_MS
from appliance.store.schema_tiers import EPOCH_DUE, HOUR_DUE
from appliance.store.tierrows import DAYS, HOURS, MINUTES, Tier
from appliance.store.tiers import READINGS, UnixTime

ROWS_A_STEP: Final = 500
SERIES_A_STEP: Final = 100
LOOK_S: Final = 60.0  # between two looks at the size and the clock
FULL: Final = 0.95  # of the size: then something goes
ROOM: Final = 0.05  # of the file that is to be free when the disk is short of space: it cannot grow then
SLICE: Final = 50  # one part in so many of the time that is kept goes at once for want of room
KEPT_MS: Final = DAY_MS  # of the newest readings stay, whatever the size
NEVER: Final = -(2**62)


class Epoch(NamedTuple):
    """What is asked here of a row of `epochs`."""

    first_tick: int
    last_tick: int
    offset_ms: int
    age_ms: int


@dataclass(slots=True)
class _Sweep:
    """Rows of a table that go: those of each series whose key is below `below`."""

    table: str
    key: str
    below: int
    series: list[int]
    strangers_too: bool  # those that others measured, of which the age of the service says nothing


def floor_of_age(epochs: list[Epoch], age_ms: int) -> int:
    """Tick at which the service had run for `age_ms` in all; `epochs` in their order. What lies before is older.

    The first of them is of the time before the service counted; its end is age 0.
    """
    if not epochs:
        return NEVER
    before, *counted = epochs
    for epoch in reversed(counted):
        if epoch.age_ms <= age_ms:
            return min(epoch.first_tick + (age_ms - epoch.age_ms) * TICKS_PER_MS, epoch.last_tick)
    return before.last_tick + min(0, age_ms) * TICKS_PER_MS


def epoch_of(epochs: list[Epoch], tick: int) -> Epoch:
    """Epoch that a tick lies in, or the one before it."""
    return next((epoch for epoch in reversed(epochs) if epoch.first_tick <= tick), epochs[0])


def earliest_ms(epochs: list[Epoch], tick: int) -> int:
    """Give the earliest Unix ms, as it is known, of anything that the service noted at a tick or later."""
    if not epochs:
        return NEVER
    later = [epoch for epoch in epochs[1:] if epoch.last_tick >= tick] or epochs[-1:]
    return min(max(epoch.first_tick, tick) // TICKS_PER_MS + epoch.offset_ms for epoch in later)


class Retention:
    """The chore that throws away. `age_ms` gives how long the service has run in all at a monotonic time."""

    def __init__(
        self,
        database: Database,
        terms: Terms,
        *,
        unix_ms: UnixTime,
        is_trusted: Callable[[], bool],
        age_ms: Callable[[float], int],
        is_short_of_space: Callable[[], bool] = lambda: False,
    ) -> None:
        self._database = database
        self._ask = database.connection.execute
        self._terms = terms
        self._unix_ms = unix_ms
        self._is_trusted = is_trusted
        self._age_ms = age_ms
        self._is_short_of_space = is_short_of_space
        self._look_at = NEVER * 1.0
        # What was begun before the last start goes on: from the floors as they stand.
        self._sweeps = [
            self._sweep(table, at_ms, tick)
            for table, at_ms, tick in self._ask("SELECT tier, at_ms, tick FROM floors").fetchall()
        ]

    def step(self, now: float) -> bool:
        """Throw some rows away, or decide which go next; False when none have to."""
        while self._sweeps:
            with self._database.transaction():
                deleted, is_done = self._go_on(self._sweeps[0])
            if is_done:
                del self._sweeps[0]
                self._look_at = now
            if deleted or not is_done:
                return True
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_S
        return self._decide_by_age(now) or self._decide_by_size(now) or self._prune_gaps(now)

    def trim(self, now: float) -> bool:
        """Throw some rows away at once because there is no room; False when nothing may go, or there is enough."""
        if not self._sweeps and not self._decide_by_size(now):
            return False
        return self.step(now)

    def _go_on(self, sweep: _Sweep) -> tuple[int, bool]:
        """Delete up to so many rows; how many, and whether none are left."""
        room = ROWS_A_STEP
        spared = (
            ""
            if sweep.strangers_too or sweep.table != READINGS
            else f" AND stretch_id NOT IN (SELECT id FROM stretches WHERE epoch_id = {BEFORE_EPOCH})"  # noqa: S608
        )
        if sweep.table == READINGS:
            spared += " AND tick NOT IN (SELECT tick FROM late WHERE late.series_id = readings.series_id)"
        key = sweep.key
        for series_id in sweep.series[: -SERIES_A_STEP - 1 : -1]:
            deleted = self._ask(
                f"DELETE FROM {sweep.table} WHERE series_id = ?1 AND {key} IN (SELECT {key} FROM {sweep.table}"  # noqa: S608
                f" WHERE series_id = ?1 AND {key} < ?2{spared} ORDER BY {key} LIMIT ?3)",
                (series_id, sweep.below, room),
            ).rowcount
            if sweep.table == READINGS:  # and what tells how they were retained
                deleted += retaining.prune(self._database.connection, series_id, sweep.below, room - deleted)
            if deleted < room:
                sweep.series.pop()
            room -= deleted
            if not room:
                break
        return ROWS_A_STEP - room, not sweep.series

    def _decide_by_age(self, now: float) -> bool:
        """Move a floor because of days that are over."""
        unix_ms, age_ms = self._unix_ms(now), self._age_ms(now)
        is_trusted = self._is_trusted()
        if is_trusted and not self._believe(unix_ms, age_ms).is_sure:
            return False
        if self._raise_raw_by_age(unix_ms, age_ms):
            return True
        epochs = self._epochs()
        for tier, days in (
            (MINUTES, self._terms.minute_days),
            (HOURS, self._terms.hour_days),
            (DAYS, self._terms.day_days),
        ):
            if not days:
                continue
            floor_ms = unix_ms - days * DAY_MS
            if not is_trusted:
                floor_ms = min(floor_ms, earliest_ms(epochs, floor_of_age(epochs, age_ms - days * DAY_MS)))
            if self._raise(tier, floor_ms):
                return True
        return False

    def _prune_gaps(self, now: float) -> bool:
        """Throw gaps away that are older than days are kept, and the oldest of too many."""
        floor = NEVER
        if self._terms.day_days and (not self._is_trusted() or self._belief().is_sure):
            floor = floor_of_age(self._epochs(), self._age_ms(now) - self._terms.day_days * DAY_MS)
        with self._database.transaction():
            pruned = gaps.prune(self._database.connection, floor, ROWS_A_STEP)
        if pruned:
            self._look_at = now
        return pruned > 0

    def _decide_by_size(self, now: float) -> bool:
        """Move a floor because there is no room: the readings' first, then those of minutes and hours."""
        if not self._lacks_room():
            return False
        unix_ms = self._unix_ms(now)
        if (oldest := self._oldest()) is not None:
            (last,) = self._ask(
                "SELECT max(last) FROM"
                " (SELECT (SELECT max(tick) FROM readings WHERE series_id = series.id) AS last FROM series)"
            ).fetchone()
            floor = oldest + max((last - oldest) // SLICE, HOUR_MS * TICKS_PER_MS)
            if floor <= last - KEPT_MS * TICKS_PER_MS:
                return self._raise_raw(floor, unix_ms - KEPT_MS)
        for tier in (MINUTES, HOURS):
            first, end = self._ask(
                f"SELECT min(first), max(last) FROM (SELECT"  # noqa: S608 our own names
                f" (SELECT min(start) FROM {tier.table} WHERE series_id = series.id) AS first,"
                f" (SELECT max(start) FROM {tier.table} WHERE series_id = series.id) AS last FROM series)"
            ).fetchone()
            if first is None:
                continue
            floor = first * tier.width_ms + max((end - first) // SLICE * tier.width_ms, DAY_MS)
            if floor <= end * tier.width_ms - KEPT_MS and self._raise(tier, floor):
                return True
        return False

    def _oldest(self) -> int | None:
        """Tick of the oldest reading, without those that came in late and are still to be rolled up."""
        (oldest,) = self._ask(
            "SELECT min(first) FROM (SELECT (SELECT tick FROM readings WHERE series_id = series.id"
            " AND tick NOT IN (SELECT tick FROM late WHERE late.series_id = series.id) ORDER BY tick LIMIT 1) AS first"
            " FROM series)"
        ).fetchone()
        return oldest  # type: ignore[no-any-return]

    def _lacks_room(self) -> bool:
        """Whether the file is about to be too large, or to need more of a disk that has no more."""
        page_bytes, pages, free = (
            self._ask(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count")
        )
        if (pages - free) * page_bytes > FULL * self._terms.max_bytes:
            return True
        return free < ROOM * pages and self._is_short_of_space()

    def _raise_raw_by_age(self, unix_ms: int, age_ms: int) -> bool:
        """Let readings go that are old enough, once a day of them is; False where there is not so much."""
        days_ms = self._terms.raw_days * DAY_MS
        floor = floor_of_age(self._epochs(), age_ms - days_ms)
        known = self._ask("SELECT tick FROM floors WHERE tier = ?", (READINGS,)).fetchone()
        oldest = self._oldest()
        if not days_ms or oldest is None or floor - max(oldest, known[0] if known else oldest) < DAY_MS * TICKS_PER_MS:
            return False
        return self._raise_raw(floor, unix_ms - days_ms, for_room=False)

    def _raise_raw(self, tick: int, latest_ms: int, *, for_room: bool = True) -> bool:
        """Let readings go that lie before a tick, up to the begin of its hour; False where it has to wait.

        `latest_ms` is the latest time that the floor can mean.
        """
        epochs = self._epochs()
        epoch = epoch_of(epochs, tick)
        unix_ms = tick // TICKS_PER_MS + epoch.offset_ms
        tick = (unix_ms // HOUR_MS * HOUR_MS - epoch.offset_ms) * TICKS_PER_MS
        if not (is_trusted := self._is_trusted()):
            latest_ms = min(latest_ms, earliest_ms(epochs, tick))
        at_ms = min(unix_ms, latest_ms) // HOUR_MS * HOUR_MS
        with self._database.transaction():
            known = self._ask("SELECT at_ms, tick FROM floors WHERE tier = ?", (READINGS,)).fetchone()
            if known is not None:
                at_ms, tick = max(at_ms, known[0]), max(tick, known[1])
            if self._is_due_before(at_ms):
                return False
            self._ask("INSERT OR REPLACE INTO floors (tier, at_ms, tick) VALUES (?, ?, ?)", (READINGS, at_ms, tick))
        self._sweeps.append(self._sweep(READINGS, at_ms, tick, strangers_too=for_room or is_trusted))
        return True

    def _is_due_before(self, at_ms: int) -> bool:
        """Whether something has still to be rolled up."""
        found = self._ask(
            "SELECT 1 FROM due WHERE tier = ? OR (tier = ? AND start < ?) LIMIT 1",
            (EPOCH_DUE, HOUR_DUE, at_ms // HOUR_MS),
        )
        return found.fetchone() is not None

    def _raise(self, tier: Tier, at_ms: int) -> bool:
        """Let rollups go that lie before the day of a time; False where they already do."""
        at_ms = at_ms // DAY_MS * DAY_MS
        known = self._ask("SELECT at_ms FROM floors WHERE tier = ?", (tier.table,)).fetchone()
        if known is not None and known[0] >= at_ms:
            return False
        with self._database.transaction():
            self._ask("INSERT OR REPLACE INTO floors (tier, at_ms) VALUES (?, ?)", (tier.table, at_ms))
        self._sweeps.append(self._sweep(tier.table, at_ms, None))
        return True

    def _sweep(self, table: str, at_ms: int, tick: int | None, *, strangers_too: bool = False) -> _Sweep:
        series = [series_id for (series_id,) in self._ask("SELECT id FROM series ORDER BY id DESC")]
        if table == READINGS:
            return _Sweep(table, "tick", tick or 0, series, strangers_too)
        width_ms = next(tier.width_ms for tier in (MINUTES, HOURS, DAYS) if tier.table == table)
        return _Sweep(table, "start", at_ms // width_ms, series, strangers_too)

    def _believe(self, unix_ms: int, age_ms: int) -> Belief:
        """Know how far the clock is believed, and write it down now and then."""
        belief = self._belief()
        next_ = believe(belief, unix_ms, age_ms)
        moved_ms = abs((next_.at_ms or 0) - (belief.at_ms or 0))
        if next_.doubted_age_ms != belief.doubted_age_ms or moved_ms >= HOUR_MS:
            self._ask("UPDATE believed SET at_ms = ?, doubted_age_ms = ?", next_)
        return next_

    def _belief(self) -> Belief:
        return Belief(*self._ask("SELECT at_ms, doubted_age_ms FROM believed").fetchone())

    def _epochs(self) -> list[Epoch]:
        return [
            Epoch(*fields)
            for fields in self._ask("SELECT first_tick, last_tick, offset_ms, age_ms FROM epochs ORDER BY id")
        ]
