"""How series are retained of which nothing was known: found out at a start, from the messages that are retained.

So it is after the step of the schema that begins to note it, and after a salvage. What was before stays unknown.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Mapping

from appliance.broker.message import Message
from appliance.store.history import spellings_of
from appliance.store.readings import Value, is_backlog, readings_of, stored_value
from appliance.store.retaining import DELETED, PASSING, REPLACED, Kept
from appliance.store.spelling import first
from appliance.store.travel import Past, arrived_at

Told = tuple[Message, Value]


def find_out(
    connection: sqlite3.Connection,
    topics: Mapping[int, str],
    retained: Mapping[str, Message],
    tick: int,
    now: float,
    site: str,
) -> dict[int, Kept]:
    """Give what is known of series, by id, from `tick` on; nothing arrives at it or after it but what comes next.

    What is held came before, hence PASSING. Where it is not what came last, which of the readings it is stays unknown.
    """
    told: defaultdict[str, list[Told]] = defaultdict(list)
    silent: set[str] = set()  # topics that hold what is no reading
    for topic, message in retained.items():
        if is_backlog(topic, site) or (message.expires_at is not None and message.expires_at <= now):
            continue
        found = readings_of(topic, message.payload, message.properties, at=0.0, site=site)
        if not found:
            silent.add(topic)
        for value in (value for one in found for value in one.values):
            told[value.topic].append((message, value))
    past = Past(connection, tick)
    return {
        series_id: _kept(past, series_id, told[topic], tick, now)
        if topic in told
        else Kept(REPLACED if topic in silent else DELETED)
        for series_id, topic in topics.items()
    }


def _kept(past: Past, series_id: int, told: list[Told], tick: int, now: float) -> Kept:
    """Give what is known of a series whose value some messages hold."""
    row = past.last(series_id, 0, tick - 1)
    for message, value in told:
        if row is not None and stored_value(value) != row[1]:
            continue
        expiry_s = None
        if message.expires_at is not None:
            gone_ms = 0.0 if row is None else past.age_ms(tick) - past.age_ms(arrived_at(row))
            expiry_s = round(message.expires_at - now + gone_ms / 1000)
        return Kept(PASSING, first(spellings_of(message, value)), expiry_s, _part_of(message, value))
    return Kept(PASSING, topic=_part_of(*told[0]))


def _part_of(message: Message, value: Value) -> str | None:
    return None if value.topic == message.topic else message.topic
