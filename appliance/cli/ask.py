"""`appliance status` and `history`: what a running service says, or its files when none runs."""

import argparse
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance.cli.terminal import Colour, coloured, complain, printable, say
from appliance.exits import CommandError, Exit
from appliance.places import control_paths, database_paths, hidden, present

if TYPE_CHECKING:
    from appliance.control import ControlClient

Commands = argparse._SubParsersAction  # noqa: SLF001 argparse has no public name for it
MAX_ROWS = 100_000
ANSWER_S = 10.0  # the longest wait for an answer
CLOCK_UNSET = "clock unset"  # then readings are there
UNSYNCED = "unsynced"
ANY_AT = 253_402_214_400.0  # the last day that a time can be written in: whatever a clock has shown
DATA_HELP = "data directory of the service, where it is not one of the usual ones"


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the arguments of this file's commands."""
    status = commands.add_parser("status", help="say how the running service is", allow_abbrev=False)
    status.add_argument("--data", type=Path, metavar="DIR", help=DATA_HELP)
    status.add_argument("--json", action="store_true", help="as JSON")
    status.set_defaults(command=status_command)

    history = commands.add_parser("history", help="print recorded readings of a topic", allow_abbrev=False)
    history.add_argument("topic", metavar="TOPIC", help="for example home/kitchen/temperature")
    history.add_argument("--since", default="24h", metavar="WHEN", help="30m, 1h, 7d ago, or a time (default 24h)")
    history.add_argument("--until", default="now", metavar="WHEN", help="likewise (default now)")
    history.add_argument("--limit", type=limit, default=1_000, metavar="N", help="the newest N rows (default 1000)")
    history.add_argument(
        "--every", choices=("1m", "1h", "1d"), help="minutes, hours or days in place of readings: mean, min, max, last"
    )
    history.add_argument("--json", action="store_true", help="as a JSON array of objects")
    history.add_argument("--data", type=Path, metavar="DIR", help=DATA_HELP)
    history.set_defaults(command=history_command)


def limit(text: str) -> int:
    """Read a number of rows."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= MAX_ROWS):
        raise argparse.ArgumentTypeError(f"'{text}' is no number of rows; give one from 1 to {MAX_ROWS}")
    return int(text)


def status_command(arguments: argparse.Namespace) -> int:
    """Say how the service is."""
    troubles: list[str] = []
    found = ask_service(arguments.data, "/api/status", troubles)
    if found is None:
        raise CommandError(
            "; ".join(troubles)
            or f"no appliance answers at {listed(control_paths(arguments.data))}; "
            "start it with `appliance run` or `appliance demo`, or name its directory with --data",
            Exit.UNAVAILABLE,
        )
    if arguments.json:
        say(json.dumps(found, ensure_ascii=False))
        return Exit.OK
    for line in status_lines(found):
        say(line)
    return Exit.OK


SHOWN_BYTES = 1_000_000  # what waits is worth a line from here

TROUBLES = {
    "messages_dropped": ("dropped", "message"),
    "subscriptions_refused": ("refused", "subscription"),
    "connections_closed": ("closed", "connection"),
    "connections_turned_away": ("refused", "connection"),
    "sessions_ended": ("ended", "session"),
}
"""What the status counts by cause, and the words for it."""


def status_lines(status: dict[str, Any]) -> Iterable[str]:
    """Put the service's numbers into words."""
    yield f"appliance {status['version']}, running for {duration(status['uptime_s'])} (process {status['pid']})"
    yield f"  MQTT      {status['mqtt'] or 'no port'}"
    yield f"  page      {'http://' + status['web'] + '/' if status['web'] else 'no port'}"
    for listener in status["listeners"]:
        yield f"  also at   {printable(listener)}"
    yield f"  data      {status['data_dir']}"
    agents = ", ".join(
        f"{printable(agent)} {coloured(printable(state), Colour.GREEN if state == 'online' else Colour.RED)}"
        for agent, state in status["agents"].items()
    )
    yield f"  agents    {agents or 'none yet'}"
    yield f"  clients   {status['clients_now']} connected, {counted(status['sessions_now'], 'session')}"
    yield f"  messages  {status['messages_received']} in, {status['messages_sent']} out"
    yield f"  retained  {status['retained_now']}"
    for key, (verb, thing) in TROUBLES.items():
        for cause, count in status[key].items():
            yield f"  {verb:9} {counted(count, thing)} ({cause})"
    yield from store_lines(status["store"])
    yield from history_lines(status["history"])
    if gaps := status.get("gaps"):
        yield from gap_lines(gaps)


