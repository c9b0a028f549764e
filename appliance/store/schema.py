"""The tables of the database, as numbered steps that are each applied once.

Applied steps never change: a change of the schema is a new step below the last one. Made to be read in Datasette as it
lies: `history` and `latest` are views with topics, units and readable times; the tables under them are small and keyed
the way they are asked.
"""

from sqlite_utils.db import Database
from sqlite_utils.migrations import Migrations

from appliance.store.reading_rows import prepare
from appliance.store.retaining import begin
from appliance.store.schema_clock import CLOCK
from appliance.store.schema_gaps import GAPS
from appliance.store.schema_journal import JOURNAL
from appliance.store.schema_retaining import RETAINING
from appliance.store.schema_ticks import TICKS
from appliance.store.schema_tiers import ROLLUPS
from appliance.store.sealed import prepare_seals, seal_statements

STEPS = Migrations("appliance")


def step_names() -> set[str]:
    """Names of all steps, applied or not."""
    return {step.name for step in STEPS.pending(Database(memory=True))}


@STEPS(name="0001_history")
def history(db: Database) -> None:
    """Series, runs, readings and the two views over them."""
    for statement in HISTORY:
        db.execute(statement)


@STEPS(name="0002_journal")
def journal(db: Database) -> None:
    """The journal, and the tables that its sessions and messages move into."""
    for statement in JOURNAL:
        db.execute(statement)


@STEPS(name="0003_ticks")
def ticks(db: Database) -> None:
    """Readings by the hub's own clock, and the views over what is moved and what is staged."""
    prepare(db.conn)
    for statement in TICKS:
        db.execute(statement)


@STEPS(name="0004_tiers")
def tiers(db: Database) -> None:
    """Minutes, hours and days, and what of them is due."""
    for statement in ROLLUPS:
        db.execute(statement)


@STEPS(name="0005_gaps")
def gaps(db: Database) -> None:
    """Stretches of which nothing was recorded, with their causes."""
    for statement in GAPS:
        db.execute(statement)


@STEPS(name="0006_retaining")
def retaining(db: Database) -> None:
    """How readings are retained; of those that are there already it is not known."""
    for statement in RETAINING:
        db.execute(statement)
    begin(db.conn)


# There is no step 0007: what it was to change was done without one, and applied steps keep their names.
@STEPS(name="0008_clock")
def clock(db: Database) -> None:
    """The view of gaps, with the stretches whose time nobody knows."""
    for statement in CLOCK:
        db.execute(statement)


@STEPS(name="0009_seals")
def seals(db: Database) -> None:
    """A checksum for each row of the small tables that the history stands on."""
    prepare_seals(db.conn)
    for statement in seal_statements(db.conn):
        db.execute(statement)


COLUMNS = """
      series.topic AS topic,
      strftime('%Y-%m-%dT%H:%M:%fZ', readings.at_ms / 1000.0, 'unixepoch') AS time,
      readings.value AS value,
      readings.text AS text,
      series.unit AS unit,
      series.kind AS kind,
      series.name AS name,
      coalesce(readings.quality, 'ok') AS quality,
      CASE WHEN runs.id IS NULL THEN readings.clock ELSE coalesce(readings.clock, 'synced') END AS clock,
      runs.agent AS agent,
      runs.run AS run,
      readings.seq AS seq,
      readings.at_ms AS at_ms,
      readings.nth AS nth"""

HISTORY = (
    # kind: number, binary (ON is 1, OFF is 0) or text; quantity: what is measured, from the agent's about message.
    """
    CREATE TABLE series (
      id INTEGER PRIMARY KEY,
      topic TEXT NOT NULL UNIQUE,
      kind TEXT NOT NULL CHECK (kind IN ('number', 'binary', 'text')),
      unit TEXT,
      name TEXT,
      quantity TEXT,
      agent TEXT
    )
    """,
    # One life of an agent's outbox; its sequence numbers are never reused.
    """
    CREATE TABLE runs (
      id INTEGER PRIMARY KEY,
      agent TEXT NOT NULL,
      run TEXT NOT NULL,
      UNIQUE (agent, run)
    )
    """,
    # Which sequence numbers of a run are already here, as closed ranges: one row per run while nothing is missing.
    """
    CREATE TABLE received (
      run_id INTEGER NOT NULL REFERENCES runs (id),
      first_seq INTEGER NOT NULL,
      last_seq INTEGER NOT NULL CHECK (last_seq >= first_seq),
      PRIMARY KEY (run_id, first_seq)
    ) WITHOUT ROWID
    """,
    # Clustered by series and time, so that a chart reads neighbouring pages. nth tells readings of one millisecond
    # apart. NULL stands for what nearly every row would repeat: quality ok, clock synced, or a publisher who said
    # nothing.
    """
    CREATE TABLE readings (
      series_id INTEGER NOT NULL REFERENCES series (id),
      at_ms INTEGER NOT NULL,
      nth INTEGER NOT NULL,
      value REAL,
      text TEXT,
      quality TEXT,
      clock TEXT,
      run_id INTEGER REFERENCES runs (id),
      seq INTEGER,
      PRIMARY KEY (series_id, at_ms, nth)
    ) WITHOUT ROWID
    """,
    f"""
    CREATE VIEW history AS
    SELECT {COLUMNS}
    FROM readings
    JOIN series ON series.id = readings.series_id
    LEFT JOIN runs ON runs.id = readings.run_id
    """,  # noqa: S608 our own columns
    # CROSS JOIN holds SQLite to this order: a look-up per series, whatever it believes of the sizes.
    f"""
    CREATE VIEW latest AS
    SELECT {COLUMNS}
    FROM series CROSS JOIN readings ON readings.series_id = series.id
      AND readings.at_ms = (SELECT max(at_ms) FROM readings WHERE series_id = series.id)
      AND readings.nth = (SELECT max(nth) FROM readings AS same WHERE same.series_id = series.id
                          AND same.at_ms = readings.at_ms)
    LEFT JOIN runs ON runs.id = readings.run_id
    """,  # noqa: S608 our own columns
)
