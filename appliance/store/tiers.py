"""Minutes, hours and days kept up to date: what is due is rolled up in small steps, each a transaction of its own.

A trigger of the database makes the hour of every reading that gets in due (schema_tiers.py); a step takes a few hours
that are over, rolls their readings up to minutes and to the hour, makes their days due and strikes them off, all at
once. A late reading makes its hour due again, and one that changes what a bucket ends with, the next bucket too. So a
crash between any two steps loses nothing, and whatever the order, the tables come out the same.

While the hub's clock is not set, its provisional time counts as any other: a home without a time server has hours too.
When an epoch gets another time, the hours of its readings are made due by the old and by the new one.

Where the readings of an hour were thrown away (retention.py), a late one is added to what is there, and thrown away.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from appliance.store.database import Database
from appliance.store.dated import MARGIN_TICKS, DatedReadings
from appliance.store.reading_rows import TICKS_PER_MS
from appliance.store.rollup import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    Presence,
    Reading,
    Rollup,
    add_late,
    hold_ms,
    is_counter,
    merge,
    roll,
)
from appliance.store.schema_ticks import IS_STAGED
from appliance.store.schema_tiers import DAY_DUE, EPOCH_DUE, HOUR_DUE, hour_of
from appliance.store.silence import Silences
from appliance.store.tierrows import COLUMNS, DAYS, HOURS, IS_WHOLE, MINUTES, Tier, decode, encode, insert

GRACE_MS: Final = 120_000  # readings are some seconds on their way, and no hour is waited for
TOGETHER: Final = 3  # hours of a series that are over, before they are rolled up: as many begin fewer pages anew
HOURS_A_STEP: Final = 4  # of one series: some 250 rows
OLD_HOURS_A_STEP: Final = 8  # whose minutes are taken back
READINGS_A_STEP: Final = 500  # or one hour
DAYS_A_STEP: Final = 16
READINGS: Final = "readings"  # in `floors`, beside the names of the tables of the tiers
INSERT: Final = {tier: insert(tier) for tier in (MINUTES, HOURS, DAYS)}

UnixTime = Callable[[float], int]
"""Unix ms of a monotonic time in seconds; provisional while the clock is not trusted."""

# The hours that a series has readings in within an epoch: from the first reading of one to the first of a later one.
_TICK_HOUR: Final = hour_of("tick")
_NEW_HOURS: Final = f"""
    INSERT OR IGNORE INTO due
    WITH RECURSIVE
      epoch AS (SELECT * FROM epochs WHERE id = ?2),
      first_of(hour) AS (
        SELECT (SELECT {_TICK_HOUR} FROM readings, epoch AS epochs
          WHERE series_id = ?1 AND tick >= epochs.first_tick - {MARGIN_TICKS}
            AND tick <= epochs.last_tick + {MARGIN_TICKS}
          ORDER BY tick LIMIT 1)
        UNION ALL
        SELECT (SELECT {_TICK_HOUR} FROM readings, epoch AS epochs
          WHERE series_id = ?1 AND tick >= ((first_of.hour + 1) * {HOUR_MS} - epochs.offset_ms) * {TICKS_PER_MS}
            AND tick <= epochs.last_tick + {MARGIN_TICKS}
          ORDER BY tick LIMIT 1)
        FROM first_of WHERE first_of.hour IS NOT NULL
      )
    SELECT {HOUR_DUE}, hour, ?1 FROM first_of WHERE hour IS NOT NULL
"""  # noqa: S608 our own names
# Those that they were in by the epoch's earlier offsets, as far as they are rolled up and their readings still here.
_OLD_HOURS: Final = f"""
    SELECT DISTINCT hours.start
    FROM epochs JOIN redated ON redated.epoch_id = epochs.id
    CROSS JOIN hours ON hours.series_id = ?1
      AND hours.start >= max(0, max(first_tick - {MARGIN_TICKS}, coalesce(
        (SELECT tick FROM floors WHERE tier = 'readings'), first_tick - {MARGIN_TICKS}))
        / {TICKS_PER_MS} + redated.offset_ms) / {HOUR_MS}
      AND hours.start <= max(0, (last_tick + {MARGIN_TICKS}) / {TICKS_PER_MS} + redated.offset_ms) / {HOUR_MS}
    WHERE epochs.id = ?2 LIMIT {OLD_HOURS_A_STEP}
