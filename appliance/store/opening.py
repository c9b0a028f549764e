"""A ledger is put together: its file, clock, history, gaps and chores."""

import logging
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from appliance.clock import clock_quality
from appliance.store.chores import Chores, Terms, Trimming
from appliance.store.damage import Lack, is_damage
from appliance.store.database import Database, StoreError, explain
from appliance.store.epochs import load_clock
from appliance.store.harms import UNREADABLE
from appliance.store.history import History, Tally
from appliance.store.loading import Loaded, load
from appliance.store.missing import Missing, Tail, log_missing, tell_missing
from appliance.store.rescue import log_remark, open_sound
from appliance.store.sqlite_ledger import GapBook, SqliteLedger
from appliance.store.staged import Moment
from appliance.store.state_tables import OnDamage
from appliance.store.still import open_still
from appliance.store.wholeness import IN_SQL

LOG: Final = logging.getLogger(__name__)


def open_ledger(
    path: Path,
    *,
    site: str,
    max_series: int,
    terms: Terms | None = None,
    tally: Tally | None = None,
    on_damage: OnDamage = lambda _: None,
    remark: Callable[[str], None] = log_remark,
    on_missing: Callable[[Missing], None] = log_missing,
    is_whole: bool = False,
    boot: str | None = None,
    quality: Callable[[], str] = clock_quality,
    clock: Callable[[], float] = time.monotonic,
    wall_clock: Callable[[], float] = time.time,
    since: float | None = None,
) -> SqliteLedger:
    """Open or create the database for writing, salvaged if it is damaged; StoreError says in one line why not.

    is_whole: it was so a moment ago, and is not looked through again.

    The history keeps the clock that everything is counted in, so it is there even where nothing is recorded. `since` is
    when the service began (monotonic), which may be opening its file again.
    """

    def begin(*, is_whole: bool) -> SqliteLedger:
        lacks: list[Lack] = []
        database = Database.open(path) if is_whole else open_sound(path, remark=remark, on_lack=lacks.append)
        try:
            hub_clock = load_clock(
                database.connection, boot=boot, quality=quality, present=lambda: (clock(), wall_clock())
            )
            gaps = GapBook(database.connection, hub_clock)
            tail = Tail(database.connection, hub_clock, database.left_open_at)
            now = clock()
            hub_clock.begin(now, wall_clock(), since)  # written down with the first group
            tell_missing(path, tail, lacks, now, on_missing)
            history = History(database.connection, hub_clock, site=site, max_series=max_series)
            if tally is not None:  # it goes on counting when the ledger is made anew
                history.tally = tally
            ledger = SqliteLedger(
                database, history, age_ms=hub_clock.age_ms, on_damage=on_damage, gaps=gaps, clock=clock
            )

            def hire() -> tuple[Chores, Trimming]:
                from appliance.memory import give_back  # noqa: PLC0415 when there is something to do
                from appliance.store.retention import Retention  # noqa: PLC0415 likewise
                from appliance.store.sweep import Sweep  # noqa: PLC0415 likewise
                from appliance.store.tiers import Tiers  # noqa: PLC0415 likewise

                give_back()  # what only loading them took
                retention = Retention(
                    database,
                    terms or Terms(),
                    unix_ms=hub_clock.unix_ms,
                    is_trusted=lambda: hub_clock.is_trusted,
                    age_ms=hub_clock.age_ms,
                    is_short_of_space=lambda: ledger.short_of_space,
                )
                return Chores(
                    [Tiers(database, hub_clock.unix_ms), retention, Sweep(database, IN_SQL, hub_clock.age_ms)]
                ), retention

            ledger.work(hire)
        except BaseException as error:  # whatever it was, the next try wants the file
            try:
                if isinstance(error, sqlite3.Error) and is_damage(error):
                    LOG.debug("%s: %s", path, error)
                    database.suspect(UNREADABLE)
            finally:
                database.close()
            raise
        return ledger

    try:
        try:
            return begin(is_whole=is_whole)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
        return begin(is_whole=False)  # salvaged, because it is suspected now
    except sqlite3.Error as error:
        raise StoreError(explain(path, error)) from error


def read_only(
    path: Path,
    now: float,
    *,
    on_damage: OnDamage = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    wall_clock: Callable[[], float] = time.time,
) -> Loaded:
    """Load the state of a database that cannot be written; nobody may write it meanwhile. sqlite3.Error, OSError."""
    with closing(open_still(path)) as connection:
        hub_clock = load_clock(connection)
        hub_clock.begin(clock(), wall_clock(), now)
        return load(connection, Moment(now, hub_clock.age_ms(now)), on_damage)
