"""A group that a fault of ours keeps from being written whole: written in parts, until only what is faulty is left."""

import logging
import sqlite3
from typing import Final

from appliance.store.group import Group, halves, is_promised, shown
from appliance.store.opened import Opened
from appliance.store.written import WriterStats

LOG: Final = logging.getLogger(__name__)
MISUSE: Final = (  # the statement is wrong, not the disk: trying again cannot help
    sqlite3.IntegrityError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    sqlite3.DataError,
    sqlite3.NotSupportedError,
)


def write_what_fits(opened: Opened, part: Group, stats: WriterStats) -> bool:
    """Write a group, or what can be written of it; True where something is left out that somebody waits for.

    sqlite3.Error, OSError and StoreError say that the disk fails. What is left out is logged and counted.
    """
    ledger = opened.ledger
    if ledger is None:
        ledger = opened.open()
        ledger.settle()
    try:
        ledger.write(part)
    except (OSError, sqlite3.Error) as error:
        if not isinstance(error, MISUSE) or opened.suspect(error):
            raise
    except Exception as error:  # noqa: BLE001 told already, by who found the group
        LOG.debug("a part of it cannot be written either: %s", error)
    else:
        return False
    opened.let_go()  # with what it believed to have written
    parts = halves(part)
    if not parts:
        stats.misfits += 1
        LOG.error("left out: %s", shown(part))
        return is_promised(part)
    owed = [write_what_fits(opened, smaller, stats) for smaller in parts]
    return any(owed)
