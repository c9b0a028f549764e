"""What is whole in a damaged database goes into a new one: table by table, row by row, each row judged.

The tables that the broker needs come first and at once. What is only history may be large: it follows in small steps,
if need be while the service runs already.
"""

import sqlite3
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from appliance.store.breaks import Breaks, Place
from appliance.store.dbpages import Harm, Pages, Row, Value
from appliance.store.retaining import lose
from appliance.store.sealed import seal
from appliance.store.shape import Shape, shapes
from appliance.store.wholeness import Judge, judges

BATCH_ROWS: Final = 500
BULK: Final = ("minutes", "hours", "days", "readings")  # only history: these may follow later
JOURNAL: Final = "journal"
READINGS: Final = "readings"
RETAINING: Final = "retaining"
OF_JOURNAL: Final = (("series_id", "series", "id"), ("stretch_id", "stretches", "id"))  # what its rows refer to later
MADE_ANEW: Final = {"_sqlite_migrations"}  # the new file has its own
DEFAULTS: Final[Mapping[str, Mapping[str, Value]]] = {"series": {"kind": "number"}}  # what no index says
MADE_UP: Final[Mapping[str, str]] = {  # rows that stand for lost ones, so that the history keeps its numbers
    "series": "INSERT INTO series (id, topic, kind) VALUES (?1, 'salvaged/series_' || ?1, 'number')",
    "runs": "INSERT INTO runs (id, agent, run) VALUES (?1, 'salvaged', 'run_' || ?1)",
    "epochs": "INSERT INTO epochs (id, boot, first_tick, last_tick, monotonic_ms, offset_ms, clock, age_ms)"
    " VALUES (?1, 'salvaged', 0, 0, 0, 0, 'unsynced', 0)",
    "stretches": "INSERT INTO stretches (id, epoch_id, quality) VALUES (?1, 1, 'ok')",
}
MASTER: Final = ("table", "index")


def read_roots(pages: Pages, noted: Mapping[str, int]) -> dict[str, int]:
    """Give the first page of every table and index, from the file's own list, else from what was noted of it."""
    roots = dict(noted)
    pages.reached.clear()
    for _, values in pages.rows(1, Harm()):
        if len(values) == 5 and values[0] in MASTER:
            _, name, _, root, _ = values
            if isinstance(name, str) and isinstance(root, int) and 1 < root <= pages.count:
                roots[name] = root
    return roots