def store_lines(store: dict[str, Any] | None) -> Iterable[str]:
    """Put the store's numbers into words."""
    if store is None:
        yield "  store     off: everything is gone when the service ends"
        return
    waits = "" if store["waits"] else "; acknowledgements do not wait for it"
    yield (
        f"  store     {megabytes(store['size_bytes'])} of {megabytes(store['max_bytes'])}, "
        f"{counted(store['commits'], 'commit')} since the start{waits}"
    )
    if store["free_bytes"] is not None:
        yield f"            {megabytes(store['free_bytes'])} free on its disk"
    hours = store["day_hours"]
    span = "24 h" if hours >= 24 else f"{hours:.1f} h" if hours >= 1 else f"{max(1, round(hours * 60))} min"
    if store["written_day_bytes"] is not None:
        yield (
            f"            {megabytes(store['written_day_bytes'])} written in the last {span} "
            f"of {megabytes(store['budget_day_bytes'])} a day"
        )
    if store["device_written_day_bytes"] is not None:
        yield f"            {megabytes(store['device_written_day_bytes'])} by all programs to its disk"
    if store["budget_left_bytes"] < 0:
        over = megabytes(-store["budget_left_bytes"])
        yield f"            {over} over the budget: messages wait {store['window_ms']:g} ms to be written together"
    if store["waiting_bytes"] > SHOWN_BYTES:
        yield f"            {megabytes(store['waiting_bytes'])} wait to be written"
    if store["dropped"]:
        yield f"            {counted(store['dropped'], 'message')} (QoS 0) found no room to wait"
    if store["left_out"]:
        yield f"            {counted(store['left_out'], 'message')} could not be written; the log says why"
    if store["trouble"]:
        yield f"            {coloured(store['trouble'], Colour.RED)}"
    if lack := store.get("reserve"):
        yield f"            {coloured(lack, Colour.RED)}"
    for damage in store["damages"]:
        yield f"            {coloured(damage, Colour.RED)}"
    if cut := store.get("cut"):
        yield f"            {printable(cut['text'])}"
    if store["refuses"]:
        yield f"            {coloured('nothing is acknowledged that would have to be kept', Colour.RED)}"


def history_lines(history: dict[str, Any] | None) -> Iterable[str]:
    """Put the history's numbers into words."""
    if history is None:
        yield "  history   off"
        return
    yield f"  history   {counted(history['rows'], 'row')} since the start"
    if history["not_allowed_to_publish"]:
        values = counted(history["not_allowed_to_publish"], "value")
        yield f"            {values} of topics that their agent may not publish to"
    if history["beyond_max_series"]:
        values = counted(history["beyond_max_series"], "value")
        yield f"            not recorded: {values} of topics beyond history.max_series"


def gap_lines(gaps: dict[str, Any]) -> Iterable[str]:
    """Put what the last day was not recorded of into words."""
    if gaps["clock_unset"]:
        unset = "the clock is not set: until it is, nobody knows the times of readings"
        yield f"            {coloured(unset, Colour.RED)}"
    if newest := gaps["newest"]:
        lasts = f", {gaps['lasting']} of them {'lasts' if gaps['lasting'] == 1 else 'last'}" if gaps["lasting"] else ""
        yield f"            {counted(gaps['day'], 'gap')} in the last 24 h{lasts}"
        yield f"            the newest since {local_time(newest['since'])}: {cause(newest)}"


def megabytes(size_bytes: int) -> str:
    """Say a size as people do."""
    return f"{size_bytes / 1_000_000:.1f} MB"


