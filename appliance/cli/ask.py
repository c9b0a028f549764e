"""Ask a running service, or find the files that it left: what commands have in common."""

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance.cli.terminal import complain
from appliance.cli.words import local_time
from appliance.exits import CommandError, Exit
from appliance.places import control_paths, database_paths, hidden, present

if TYPE_CHECKING:
    from appliance.control import ControlClient

ANSWER_S = 10.0  # the longest wait for an answer
DATA_HELP = "data directory of the service, where it is not one of the usual ones"


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
    data_dir: Path | None,
    path: str,
    troubles: list[str],
    *,
    config: Path | None = None,
    timeout_s: float = ANSWER_S,
    body: Mapping[str, object] | None = None,
    **query: object,
) -> Any:
    """Ask the first service that answers; None when none does, with the reasons; CommandError when it refuses.

    With a `body` it is told something. `config`: see control_paths.
    """
    from appliance.control import ControlClient, ControlRefused, ControlUnavailable  # noqa: PLC0415

    for socket in control_paths(data_dir, config):
        if not present(socket) and (data_dir is None or not hidden(socket)):
            continue
        client = ControlClient(socket, timeout_s)
        try:
            return client.get(path, **query) if body is None else client.post(path, body)
        except ControlUnavailable as error:
            troubles.append(str(error))
        except ControlRefused as error:
            if error.status == 404 and "topic" in query and (known := _topics(client)) is not None:
                raise unknown_topic(str(query["topic"]), known) from None
            raise CommandError(str(error), Exit.NOTHING if error.status == 404 else Exit.UNAVAILABLE) from None
    return None


def nobody_answers(data_dir: Path | None, troubles: Iterable[str]) -> CommandError:
    """Say that no service answers, and why."""
    return CommandError(
        "; ".join(troubles)
        or f"no appliance answers at {listed(control_paths(data_dir))}; "
        "start it with `appliance run` or `appliance demo`, or name its directory with --data",
        Exit.UNAVAILABLE,
    )


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
