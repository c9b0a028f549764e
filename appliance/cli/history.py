"""`appliance history`: recorded readings of a topic, from a running service or from its file when none runs."""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

from appliance.cli.ask import (
    Place,
    add_place,
    ask_service,
    check_order,
    database_without_service,
    find_database,
    place_of,
    time_argument,
    unknown_topic,
)
from appliance.cli.commands import Commands
from appliance.cli.gaps import gap_line, gap_object, in_order
from appliance.cli.summary import ask_summaries, summary_line
from appliance.cli.terminal import Colour, coloured, complain, printable, say
from appliance.cli.words import local_time
from appliance.exits import CommandError, Exit

MAX_ROWS = 100_000
UNSYNCED = "unsynced"
ANY_AT = 253_402_214_400.0  # the last day that a time can be written in: whatever a clock has shown


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the arguments of this file's command."""
    history = commands.add_parser("history", help="print recorded readings of a topic", allow_abbrev=False)
    history.add_argument("topic", metavar="TOPIC", help="for example home/kitchen/temperature")
    history.add_argument("--since", default="24h", metavar="WHEN", help="30m, 1h, 7d ago, or a time (default 24h)")
    history.add_argument("--until", default="now", metavar="WHEN", help="likewise (default now)")
    history.add_argument("--limit", type=limit, default=1_000, metavar="N", help="the newest N rows (default 1000)")
    history.add_argument(
        "--every", choices=("1m", "1h", "1d"), help="minutes, hours or days in place of readings: mean, min, max, last"
    )
    history.add_argument("--json", action="store_true", help="as a JSON array of objects")
    add_place(history)
    history.set_defaults(command=history_command)


def limit(text: str) -> int:
    """Read a number of rows."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= MAX_ROWS):
        raise argparse.ArgumentTypeError(f"'{text}' is no number of rows; give one from 1 to {MAX_ROWS}")
    return int(text)


def history_command(arguments: argparse.Namespace) -> int:
    """Print recorded readings."""
    at = time.time()
    window = {name: time_argument(arguments, name, at) for name in ("since", "until")}
    check_order(window["since"], window["until"], at)
    query = {**window, "topic": arguments.topic, "limit": arguments.limit}
    place = place_of(arguments)
    if arguments.every is not None:
        return show(arguments, ask_summaries(place, {**query, "every": arguments.every}), summary_line)
    troubles: list[str] = []
    found = _ask_history(place, query, troubles) or _read_history(place, query, troubles)
    return show(arguments, found, row_line)


def show(
    arguments: argparse.Namespace, found: dict[str, Any], line: Callable[[dict[str, Any], str, str | None], str]
) -> int:
    """Print rows, with the gaps between them, and give the exit code; `line` makes one of a row, its kind and unit."""
    rows = found["rows"]
    if arguments.json:
        say(json.dumps([gap_object(one) if "cause" in one else one for one in in_order(found)], ensure_ascii=False))
        return Exit.OK
    for one in in_order(found):
        say(gap_line(one) if "cause" in one else line(one, found["kind"], found["unit"]))
    if not rows:
        complain_empty(place_of(arguments), arguments.topic)
    if any(row.get("clock") == UNSYNCED for row in rows):  # periods have none
        complain("some times may be wrong: the clock of the computer that measured had not been set by the network")
    if len(rows) >= arguments.limit:
        complain(f"only the newest {arguments.limit} rows; --limit gives more")
    return Exit.OK if rows or found["gaps"] else Exit.NOTHING


def complain_empty(place: Place, topic: str) -> None:
    """Say that there are no readings in that time, and where the newest one is."""
    empty = f"no readings of {topic} in that time"
    found = _ask_history(place, {"topic": topic, "since": 0.0, "until": ANY_AT, "limit": 1}, [])
    if found is not None:
        newest = [(row["at"], row["clock"]) for row in found["rows"]]
    else:
        from appliance.store.database import StoreError  # noqa: PLC0415 commands import what they need
        from appliance.store.history_reader import HistoryReader  # noqa: PLC0415

        try:
            rows = HistoryReader(find_database(place)).rows(topic, 0.0, ANY_AT, 1)
        except StoreError as error:
            raise CommandError(str(error), Exit.DATA) from None
        newest = [(row.at, row.clock) for row in rows]
    if not newest:
        complain(empty)
        return
    ((at, clock),) = newest
    unset = ", measured while the clock was not set" if clock == UNSYNCED else ""
    complain(f"{empty}; the newest is of {local_time(at)}{unset}")


def row_line(row: dict[str, Any], kind: str, unit: str | None) -> str:
    """One reading: local time, value with its unit, and what is odd about it."""
    when = local_time(row["at"])
    if row["value"] is None:
        value = printable(row["text"] or "")
    elif kind == "binary":
        value = "ON" if row["value"] else "OFF"
    else:
        value = f"{row['value']:.12g}" + (f" {printable(unit)}" if unit else "")
    odd = "" if row["quality"] == "ok" else coloured(f"  ({printable(row['quality'])})", Colour.DIM)
    return f"{when}  {value}{odd}"


def _ask_history(place: Place, query: dict[str, Any], troubles: list[str]) -> dict[str, Any] | None:
    from appliance.timespan import rfc3339  # noqa: PLC0415

    times = {name: rfc3339(query[name]) for name in ("since", "until")}
    found: dict[str, Any] | None = ask_service(place, "/api/history", troubles, raw=1, **{**query, **times})
    return found


def _read_history(place: Place, query: dict[str, Any], troubles: list[str]) -> dict[str, Any]:
    """Read the database itself, as no service runs; CommandError."""
    from msgspec.structs import asdict  # noqa: PLC0415

    from appliance.store.database import StoreError  # noqa: PLC0415
    from appliance.store.gap_reader import GapReader  # noqa: PLC0415
    from appliance.store.history_reader import HistoryReader  # noqa: PLC0415

    path = database_without_service(place, troubles)
    reader = HistoryReader(path)
    try:
        series = {one.topic: one for one in reader.topics()}
        one = series.get(query["topic"])
        if one is None:
            raise unknown_topic(query["topic"], series)
        rows = reader.rows(one.topic, query["since"], query["until"], query["limit"])
        from_at = rows[0].at if len(rows) >= query["limit"] else query["since"]
        gaps = GapReader(path).of(one.topic, [row.at for row in rows], from_at, query["until"])
    except StoreError as error:
        raise CommandError(str(error), Exit.DATA) from None
    return {
        "kind": one.kind,
        "unit": one.unit,
        "rows": [asdict(row) for row in rows],
        "gaps": [gap.told() for gap in gaps],
    }
