"""`appliance sub --at`: the retained messages of a moment of the past, from the history."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any, Final

from paho.mqtt.client import MQTTMessage

from appliance.cli.address import UsualPort
from appliance.cli.ask import ask_service, database_without_service, local_time, time_argument
from appliance.cli.formats import check_format, rendered
from appliance.cli.subscriber import check_filter
from appliance.cli.terminal import complain, writing
from appliance.exits import CommandError, Exit
from appliance.mqtt.topics import matches


def show_moment(arguments: argparse.Namespace) -> int:
    """Print what every topic that matches held at that time; %I and %U give when it was measured.

    The history does not keep whether a message was retained. What has a state counts as retained: numbers, ON and
    OFF, words; events never do. That a retained message was deleted later is not known either.
    """
    check_fits(arguments)
    arguments.topic = arguments.topic or ["#"]
    for topic_filter in arguments.topic:
        check_filter(topic_filter, "FILTER")
    for topic_filter in arguments.filter_out:
        check_filter(topic_filter, "-T")
    if arguments.format is not None:
        check_format(arguments.format)
    now = time.time()
    at = time_argument(arguments, "at", now)
    if at > now:
        raise CommandError(f"--at: {local_time(at)} is still to come; give a time that has passed", Exit.USAGE)
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


CLIENT_ONLY: Final = {
    "-L": ("url", None),
    "--cafile": ("cafile", None),
    "--cert": ("cert", None),
    "--key": ("key", None),
    "-h": ("host", "localhost"),
    "-p": ("port", UsualPort(1883)),
    "-i": ("id", ""),
    "-u": ("username", None),
    "-P": ("pw", None),
    "--pw-file": ("pw_file", None),
    "-V": ("protocol_version", "mqttv311"),
    "-k": ("keepalive", 60),
    "-q": ("qos", 0),
    "-c": ("disable_clean_session", False),
    "-R": ("stale", True),
    "--retained-only": ("retained_only", False),
    "-W": ("timeout_s", None),
    "--insecure": ("insecure", False),
}
"""What only a connection to a broker can obey: flag -> where argparse keeps it, and its default."""


def check_fits(arguments: argparse.Namespace) -> None:
    """Raise CommandError where an option asks something of a broker: the past is asked of this computer's history."""
    for flag, (name, unsaid) in CLIENT_ONLY.items():
        if getattr(arguments, name) != unsaid:
            raise CommandError(
                f"{flag} does not go with --at, which asks the history of this computer; leave it out", Exit.USAGE
            )


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
