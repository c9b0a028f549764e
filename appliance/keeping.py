"""The store's parts, started and stopped in order: ledger and writer's thread, wear budget, reserve, journal."""

import asyncio
import logging
import secrets
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Final

from appliance.broker.core import Broker
from appliance.broker.image import Image
from appliance.broker.rights import Rights
from appliance.net.hub import Hub
from appliance.settings import Settings
from appliance.store.aside import lines
from appliance.store.chores import Terms
from appliance.store.database import StoreError
from appliance.store.gaps import BEYOND_SERIES, FORBIDDEN, HUB, UNKEPT
from appliance.store.group import Group
from appliance.store.history import Tally
from appliance.store.journal import GroupJournal
from appliance.store.ledger import Ledger
from appliance.store.missing import Missing, missings
from appliance.store.open_gaps import Failing, failing
from appliance.store.opening import open_ledger
from appliance.store.room import Room
from appliance.store.wear import Wear, device_counter, process_counter
from appliance.store.writer import Writer
from appliance.store.written import Loaded

LOG: Final = logging.getLogger(__name__)
SILENT_S: Final = 4.0  # a disk that has not answered for so long is told of


class Keeping:
    """Everything that outlives the process, for one running service.

    In order: `open`, `journal_for` and a broker with that journal, `restore`, and when it is all over `close`.
    """

    def __init__(self, path: Path, settings: Settings, open_ledger: Callable[[], Ledger] | None = None) -> None:
        store = settings.store
        self.tally = Tally()
        self._path = path
        self._records = settings.history.enabled
        self._waits = store.wait
        self._max_bytes = store.max_mb * 1_000_000
        self._run = secrets.randbits(62)
        self._room = Room(path.parent, store.reserve_mb)
        self._wear = Wear(store.budget_mb_per_day, process_counter(), device_counter(path.parent))
        sqlite = partial(open_sqlite, path, settings, self.tally, self._remark, self._misses, monotonic())
        self._writer = Writer(
            path,
            open_ledger or sqlite,
            reopen_ledger=None if open_ledger else partial(sqlite, is_whole=True),
            read=None if open_ledger else partial(read_anyway, path),
            run=self._run,
            room=self._room,
            wear=self._wear,
            on_committed=lambda number: self._soon(self._committed, number),
            on_failure=lambda trouble: self._soon(self._failed, trouble),
            on_recovery=lambda: self._soon(self._recovered),
            on_astray=lambda image: self._soon(self._amend, image),
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loaded: Loaded | None = None
        self._journal: GroupJournal | None = None
        self._broker: Broker | None = None
        self._hub: Hub | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._silent = False  # the disk does not answer
        self._fails = False  # nothing can be written
        self._is_open = False
        self._missing: Missing | None = None  # at the end of what was there at the start

    async def open(self) -> None:
        """Open the database and read what is in it; StoreError says why not."""
        self._loop = asyncio.get_running_loop()
        self._loaded = await asyncio.to_thread(self._writer.start, monotonic())
        self._is_open = True

    def journal_for(self, rights_of: Callable[[str], Rights]) -> GroupJournal:
        """Give the journal for the broker."""
        assert self._loop is not None and self._loaded is not None  # noqa: S101, PT018 opened before
        self._journal = GroupJournal(
            self._loop,
            self._submit,
            run=self._run,
            next_number=self._loaded.next_number,
            next_key=self._loaded.next_key,
            links_waiting=self._links_waiting,
            window_s=self._wear.budget.window_s,
            rights_of=rights_of,
            on_astray=self._writer.compare,
            waits=self._waits,
        )
        if self._fails:  # from the start
            self._journal.failed()
        return self._journal

    def restore(self, broker: Broker, hub: Hub) -> None:
        """Give the broker what it knew, and from now on word of what is durable."""
        assert self._loaded is not None  # noqa: S101 as above
        self._broker, self._hub = broker, hub
        left_out = broker.restore(self._loaded.image, monotonic())
        if any(left_out):
            LOG.warning(
                "%d retained messages and %d subscriptions in %s are more than the limits allow: they stay there and"
                " are not served; raise limits.max_retained_messages, max_retained_bytes, max_subscriptions or"
                " max_subscription_bytes and start again",
                *left_out,
                self._path,
            )
        self._loaded = None  # nobody needs it any more

    async def close(self) -> None:
        """Have everything written that was taken; may be called twice."""
        if self._journal is not None:
            self._journal.close()
        await asyncio.to_thread(self._writer.close)
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    # --- what the parts say to each other ---

    def _links_waiting(self) -> int:
        return 0 if self._broker is None else self._broker.waiting()

    def _submit(self, group: Group) -> None:
        self._writer.submit(group)
        if self._watch is None and self._loop is not None:
            self._watch = self._loop.call_later(SILENT_S, self._look)

    def _look(self) -> None:
        """See whether the disk answers, as long as something was handed over since the last time."""
        self._watch = None
        assert self._journal is not None and self._loop is not None  # noqa: S101, PT018 it has handed something over
        waits_s = self._journal.oldest_s()
        if not waits_s:
            return
        if waits_s >= SILENT_S and not self._silent:
            self._silent = True
            LOG.warning("%s", self.trouble())
        # What waits now will have waited too long then, not only at the look after that.
        delay_s = SILENT_S if waits_s >= SILENT_S else SILENT_S - waits_s
        self._watch = self._loop.call_later(delay_s, self._look)

    def _soon(self, callback: Callable[..., None], *arguments: object) -> None:
        assert self._loop is not None  # noqa: S101 opened before
        self._loop.call_soon_threadsafe(callback, *arguments)

    def _committed(self, number: int) -> None:
        assert self._journal is not None  # noqa: S101 it has handed something over
        self._silent = False
        if self._broker is None or self._hub is None:
            self._journal.committed(number, 0)
            return
        refused = self._journal.refuses
        self._broker.committed(number, monotonic())
        self._journal.committed(
            number, self._broker.gate.released
        )  # the thread has its next group before the answers go out
        if refused:
            self._take_again()
        self._hub.settle()

    def _failed(self, trouble: str) -> None:
        self._fails = True
        LOG.error("nothing is acknowledged that would have to be kept: %s", trouble)
        if self._journal is not None:
            self._journal.failed()
        if self._broker is not None and self._hub is not None:
            self._broker.cannot_store(monotonic())
            self._hub.turn()

    def _remark(self, text: str) -> None:
        """Say what was noticed at the start; what looks like that when the file is opened again was our own doing."""
        if not self._is_open:
            LOG.warning("%s", text)

    def _misses(self, missing: Missing) -> None:
        """Know what may be missing since the last run; opened again, the file was our own."""
        if not self._is_open:
            self._missing = missing
            LOG.warning("%s", missing.line())

    def _recovered(self) -> None:
        self._fails = False
        LOG.warning("%s is written again", self._path)
        if self._journal is not None:
            self._journal.recovered()
        self._take_again()

    def _take_again(self) -> None:
        if self._journal is not None and self._broker is not None and not self._journal.refuses:
            self._broker.can_store()

    def _amend(self, image: Image) -> None:
        """Have everything written that the file lacks."""
        journal, broker = self._journal, self._broker
        number = 0
        if journal is not None and broker is not None:
            number = journal.amend(lambda: broker.amend(journal, image, monotonic()))
            LOG.warning("what sessions, wills and retained messages %s lacks is written anew", self._path)
            self._take_again()
        self._writer.amended(number)

    # --- how it is ---

    def losses(self) -> dict[tuple[str, str], Callable[[], int]]:
        """Give whom it concerns and what to say of readings that are lost for want of room, and how many there were."""
        journal, tally, stats = self._journal, self.tally, self._writer.stats
        assert journal is not None  # noqa: S101 as below
        return {
            (HUB, "more arrived than the disk could take"): lambda: journal.dropped,
            (UNKEPT, BEYOND_SERIES): lambda: tally.refused,
            (UNKEPT, FORBIDDEN): lambda: tally.forbidden,
            (HUB, "the disk failed until the end, or a fault of ours"): lambda: stats.given_up + stats.misfits,
        }

    def failing(self) -> list[Failing]:
        """Give the gaps of failing sensors that were open when the service ended; none where that cannot be read."""
        try:
            return failing(self._path)
        except StoreError:
            return []

    def gets_on(self) -> bool:
        """Whether the thread that writes gets on, or cannot help it; False where a new start is the cure."""
        return not self._writer.stall.is_stuck()

    def trouble(self) -> str | None:
        """Say in one line what is wrong and what to do; None when all is well."""
        if self._writer.trouble is None and self._silent and self._journal is not None:
            waits_s = self._journal.oldest_s()
            return (
                f"the disk under {self._path} has not answered for {waits_s:.0f} s: "
                "wait, or check the disk or card and its power supply"
            )
        return self._writer.trouble

    def status(self) -> dict[str, object]:
        """Say how the store is; numbers are totals since the start where their name does not say otherwise."""
        journal, stats = self._journal, self._writer.stats
        assert journal is not None  # noqa: S101 asked only when everything runs
        return {
            "waits": self._waits,
            "groups": stats.groups,
            "commits": stats.commits,
            "failures": stats.failures,
            "left_out": stats.misfits,
            "dropped": journal.dropped,
            "waiting_bytes": journal.waiting_bytes,
            "refuses": journal.refuses,
            "trouble": self.trouble(),
            "reserve": self._room.lack(),
            "damages": [
                *lines(self._path),
                *(missing.line() for missing in missings(self._path)),
            ],
            "cut": None if self._missing is None or self._missing.place else self._missing.told(),
            **self._wear.status(),
            "size_bytes": size_bytes(self._path),
            "max_bytes": self._max_bytes,
            "free_bytes": self._free_bytes(),
        }

    def history_status(self) -> dict[str, object] | None:
        """Say what became of readings since the start; None where none are recorded."""
        if not self._records:
            return None
        return {
            "rows": self.tally.rows,
            "duplicates": self.tally.duplicates,
            "beyond_max_series": self.tally.refused,
            "not_allowed_to_publish": self.tally.forbidden,
            "of_another_agent": self.tally.disowned + (0 if self._broker is None else self._broker.stats.disowned),
        }

    def _free_bytes(self) -> int | None:
        try:
            return self._room.free_bytes()
        except OSError:
            return None


def read_anyway(path: Path, now: float) -> Loaded:
    """Read a database that cannot be written; sqlite3.Error, OSError."""
    from appliance.store import beside  # noqa: PLC0415 memory, for who cannot write

    return beside.read_anyway(path, now)


def open_sqlite(
    path: Path,
    settings: Settings,
    tally: Tally,
    remark: Callable[[str], None],
    on_missing: Callable[[Missing], None],
    since: float,
    *,
    is_whole: bool = False,
) -> Ledger:
    """Open the database for writing; StoreError says why not. Called in the writer's thread."""
    return open_ledger(
        path,
        site=settings.site,
        max_series=settings.history.max_series,
        terms=Terms(
            raw_days=settings.history.raw_days,
            minute_days=settings.history.minute_days,
            hour_days=settings.history.hour_days,
            day_days=settings.history.day_days,
            max_bytes=settings.store.max_mb * 1_000_000,
        ),
        tally=tally,
        remark=remark,
        is_whole=is_whole,
        on_missing=on_missing,
        since=since,
        on_damage=lambda text: LOG.error("%s: %s", path, text),
    )


def size_bytes(path: Path) -> int:
    """Give the size of the database with its log."""
    total = 0
    for part in (path, path.with_name(path.name + "-wal")):
        try:
            total += part.stat().st_size
        except OSError:
            continue
    return total