def counted(number: int, thing: str) -> str:
    """Say how many things there are."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def duration(seconds: float) -> str:
    """Give a time span in its two largest units."""
    left = int(seconds)
    parts: list[str] = []
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, length)
        if count or parts or unit == "s":
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def history_command(arguments: argparse.Namespace) -> int:
    """Print recorded readings."""
    at = time.time()
    window = {name: time_argument(arguments, name, at) for name in ("since", "until")}
    check_order(window["since"], window["until"], at)
    query = {**window, "topic": arguments.topic, "limit": arguments.limit}
    if arguments.every is not None:
        from appliance.cli.summary import summary_command  # noqa: PLC0415 it imports this module

        return summary_command(arguments, {**query, "every": arguments.every})
    troubles: list[str] = []
    found = _ask_history(arguments.data, query, troubles) or _read_history(arguments.data, query, troubles)
    rows = found["rows"]
    if arguments.json:
        say(json.dumps([gap_object(one) if "cause" in one else one for one in in_order(found)], ensure_ascii=False))
        return Exit.OK
    for one in in_order(found):
        say(gap_line(one) if "cause" in one else row_line(one, found["kind"], found["unit"]))
    if not rows:
        complain_empty(arguments.data, arguments.topic)
    if any(row["clock"] == UNSYNCED for row in rows):
        complain("some times may be wrong: the clock of the computer that measured had not been set by the network")
    if len(rows) >= arguments.limit:
        complain(f"only the newest {arguments.limit} rows; --limit gives more")
    return Exit.OK if found["rows"] or found["gaps"] else Exit.NOTHING


def complain_empty(data_dir: Path | None, topic: str) -> None:
    """Say that there are no readings in that time, and where the newest one is."""
    empty = f"no readings of {topic} in that time"
    found = _ask_history(data_dir, {"topic": topic, "since": 0.0, "until": ANY_AT, "limit": 1}, [])
    if found is not None:
        newest = [(row["at"], row["clock"]) for row in found["rows"]]
    else:
        from appliance.store.database import StoreError  # noqa: PLC0415 commands import what they need
        from appliance.store.history_reader import HistoryReader  # noqa: PLC0415

        try:
            rows = HistoryReader(find_database(data_dir)).rows(topic, 0.0, ANY_AT, 1)
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


def in_order(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows, with gaps where nothing was recorded, in the order of time."""
    rows: list[dict[str, Any]] = found["rows"]
    return sorted([*rows, *found["gaps"]], key=lambda one: one["since"] if "cause" in one else one["at"])


def gap_line(gap: dict[str, Any]) -> str:
    """One gap: from when to when, and why."""
    begins = local_time(gap["since"])
    if gap["until"] is None:
        until = "until now"
    else:
        until = f"until {local_time(gap['until'])} ({duration(gap['until'] - gap['since'])})"
    what = "times are not sure" if gap["cause"] == CLOCK_UNSET else "nothing"
    return coloured(f"{begins}  -- {what} {until}: {cause(gap)}", Colour.DIM)


def cause(gap: dict[str, Any]) -> str:
    """Why there is a gap."""
    whose = f" {printable(gap['name'])}" if gap["scope"] == "agent" else ""
    detail = f" ({printable(gap['detail'])})" if gap["detail"] else ""
    return f"{printable(gap['cause'])}{whose}{detail}"


def gap_object(gap: dict[str, Any]) -> dict[str, Any]:
    """Give a gap as it stands among the rows of --json: `gap` is the cause."""
    return {"gap": gap["cause"], **{key: value for key, value in gap.items() if key != "cause"}}