class Salvage:
    """Copies rows from `pages` (None: there are none) into `new`, an open database of the same tables.

    `new` does not check its foreign keys meanwhile.

    `most`: the highest key of each table that other tables refer to, should newer ones have been added since.
    `kept` and `lost` count rows by table; what stood in pages that cannot be read has no number. `breaks`: where.
    """

    def __init__(
        self,
        pages: Pages | None,
        roots: Mapping[str, int],
        new: sqlite3.Connection,
        most: Mapping[str, int] | None = None,
    ) -> None:
        self.kept: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.lost_pages = 0
        self.breaks = {name: Breaks() for name in (READINGS, JOURNAL)}
        self._pages = pages
        self._roots = roots
        self._new = new
        self._shapes = {name: shape for name, shape in shapes(new).items() if name not in MADE_ANEW}
        self._judges = judges(new, self._shapes)
        self._most = most
        self._harmed: set[str] = set()  # tables of which pages could not be read
        self._defaults: dict[str, list[tuple[Value, ...]]] = {}
        self._triggers: dict[str, str] = {}
        self._known: dict[tuple[str, str], set[Value]] = {}

    def state(self) -> None:
        """Copy everything that is not bulk, in one transaction."""
        self._new.execute("BEGIN IMMEDIATE")
        self._clear()
        for shape in self._shapes.values():
            if shape.name not in BULK and shape.name != JOURNAL:
                self._copy(shape)
        if JOURNAL in self._shapes:  # its rows are judged with those of other tables
            self._judges = judges(self._new, self._shapes)
            shape = self._shapes[JOURNAL]
            parents = [(shape.columns.index(column), table, key) for column, table, key in OF_JOURNAL]
            for batch in self._batches(shape):
                self._put(shape, [values for values in batch if self._has_parents(shape.name, parents, values)])
        for name, rows in self._defaults.items():
            self._new.executemany(self._shapes[name].insert(), rows)
        self._drop_orphans()
        if self.lost[RETAINING] or RETAINING in self._harmed:
            lose(self._new)
        self._new.execute("COMMIT")

    def bulk(self) -> Iterator[int]:
        """Copy the history a batch at a time, each in a transaction of its own; gives how many rows were looked at."""
        for name in BULK:
            shape = self._shapes.get(name)
            if shape is None:
                continue
            if name == "readings" and any(self.lost[tier] or tier in self._harmed for tier in BULK) and self._triggers:
                self.finish()  # what is lost of the tiers is made again from the readings
            for batch in self._batches(shape):
                self._new.execute("BEGIN IMMEDIATE")
                try:
                    self._put(shape, [values for values in batch if self._has_parents(name, shape.parents, values)])
                    self._new.execute("COMMIT")
                except BaseException:
                    if self._new.in_transaction:
                        self._new.execute("ROLLBACK")
                    raise
                yield len(batch)

    def finish(self) -> None:
        """Have the new file do by itself again what it does when rows come in."""
        seal(self._new)
        for statement in self._triggers.values():
            self._new.execute(statement)
        self._triggers.clear()

    def _clear(self) -> None:
        """Take out what a new file begins with, and its triggers: what is copied has been through them."""
        triggers = self._new.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, statement in triggers:
            self._triggers[name] = statement
            self._new.execute(f'DROP TRIGGER "{name}"')
        for name in self._shapes:
            if rows := self._new.execute(f'SELECT * FROM "{name}"').fetchall():  # noqa: S608 names of our own tables
                self._defaults[name] = rows
                self._new.execute(f'DELETE FROM "{name}"')  # noqa: S608

    def _copy(self, shape: Shape) -> None:
        before = self.lost_pages + self.lost[shape.name]
        for batch in self._batches(shape):
            self._put(shape, batch)
        if self.lost_pages + self.lost[shape.name] > before and self._pages is not None:
            for name, columns in shape.indexes:
                self._copy_index(shape, self._roots.get(name, 0), columns)

    def _copy_index(self, shape: Shape, root: int, columns: tuple[int, ...]) -> None:
        """Make up for lost rows with what an index says of them."""
        assert self._pages is not None  # noqa: S101 looked at by who calls
        defaults = DEFAULTS.get(shape.name, {})
        for row in self._pages.rows(root, Harm()):
            values = shape.part(columns, row, defaults)
            if values is not None:
                self.kept[shape.name] += self._new.execute(shape.insert(), values).rowcount

    def _batches(self, shape: Shape) -> Iterator[list[tuple[Value, ...]]]:
        rows = self._rows(shape)
        while batch := list(islice(rows, BATCH_ROWS)):
            yield batch

    def _rows(self, shape: Shape) -> Iterator[tuple[Value, ...]]:
        """Give the rows of a table that are whole: those that its root leads to, then those that no page leads to."""
        judge = self._judges.get(shape.name)
        harm = Harm()
        root = self._roots.get(shape.name)
        if self._pages is None:
            return
        breaks = self.breaks.get(shape.name, Breaks())
        if root is None:
            harm.pages += 1
        else:
            for row in self._pages.rows(root, harm):
                values = shape.values(row)
                if values is not None and (judge is None or judge(values)):
                    if (place := _place(shape, values)) is not None:
                        breaks.row(place, harm.pages + harm.cells)
                    yield values
                else:
                    breaks.row(None, harm.pages + harm.cells)
                    self.lost[shape.name] += 1
        breaks.end(harm.pages + harm.cells)
        self.lost[shape.name] += harm.cells
        if harm.pages:
            self.lost_pages += harm.pages
            self._harmed.add(shape.name)
            yield from self._stray(shape, judge)

    def _stray(self, shape: Shape, judge: Judge | None) -> Iterator[tuple[Value, ...]]:
        """Give the rows of leaves that nothing leads to any more: not free, not another table's, and all of this shape.

        Only where the list of free pages is whole: a page that was given back holds what was deleted.
        """
        assert self._pages is not None  # noqa: S101 a walk has been tried
        free, is_whole = self._pages.free()
        if not is_whole:
            return
        taken = set(self._pages.reached)
        for name, root in self._roots.items():
            if name != shape.name:
                self._pages.reach(root, taken)
        for number in range(2, self._pages.count + 1):
            if number in free or number in taken:
                continue
            rows = self._pages.leaf(number, shape.leaf, Harm())
            if rows and (found := list(self._fitting(shape, judge, rows))):
                self._pages.reached.add(number)
                yield from found

    @staticmethod
    def _fitting(shape: Shape, judge: Judge | None, rows: list[Row]) -> Iterator[tuple[Value, ...]]:
        fitting = [values for row in rows if (values := shape.values(row)) is not None]
        if judge is not None:
            yield from filter(judge, fitting)
        elif len(fitting) == len(rows) and all(len(row.values) == len(shape.columns) for row in rows):
            yield from fitting

    def _put(self, shape: Shape, rows: list[tuple[Value, ...]]) -> None:
        self._new.executemany(shape.insert(), rows)
        self.kept[shape.name] += len(rows)

    def _has_parents(self, name: str, parents: Iterable[tuple[int, str, str]], values: tuple[Value, ...]) -> bool:
        """Tell whether what a row refers to is there, made up if need be."""
        for column, table, key in parents:
            value = values[column]
            if value is None or value in self._keys(table, key):
                continue
            if table not in MADE_UP or not isinstance(value, int) or value > self._highest(table):
                self.lost[name] += 1
                return False
            self._new.execute(MADE_UP[table], (value,))
            self._keys(table, key).add(value)
        return True

    def _highest(self, table: str) -> int:
        return sys.maxsize if self._most is None else self._most.get(table, 0)

    def _keys(self, table: str, key: str) -> set[Value]:
        """Give the keys that were kept: one that is given out anew later is not that of an old row."""
        known = self._known.get((table, key))
        if known is None:
            asked = f'SELECT "{key}" FROM "{table}" WHERE "{key}" <= ?'  # noqa: S608 names of our own tables
            found = self._new.execute(asked, (self._highest(table),))
            known = self._known[table, key] = {value for (value,) in found}
        return known

    def most(self) -> dict[str, int]:
        """Give the highest key of each table that the history refers to."""
        found = {}
        for shape in self._shapes.values():
            for _, table, key in shape.parents if shape.name in BULK else ():
                (most,) = self._new.execute(f'SELECT max("{key}") FROM "{table}"').fetchone()  # noqa: S608 our own
                found[table] = most or 0
        return found

    def _drop_orphans(self) -> None:
        """Take out again what refers to rows that were lost, and then what refers to that."""
        while found := self._new.execute("PRAGMA foreign_key_check").fetchall():
            for table, rowid, _, number in found:
                shape = self._shapes[table]
                column, parent, key = shape.parents[number]
                name = shape.columns[column]
                if parent in MADE_UP and rowid is not None:
                    asked = f'SELECT "{name}" FROM "{table}" WHERE rowid = ?'  # noqa: S608 names of our own tables
                    (value,) = self._new.execute(asked, (rowid,)).fetchone()
                    known = f'SELECT 1 FROM "{parent}" WHERE "{key}" = ?'  # noqa: S608
                    if not self._new.execute(known, (value,)).fetchone():
                        self._new.execute(MADE_UP[parent], (value,))
                    continue
                gone = f'"{name}" IS NOT NULL AND "{name}" NOT IN (SELECT "{key}" FROM "{parent}")'  # noqa: S608
                where = "rowid = ?" if rowid is not None else f"? IS NULL AND {gone}"
                removed = self._new.execute(f'DELETE FROM "{table}" WHERE {where}', (rowid,)).rowcount  # noqa: S608
                self.lost[table] += removed
                self.kept[table] -= removed


def _place(shape: Shape, values: tuple[Value, ...]) -> Place | None:
    """Say where in the history a row belongs, None of one that has no place there."""
    if shape.name not in (READINGS, JOURNAL):
        return None
    tick = values[shape.columns.index("tick")]
    series_id = values[shape.columns.index("series_id")] if shape.name == READINGS else 0
    return (series_id, tick) if isinstance(series_id, int) and isinstance(tick, int) else None
