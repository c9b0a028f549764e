"""A history that is filled straight away, with the chores that keep it in shape; in a time that only the test moves."""

from appliance.store.database import Database
from appliance.store.history_reader import HistoryReader
from appliance.store.reading_rows import LATE_CHECK, TICKS_PER_MS, prepare, stored
from appliance.store.retention import Retention, Terms
from appliance.store.rollup import DAY_MS, HOUR_MS
from appliance.store.tiers import GRACE_MS, Tiers

BEGIN = 1_790_000_000_000 // DAY_MS * DAY_MS  # the first epoch, at age 0
BEFORE = 1  # the epoch of times that others measured, and its stretch
PUT = (
    f"INSERT INTO readings SELECT series_id, tick, value, seq, {LATE_CHECK}, stretch_id"
    " FROM (SELECT ? AS series_id, ? AS tick, ? AS value, NULL AS seq, 0 AS late_ms, ? AS stretch_id)"
)
TABLES = ("minutes", "hours", "days")


class Kept:
    """`at_ms` is the time, provisional while not `is_trusted`; `age_ms` how long the service has run."""

    def __init__(self, path, keeping=None):
        self.path = path
        self.at_ms = BEGIN
        self.is_trusted = True
        self.age_ms = 0
        self.is_short = False
        self.keeping = keeping or Terms()
        self.reader = HistoryReader(path)
        self._stretches = {}
        self.open()
        if self.ask("SELECT count(*) FROM epochs").fetchone() == (1,):
            self.epoch(BEGIN, last_ms=BEGIN + 3_650 * DAY_MS)

    def open(self):
        self.database = Database.open(self.path)
        prepare(self.database.connection)
        self.ask = self.database.connection.execute
        self.ask("PRAGMA synchronous = OFF")  # nobody pulls a plug here
        self.tiers = Tiers(self.database, lambda _: self.at_ms, together=1)
        self.retention = Retention(
            self.database,
            self.keeping,
            unix_ms=lambda _: self.at_ms,
            is_trusted=lambda: self.is_trusted,
            age_ms=lambda _: self.age_ms,
            is_short_of_space=lambda: self.is_short,
        )

    def close(self):
        self.database.close()

    def restart(self):
        self.close()
        self.open()

    def epoch(self, first_ms, *, last_ms=None, offset_ms=0, clock="synced", age_ms=0):
        """Begin an epoch at a tick of so many ms, with a stretch of its own; give the stretch."""
        said = (first_ms * TICKS_PER_MS, (last_ms or first_ms) * TICKS_PER_MS, offset_ms, clock, age_ms)
        epoch = self.ask(
            "INSERT INTO epochs (boot, monotonic_ms, first_tick, last_tick, offset_ms, clock, age_ms)"
            " VALUES ('b', 0, ?, ?, ?, ?, ?)",
            said,
        ).lastrowid
        self.stretch = self.ask("INSERT INTO stretches (epoch_id) VALUES (?)", (epoch,)).lastrowid
        return epoch

    def series(self, topic, kind="number", quantity=None, unit=None):
        self.ask(
            "INSERT OR IGNORE INTO series (topic, kind, quantity, unit) VALUES (?, ?, ?, ?)",
            (topic, kind, quantity, unit),
        )
        return self.ask("SELECT id FROM series WHERE topic = ?", (topic,)).fetchone()[0]

    def put(self, series_id, *readings, stretch=None):
        """Move readings in: (ms after BEGIN, value) each, on the hub's own clock."""
        rows = [
            (
                series_id,
                (BEGIN + at_ms) * TICKS_PER_MS,
                value if isinstance(value, str) else stored(float(value)),
                stretch or self.stretch,
            )
            for at_ms, value in readings
        ]
        with self.database.transaction():
            self.database.connection.executemany(PUT, rows)

    def after(self, ms):
        """Let time pass until so many ms after BEGIN, and what was read by then be complete."""
        self.at_ms = BEGIN + ms + GRACE_MS
        self.age_ms = ms + GRACE_MS

    def roll(self):
        steps = 0
        while self.tiers.step(0.0):
            steps += 1
        return steps

    def throw_away(self, now=0.0):
        steps = 0
        while self.retention.step(now):
            steps += 1
        return steps

    def table(self, table, columns="series_id, start, count, low, high, total, area, held_ms, last, last_ms, increase"):
        return self.ask(f"SELECT {columns} FROM {table} ORDER BY series_id, start").fetchall()

    def tables(self):
        return {table: self.table(table, "*") for table in TABLES}

    def rollups(self, table, series_id=1):
        """Rows of a view as dictionaries, without what is of the series."""
        cursor = self.ask(
            f"SELECT * FROM {table}_history WHERE topic = (SELECT topic FROM series WHERE id = ?)", (series_id,)
        )
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def count(self, table):
        return self.ask(f"SELECT count(*) FROM {table}").fetchone()[0]


def every(step_ms, from_ms=0, until_ms=HOUR_MS, value=lambda n: 20 + n % 7 / 10):
    """Readings at an even pace."""
    return [(at_ms, value(n)) for n, at_ms in enumerate(range(from_ms, until_ms, step_ms))]
