"""Checksums of the small tables that the history stands on: what a series is called, whose a run is, when an epoch was.

Their rows are written from many places, so triggers seal them: whatever inserts or changes a row, its last column is
then the checksum of all others. `due`, `late` and `redated` have none: a row too many there is work done in vain, and
what is missing is done again when its rows come.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from appliance.store.checksum import checksum

COLUMN: Final = "checksum"
GAPS: Final = "gaps"  # whose rows are sealed by who writes them
SERIES: Final = 7  # columns of it, without the checksum
TABLES: Final = (
    "series", "runs", "received", "epochs", "stretches", "templates", "marks", "moving", "floors", "believed"
)  # fmt: skip


def prepare_seals(connection: sqlite3.Connection) -> None:
    """Teach a connection what the triggers call; without it, it cannot write to these tables."""
    connection.create_function("row_sum", -1, lambda *fields: int(checksum(*fields)), deterministic=True)


def is_whole_row(values: Sequence[Any]) -> bool:
    """Whether the last value is the checksum of all others."""
    return bool(values[-1] == checksum(*values[:-1]))


def is_whole_gap(values: Sequence[Any]) -> bool:
    """Whether a gap is what was written; its number counts for nothing."""
    return is_whole_row(values[1:])


def seal_statements(connection: sqlite3.Connection) -> list[str]:
    """Give what adds the column to each table, seals its rows and keeps them sealed."""
    statements = []
    for table in TABLES:
        found = connection.execute("SELECT name, pk FROM pragma_table_info(?) ORDER BY cid", (table,)).fetchall()
        columns = [name for name, _ in found]
        row = " AND ".join(f"{name} = NEW.{name}" for name, pk in found if pk)
        own, new = ", ".join(columns), ", ".join(f"NEW.{name}" for name in columns)
        seal = f"UPDATE {table} SET {COLUMN} = row_sum({new}) WHERE {row}"  # noqa: S608 names of our own tables
        statements += [
            f"ALTER TABLE {table} ADD COLUMN {COLUMN} INTEGER",
            f"UPDATE {table} SET {COLUMN} = row_sum({own})",  # noqa: S608 likewise
            f"CREATE TRIGGER {table}_is_sealed AFTER INSERT ON {table} BEGIN {seal}; END",
            f"CREATE TRIGGER {table}_is_sealed_anew AFTER UPDATE OF {own} ON {table} BEGIN {seal}; END",
        ]
    return statements


def seal(connection: sqlite3.Connection) -> None:
    """Seal rows that were written while there were no triggers."""
    for table in TABLES:
        columns = [name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))]
        if COLUMN in columns:
            columns.remove(COLUMN)
            connection.execute(
                f"UPDATE {table} SET {COLUMN} = row_sum({', '.join(columns)}) WHERE {COLUMN} IS NULL"  # noqa: S608 our own
            )


def whole_series(connection: sqlite3.Connection, topic: str | None = None) -> list[tuple[Any, ...]]:
    """Give id, topic, kind, unit, name, quantity and agent of all series by topic, or of one; none that is broken.

    A topic that its index has wrong does not fit the row's sum either, so that none is taken for another.
    """
    where, values = ("ORDER BY topic", ()) if topic is None else ("WHERE topic = ?", (topic,))
    rows = connection.execute(f"SELECT * FROM series {where}", values)  # noqa: S608 our own words
    return [row[:SERIES] for row in rows if len(row) == SERIES or is_whole_row(row)]  # an old file has no sums


def find_broken(connection: sqlite3.Connection, *, is_sealed: bool = True) -> str | None:
    """Say which of the tables is not as it was written, or does not fit its index; None where all is well.

    sqlite3.Error where that shows while it is read. Not `is_sealed`: tables of an older file have only their indexes.
    """
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    for table in (*TABLES, GAPS):
        if table not in there and not is_sealed:
            continue
        (said,) = connection.execute(f"PRAGMA integrity_check('{table}')").fetchone()
        if said != "ok":
            return f"table {table} and its index do not fit together"
        if not is_sealed:
            continue
        is_whole = is_whole_gap if table == GAPS else is_whole_row
        rows = connection.execute(f"SELECT * FROM {table}")  # noqa: S608 names of our own tables
        if broken := sum(not is_whole(row) for row in rows):
            return f"{broken} rows of {table} were not what was written"
    return None
