"""Step 0006 of the schema: how readings were retained, and which came in a bundle."""

from typing import Final

RETAINING: Final = (
    # One row for each change, none while it stays as it is. state, spelling: see retaining.py and spelling.py; topic:
    # of the message that holds this series as one of its values, NULL where it is the series' own. Its tick comes
    # after that of everything that had arrived before, and not after those of what came then.
    """
    CREATE TABLE retaining (
      series_id INTEGER NOT NULL REFERENCES series (id),
      tick INTEGER NOT NULL,
      state INTEGER NOT NULL,
      spelling INTEGER,
      expiry_s INTEGER,
      topic TEXT,
      checksum INTEGER NOT NULL,
      PRIMARY KEY (series_id, tick)
    ) WITHOUT ROWID
    """,
    # 1: its readings came in a bundle, and never were a retained value.
    "ALTER TABLE stretches ADD COLUMN bundled INTEGER",
    "ALTER TABLE stretches DROP COLUMN template",  # nobody ever filled it
)
