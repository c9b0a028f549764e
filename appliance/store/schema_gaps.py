"""Step 0005 of the schema: gaps in the history, from when to when nothing was recorded of what, and why."""

from typing import Final

_TIME = (
    "(SELECT strftime('%Y-%m-%dT%H:%M:%fZ', (gaps.{tick} / 16 + epochs.offset_ms) / 1000.0, 'unixepoch')"
    " FROM epochs WHERE epochs.first_tick <= gaps.{tick} ORDER BY epochs.first_tick DESC LIMIT 1)"
)

GAPS: Final = (
    # scope: series, agent, hub, or unkept for topics without a series; name: the topic or the agent. to_tick: NULL
    # while the gap lasts. run, first_seq and last_seq: readings that an agent says it dropped.
    """
    CREATE TABLE gaps (
      id INTEGER PRIMARY KEY,
      scope TEXT NOT NULL CHECK (scope IN ('series', 'agent', 'hub', 'unkept')),
      name TEXT NOT NULL,
      cause TEXT NOT NULL,
      detail TEXT NOT NULL,
      from_tick INTEGER NOT NULL,
      to_tick INTEGER CHECK (to_tick >= from_tick),
      run TEXT,
      first_seq INTEGER,
      last_seq INTEGER,
      checksum INTEGER NOT NULL
    )
    """,
    "CREATE INDEX gaps_open ON gaps (from_tick) WHERE to_tick IS NULL",
    "CREATE INDEX gaps_by_end ON gaps (to_tick)",
    f"""
    CREATE VIEW gap_times AS
    SELECT {_TIME.format(tick="from_tick")} AS since, {_TIME.format(tick="to_tick")} AS until,
      cause, detail, scope, name, run, first_seq, last_seq
    FROM gaps
    """,  # noqa: S608 our own columns
)
