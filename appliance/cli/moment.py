"""`appliance sub --at`: the retained messages of a moment of the past, from the history."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from paho.mqtt.client import MQTTMessage

from appliance.cli.ask import ask_service, database_without_service, local_time, time_argument
from appliance.cli.formats import check_format, rendered
from appliance.cli.subscriber import check_filter
from appliance.cli.terminal import complain, writing
from appliance.exits import CommandError, Exit
from appliance.mqtt.topics import matches


def show_moment(arguments: argparse.Namespace) -> int:
    """Print what every topic that matches held at that time; %I and %U give when it was measured."""
    for topic_filter in (*arguments.topic, *arguments.filter_out):
        check_filter(topic_filter)
    if arguments.format is not None:
        check_format(arguments.format)
    at = time_argument(arguments, "at", time.time())
    troubles: list[str] = []
    held = _ask(arguments.data, arguments.topic, at, troubles)
    if held is None:
        held = _read(arguments.data, arguments.topic, at, troubles)
    printed = 0
    out = sys.stdout.buffer
    for one in held:
        if any(matches(topic, one["topic"]) for topic in arguments.filter_out):
            continue
        if arguments.count is not None and printed >= arguments.count:
            break
        message = MQTTMessage(topic=one["topic"].encode())
        message.payload, message.retain = one["payload"].encode(), True
        with writing():
            out.write(rendered(message, arguments, one["at"], is_terminal=sys.stdout.isatty()))
        printed += 1
    with writing():
        out.flush()
    if not printed:
        complain(f"nothing is known of {', '.join(arguments.topic)} at {local_time(at)}; the history may begin later")
        return Exit.NOTHING
    return Exit.OK


def _ask(data_dir: Path | None, filters: list[str], at: float, troubles: list[str]) -> list[dict[str, Any]] | None:
    from appliance.timespan import rfc3339  # noqa: PLC0415 commands import what they need

    held: dict[str, dict[str, Any]] = {}
    for topic_filter in filters:
        found: Any = ask_service(data_dir, "/api/moment", troubles, filter=topic_filter, at=rfc3339(at))
        if found is None:
            return None
        held |= {one["topic"]: one for one in found["values"]}
    return [held[topic] for topic in sorted(held)]


def _read(data_dir: Path | None, filters: list[str], at: float, troubles: list[str]) -> list[dict[str, Any]]:
    from appliance.store.database import StoreError  # noqa: PLC0415
    from appliance.store.history_reader import HistoryReader  # noqa: PLC0415
    from appliance.store.travel import held_at  # noqa: PLC0415

    path = database_without_service(data_dir, troubles)
    try:
        return [one._asdict() for one in held_at(HistoryReader(path), filters, at)]
    except StoreError as error:
        raise CommandError(str(error), Exit.DATA) from None
