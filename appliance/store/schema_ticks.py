"""Step 0003 of the schema: readings by tick, the epochs that give ticks their time, and views over moved and staged.

A tick is 1/16 ms of the hub's own clock, which never goes back. A row's true Unix time in ms is tick / 16 plus the
`offset_ms` of its stretch's epoch: setting a clock changes one number, and rows never change their place.
"""

from typing import Final

from appliance.store.hubclock import BEFORE_EPOCH
from appliance.store.reading_rows import LATE_CHECK, LATE_MS, MAX_INTEGER, SHOWN_TEXT, SHOWN_VALUE, TICKS_PER_MS

# Whether a row of `journal` is not moved yet; of its columns id and series_id.
IS_STAGED: Final = (
    "(series_id IS NOT NULL"
    " AND (id > (SELECT cut_id FROM moving) OR series_id >= (SELECT moving.series_id FROM moving)))"
)

_TIME_MS = f"(rows.tick / {TICKS_PER_MS} + epochs.offset_ms)"
_COLUMNS = f"""
      series.topic AS topic,
      strftime('%Y-%m-%dT%H:%M:%fZ', {_TIME_MS} / 1000.0, 'unixepoch') AS time,
      {SHOWN_VALUE} AS value,
      {SHOWN_TEXT} AS text,
      series.unit AS unit,
      series.kind AS kind,
      series.name AS name,
      coalesce(stretches.quality, 'ok') AS quality,
      CASE WHEN epochs.clock = 'synced' OR stretches.clock = 'unsynced' THEN stretches.clock ELSE epochs.clock END
        AS clock,
      runs.agent AS agent,
      runs.run AS run,
      rows.seq AS seq,
      strftime('%Y-%m-%dT%H:%M:%fZ', ({_TIME_MS} + rows.late_ms) / 1000.0, 'unixepoch') AS received,
      rows.tick AS tick"""
_TOLD = """
    JOIN stretches ON stretches.id = rows.stretch_id
    JOIN epochs ON epochs.id = stretches.epoch_id
    LEFT JOIN runs ON runs.id = stretches.run_id"""
_ROW = "series_id, tick, value, seq, late_ms, stretch_id"
_MOVED_ROW = _ROW.replace("late_ms", f"{LATE_MS} AS late_ms")
_STAGED = f"FROM journal WHERE {IS_STAGED}"
_OLD_TICK = f"at_ms * {TICKS_PER_MS} + nth"