"""  # noqa: S608 our own names


class _Series(NamedTuple):
    """What decides how a series is rolled up."""

    id: int
    topic: str
    is_text: bool
    hold_ms: int | None
    is_counter: bool


class Tiers:
    """The chore that rolls up; not before so many hours of a series are over, for each time begins pages anew."""

    def __init__(self, database: Database, unix_ms: UnixTime, *, together: int = TOGETHER) -> None:
        self._database = database
        self._ask = database.connection.execute
        self._unix_ms = unix_ms
        self._dated = DatedReadings(database.connection)
        self._silences = Silences(database.connection)  # made anew for each step
        self._together = together
        self._wait_hours = together - 1  # how long ago an hour must have ended; 0 while some are being rolled up

    def step(self, now: float) -> bool:
        """Roll up a few of what is due and over; False when there are none. `now` is monotonic."""
        until_ms = self._unix_ms(now) - GRACE_MS
        hours = self._hours_due(until_ms)
        work: Callable[[_Series, int], int]
        if epochs := self._due(EPOCH_DUE, None, HOURS_A_STEP):
            work, due = self._mark, epochs
        elif hours:
            work, due = self._roll_hour, hours
        elif days := self._days_due(until_ms):
            work, due = self._roll_day, days
        else:
            return False
        with self._database.transaction():
            self._dated.forget()
            self._silences = Silences(self._database.connection)
            done = 0
            for tier, start, series_id in due:
                if done >= READINGS_A_STEP:
                    break
                self._ask("DELETE FROM due WHERE tier = ? AND start = ? AND series_id = ?", (tier, start, series_id))
                if (series := self._series(series_id)) is not None:
                    done += work(series, start)
        return True

    def _due(self, tier: int, before: int | None, limit: int) -> list[tuple[int, int, int]]:
        """What is due of a tier and begins before that start."""
        return self._ask(
            "SELECT tier, start, series_id FROM due WHERE tier = ?1 AND (?2 IS NULL OR start < ?2)"
            " ORDER BY start, series_id LIMIT ?3",
            (tier, before, limit),
        ).fetchall()

    def _hours_due(self, until_ms: int) -> list[tuple[int, int, int]]:
        """Give hours of one series that are due; none before enough are over, and from then on all there are."""
        waits, self._wait_hours = self._wait_hours, self._together - 1
        if not self._due(HOUR_DUE, until_ms // HOUR_MS - waits, 1):
            return []
        before = self._moved_until(until_ms) // HOUR_MS
        first = self._due(HOUR_DUE, before - waits, 1)
        if not first:
            return []
        self._wait_hours = 0
        ((_, hour, series_id),) = first
        later = range(hour, min(hour + HOURS_A_STEP, before))
        return self._ask(
            "SELECT tier, start, series_id FROM due WHERE tier = ? AND series_id = ?"  # noqa: S608 only question marks
            f" AND start IN ({', '.join('?' * len(later))}) ORDER BY start",
            (HOUR_DUE, series_id, *later),
        ).fetchall()

    def _days_due(self, until_ms: int) -> list[tuple[int, int, int]]:
        """Give days that are due and whose hours are all rolled up."""
        if not self._due(DAY_DUE, until_ms // DAY_MS, 1):
            return []
        before = self._moved_until(until_ms) // DAY_MS
        for _, hour, _ in self._due(HOUR_DUE, None, 1):
            before = min(before, hour * HOUR_MS // DAY_MS)
        return self._due(DAY_DUE, before, DAYS_A_STEP)

    def _moved_until(self, until_ms: int) -> int:
        """Up to when all readings that came in are in their table, which is not later than that."""
        row = self._ask(
            "SELECT (journal.tick + journal.late_ms * ?) / ? + epochs.offset_ms FROM journal"  # noqa: S608 our own names
            " JOIN stretches ON stretches.id = journal.stretch_id JOIN epochs ON epochs.id = stretches.epoch_id"
            f" WHERE journal.id = (SELECT min(id) FROM journal WHERE {IS_STAGED})",
            (TICKS_PER_MS, TICKS_PER_MS),
        ).fetchone()
        return until_ms if row is None else min(until_ms, row[0])

    def _series(self, series_id: int) -> _Series | None:
        row = self._ask("SELECT kind, quantity, unit, topic FROM series WHERE id = ?", (series_id,)).fetchone()
        if row is None:
            return None
        kind, quantity, unit, topic = row
        return _Series(series_id, topic, kind == "text", hold_ms(kind), is_counter(kind, quantity, unit, topic))

    def _mark(self, series: _Series, epoch_id: int) -> int:
        """Make the hours of an epoch due that got another time; the old ones are taken back, some at a time."""
        self._dated.forget(all_offsets=True)
        old = self._ask(_OLD_HOURS, (series.id, epoch_id)).fetchall()
        for (hour,) in old:
            self._take_back(series, hour)
        if len(old) == OLD_HOURS_A_STEP:
            self._make_due(EPOCH_DUE, epoch_id, series.id)
            return READINGS_A_STEP
        marked = self._ask(_NEW_HOURS, (series.id, epoch_id)).rowcount
        self._ask(
            "DELETE FROM redated WHERE epoch_id = ?1 AND NOT EXISTS (SELECT 1 FROM due WHERE tier = ?2 AND start = ?1)",
            (epoch_id, EPOCH_DUE),
        )
        return marked

    def _take_back(self, series: _Series, hour: int) -> None:
        """Empty an hour and its day: what was in them may belong elsewhere now, even to a time that is not over."""
        day = hour * HOUR_MS // DAY_MS
        self._delete_minutes(series.id, hour)
        self._ask("DELETE FROM hours WHERE series_id = ? AND start = ?", (series.id, hour))
        self._make_due(HOUR_DUE, hour, series.id)
        self._next_is_due(HOURS, series.id, hour)
        if day * DAY_MS >= self._floor_ms(HOURS.table):
            self._ask("DELETE FROM days WHERE series_id = ? AND start = ?", (series.id, day))
            self._make_due(DAY_DUE, day, series.id)
            self._next_is_due(DAYS, series.id, day)

    def _roll_hour(self, series: _Series, hour: int) -> int:
        """Roll up one hour of a series to minutes and to itself; how many readings it took."""
        begin_ms = hour * HOUR_MS
        is_thrown_away = begin_ms < self._floor_ms(READINGS)
        ask = self._dated.take_late if is_thrown_away else self._dated.between
        told = ask(series.id, begin_ms, begin_ms + HOUR_MS)
        readings = [reading for reading in told if isinstance(reading.value, str) == series.is_text]
        old = self._one(HOURS, series.id, "start = ?", hour)
        if not readings and old is not None:
            return 0  # they were thrown away by a time that has changed since
        before = self._before(series, begin_ms)
        presence = Presence(silences=self._silences.of(series.topic, begin_ms, begin_ms + HOUR_MS))
        minutes = list(self._roll(series, readings, MINUTE_MS, before, presence))
        hours = list(self._roll(series, readings, HOUR_MS, before, presence))
        if is_thrown_away:
            if not readings:
                return 0
            minutes = [self._with_old(MINUTES, series.id, minute) for minute in minutes]
            hours = [self._with_old(HOURS, series.id, rollup) for rollup in hours]
        else:
            self._delete_minutes(series.id, hour)
            self._ask("DELETE FROM hours WHERE series_id = ? AND start = ?", (series.id, hour))
        self._put(MINUTES, series.id, minutes)
        self._put(HOURS, series.id, hours)
        self._make_due(DAY_DUE, begin_ms // DAY_MS, series.id)
        if _end(old) != _end(*hours):
            self._next_is_due(HOURS, series.id, hour)
        return len(told)

    def _roll_day(self, series: _Series, day: int) -> int:
        """Merge the hours of one day of a series; how many there were."""
        begin_ms = day * DAY_MS
        old = self._one(DAYS, series.id, "start = ?", day)
        if begin_ms < self._floor_ms(HOURS.table) and old is not None:
            return 0  # its hours are no longer complete
        first = begin_ms // HOUR_MS
        hours = self._rollups(HOURS, series.id, "start BETWEEN ? AND ? ORDER BY start", first, first + 23)
        before = self._before(series, begin_ms)
        same = [hour for hour in hours if isinstance(hour.last, str) == series.is_text]
        presence = Presence(silences=self._silences.of(series.topic, begin_ms, begin_ms + DAY_MS))
        days = list(merge(same, DAY_MS, before=before, hold_ms=series.hold_ms, presence=presence))
        self._ask("DELETE FROM days WHERE series_id = ? AND start = ?", (series.id, day))
        self._put(DAYS, series.id, days)
        if _end(old) != _end(*days):
            self._next_is_due(DAYS, series.id, day)
        return len(hours)

    def _roll(
        self, series: _Series, readings: list[Reading], width_ms: int, before: Reading | None, presence: Presence
    ) -> Iterator[Rollup]:
        hold, counter = series.hold_ms, series.is_counter
        return roll(readings, width_ms, before=before, hold_ms=hold, counter=counter, presence=presence)

    def _before(self, series: _Series, at_ms: int) -> Reading | None:
        """Newest reading before an hour begins; where it was thrown away, what the hours say of it."""
        hour = self._one(HOURS, series.id, "start < ? ORDER BY start DESC", at_ms // HOUR_MS)
        if hour is not None and isinstance(hour.last, str) == series.is_text:
            told = Reading(hour.last_ms, hour.last)
        else:
            told = None
        found = self._dated.before(series.id, at_ms, texts=series.is_text)
        if found is None or told is None:
            return found or told
        return told if told.at_ms > found.at_ms else found

    def _with_old(self, tier: Tier, series_id: int, late: Rollup) -> Rollup:
        """Add a rollup of late readings to what is in the table."""
        old = self._one(tier, series_id, "start = ?", late.start_ms // tier.width_ms)
        return late if old is None else add_late(old, late)

    def _put(self, tier: Tier, series_id: int, rollups: list[Rollup]) -> None:
        self._database.connection.executemany(INSERT[tier], (encode(series_id, rollup) for rollup in rollups))

    def _one(self, tier: Tier, series_id: int, where: str, *said: int) -> Rollup | None:
        """Give the first rollup of a series that is asked for."""
        return next(iter(self._rollups(tier, series_id, f"{where} LIMIT 1", *said)), None)

    def _rollups(self, tier: Tier, series_id: int, where: str, *said: int) -> list[Rollup]:
        rows = self._ask(
            f"SELECT {COLUMNS} FROM {tier.table} WHERE series_id = ? AND {IS_WHOLE} AND {where}",  # noqa: S608
            (series_id, *said),
        )
        return [decode(tier, cells) for cells in rows]

    def _delete_minutes(self, series_id: int, hour: int) -> None:
        first = hour * HOUR_MS // MINUTE_MS
        self._ask("DELETE FROM minutes WHERE series_id = ? AND start BETWEEN ? AND ?", (series_id, first, first + 59))

    def _next_is_due(self, tier: Tier, series_id: int, start: int) -> None:
        """What goes on from the end of a bucket is to be rolled up anew."""
        if next_ := self._one(tier, series_id, "start > ? ORDER BY start", start):
            self._make_due(HOUR_DUE if tier is HOURS else DAY_DUE, next_.start_ms // tier.width_ms, series_id)

    def _make_due(self, tier: int, start: int, series_id: int) -> None:
        self._ask("INSERT OR IGNORE INTO due VALUES (?, ?, ?)", (tier, start, series_id))

    def _floor_ms(self, tier: str) -> int:
        """Before which time a table holds nothing any more."""
        row = self._ask("SELECT at_ms FROM floors WHERE tier = ?", (tier,)).fetchone()
        return 0 if row is None else int(row[0])


def _end(*rollups: Rollup | None) -> tuple[object, ...]:
    """What the time after a bucket goes on from."""
    return tuple((rollup.last_ms, rollup.last) for rollup in rollups if rollup is not None)
