"""Holds what was found after a crash to what clients had seen acknowledged."""

from typing import Any

from tests.crash.facts import Facts, payload_of, reading_of, series_of
from tests.crash.history import Rows


def check_setting(facts: Facts, name: str, found: Any, possible: list[Any]) -> None:
    """Hold a session's subscriptions to the last that were acknowledged, or to ones asked for later."""
    if possible != [None] and found not in possible:  # None: it had not moved in yet
        facts.faults.add("subscriptions wrong", f"{name}: {found} is none of {possible[:3]} …")


def check_retained(facts: Facts, found: dict[str, bytes]) -> None:
    """Hold retained messages to the last acknowledged, or to ones sent later."""
    for topic, payload in found.items():
        if topic not in facts.retained:
            facts.faults.add("payloads that nobody sent", f"retained {topic} {payload[:40]!r}")
    for topic, numbers in facts.retained.items():
        possible = {payload_of(number, topic) for number in numbers}
        if not facts.messages[numbers[0]].acknowledged:
            possible.add(b"")
        if (seen := found.get(topic, b"")) not in possible:
            facts.faults.add("retained value wrong", f"{topic}: {seen!r}, acknowledged {numbers[0]}")


def check_history(facts: Facts, rows: Rows, *, forget: bool = False) -> None:
    """Hold the history to what was acknowledged: every reading once, in order, and none that nobody sent.

    forget: what was found, or found missing, need not be looked for again.
    """
    faults = facts.faults
    for topic, readings in rows.items():
        seen: set[int] = set()
        newest = 0
        for value, seq in readings:
            number = int(value)
            sent = facts.messages.get(number)
            exact = (
                sent is not None and topic in series_of(sent.topic) and f"{value:.3f}".encode() == reading_of(number)
            )
            if sent is None or not exact or sent.seq != seq:
                faults.add("payloads that nobody sent", f"history of {topic}: {value} seq {seq}")
                continue
            if number in seen and (sent.qos == 2 or sent.seq is not None or not sent.again):
                faults.add("history rows twice", f"{topic}: {number}")
            if number not in seen and number < newest:
                faults.add("history out of order", f"{topic}: {number} after {newest}")
            seen.add(number)
            newest = max(newest, number)
        for number in facts.series[topic] - seen:
            if facts.messages[number].acknowledged:
                faults.add("history rows lost", f"{topic}: {number}")
                if forget:
                    facts.series[topic].discard(number)
        if forget:
            facts.series[topic] -= seen
