"""Time travel: what every topic held at a moment of the past, as the history knows it."""

from collections.abc import Iterable
from typing import NamedTuple

from appliance.store.answers import Series
from appliance.store.history_reader import HistoryReader
from appliance.store.readings import BINARY, EVENT_KEYS, TEXT


class Held(NamedTuple):
    """The value of one topic, as it was published, and when it was measured (Unix seconds)."""

    topic: str
    payload: str
    at: float


def held_at(history: HistoryReader, filters: Iterable[str], at: float) -> list[Held]:
    """Give what the topics that match held at a time, by topic; StoreError.

    Whether a message was retained is not recorded: a topic counts where it has a state. Events, such as a press of a
    button, hold nothing and are left out.
    """
    series = {one.topic: one for one in history.topics()}
    held: dict[str, Held] = {}
    for topic_filter in filters:
        for topic, row in history.at(at, topic_filter).items():
            known = series.get(topic)
            if known is not None and not is_event(known):
                held[topic] = Held(topic, published(known.kind, row.value, row.text), row.at)
    return sorted(held.values())


def is_event(series: Series) -> bool:
    """Whether a series tells what happened and not how something is: words of our agents, or of a key for events."""
    return series.kind == TEXT and (series.agent is not None or series.topic.rpartition("/")[2] in EVENT_KEYS)


def published(kind: str, value: float | None, text: str | None) -> str:
    """Give a value as its publisher wrote it: ON, OFF, a number without needless digits, a text."""
    if value is None:
        return text or ""
    if kind == BINARY:
        return "ON" if value else "OFF"
    return f"{value:.15g}"
