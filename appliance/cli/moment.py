"""`appliance sub --at`: the retained messages of a moment of the past, from the history."""

import argparse
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

from paho.mqtt.client import MQTTMessage

from appliance.cli.address import UsualPort
from appliance.cli.ask import Place, ask_service, database_without_service, place_of, time_argument
from appliance.cli.formats import check_format, rendered
from appliance.cli.subscriber import check_filter
from appliance.cli.terminal import complain, printable, writing
from appliance.cli.words import counted, local_time
from appliance.exits import CommandError, Exit
from appliance.mqtt.topics import matches

NAMED: Final = 5  # topics, in a note

Held = dict[str, Any]
"""What the API answers: values, and topics whose value is lost, or unrecorded."""


def show_moment(arguments: argparse.Namespace) -> int:
    """Print the retained message of every topic that matches at that time; %I and %U give when it was measured."""
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
    place = place_of(arguments)
    held = _ask(place, arguments.topic, at, troubles)
    if held is None:
        held = _read(place, arguments.topic, at, troubles)
    printed = unsure = 0
    out = sys.stdout.buffer
    for one in held["values"]:
        if _is_left_out(one["topic"], arguments):
            continue
        if arguments.count is not None and printed >= arguments.count:
            break
        message = MQTTMessage(topic=one["topic"].encode())
        message.payload, message.retain = one["payload"].encode(), True
        with writing():
            out.write(rendered(message, arguments, one["at"], is_terminal=sys.stdout.isatty()))
        printed += 1
        unsure += not one["sure"]
    with writing():
        out.flush()
    for note in _notes(held, unsure, arguments):
        complain(note)
    if not printed:
        complain(f"nothing is known of {', '.join(arguments.topic)} at {local_time(at)}; the history may begin later")
        return Exit.NOTHING
    return Exit.OK


def _is_left_out(topic: str, arguments: argparse.Namespace) -> bool:
    return any(matches(topic_filter, topic) for topic_filter in arguments.filter_out)


def _notes(held: Held, unsure: int, arguments: argparse.Namespace) -> Iterator[str]:
    """Say what is not certain, and what is missing."""
    if unsure:
        yield (
            f"{counted(unsure, 'value')} may not have been retained: where that was not recorded yet, or is lost, the "
            "last reading of a topic counts"
        )
    for key, why in (("lost", "their readings are not kept any more"), ("unrecorded", "it was no reading")):
        topics = [printable(topic) for topic in held[key] if not _is_left_out(topic, arguments)]
        if topics:
            more = f" and {counted(len(topics) - NAMED, 'other')}" if len(topics) > NAMED else ""
            yield f"not shown is what these held, as {why}: {', '.join(topics[:NAMED])}{more}"


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


def _ask(place: Place, filters: list[str], at: float, troubles: list[str]) -> Held | None:
    from appliance.timespan import rfc3339  # noqa: PLC0415 commands import what they need

    values: dict[str, dict[str, Any]] = {}
    others: dict[str, set[str]] = {"lost": set(), "unrecorded": set()}
    for topic_filter in filters:
        found: Any = ask_service(place, "/api/moment", troubles, filter=topic_filter, at=rfc3339(at))
        if found is None:
            return None
        values |= {one["topic"]: one for one in found["values"]}
        for key, topics in others.items():
            topics.update(found[key])
    return {"values": [values[topic] for topic in sorted(values)], **{key: sorted(others[key]) for key in others}}


def _read(place: Place, filters: list[str], at: float, troubles: list[str]) -> Held:
    from appliance.store.database import StoreError  # noqa: PLC0415
    from appliance.store.travel import held_at  # noqa: PLC0415

    path = database_without_service(place, troubles)
    try:
        held = held_at(path, filters, at)
    except StoreError as error:
        raise CommandError(str(error), Exit.DATA) from None
    return {**held._asdict(), "values": [one._asdict() for one in held.values]}