TABLES: Final = (
    # One for every start of the service, and one for every step of its clock. boot: of the machine, whose monotonic
    # clock counts on through it; age_ms: how long the service had run in all when the epoch began. clock: unsynced,
    # its offset only goes on from what was known; redated, its offset was found later; synced.
    """
    CREATE TABLE epochs (
      id INTEGER PRIMARY KEY,
      boot TEXT NOT NULL,
      first_tick INTEGER NOT NULL,
      last_tick INTEGER NOT NULL,
      monotonic_ms INTEGER NOT NULL,
      offset_ms INTEGER NOT NULL,
      clock TEXT NOT NULL CHECK (clock IN ('synced', 'unsynced', 'redated')),
      age_ms INTEGER NOT NULL
    )
    """,
    f"""
    INSERT INTO epochs VALUES ({BEFORE_EPOCH}, 'before', 0,
      (SELECT coalesce(max({_OLD_TICK}), 0) FROM readings WHERE at_ms <= (strftime('%s') + 86400) * 1000),
      0, 0, 'synced', 0)
    """,  # noqa: S608 our own columns
    # What is the same for a run of rows. clock and quality: what the publisher said of its own, NULL for nothing.
    """
    CREATE TABLE stretches (
      id INTEGER PRIMARY KEY,
      epoch_id INTEGER NOT NULL REFERENCES epochs (id),
      run_id INTEGER REFERENCES runs (id),
      clock TEXT,
      quality TEXT,
      template BLOB
    )
    """,
    "CREATE INDEX stretches_by_epoch ON stretches (epoch_id, run_id)",
    "DROP VIEW history",
    "DROP VIEW latest",
    "ALTER TABLE readings RENAME TO readings_by_ms",
    # Clustered by series and tick, so that a chart reads neighbouring pages. value: a number in thousandths where
    # that is exact, or as it is, or a text. late_check: the ms from measured to received, less 128, times 65536, plus a
    # checksum.
    """
    CREATE TABLE readings (
      series_id INTEGER NOT NULL REFERENCES series (id),
      tick INTEGER NOT NULL,
      value,
      seq INTEGER,
      late_check INTEGER NOT NULL,
      stretch_id INTEGER NOT NULL REFERENCES stretches (id),
      PRIMARY KEY (series_id, tick)
    ) WITHOUT ROWID
    """,
    # How far staged rows have been moved: those up to cut_id, of the series below series_id.
    "CREATE TABLE moving (id INTEGER PRIMARY KEY CHECK (id = 1), cut_id INTEGER NOT NULL, series_id INTEGER NOT NULL)",
    "INSERT INTO moving VALUES (1, 0, 0)",
    f"""
    INSERT INTO stretches (epoch_id, run_id, clock, quality)
    SELECT DISTINCT {BEFORE_EPOCH}, run_id,
      coalesce(clock, CASE WHEN run_id IS NOT NULL THEN 'synced' END), coalesce(quality, 'ok')
    FROM readings_by_ms
    """,  # noqa: S608 our own columns
    # Ticks rise even where a millisecond held more readings than it has ticks.
    f"""
    INSERT INTO readings
    SELECT series_id, tick, value, seq, {LATE_CHECK}, stretch_id FROM (
      SELECT old.series_id AS series_id,
        max(old.base - old.place) OVER (PARTITION BY old.series_id ORDER BY old.place) + old.place AS tick,
        CASE WHEN old.text IS NOT NULL THEN old.text
             WHEN abs(old.value) < {MAX_INTEGER // 1000} AND CAST(round(old.value * 1000) AS INTEGER) / 1000.0
               = old.value THEN CAST(round(old.value * 1000) AS INTEGER)
             ELSE old.value END AS value,
        old.seq AS seq,
        0 AS late_ms,
        stretches.id AS stretch_id
      FROM (
        SELECT *, {_OLD_TICK} AS base, row_number() OVER (PARTITION BY series_id ORDER BY at_ms, nth) AS place
        FROM readings_by_ms
      ) AS old
      JOIN stretches ON stretches.epoch_id = {BEFORE_EPOCH} AND stretches.run_id IS old.run_id
        AND stretches.clock IS coalesce(old.clock, CASE WHEN old.run_id IS NOT NULL THEN 'synced' END)
        AND stretches.quality = coalesce(old.quality, 'ok')
    )
    ORDER BY series_id, tick
    """,  # noqa: S608 our own columns
    "DROP TABLE readings_by_ms",
)

VIEWS: Final = (
    # Two whole questions, so that SQLite brings a topic and a stretch of ticks into both.
    f"""
    CREATE VIEW history AS
    SELECT {_COLUMNS} FROM (SELECT {_MOVED_ROW} FROM readings) AS rows
    JOIN series ON series.id = rows.series_id {_TOLD}
    UNION ALL
    SELECT {_COLUMNS} FROM (SELECT {_ROW} {_STAGED}) AS rows
    JOIN series ON series.id = rows.series_id {_TOLD}
    """,  # noqa: S608 our own columns
    # CROSS JOIN holds SQLite to this order: a look-up per series, whatever it believes of the sizes. Of the two rows
    # that a series may have here, the bare columns beside max() are those of the later one.
    f"""
    CREATE VIEW latest AS
    SELECT {_COLUMNS} FROM (
      SELECT series_id, max(tick) AS tick, value, seq, late_ms, stretch_id FROM (
        SELECT {_MOVED_ROW.replace("series_id", "readings.series_id").replace("tick", "readings.tick")}
        FROM series CROSS JOIN readings ON readings.series_id = series.id
          AND readings.tick = (SELECT max(tick) FROM readings WHERE series_id = series.id)
        UNION ALL
        SELECT series_id, max(tick), value, seq, late_ms, stretch_id {_STAGED} GROUP BY series_id
      ) GROUP BY series_id
    ) AS rows
    JOIN series ON series.id = rows.series_id {_TOLD}
    """,  # noqa: S608 our own columns
)
TICKS: Final = TABLES + VIEWS
