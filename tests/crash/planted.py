"""A service that was changed from outside: `python -m tests.crash.planted NAME[,NAME] run …`.

Bugs are planted so that each harness is seen to catch them. `restless` is no bug: what a service does now and then, it
does all the time, so that it is killed in the middle of that too. Nothing of the product knows of these.
"""

import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

from appliance.broker.ports import RouteFlag
from appliance.broker.records import Received

SOME = 20  # one of so many
SLOW_S = 0.03  # of a disk so slow that who does not wait for it is far ahead


def early() -> None:
    """Acknowledge before the commit, on a slow disk: a setting does it, `[store] wait = false`."""
    at = sys.argv.index("--config") + 1
    path = Path(sys.argv[at])
    text = path.read_text()
    if "wait = false" not in text:
        path.write_text(text + "wait = false\n")
    writing(lambda _group: time.sleep(SLOW_S))


def saying(old: str, new: str) -> None:
    """Have SQLite be told something else."""

    class Deaf(sqlite3.Connection):
        def execute(self, statement: str, *parameters: object) -> sqlite3.Cursor:
            return super().execute(new if statement == old else statement, *parameters)

    connect = sqlite3.connect
    sqlite3.connect = lambda *arguments, **options: connect(*arguments, **{"factory": Deaf, **options})


def unflushed() -> None:
    """Flush nothing."""
    saying("PRAGMA synchronous = FULL", "PRAGMA synchronous = OFF")


def in_place() -> None:
    """Overwrite the file without a log of what is being changed."""
    saying("PRAGMA journal_mode = WAL", "PRAGMA journal_mode = OFF")


def writing(change: Callable) -> None:
    """Have the ledger change each group before it writes it."""
    from appliance.store.sqlite_ledger import SqliteLedger

    write = SqliteLedger.write

    def changed(self, group):
        change(group)
        return write(self, group)

    SqliteLedger.write = changed


def forgetful() -> None:
    """Forget the ids of QoS 2 messages that were taken."""

    def change(group):
        group.records[:] = [record for record in group.records if not isinstance(record, Received)]

    writing(change)


def swapped() -> None:
    """Write what came last first."""

    def change(group):
        group.records.reverse()
        group.entries.reverse()

    writing(change)


def unrecorded() -> None:
    """Leave some readings out."""
    count = 0

    def change(group):
        nonlocal count
        for at, (message, flags, now, rights) in enumerate(group.entries):
            if flags & RouteFlag.RECORD:
                count += 1
                if count % SOME == 0:
                    group.entries[at] = (message, int(flags & ~RouteFlag.RECORD), now, rights)

    writing(change)


def hurried() -> None:
    """Note that sessions were moved to their tables before they are, moving all the time."""
    from appliance.store.state_move import ALL_KEYS, StateMove

    restless()

    def move(self):
        with self._database.transaction():
            self._tables.set_mark("cut_key", ALL_KEYS)
        yield

    StateMove._move_sessions = move


def hasty() -> None:
    """Listen before everything is loaded."""
    from appliance.store.sqlite_ledger import SqliteLedger

    load = SqliteLedger.load

    def some(self, now):
        image = load(self, now)
        for topic in list(image.retained)[::SOME]:
            del image.retained[topic]
        return image

    SqliteLedger.load = some


def credulous() -> None:
    """Count as time without power whatever a trusted clock says."""
    from appliance.store import hubclock

    hubclock.believed_off_ms = lambda from_ms, to_ms: max(0, to_ms - from_ms)


def restless() -> None:
    """Move and checkpoint as often as there is anything to move, and in the smallest of steps."""
    from appliance.store import readings_move, sqlite_ledger, state_move, writer

    sqlite_ledger.MOVE_ROWS = 30
    sqlite_ledger.CHECKPOINT_BYTES = 60_000
    sqlite_ledger.GROWTH_BYTES = 30_000
    state_move.SCAN_ROWS = state_move.WRITE_ROWS = 5
    state_move.DELETE_ROWS = readings_move.MOVED_ROWS = 10
    writer.AFTER_S = writer.REST = 0.0
    writer.IDLE_S = 0.005


CHANGES: dict[str, Callable[[], None]] = {
    change.__name__: change
    for change in (restless, hurried, early, unflushed, in_place, forgetful, swapped, unrecorded, hasty, credulous)
}


def main() -> int:
    """Make the changes, then be the appliance."""
    for name in sys.argv.pop(1).split(","):
        CHANGES[name]()
    from appliance.cli import main as appliance

    return appliance()


if __name__ == "__main__":
    sys.exit(main())
