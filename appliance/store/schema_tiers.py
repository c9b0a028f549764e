"""Step 0004 of the schema: minutes, hours and days, what of them is due, and views over them for people."""

from typing import Final

from appliance.store.reading_rows import TICKS_PER_MS
from appliance.store.rollup import HOUR_MS
from appliance.store.tierrows import TIERS, Tier

# What of a series is to be rolled up anew, in this order: the readings of an epoch whose time has changed (start is the
# epoch's id), then hours, then days (start counts them from 1970).
EPOCH_DUE: Final = 0
HOUR_DUE: Final = 1
DAY_DUE: Final = 2


def hour_of(tick: str) -> str:
    """Hours since 1970 of a tick, with its epoch beside it; before 1970 there are none."""
    return f"(max(0, {tick} / {TICKS_PER_MS} + epochs.offset_ms) / {HOUR_MS})"


# Numbers are thousandths, as in `readings`; what is NULL repeats `low` (high, last), exceeds `low` by nothing (total,
# area), is the whole bucket (held_ms) or is not said. start counts minutes, hours or days since 1970, UTC.
_TABLE = """
    CREATE TABLE {table} (
      series_id INTEGER NOT NULL,
      start INTEGER NOT NULL,
      count INTEGER NOT NULL,
      low,
      high,
      total,
      area,
      held_ms INTEGER,
      last,
      last_ms INTEGER,
      increase,
      checksum INTEGER NOT NULL,
      PRIMARY KEY (series_id, start)
    ) WITHOUT ROWID
"""

# weighted_mean: each value counts for as long as it stood; of ON and OFF it is the share of the time that was ON.
_VIEW = """
    CREATE VIEW {table}_history AS
    SELECT
      series.topic AS topic,
      strftime('%Y-%m-%dT%H:%MZ', start * {width_s}, 'unixepoch') AS time,
      low / 1000.0 AS min,
      (low + coalesce(total, 0) * 1.0 / count) / 1000.0 AS mean,
      coalesce(high, low) / 1000.0 AS max,
      (low + coalesce(area, 0) * 1.0 / nullif(coalesce(held_ms, {width_ms}), 0)) / 1000.0 AS weighted_mean,
      CASE typeof(last) WHEN 'text' THEN last ELSE coalesce(last, low) / 1000.0 END AS last,
      increase / 1000.0 AS sum,
      count,
      series.unit AS unit,
      series.kind AS kind,
      series.name AS name
    FROM {table} AS rollups
    JOIN series ON series.id = rollups.series_id
"""


def _filled(statement: str, tier: Tier) -> str:
    return statement.format(table=tier.table, width_ms=tier.width_ms, width_s=tier.width_ms // 1000)


ROLLUPS: Final = (
    *(_filled(_TABLE, tier) for tier in TIERS),
    *(_filled(_VIEW, tier) for tier in TIERS),
    """
    CREATE TABLE due (
      tier INTEGER NOT NULL,
      start INTEGER NOT NULL,
      series_id INTEGER NOT NULL,
      PRIMARY KEY (tier, start, series_id)
    ) WITHOUT ROWID
    """,
    # Offsets that an epoch had before: the hours that its readings were in then are to be rolled up anew.
    """
    CREATE TABLE redated (
      epoch_id INTEGER NOT NULL,
      offset_ms INTEGER NOT NULL,
      PRIMARY KEY (epoch_id, offset_ms)
    ) WITHOUT ROWID
    """,
    # Before which time a table holds nothing any more; of readings also before which tick, and `late` those that came
    # in since then: they are added to what was rolled up of them, and go too.
    "CREATE TABLE floors (tier TEXT PRIMARY KEY, at_ms INTEGER NOT NULL, tick INTEGER) WITHOUT ROWID",
    """
    CREATE TABLE late (
      series_id INTEGER NOT NULL,
      tick INTEGER NOT NULL,
      PRIMARY KEY (series_id, tick)
    ) WITHOUT ROWID
    """,
    # Up to when the clock is believed for throwing away by age, and since which age of the service it says otherwise.
    "CREATE TABLE believed (id INTEGER PRIMARY KEY CHECK (id = 1), at_ms INTEGER, doubted_age_ms INTEGER)",
    "INSERT INTO believed VALUES (1, NULL, NULL)",
    f"""
    INSERT INTO due
    SELECT DISTINCT {HOUR_DUE}, {hour_of("readings.tick")}, readings.series_id
    FROM readings
    JOIN stretches ON stretches.id = readings.stretch_id
    JOIN epochs ON epochs.id = stretches.epoch_id
    """,  # noqa: S608 our own names
    # A row that gets in makes its hour due, in the same transaction: no crash can part the two.
    f"""
    CREATE TRIGGER reading_is_due AFTER INSERT ON readings BEGIN
      INSERT OR IGNORE INTO due
      SELECT {HOUR_DUE}, {hour_of("NEW.tick")}, NEW.series_id
      FROM stretches JOIN epochs ON epochs.id = stretches.epoch_id
      WHERE stretches.id = NEW.stretch_id;
      INSERT OR IGNORE INTO late
      SELECT NEW.series_id, NEW.tick FROM floors WHERE tier = 'readings' AND NEW.tick < tick;
    END
    """,  # noqa: S608 our own names
    # An epoch that gets another time is due with both, in the same transaction. What was thrown away of its readings
    # keeps the time that it had; the floor must not hide those that are left.
    f"""
    CREATE TRIGGER redated_is_due AFTER UPDATE ON epochs WHEN OLD.offset_ms <> NEW.offset_ms BEGIN
      INSERT OR IGNORE INTO redated VALUES (NEW.id, OLD.offset_ms);
      INSERT OR IGNORE INTO due SELECT {EPOCH_DUE}, NEW.id, id FROM series;
      UPDATE floors SET at_ms = min(at_ms, max(0,
        (max(tick, NEW.first_tick) / {TICKS_PER_MS} + NEW.offset_ms) / {HOUR_MS} * {HOUR_MS}))
      WHERE tier = 'readings' AND (NEW.last_tick >= tick OR NEW.id = (SELECT max(id) FROM epochs));
    END
    """,  # noqa: S608 our own names
    f"""
    CREATE TRIGGER new_redated_is_due AFTER INSERT ON epochs WHEN NEW.clock = 'redated' BEGIN
      INSERT OR IGNORE INTO due SELECT {EPOCH_DUE}, NEW.id, id FROM series;
    END
    """,  # noqa: S608 our own names
)
