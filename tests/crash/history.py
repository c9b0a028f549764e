"""What the history holds, asked the way the page asks."""

import sqlite3
import time
from pathlib import Path

from appliance.store.history_reader import HistoryReader

SOON_S = 3_600.0
Rows = dict[str, list[tuple[float, int | None]]]  # topic -> value and sequence number, oldest first


def recorded(database: Path, topics: list[str], since_at: float) -> Rows:
    """Give the rows of these topics since then."""
    reader = HistoryReader(database)
    return {
        topic: [(row.value, row.seq) for row in reader.rows(topic, since_at, time.time() + SOON_S)] for topic in topics
    }


def viewed(database: Path, topics: list[str]) -> Rows:
    """Give all rows of these topics as somebody sees them who opens the file with another program."""
    connection = sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)
    try:
        asked = "SELECT value, seq FROM history WHERE topic = ? ORDER BY tick"
        return {topic: connection.execute(asked, (topic,)).fetchall() for topic in topics}
    finally:
        connection.close()
