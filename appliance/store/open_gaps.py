"""The gaps of failing sensors that last: read at a start, by a service at rest, so that little is loaded for it."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from appliance.store.database import StoreError, explain, open_reader
from appliance.store.gaps import SENSOR_FAILING, SERIES


class Failing(NamedTuple):
    """A gap of a failing sensor that lasts."""

    topic: str
    agent: str
    detail: str


def failing(path: Path) -> list[Failing]:
    """Give those of failing sensors that last; StoreError."""
    with closing(open_reader(path)) as connection:
        try:
            rows = connection.execute(
                "SELECT name, coalesce((SELECT agent FROM series WHERE topic = gaps.name), ''), detail FROM gaps"
                " WHERE to_tick IS NULL AND scope = ? AND cause = ?",
                (SERIES, SENSOR_FAILING),
            ).fetchall()
        except sqlite3.Error as error:
            raise StoreError(explain(path, error)) from error
    return [Failing(*row) for row in rows]
