"""Time travel: what every topic held at a moment of the past, as the history knows it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from appliance.mqtt.topics import matches
from appliance.store.asking import asking
from appliance.store.calendar import Calendar
from appliance.store.reading_rows import SHOWN_TEXT, SHOWN_VALUE
from appliance.store.readings import BINARY, TEXT
from appliance.store.schema_ticks import IS_STAGED


class Held(NamedTuple):
    """The value of one topic, as it was published, and when it was measured (Unix seconds)."""

    topic: str
    payload: str
    at: float


def held_at(path: Path, filters: Sequence[str], at: float) -> list[Held]:
    """Give what the topics that match held at a time, by topic; StoreError.

    The events of our agents, a press of a button, hold nothing and are left out.
    """
    with asking(path) as connection:
        connection.execute("BEGIN")
        calendar = Calendar(connection)
        tick = calendar.tick(at)
        wanted = {
            series_id: (topic, kind)
            for series_id, topic, kind, agent in connection.execute("SELECT id, topic, kind, agent FROM series")
            if not (kind == TEXT and agent is not None) and any(matches(one, topic) for one in filters)
        }
        newest: dict[int, tuple[int, float | None, str | None]] = {}
        for series_id in wanted:  # a look-up each; the next question scans what is staged, once for all
            found = connection.execute(
                f"SELECT tick, {SHOWN_VALUE}, {SHOWN_TEXT} FROM readings"  # noqa: S608 our own columns
                " WHERE series_id = ? AND tick <= ? ORDER BY tick DESC LIMIT 1",
                (series_id, tick),
            ).fetchone()
            if found is not None:
                newest[series_id] = found
        staged = connection.execute(
            f"SELECT series_id, max(tick), {SHOWN_VALUE}, {SHOWN_TEXT} FROM journal"  # noqa: S608 likewise
            f" WHERE {IS_STAGED} AND tick <= ? GROUP BY series_id",
            (tick,),
        )
        for series_id, *row in staged:
            if series_id in wanted and (series_id not in newest or newest[series_id][0] < row[0]):
                newest[series_id] = (row[0], row[1], row[2])
    held = (
        Held(wanted[series_id][0], published(wanted[series_id][1], value, text), calendar.at(when))
        for series_id, (when, value, text) in newest.items()
    )
    return sorted(held)


def published(kind: str, value: float | None, text: str | None) -> str:
    """Give a value as its publisher wrote it: ON, OFF, a number without needless digits, a text."""
    if value is None:
        return text or ""
    if kind == BINARY:
        return "ON" if value else "OFF"
    return f"{value:.15g}"
