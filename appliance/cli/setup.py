"""`appliance setup`: a computer's own authority, certificate and first account."""

import argparse
import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from appliance.cli.commands import Commands
from appliance.cli.service import configured, data_dir_of
from appliance.cli.terminal import complain, say
from appliance.exits import CommandError, Exit
from appliance.places import SYSTEM_CONFIG, SYSTEM_DATA_DIR, certificate_path, present

if TYPE_CHECKING:
    from appliance.identity.names import Names
    from appliance.identity.setting_up import Files
    from appliance.settings import Settings

ADMIN = "admin"


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the arguments of this file's command."""
    setup = commands.add_parser(
        "setup", help="make this computer's certificate and first account, where missing or due", allow_abbrev=False
    )
    setup.add_argument(
        "--config", type=Path, metavar="FILE", default=SYSTEM_CONFIG, help=f"TOML file (default {SYSTEM_CONFIG})"
    )
    setup.add_argument("--data", type=Path, metavar="DIR", help="data directory, where it is not the one of the file")
    setup.add_argument("--json", action="store_true", help="say as JSON what was made")
    setup.add_argument("--show-secret", action="store_true", help="show the administrator's first password, once")
    setup.set_defaults(command=setup_command)


def setup_command(arguments: argparse.Namespace) -> int:
    """Make what is missing or due; a second run makes nothing. Never tells a secret, but for --show-secret."""
    from appliance.config import ConfigError  # noqa: PLC0415 commands import what they need
    from appliance.identity.setting_up import files_in  # noqa: PLC0415

    try:
        document, settings = configured(arguments.config)
        files = files_in(data_dir_of(arguments, settings))
        if arguments.show_secret:
            return _show_secret(arguments, files, _first_admin(settings))
        for number, one in enumerate(settings.listener):
            if _is_ours(one.certificate, files) and Path(one.key) != files.key:
                cure = f'set key = "{files.key}", which is made with it'
                raise document.error(("listener", number, "key"), "it is not the key of this certificate", cure)
            elsewhere = certificate_path(SYSTEM_DATA_DIR)
            if Path(one.certificate) == elsewhere != files.certificate and not present(elsewhere):
                cure = f'set data_dir = "{SYSTEM_DATA_DIR}"'
                problem = f"it would not be made: the data directory is {files.mark.parent}"
                raise document.error(("listener", number, "certificate"), problem, cure)
    except ConfigError as error:
        raise CommandError(str(error), Exit.CONFIG) from None
    made = _set_up(settings, files, f"appliance setup{_place(arguments)}")
    damage = _damage(settings)
    if arguments.json:
        say(json.dumps({"changed": bool(made), "made": made}))
    elif made or not damage:
        say("\n".join(made) or "nothing to do: everything is there, and nothing is due")
    if damage:  # a certificate is renewed all the same
        raise CommandError(damage, Exit.CONFIG)
    return Exit.OK


def _place(arguments: argparse.Namespace) -> str:
    """Give what a person adds to a command about this configuration; nothing where it lies in the usual place."""
    import shlex  # noqa: PLC0415

    named = {"--config": arguments.config, "--data": arguments.data}
    given = {flag: path for flag, path in named.items() if path not in {None, SYSTEM_CONFIG, SYSTEM_DATA_DIR}}
    return "".join(f" {flag} {shlex.quote(str(path))}" for flag, path in given.items())


def _damage(settings: "Settings") -> str:
    """Say what keeps the service from using the accounts that are there; nothing where all is well."""
    from appliance.accounts import load_managed  # noqa: PLC0415
    from appliance.config import ConfigError  # noqa: PLC0415

    if not settings.accounts.managed_file:
        return ""
    try:
        load_managed(Path(settings.accounts.managed_file))
    except ConfigError as error:
        return str(error)
    return ""


