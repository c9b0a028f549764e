"""The names in the history, each written once: series, runs of agents, and stretches of rows that share the rest."""

import sqlite3
from typing import Final

from appliance.devices import Device
from appliance.store.readings import BINARY, MAX_TOPIC_CHARS, NUMBER, TEXT, Frame, Measured

KIND_OF_ROLE: Final = {"sensor": NUMBER, "binary_sensor": BINARY, "switch": BINARY, "event": TEXT}
WIDTH_OF_KIND: Final = {TEXT: 0, BINARY: 1, NUMBER: 2}  # a series that said ON and then 0.5 is a series of numbers
MAX_CACHED: Final = 1_024  # runs, and stretches


class Names:
    """Gives ids, and writes what is new inside the caller's transaction. Make a new one when a transaction failed.

    `series` holds id and kind of each topic.
    """

    def __init__(self, connection: sqlite3.Connection, max_series: int) -> None:
        self._ask = connection.execute
        self._max_series = max_series
        self._runs: dict[tuple[str, str], int] = {}
        self._stretches: dict[tuple[int, int | None, str | None, str | None, int | None], int] = {}
        # A failed transaction may leave names here whose rows were rolled back: hence "make a new one".
        self.series: dict[str, tuple[int, str]] = {
            topic: (series_id, kind) for series_id, topic, kind in self._ask("SELECT id, topic, kind FROM series")
        }

    def learn(self, device: Device) -> int:
        """Keep the names and units an agent gives its readings; how many series found no room."""
        refused = 0
        for sensor in device.sensors:
            if len(sensor.topic) > MAX_TOPIC_CHARS or not sensor.topic.isprintable():
                continue
            series_id = self.series_id(sensor.topic, KIND_OF_ROLE[sensor.role])
            if series_id is None:
                refused += 1
                continue
            said = (sensor.unit, sensor.name or None, sensor.kind, device.agent, series_id)
            self._ask(
                "UPDATE series SET unit = ?1, name = ?2, quantity = ?3, agent = ?4 WHERE id = ?5"
                " AND (unit, name, quantity, agent) IS NOT (?1, ?2, ?3, ?4)",
                said,
            )
        return refused

    def series_id(self, topic: str, kind: str) -> int | None:
        """Row of the topic's series, made if there is room; None beyond the cap."""
        known = self.series.get(topic)
        if known is None:
            if len(self.series) >= self._max_series:
                return None
            series_id = self._ask("INSERT INTO series (topic, kind) VALUES (?, ?)", (topic, kind)).lastrowid
            assert series_id is not None  # noqa: S101 an INSERT that did not raise has one
            self.series[topic] = (series_id, kind)
            return series_id
        series_id, widest = known
        if kind != widest and WIDTH_OF_KIND[kind] > WIDTH_OF_KIND[widest]:
            self._ask("UPDATE series SET kind = ? WHERE id = ?", (kind, series_id))
            self.series[topic] = (series_id, kind)
        return series_id

    def run_id(self, name: tuple[str, str]) -> int:
        """Row of an agent's run."""
        run_id = self._runs.get(name)
        if run_id is None:
            self._ask("INSERT OR IGNORE INTO runs (agent, run) VALUES (?, ?)", name)
            (run_id,) = self._ask("SELECT id FROM runs WHERE agent = ? AND run = ?", name).fetchone()
            if len(self._runs) >= MAX_CACHED:
                self._runs.clear()
            self._runs[name] = run_id
        return run_id

    def stretch_id(self, epoch_id: int, run_id: int | None, one: Measured | Frame, *, bundled: bool = False) -> int:
        """Row of what a reading shares with others of its epoch and run; `bundled` of one that came in a backlog."""
        same = (epoch_id, run_id, one.clock, one.quality, 1 if bundled else None)
        stretch_id = self._stretches.get(same)
        if stretch_id is None:
            found = self._ask(
                "SELECT id FROM stretches WHERE epoch_id = ? AND run_id IS ? AND clock IS ? AND quality IS ?"
                " AND bundled IS ?",
                same,
            ).fetchone()
            if found is None:
                made = self._ask(
                    "INSERT INTO stretches (epoch_id, run_id, clock, quality, bundled) VALUES (?, ?, ?, ?, ?)", same
                )
                found = (made.lastrowid,)
            if len(self._stretches) >= MAX_CACHED:
                self._stretches.clear()
            stretch_id = self._stretches[same] = int(found[0])
        return stretch_id
