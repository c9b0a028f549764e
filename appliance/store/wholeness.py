"""Which rows are as they were written: each table's own way to tell."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence

from appliance.store.checksum import checksum
from appliance.store.pages import Value
from appliance.store.shape import Shape

Judge = Callable[[Sequence[Value]], bool]
"""The values of one row in the order of its columns -> whether nothing of them has changed."""


def judges(_connection: sqlite3.Connection, shapes: Mapping[str, Shape]) -> dict[str, Judge]:
    """Give the judge of every table whose rows can be told; a row may be judged by others that are there already."""
    return {name: has_its_sum for name, shape in shapes.items() if shape.columns[-1] == "checksum"}


def has_its_sum(values: Sequence[Value]) -> bool:
    """Whether the last value is the checksum of all others."""
    return values[-1] == checksum(*values[:-1])
