"""Which rows are as they were written: each table's own way to tell."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from appliance.store.checksum import checksum
from appliance.store.shape import Shape
from appliance.store.staged import StagedRow, Staging

Judge = Callable[[Sequence[Any]], bool]
"""The values of one row in the order of its columns -> whether nothing of them has changed."""


def judges(connection: sqlite3.Connection, shapes: Mapping[str, Shape]) -> dict[str, Judge]:
    """Give the judge of every table whose rows can be told; a row may be judged by others that are there already."""
    found: dict[str, Judge] = {name: has_its_sum for name, shape in shapes.items() if shape.columns[-1] == "checksum"}
    if "journal" in shapes:
        staging = Staging(connection)
        found["journal"] = lambda values: staging.is_whole(StagedRow(*values))
    return found


def has_its_sum(values: Sequence[Any]) -> bool:
    """Whether the last value is the checksum of all others."""
    return bool(values[-1] == checksum(*values[:-1]))
