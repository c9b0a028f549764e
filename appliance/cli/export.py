"""`appliance export`: the history as a file for other programs."""

import argparse
import errno
import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from appliance.cli.ask import add_place, check_order, database_and_service, place_of, time_argument
from appliance.cli.commands import Commands
from appliance.cli.progress import Progress
from appliance.cli.terminal import complain, say, writing
from appliance.cli.words import counted
from appliance.exits import CommandError, Exit

FORMATS = ("csv", "jsonl")
PART = ".part"
CURES = {
    errno.ENOSPC: "free some space, or write it elsewhere",
    errno.EDQUOT: "free some space, or write it elsewhere",
    errno.ENOENT: "make its directory first, or name another",
    errno.EACCES: "name a directory that you may write to",
    errno.EROFS: "name a directory that you may write to",
}


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the arguments of this file's command."""
    export = commands.add_parser("export", help="write the history as CSV or JSON lines", allow_abbrev=False)
    export.add_argument("filter", nargs="?", default="#", metavar="TOPIC-FILTER", help="which topics (default '#')")
    export.add_argument("--since", metavar="WHEN", help="30m, 1h, 7d ago, or a time (default: from the first reading)")
    export.add_argument("--until", default="now", metavar="WHEN", help="likewise (default now)")
    export.add_argument("--format", choices=FORMATS, default="csv", help="csv (default) or jsonl: an object a line")
    what = export.add_mutually_exclusive_group()
    what.add_argument(
        "--gaps", action="store_true", help="not the readings, but when there are none: since, until, cause, whose"
    )
    what.add_argument(
        "--every",
        type=span,
        metavar="SPAN",
        help="one row for each 10m, 1h or 1d: least, mean, mean over time, greatest, rise of a counter, count, last",
    )
    export.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="there, when whole (default: standard output)"
    )
    export.add_argument("--force", action="store_true", help="replace FILE where it is there already")
    add_place(export)
    export.set_defaults(command=export_command)


def span(text: str) -> float:
    """Read a stretch of time, in seconds."""
    from appliance.timespan import parse_span  # noqa: PLC0415 commands import what they need

    try:
        seconds = parse_span(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"'{text}' is no stretch of time; write 10m, 1h or 1d")
    return seconds


def export_command(arguments: argparse.Namespace) -> int:
    """Write rows as they are read."""
    from appliance.cli.subscriber import check_filter  # noqa: PLC0415 loads the client
    from appliance.store.database import StoreError  # noqa: PLC0415
    from appliance.store.export import Wanted, export, export_gaps  # noqa: PLC0415
    from appliance.store.silence import ended_at  # noqa: PLC0415

    check_filter(arguments.filter, "TOPIC-FILTER")
    at = time.time()
    since_at = 0.0 if arguments.since is None else time_argument(arguments, "since", at)
    until_at = time_argument(arguments, "until", at)
    check_order(since_at, until_at, at)
    output = arguments.output
    if output is not None and output.is_file() and not arguments.force:
        raise CommandError(f"{output} is there already; name another file, or add --force", Exit.DATA)
    path, is_served = database_and_service(place_of(arguments))
    progress = Progress()
    try:
        wanted = Wanted(
            topic_filter=arguments.filter,
            since_at=since_at,
            until_at=until_at,
            every_s=arguments.every,
            now_at=at if is_served else min(at, ended_at(path)),
        )
        rows = 0
        with _output(output) as out:
            pieces = (
                export_gaps(path, wanted, arguments.format)
                if arguments.gaps
                else export(path, wanted, arguments.format, lambda done, of: progress.tell(f"{done} of {of} topics"))
            )
            for piece in pieces:
                with writing():
                    out.write(piece)
                rows += piece.count("\n")
    except StoreError as error:
        raise CommandError(str(error), Exit.DATA) from None
    finally:
        progress.end()
    rows -= arguments.format == "csv"  # its head
    if rows <= 0:
        what, cure = "readings", "`appliance sub --at now -v` shows what there is"
        if arguments.gaps:
            what, cure = "gaps", "--since reaches further back"
        complain(f"no {what} of {arguments.filter} in that time; {cure}")
        return Exit.NOTHING
    if output is not None:
        say(f"{output} has {counted(rows, 'row')}, {output.stat().st_size / 1e6:.1f} MB")
    return Exit.OK


@contextmanager
def _output(path: Path | None) -> Generator[IO[str]]:
    """Give where to write; a file gets its name when it is whole."""
    if path is None:
        yield sys.stdout
        return
    is_device = path.exists() and not path.is_file()
    part = path if is_device else path.with_name(path.name + PART)
    try:
        with part.open("w", encoding="utf-8", newline="") as out:
            yield out
            out.flush()
            if not is_device:
                os.fsync(out.fileno())
        if not is_device:
            part.replace(path)
    except OSError as error:
        cure = CURES.get(error.errno or 0, "write it elsewhere")
        raise CommandError(f"{path} cannot be written ({error.strerror}); {cure}", Exit.DATA) from None
    finally:
        if not is_device:
            part.unlink(missing_ok=True)
