"""What the tables of a whole file look like, so that rows found without one can be told apart and put back."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from appliance.store.dbpages import INDEX_LEAF, TABLE_LEAF, Row, Value

KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    "INTEGER": (int,),
    "REAL": (int, float),
    "TEXT": (str,),
    "BLOB": (bytes,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One table. `stored`: for each column its place in a record; `alias`: the column that is the row's id, or -1."""

    name: str
    columns: tuple[str, ...]
    kinds: tuple[str, ...]
    required: tuple[bool, ...]
    stored: tuple[int, ...]
    alias: int
    has_rowid: bool
    indexes: tuple[tuple[str, tuple[int, ...]], ...]  # of a table with row ids: name and columns of each
    parents: tuple[tuple[int, str, str], ...]  # (column, table, its column) of each foreign key, by its number

    @property
    def leaf(self) -> int:
        """Kind of the pages that hold its rows."""
        return TABLE_LEAF if self.has_rowid else INDEX_LEAF

    def values(self, row: Row) -> tuple[Value, ...] | None:
        """Give a record's values in the order of the columns; None where it cannot be a row of this table."""
        rowid, found = row
        if (rowid is None) is self.has_rowid or len(found) > len(self.columns):
            return None
        values: list[Value] = []
        for column, place in enumerate(self.stored):
            value = found[place] if place < len(found) else None  # a column that was added later
            if column == self.alias:
                if value is not None:
                    return None
                value = rowid
            kind = self.kinds[column]
            if value is None:
                if self.required[column]:
                    return None
            elif kind in KINDS and not isinstance(value, KINDS[kind]):
                return None
            elif kind == "REAL":
                assert isinstance(value, (int, float))  # noqa: S101 looked at above
                value = float(value)
            values.append(value)
        return tuple(values)

    def part(self, columns: tuple[int, ...], row: Row, defaults: Mapping[str, Value]) -> tuple[Value, ...] | None:
        """Give the row that an index's entry stands for, as far as it says; None where that is too little."""
        if row.rowid is not None or len(row.values) != len(columns) + 1:
            return None
        said = dict(zip((*columns, self.alias), row.values, strict=True))
        found: list[Value] = [said.get(place, defaults.get(name)) for place, name in enumerate(self.columns)]
        if self.alias < 0 or not isinstance(found[self.alias], int):
            return None
        rowid, found[self.alias] = found[self.alias], None
        assert isinstance(rowid, int)  # noqa: S101 as above
        stored = [found[self.stored.index(place)] for place in range(len(found))]
        return self.values(Row(rowid, stored))

    def insert(self) -> str:
        """Give the statement that puts a row back; one that is there already wins."""
        names = ", ".join(f'"{column}"' for column in self.columns)
        return f'INSERT OR IGNORE INTO "{self.name}" ({names}) VALUES ({", ".join("?" * len(self.columns))})'  # noqa: S608 our own names


def shapes(connection: sqlite3.Connection) -> dict[str, Shape]:
    """Give the tables of a whole file by name, those that others refer to first."""
    found = {}
    for name, without_rowid in connection.execute(
        "SELECT name, wr FROM pragma_table_list WHERE type = 'table' AND schema = 'main' AND name NOT LIKE 'sqlite^_%'"
        " ESCAPE '^' ORDER BY name"
    ):
        found[name] = _shape(connection, name, has_rowid=not without_rowid)
    ordered: dict[str, Shape] = {}

    def put(shape: Shape) -> None:
        for _, parent, _ in shape.parents:
            if parent != shape.name and parent in found and parent not in ordered:
                put(found[parent])
        ordered.setdefault(shape.name, shape)

    for shape in found.values():
        put(shape)
    return ordered


def _shape(connection: sqlite3.Connection, name: str, *, has_rowid: bool) -> Shape:
    columns = connection.execute('SELECT name, type, "notnull", pk FROM pragma_table_info(?)', (name,)).fetchall()
    keys = sorted((pk, place) for place, (_, _, _, pk) in enumerate(columns) if pk)
    alias = -1
    stored = list(range(len(columns)))
    if has_rowid:
        if len(keys) == 1 and columns[keys[0][1]][1].upper() == "INTEGER":
            alias = keys[0][1]
    else:  # the key's columns come first in each record
        order = [place for _, place in keys] + [place for place in stored if not columns[place][3]]
        stored = [order.index(place) for place in stored]
    names = [column for column, _, _, _ in columns]
    indexes = connection.execute("SELECT name FROM pragma_index_list(?) WHERE partial = 0", (name,)).fetchall()
    inside = "SELECT cid FROM pragma_index_info(?) ORDER BY seqno"
    columns_of = [
        (index, tuple(cid for (cid,) in connection.execute(inside, (index,)))) for (index,) in indexes if has_rowid
    ]
    parents = connection.execute(
        'SELECT "from", "table", "to" FROM pragma_foreign_key_list(?) ORDER BY id', (name,)
    ).fetchall()
    return Shape(
        name=name,
        columns=tuple(names),
        kinds=tuple(kind.upper() for _, kind, _, _ in columns),
        required=tuple(bool(notnull or pk) for _, _, notnull, pk in columns),
        stored=tuple(stored),
        alias=alias,
        has_rowid=has_rowid,
        indexes=tuple(columns_of),
        parents=tuple((names.index(column), table, to or "id") for column, table, to in parents),
    )