def local_time(at: float) -> str:
    """Give a time of this computer's zone to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _ask_history(data_dir: Path | None, query: dict[str, Any], troubles: list[str]) -> dict[str, Any] | None:
    from appliance.timespan import rfc3339  # noqa: PLC0415

    times = {name: rfc3339(query[name]) for name in ("since", "until")}
    found: dict[str, Any] | None = ask_service(data_dir, "/api/history", troubles, raw=1, **{**query, **times})
    return found


def _read_history(data_dir: Path | None, query: dict[str, Any], troubles: list[str]) -> dict[str, Any]:
    """Read the database itself, as no service runs; CommandError."""
    from msgspec.structs import asdict  # noqa: PLC0415

    from appliance.store.database import StoreError  # noqa: PLC0415
    from appliance.store.gap_reader import GapReader  # noqa: PLC0415
    from appliance.store.history_reader import HistoryReader  # noqa: PLC0415

    path = database_without_service(data_dir, troubles)
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


def database_without_service(data_dir: Path | None, troubles: Iterable[str]) -> Path:
    """Give the database to read itself, as no service answers, and say so; CommandError where there is none."""
    from appliance.control import NOBODY  # noqa: PLC0415 as above

    path = find_database(data_dir, "; ".join(troubles))
    for trouble in troubles:
        if not trouble.startswith(NOBODY):  # which the next line says too
            complain(trouble)
    complain(f"no appliance answers; this is from {path}")
    return path


def database_in_use(data_dir: Path | None) -> Path:
    """Give the database of the service that answers, else one that lies where services keep theirs; CommandError."""
    return database_and_service(data_dir)[0]


def database_and_service(data_dir: Path | None) -> tuple[Path, bool]:
    """Give the database as `database_in_use` does, and whether a service answers; CommandError."""
    troubles: list[str] = []
    status = ask_service(data_dir, "/api/status", troubles)
    if status is None:
        return find_database(data_dir, "; ".join(troubles), Exit.NOTHING), False
    return find_database(Path(status["data_dir"])), True


def find_database(data_dir: Path | None, trouble: str = "", missing: Exit = Exit.UNAVAILABLE) -> Path:
    """Give the database that a service of this user or this computer keeps; CommandError where there is none.

    `missing` is the exit code where there is none: a command that needs no service misses a file.
    """
    path = next(filter(present, database_paths(data_dir)), None)
    if path is None:
        secret = next(filter(hidden, database_paths(data_dir)), None)
        cure = (
            f"{secret} may not be looked at; run the command as the user of the appliance, or with sudo"
            if secret
            else f"no appliance answers and there is no history at {listed(database_paths(data_dir))}; "
            "start it with `appliance run` or `appliance demo`, or name its directory with --data"
        )
        raise CommandError(trouble or cure, Exit.UNAVAILABLE if trouble or secret else missing)
    return path


def check_order(since_at: float, until_at: float, now: float) -> None:
    """Raise CommandError where nothing can lie between two times of the command line."""
    if since_at < until_at:
        return
    if since_at >= now:
        raise CommandError(f"--since: {local_time(since_at)} is still to come; give a time that has passed", Exit.USAGE)
    raise CommandError("--since is not before --until; swap them", Exit.USAGE)


def time_argument(arguments: argparse.Namespace, name: str, at: float) -> float:
    """Read a point in time of the command line; CommandError."""
    from appliance.timespan import parse_time  # noqa: PLC0415 commands import what they need

    try:
        return parse_time(getattr(arguments, name), at)
    except ValueError as error:
        raise CommandError(f"--{name}: {error}", Exit.USAGE) from None


def unknown_topic(topic: str, known: Iterable[str]) -> CommandError:
    """Say that a topic has no history, and which of those that have one it may be."""
    from difflib import get_close_matches  # noqa: PLC0415

    close = get_close_matches(topic, list(known), n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else "`appliance sub -v -t '#'` shows what is published"
    return CommandError(f"{topic} has no history; {hint}", Exit.NOTHING)


def ask_service(
    data_dir: Path | None, path: str, troubles: list[str], *, timeout_s: float = ANSWER_S, **query: object
) -> Any:
    """Ask the first service that answers; None when none does, with the reasons; CommandError when it refuses."""
    from appliance.control import ControlClient, ControlRefused, ControlUnavailable  # noqa: PLC0415

    for socket in control_paths(data_dir):
        if not present(socket) and (data_dir is None or not hidden(socket)):
            continue
        client = ControlClient(socket, timeout_s)
        try:
            return client.get(path, **query)
        except ControlUnavailable as error:
            troubles.append(str(error))
        except ControlRefused as error:
            if error.status == 404 and "topic" in query and (known := _topics(client)) is not None:
                raise unknown_topic(str(query["topic"]), known) from None
            raise CommandError(str(error), Exit.NOTHING if error.status == 404 else Exit.UNAVAILABLE) from None
    return None


def _topics(client: "ControlClient") -> list[str] | None:
    """Everything that has a history; None where nothing is recorded."""
    from appliance.control import ControlRefused, ControlUnavailable  # noqa: PLC0415

    try:
        topics: Any = client.get("/api/topics")
    except (ControlRefused, ControlUnavailable):
        return None
    return [one["topic"] for one in topics]


def listed(paths: Iterable[Path]) -> str:
    """Paths in a line."""
    return ", ".join(map(str, paths))
