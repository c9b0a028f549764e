"""Step 0008 of the schema: the view of gaps also has the stretches whose time nobody knows."""

from typing import Final

from appliance.store.gaps import CLOCK_UNSET, HUB

_TIME: Final = (
    "(SELECT strftime('%Y-%m-%dT%H:%M:%fZ', ({tick} / 16 + told.offset_ms) / 1000.0, 'unixepoch')"
    " FROM epochs AS told WHERE told.first_tick <= {tick} ORDER BY told.first_tick DESC LIMIT 1)"
)


def _times(table: str, first: str, last: str) -> str:
    since, until = (_TIME.format(tick=f"{table}.{tick}") for tick in (first, last))
    return f"{since} AS since, {until} AS until"


CLOCK: Final = (
    "DROP VIEW gap_times",
    # Epochs that follow one another without a known time are one stretch; the last of all may still go on.
    f"""
    CREATE VIEW gap_times AS
    SELECT {_times("gaps", "from_tick", "to_tick")}, cause, detail, scope, name, run, first_seq, last_seq
    FROM gaps
    UNION ALL
    SELECT {_times("unset", "first_tick", "last_tick")}, '{CLOCK_UNSET}', '', '{HUB}', '', NULL, NULL, NULL
    FROM (
      SELECT min(parts.first_tick) AS first_tick,
        CASE WHEN max(parts.first_tick) < (SELECT max(first_tick) FROM epochs)
             THEN max(max(parts.first_tick), max(parts.last_tick)) END AS last_tick
      FROM (
        SELECT *, row_number() OVER (ORDER BY first_tick, id)
          - row_number() OVER (PARTITION BY clock = 'unsynced' ORDER BY first_tick, id) AS stretch
        FROM epochs
      ) AS parts
      WHERE clock = 'unsynced' GROUP BY stretch
    ) AS unset
    """,  # noqa: S608 our own columns
)
