"""When nothing could be known of a series, for a cause that is put down: its gaps as stretches of Unix milliseconds."""

import sqlite3
from math import inf
from pathlib import Path
from typing import Final

from appliance.store.asking import asking
from appliance.store.calendar import Calendar
from appliance.store.checksum import checksum
from appliance.store.gaps import (
    AGENT_OFFLINE,
    BROKER_DOWN,
    COLUMNS,
    DAMAGED,
    HUB,
    MOST,
    RESTORED,
    SENSOR_FAILING,
    UNKEPT,
)
from appliance.store.rollup import NEVER_MS, Silence

SILENT: Final = (AGENT_OFFLINE, BROKER_DOWN, SENSOR_FAILING, DAMAGED, RESTORED)
_CAUSES: Final = ", ".join("?" * len(SILENT))
_OF_IT: Final = (
    f" AND cause IN ({_CAUSES}) AND scope <> ?"  # noqa: S608 marks alone
    " AND (scope = ? OR name IN (?, (SELECT agent FROM series WHERE topic = ?)))"
)
_OPEN: Final = f"SELECT {COLUMNS}, checksum FROM gaps WHERE to_tick IS NULL AND from_tick <= ?{_OF_IT}"  # noqa: S608
_OVER: Final = f"SELECT {COLUMNS}, checksum FROM gaps WHERE to_tick >= ? AND from_tick <= ?{_OF_IT} LIMIT ?"  # noqa: S608

_LAST: Final = (
    "SELECT max(last_tick) FROM epochs",
    "SELECT max(tick) FROM journal",
    "SELECT max((SELECT max(tick) FROM readings WHERE series_id = series.id)) FROM series",
)


def ended_at(path: Path) -> float:
    """Unix seconds of the last that was recorded, where no service runs that could go on; StoreError.

    One that was stopped put its end down as a gap; one that was killed could not. Infinity for an empty history.
    """
    with asking(path) as connection:
        tick = max(connection.execute(asked).fetchone()[0] or 0 for asked in _LAST)
        return Calendar(connection).at(tick) if tick else inf


class Silences:
    """Asks on an open connection, by the times that ticks have now."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._ask = connection.execute
        self._calendar = Calendar(connection)

    def of(self, topic: str, since_ms: int, until_ms: int) -> tuple[Silence, ...]:
        """Give those of a topic, its agent and everything in a stretch of time, in order, joined where they meet.

        One that lasts ends never. A gap whose row is damaged is left out.
        """
        first, last = self._calendar.tick(since_ms / 1000), self._calendar.tick(until_ms / 1000)
        whose = (*SILENT, UNKEPT, HUB, topic, topic)
        rows = [
            *self._ask(_OPEN, (last, *whose)),
            *self._ask(_OVER, (first, last, *whose, MOST)),
        ]
        found: list[Silence] = []
        for *said, kept in rows:
            from_tick, to_tick = said[4:6]
            if checksum(*said) == kept:
                ends_ms = NEVER_MS if to_tick is None else self._ms(to_tick)
                found.append((self._ms(from_tick), ends_ms))
        return _joined(found)

    def _ms(self, tick: int) -> int:
        return round(self._calendar.at(tick) * 1000)


def _joined(found: list[Silence]) -> tuple[Silence, ...]:
    joined: list[Silence] = []
    for since_ms, until_ms in sorted(found):
        if joined and since_ms <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], until_ms)
        else:
            joined.append((since_ms, until_ms))
    return tuple(joined)
