"""Which rows are as they were written: each table's own way to tell."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from appliance.store import tierrows
from appliance.store.reading_rows import IS_WHOLE, prepare
from appliance.store.sealed import is_whole_gap, is_whole_row
from appliance.store.shape import Shape
from appliance.store.staged import StagedRow, Staging

Judge = Callable[[Sequence[Any]], bool]
"""The values of one row in the order of its columns -> whether nothing of them has changed."""

IN_SQL: Final = {"readings": IS_WHOLE, **{tier.table: tierrows.IS_WHOLE for tier in tierrows.TIERS}}


def judges(connection: sqlite3.Connection, shapes: Mapping[str, Shape]) -> dict[str, Judge]:
    """Give the judge of every table whose rows can be told; a row may be judged by others that are there already."""
    prepare(connection)
    found: dict[str, Judge] = {name: is_whole_row for name, shape in shapes.items() if shape.columns[-1] == "checksum"}
    for name in IN_SQL.keys() & shapes.keys():
        found[name] = _in_sql(connection, shapes[name])
    if "gaps" in shapes:
        found["gaps"] = is_whole_gap
    if "journal" in shapes:
        staging = Staging(connection)
        found["journal"] = lambda values: staging.is_whole(StagedRow(*values))
    return found


def _in_sql(connection: sqlite3.Connection, shape: Shape) -> Judge:
    """Give a judge that asks SQLite, so that rows are judged as those who read them judge them."""
    cells = ", ".join(f'? AS "{column}"' for column in shape.columns)
    asked = f"SELECT {IN_SQL[shape.name]} FROM (SELECT {cells})"  # noqa: S608 our own names

    def judge(values: Sequence[Any]) -> bool:
        try:
            (is_whole,) = connection.execute(asked, values).fetchone()
        except sqlite3.Error:  # a value that no row of ours has
            return False
        return bool(is_whole)

    return judge
