"""`appliance backup` and `restore`: copies of the database, made while the service runs and put back while it rests."""

import argparse
from pathlib import Path

from appliance.cli.ask import Place, add_place, database_in_use, place_of
from appliance.cli.commands import Commands
from appliance.cli.progress import Progress
from appliance.cli.terminal import complain, say
from appliance.exits import CommandError, Exit
from appliance.places import database_path, database_paths, hidden, present, usual_data_dir


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the arguments of this file's commands."""
    backup = commands.add_parser("backup", help="copy the database, also while the service runs", allow_abbrev=False)
    backup.add_argument("file", type=Path, metavar="FILE", help="the copy")
    backup.add_argument("--force", action="store_true", help="replace FILE where it is there already")
    add_place(backup)
    backup.set_defaults(command=backup_command)

    restore = commands.add_parser("restore", help="put a copy back while the service is stopped", allow_abbrev=False)
    restore.add_argument("file", type=Path, metavar="FILE", help="what `backup` made")
    add_place(restore)
    restore.set_defaults(command=restore_command)


def backup_command(arguments: argparse.Namespace) -> int:
    """Copy the database as it is now."""
    from appliance.store.backup import backup  # noqa: PLC0415 commands import what they need
    from appliance.store.database import StoreError  # noqa: PLC0415

    path = database_in_use(place_of(arguments))
    progress = Progress()
    try:
        size = backup(
            path, arguments.file, replace=arguments.force, tell=lambda share: progress.tell(f"{share:4.0%} copied")
        )
    except StoreError as error:
        raise CommandError(str(error), Exit.DATA) from None
    finally:
        progress.end()
    say(f"{arguments.file} is a whole copy of {path}, {size / 1e6:.1f} MB")
    return Exit.OK


def restore_command(arguments: argparse.Namespace) -> int:
    """Put a copy in the place of the database."""
    from appliance.data_dir import held  # noqa: PLC0415
    from appliance.store.backup import restore  # noqa: PLC0415
    from appliance.store.database import StoreError  # noqa: PLC0415

    if not arguments.file.exists():
        raise CommandError(
            f"there is no file {arguments.file}; name one that `appliance backup` has made", Exit.NOTHING
        )
    data_dir = place_of(arguments).data_dir or _data_dir()
    progress = Progress()
    with held(data_dir):
        try:
            aside, damaged_rows = restore(
                arguments.file, database_path(data_dir), tell=lambda share: progress.tell(f"{share:4.0%} copied")
            )
        except StoreError as error:
            raise CommandError(str(error), Exit.DATA) from None
        finally:
            progress.end()
    say(f"{database_path(data_dir)} is now what {arguments.file} holds")
    if damaged_rows:
        complain(f"{damaged_rows} of its readings are damaged; they are not shown")
    if aside is not None:
        say(f"what it was before is kept as {aside}; remove that when all is well")
    return Exit.OK


def _data_dir() -> Path:
    """Give the directory that `backup` would copy from; where there is no database yet, that of `run`. CommandError."""
    if any(present(path) or hidden(path) for path in database_paths(None)):
        return database_in_use(Place()).parent
    return usual_data_dir()
