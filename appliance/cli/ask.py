"""Ask a running service, or find the files that it left: what commands have in common."""

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from appliance.cli.terminal import complain
from appliance.cli.words import local_time
from appliance.exits import CommandError, Exit
from appliance.places import SYSTEM_CONFIG, SYSTEM_DATA_DIR, control_paths, database_paths, hidden, present

if TYPE_CHECKING:
    from appliance.control import ControlClient

ANSWER_S = 10.0  # the longest wait for an answer
DATA_HELP = "data directory of the service, where it is not one of the usual ones"
START = "start it with `appliance run` or `appliance demo`, or name it with --config or --data"
CONFIG_HELP = "TOML file of the service, which names that directory"


class Place(NamedTuple):
    """Where a command looks for a service: in its data directory, or the usual ones, and the file that names it."""

    data_dir: Path | None = None
    config: Path | None = None  # as control_paths has it


def add_place(parser: argparse.ArgumentParser, only: str = "") -> None:
    """Add the options that say which service is meant; `only` says when they count."""
    parser.add_argument("--config", type=Path, metavar="FILE", help=only + CONFIG_HELP)
    parser.add_argument("--data", type=Path, metavar="DIR", help=only + DATA_HELP)


def place_of(arguments: argparse.Namespace) -> Place:
    """Read them; CommandError where the file is no configuration."""
    from appliance.cli.service import configured, data_dir_of  # noqa: PLC0415 commands import what they need
    from appliance.config import ConfigError  # noqa: PLC0415

    if arguments.data is not None or arguments.config is None:
        return Place(arguments.data)
    try:
        _, settings = configured(arguments.config)
    except ConfigError as error:
        raise CommandError(str(error), Exit.CONFIG) from None
    if not settings.data_dir and arguments.config.absolute() == SYSTEM_CONFIG:
        return Place(SYSTEM_DATA_DIR)
    return Place(data_dir_of(arguments, settings), arguments.config)


def database_without_service(place: Place, troubles: Iterable[str]) -> Path:
    """Give the database to read itself, as no service answers, and say so; CommandError where there is none."""
    from appliance.control import NOBODY  # noqa: PLC0415 as above

    path = find_database(place, "; ".join(troubles))
    for trouble in troubles:
        if not trouble.startswith(NOBODY):  # which the next line says too
            complain(trouble)
    complain(f"no appliance answers; this is from {path}")
    return path


def database_in_use(place: Place) -> Path:
    """Give the database of the service that answers, else one that lies where services keep theirs; CommandError."""
    return database_and_service(place)[0]


def database_and_service(place: Place) -> tuple[Path, bool]:
    """Give the database as `database_in_use` does, and whether a service answers; CommandError."""
    troubles: list[str] = []
    status = ask_service(place, "/api/status", troubles)
    if status is None:
        return find_database(place, "; ".join(troubles), Exit.NOTHING), False
    return find_database(Place(Path(status["data_dir"]))), True


def find_database(place: Place, trouble: str = "", missing: Exit = Exit.UNAVAILABLE) -> Path:
    """Give the database that a service of this user or this computer keeps; CommandError where there is none.

    `missing` is the exit code where there is none: a command that needs no service misses a file.
    """
    path = next(filter(present, database_paths(place.data_dir)), None)
    if path is None:
        secret = next(filter(hidden, database_paths(place.data_dir)), None)
        cure = (
            f"{secret} may not be looked at; run the command as the user of the appliance, or with sudo"
            if secret
            else f"no appliance answers and there is no history at {listed(database_paths(place.data_dir))}; {START}"
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
    place: Place,
    path: str,
    troubles: list[str],
    *,
    timeout_s: float = ANSWER_S,
    body: Mapping[str, object] | None = None,
    **query: object,
) -> Any:
    """Ask the first service that answers; None when none does, with the reasons; CommandError when it refuses.

    With a `body` it is told something.
    """
    from appliance.control import ControlClient, ControlRefused, ControlUnavailable  # noqa: PLC0415

    for socket in control_paths(*place):
        if not present(socket) and (place.data_dir is None or not hidden(socket)):
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


def nobody_answers(place: Place, troubles: Iterable[str]) -> CommandError:
    """Say that no service answers, and why."""
    return CommandError(
        "; ".join(troubles) or f"no appliance answers at {listed(control_paths(*place))}; {START}",
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
