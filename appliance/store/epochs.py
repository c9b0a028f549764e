"""The epochs of the hub's clock, in the database: taken up at a start, written as they change."""

import os
import re
import secrets
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

from appliance.clock import clock_quality
from appliance.store.hubclock import BEFORE_EPOCH, Epoch, HubClock
from appliance.store.reading_rows import TICKS_PER_MS

SALVAGED: Final = "salvaged"  # in place of a boot, of an epoch that stands for lost ones
BOOT_ID_VARIABLE: Final = "APPLIANCE_BOOT_ID"  # for a sandbox that boots more often than its machine
BOOT_ID_FILE: Final = Path("/proc/sys/kernel/random/boot_id")
UNDASHED: Final = re.compile(r"(\w{8})(\w{4})(\w{4})(\w{4})(\w{12})")
_COLUMNS: Final = "id, boot, first_tick, last_tick, monotonic_ms, offset_ms, clock, age_ms"
# When a staged row of the last epoch arrived, as a tick.
_LAST_STAGED: Final = f"""
    SELECT max(tick + late_ms * {TICKS_PER_MS}) FROM journal JOIN stretches ON stretches.id = stretch_id
    WHERE stretches.epoch_id = ?"""  # noqa: S608 our own number


def boot_id() -> str:
    """Name of the machine's present boot; its monotonic clock counts on for as long as that stays the same."""
    if said := os.environ.get(BOOT_ID_VARIABLE):
        parts = UNDASHED.fullmatch(said)  # systemd's %b; the kernel's file has dashes, and who runs without a unit that
        return "-".join(parts.groups()) if parts else said
    try:
        return BOOT_ID_FILE.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return secrets.token_hex(16)  # unknown: then no two starts share a boot


def load_clock(
    connection: sqlite3.Connection,
    *,
    boot: str | None = None,
    quality: Callable[[], str] = clock_quality,
    present: Callable[[], tuple[float, float]] | None = None,
) -> HubClock:
    """Take up the clock where the tables and the staged rows left it; then `begin` it and `save_epochs`."""
    boot = boot_id() if boot is None else boot
    # Epochs that nothing can change any more and that need no offset are left where they are.
    found = connection.execute(
        f"SELECT {_COLUMNS} FROM epochs WHERE id = ? OR offset_ms <> 0 OR boot = ?"  # noqa: S608
        " OR id = (SELECT max(id) FROM epochs) ORDER BY id",
        (BEFORE_EPOCH, boot),
    )
    epochs = [Epoch(*fields) for fields in found]
    last_tick = 0
    if epochs:
        (staged,) = connection.execute(_LAST_STAGED, (epochs[-1].id,)).fetchone()
        last_tick = staged or 0
    return HubClock(epochs, boot=boot, last_tick=last_tick, quality=quality, present=present)


def save_epochs(connection: sqlite3.Connection, clock: HubClock) -> None:
    """Write what changed, inside the caller's transaction. If that fails, load the clock anew."""
    for epoch in clock.changed.values():
        # Not in one statement with ON CONFLICT, which would take its place in the triggers' OR IGNORE.
        found = connection.execute(
            "UPDATE epochs SET last_tick = ?, offset_ms = ?, clock = ? WHERE id = ?",
            (epoch.last_tick, epoch.offset_ms, epoch.clock, epoch.id),
        )
        if not found.rowcount:
            connection.execute(
                f"INSERT INTO epochs ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                (
                    epoch.id,
                    epoch.boot,
                    epoch.first_tick,
                    epoch.last_tick,
                    epoch.monotonic_ms,
                    epoch.offset_ms,
                    epoch.clock,
                    epoch.age_ms,
                ),
            )
    clock.changed.clear()