def _set_up(settings: "Settings", files: "Files", command: str) -> list[str]:
    from appliance.auth.managed import BadManagedFile  # noqa: PLC0415
    from appliance.clock import clock_quality  # noqa: PLC0415
    from appliance.config import ConfigError  # noqa: PLC0415
    from appliance.identity import machine_mark  # noqa: PLC0415
    from appliance.identity.setting_up import Clock, set_up  # noqa: PLC0415

    names = _names(settings) if any(_is_ours(one.certificate, files) for one in settings.listener) else None
    managed_file = Path(settings.accounts.managed_file) if settings.accounts.managed_file else None
    machine = machine_mark.this_machine()
    try:
        return set_up(
            files,
            names=names,
            managed_file=managed_file,
            admin=lambda: _free_name(settings),
            machine=machine,
            clock=Clock.of(time(), clock_quality()),
            command=command,
        )
    except ConfigError as error:
        raise CommandError(str(error), Exit.CONFIG) from None
    except BadManagedFile as error:
        raise CommandError(f"{managed_file}: {error.problem}; {error.cure}", Exit.CONFIG) from None
    except OSError as error:
        where = f"{error.filename} cannot be used" if error.filename else f"{files.mark.parent} cannot be written"
        trouble = f"{where} ({error.strerror}); free some space, or give it to this user"
        needed = [*([files.certificate, files.key] if names else []), *([managed_file] if managed_file else [])]
        if not all(path.is_file() for path in needed) or machine_mark.is_copy(machine_mark.read(files.mark), machine):
            raise CommandError(trouble, Exit.DATA) from None
        complain(f"{trouble}; what was made before is used")
    return []


def _names(settings: "Settings") -> "Names":
    """Give how this computer is called, as far as the system tells."""
    import socket  # noqa: PLC0415

    from appliance.hostname import local_name, own_name  # noqa: PLC0415
    from appliance.identity.names import addresses, names_of  # noqa: PLC0415

    try:
        found = addresses()
    except OSError as error:
        complain(f"the addresses of this computer cannot be told ({error.strerror}): the certificate names hosts alone")
        found = []
    announced = [local_name(), own_name()]  # the second where another computer is called the same
    further = [name for one in settings.listener for name in one.names]
    return names_of(socket.gethostname(), found, announced + further)


def _is_ours(certificate: str, files: "Files") -> bool:
    return bool(certificate) and Path(certificate) == files.certificate


def names() -> Iterator[str]:
    """Give the names that an administrator may have, the next where somebody else is called so."""
    yield ADMIN
    yield f"hub-{ADMIN}"
    yield from (f"hub-{ADMIN}-{number}" for number in count(2))


def _free_name(settings: "Settings") -> str:
    """Give the administrator a name that nobody has who was written by hand; ConfigError."""
    from appliance.accounts import load_users  # noqa: PLC0415

    written = settings.accounts.password_file
    taken = load_users(Path(written), nobody=True) if written else {}
    return next(name for name in names() if name not in taken)


def _first_admin(settings: "Settings") -> str:
    """Give the name of the administrator that was made, or would be; ConfigError."""
    from appliance.accounts import load_managed  # noqa: PLC0415

    managed_file = Path(settings.accounts.managed_file)
    managed = load_managed(managed_file) if settings.accounts.managed_file and present(managed_file) else {}
    made = (name for name, account in managed.items() if account.by == "setup")
    return next(made, None) or _free_name(settings)


def _show_secret(arguments: argparse.Namespace, files: "Files", name: str) -> int:
    """Show the administrator's first password and forget it."""
    from appliance.identity import first_secret  # noqa: PLC0415

    try:
        secret = first_secret.kept(files.admin_secret)
        if secret is None:
            place = _place(arguments)
            why = f"it was shown, or not made yet, by `appliance setup{place}`"
            cure = f"`appliance devices secret {name}{place}` makes one for an account that is there"
            raise CommandError(f"no first password is kept in {files.admin_secret.parent}: {why}; {cure}", Exit.NOTHING)
        say(secret)
        first_secret.forget(files.admin_secret)
    except OSError as error:
        cure = "run as the user of the appliance, or with sudo"
        raise CommandError(f"{files.admin_secret} cannot be read ({error.strerror}); {cure}", Exit.DATA) from None
    complain(f"this is the password of {name}; it is not shown again")
    return Exit.OK
