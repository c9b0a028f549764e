"""`appliance passwd`: who may come in."""

import argparse
import getpass
import sys
from pathlib import Path

from appliance.cli.commands import Commands
from appliance.cli.terminal import say
from appliance.exits import CommandError, Exit
from appliance.places import SYSTEM_CONFIG, SYSTEM_DATA_DIR

MAX_PASSWORD_BYTES = 65_535  # MQTT carries no longer one


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the arguments of this file's command."""
    passwd = commands.add_parser("passwd", help="make an account, or change or delete it", allow_abbrev=False)
    passwd.add_argument("file", type=Path, metavar="FILE", help="the password file; it is made if need be")
    passwd.add_argument("user", metavar="USER", help="name of the account")
    passwd.add_argument("--delete", action="store_true", help="delete the account")
    passwd.set_defaults(command=passwd_command)


def passwd_command(arguments: argparse.Namespace) -> int:
    """Write the file anew with the account changed; the password comes from the terminal or from standard input."""
    from appliance.auth.password_file import BadPasswordFile, changed, edit, name_problem, parse  # noqa: PLC0415
    from appliance.auth.passwords import hashed  # noqa: PLC0415 commands import what they need

    path, user = arguments.file, arguments.user
    problem = name_problem(user)
    if problem:
        raise CommandError(f"{problem}; choose another", Exit.USAGE)
    encoded = None if arguments.delete else hashed(_asked(user))

    def change(text: str) -> str:
        if user not in parse(text) and encoded is None:
            raise CommandError(f"there is no user {user} in {path}; check the name", Exit.NOTHING)
        return changed(text, user, encoded)

    try:
        is_services = path.absolute().parent == SYSTEM_CONFIG.parent and SYSTEM_DATA_DIR.is_dir()
        edit(path, change, like=SYSTEM_DATA_DIR if is_services else None)
    except BadPasswordFile as error:
        raise CommandError(f"{path}:{error.line}: {error.problem}; {error.cure}", Exit.CONFIG) from None
    except UnicodeDecodeError:
        raise CommandError(f"{path}: not UTF-8; name a password file", Exit.CONFIG) from None
    except OSError as error:
        folder = path.absolute().parent
        cure = "run as its owner, and check its directory" if folder.is_dir() else f"make the folder {folder}"
        raise CommandError(f"{path} cannot be written ({error.strerror}); {cure}", Exit.DATA) from None
    what = "is deleted from" if arguments.delete else "has this password in"
    say(f"{user} {what} {path}; a running service goes by it when it reloads (`systemctl reload appliance`)")
    return Exit.OK


def _asked(user: str) -> bytes:
    """Ask for the password; CommandError."""
    if sys.stdin.isatty():
        try:
            password = getpass.getpass(f"password of {user}: ").encode(errors="surrogateescape")
            again = getpass.getpass("once more: ").encode(errors="surrogateescape")
        except EOFError:
            password = again = b""
        if password != again:
            raise CommandError("the two are not the same; try again", Exit.USAGE)
    else:
        password = sys.stdin.buffer.readline(MAX_PASSWORD_BYTES + 3).removesuffix(b"\n").removesuffix(b"\r")
    if not 1 <= len(password) <= MAX_PASSWORD_BYTES:
        raise CommandError(f"a password has 1 to {MAX_PASSWORD_BYTES} bytes; give one on a line", Exit.USAGE)
    return password
