"""`appliance devices`: who has an account in the managed file, and what it may do."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple

from appliance.cli.ask import DATA_HELP
from appliance.cli.commands import Commands
from appliance.cli.terminal import complain, printable, say
from appliance.exits import CommandError, Exit
from appliance.places import SYSTEM_CONFIG, control_paths, hidden, present

if TYPE_CHECKING:
    from appliance.auth.enrolling import Wanted
    from appliance.auth.managed import Account
    from appliance.settings import Settings

RELOAD_S = 10.0  # the longest wait for a running service
MAX_JSON_BYTES = 1_048_576
NO_FILE = 'name one under [accounts], such as managed_file = "/var/lib/appliance/accounts.json"'
OURS = "accounts.managed_file"  # how a service's word of this file begins
NEW_ADMIN = "`appliance devices add NAME --role admin` makes one"
RETRIED = "the account is changed in the file, and holds when the service is started again"


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the arguments of this file's command."""
    devices = commands.add_parser("devices", help="accounts of devices, people and programs", allow_abbrev=False)
    _add_options(devices, absent=False)
    devices.set_defaults(command=list_command)
    actions = devices.add_subparsers(metavar="list | add | remove | secret")

    listed = actions.add_parser("list", help="show all accounts", allow_abbrev=False)
    listed.set_defaults(command=list_command)

    add = actions.add_parser("add", help="make an account, or change what it may do", allow_abbrev=False)
    add.add_argument("name", metavar="NAME", help="user name")
    how = add.add_mutually_exclusive_group(required=True)
    how.add_argument("--role", choices=("admin", "reader", "integration", "device"), help="what it may do")
    how.add_argument("--from", dest="source", metavar="FILE", help="the account as JSON; - is standard input")
    add.add_argument("--site", default="", metavar="SITE", help="first level of its topics (the service's site)")
    add.add_argument("--agent", default="", metavar="AGENT", help="name of a device's agent (NAME)")
    add.add_argument("--publish", action="append", default=[], metavar="FILTER", help="topics it may publish to")
    add.add_argument("--subscribe", action="append", default=[], metavar="FILTER", help="further topics it may read")
    add.add_argument("--secret", metavar="FILE", help="take the first line of a file; - is standard input")
    add.set_defaults(command=add_command)

    remove = actions.add_parser("remove", help="end accounts; who uses one is turned out", allow_abbrev=False)
    remove.add_argument("names", nargs="+", metavar="NAME", help="user name")
    remove.set_defaults(command=remove_command)

    secret = actions.add_parser("secret", help="give an account another secret", allow_abbrev=False)
    secret.add_argument("name", metavar="NAME", help="user name")
    secret.add_argument("--secret", metavar="FILE", help="take the first line of a file; - is standard input")
    secret.set_defaults(command=secret_command)
    for action in (listed, add, remove, secret):
        _add_options(action, absent=True)


def _add_options(parser: argparse.ArgumentParser, *, absent: bool) -> None:
    """Options that stand before or behind the action; behind, what is absent leaves the former in force."""

    def otherwise(value: object) -> Any:
        return argparse.SUPPRESS if absent else value

    config_help = f"TOML file of the service (default {SYSTEM_CONFIG})"
    parser.add_argument("--config", type=Path, metavar="FILE", default=otherwise(SYSTEM_CONFIG), help=config_help)
    parser.add_argument("--data", type=Path, metavar="DIR", default=otherwise(None), help=DATA_HELP)
    parser.add_argument("--json", action="store_true", default=otherwise(value=False), help="answer as JSON")


class _Place(NamedTuple):
    """Where the accounts are, and whose they are."""

    file: Path
    written: Path | None  # the password file
    settings: "Settings"
    data_dir: Path | None


def list_command(arguments: argparse.Namespace) -> int:
    """Show every account but its secret."""
    accounts = _read(_place(arguments).file)
    if arguments.json:
        import msgspec  # noqa: PLC0415 commands import what they need

        told = [{"name": name, **msgspec.to_builtins(account)} for name, account in accounts.items()]
        say(json.dumps([{key: value for key, value in one.items() if key != "password"} for one in told], indent=2))
        return Exit.OK
    if not accounts:
        say("there is no account yet; make one with `appliance devices add`")
        return Exit.OK
    rows = [("NAME", "ROLE", "AGENT", "MADE", "PUBLISHES")]
    for name, account in accounts.items():
        agent = (account.agent or name) if account.role == "device" else "-"
        rows.append((printable(name), account.role, agent, account.made[:10] or "-", " ".join(account.publish) or "-"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for *cells, last in rows:
        say("  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)), last]))
    return Exit.OK


def add_command(arguments: argparse.Namespace) -> int:
    """Make the account, or see that it is as asked for."""
    from appliance.auth.enrolling import CannotEnrol, enrol  # noqa: PLC0415
    from appliance.auth.passwords import hashed, is_right  # noqa: PLC0415
    from appliance.clock import rfc3339  # noqa: PLC0415

    place, name = _place(arguments), arguments.name
    wanted = _wanted(arguments)
    _check_unwritten(place.written, name)
    made = ""

    def change(accounts: "dict[str, Account]") -> "dict[str, Account]":
        nonlocal made
        try:
            enrolled = enrol(
                accounts,
                name,
                wanted,
                site=place.settings.site,
                made=rfc3339(time()),
                hashed=hashed,
                is_right=is_right,
            )
        except CannotEnrol as error:
            raise CommandError(str(error), Exit.USAGE) from None
        made = enrolled.secret
        return enrolled.accounts

    changed = _edit(place.file, change)
    words = f"{printable(name)} may come in as {wanted.role}" if changed else f"{printable(name)} is as asked already"
    return _told(arguments, place, changed=changed, words=words, name=name, secret=made)


def remove_command(arguments: argparse.Namespace) -> int:
    """End the accounts that are there, and tell of those that are not."""
    place, gone = _place(arguments), set(arguments.names)
    there: set[str] = set()
    headless = False

    def change(accounts: "dict[str, Account]") -> "dict[str, Account]":
        nonlocal headless
        there.update(gone & accounts.keys())
        left = {name: account for name, account in accounts.items() if name not in gone}
        headless = _has_admin(accounts) and not _has_admin(left)
        return left

    changed = _edit(place.file, change)
    words = "; ".join(f"{printable(name)} has no account any more" for name in arguments.names if name in there)
    code = _told(arguments, place, changed=changed, words=words, names=sorted(there))
    for name in arguments.names:
        if name not in there:
            complain(f"{printable(name)} has no account in {place.file}; `appliance devices` lists those that have")
            code = max(code, Exit.NOTHING)
    if headless:
        complain(f"no admin is left in {place.file}; {NEW_ADMIN}")
    return code


def secret_command(arguments: argparse.Namespace) -> int:
    """Give the account another secret; the one before ends."""
    from appliance.auth.enrolling import new_secret, with_new_secret  # noqa: PLC0415
    from appliance.auth.passwords import hashed  # noqa: PLC0415
    from appliance.clock import rfc3339  # noqa: PLC0415

    place, name = _place(arguments), arguments.name
    given = _first_line(arguments.secret) if arguments.secret else ""
    secret = given or new_secret()

    def change(accounts: "dict[str, Account]") -> "dict[str, Account]":
        if name not in accounts:
            cure = "`appliance devices` lists those that have"
            raise CommandError(f"{printable(name)} has no account in {place.file}; {cure}", Exit.NOTHING)
        return {**accounts, name: with_new_secret(accounts[name], secret, made=rfc3339(time()), hashed=hashed)}

    changed = _edit(place.file, change)
    words = f"{printable(name)} has another secret"
    return _told(arguments, place, changed=changed, words=words, name=name, secret="" if given else secret)


def _place(arguments: argparse.Namespace) -> _Place:
    """Find the file of the accounts; CommandError."""
    from appliance.cli.service import configured  # noqa: PLC0415 commands import what they need
    from appliance.config import ConfigError  # noqa: PLC0415

    try:
        _, settings = configured(arguments.config)
    except ConfigError as error:
        raise CommandError(str(error), Exit.CONFIG) from None
    accounts = settings.accounts
    if not accounts.managed_file:
        raise CommandError(f"{arguments.config}: accounts.managed_file: there is none; {NO_FILE}", Exit.CONFIG)
    data_dir = arguments.data
    if data_dir is None and settings.data_dir:
        data_dir = arguments.config.absolute().parent / Path(settings.data_dir).expanduser()
    written = Path(accounts.password_file) if accounts.password_file else None
    return _Place(Path(accounts.managed_file), written, settings, data_dir)


def _wanted(arguments: argparse.Namespace) -> "Wanted":
    from appliance.auth.enrolling import Wanted  # noqa: PLC0415

    if arguments.source is None:
        secret = _first_line(arguments.secret) if arguments.secret else ""
        return Wanted(
            role=arguments.role,
            site=arguments.site,
            agent=arguments.agent,
            publish=tuple(arguments.publish),
            subscribe=tuple(arguments.subscribe),
            secret=secret,
            by="command",
        )
    import msgspec  # noqa: PLC0415 as above

    from appliance.encoding import from_json  # noqa: PLC0415 as above

    beside = ("site", "agent", "publish", "subscribe", "secret")
    if given := [f"--{option}" for option in beside if getattr(arguments, option)]:
        raise CommandError(f"{given[0]} goes with --role; write it into the JSON", Exit.USAGE)
    try:
        return from_json(_all_of(arguments.source), Wanted)
    except msgspec.DecodeError as error:  # says where, and of which kind, but no value
        example = '{"role": "device", "publish": ["home/hall/door"]}'
        raise CommandError(f"--from: no account ({error}); write it as in {example}", Exit.USAGE) from None


def _has_admin(accounts: "dict[str, Account]") -> bool:
    return any(account.role == "admin" for account in accounts.values())


def _check_unwritten(written: Path | None, name: str) -> None:
    """See that nobody of the password file is called so: the service takes a name from one file alone; CommandError."""
    from appliance.accounts import load_users  # noqa: PLC0415
    from appliance.config import ConfigError  # noqa: PLC0415

    if written is None:
        return
    try:
        users = load_users(written)
    except ConfigError:  # whatever is wrong with it is not this command's to say
        return
    if name in users:
        cure = "delete it there with `appliance passwd`, or choose another name"
        raise CommandError(f"{printable(name)} has an account in {written}; {cure}", Exit.USAGE)


def _read(file: Path) -> "dict[str, Account]":
    from appliance.accounts import load_managed  # noqa: PLC0415
    from appliance.config import ConfigError  # noqa: PLC0415

    if not present(file) and not hidden(file):
        return {}
    try:
        return load_managed(file)
    except ConfigError as error:
        raise CommandError(str(error), Exit.CONFIG) from None


def _edit(file: Path, change: "Callable[[dict[str, Account]], dict[str, Account]]") -> bool:
    """Change the file; CommandError."""
    from appliance.auth.managed import BadManagedFile, edit  # noqa: PLC0415

    try:
        return edit(file, change)
    except BadManagedFile as error:
        raise CommandError(f"{file}: {error.problem}; {error.cure}", Exit.CONFIG) from None
    except UnicodeDecodeError:
        raise CommandError(f"{file}: not UTF-8; put a copy of it back", Exit.CONFIG) from None
    except OSError as error:
        cure = "run as the user of the appliance, or with sudo" if file.parent.is_dir() else f"make {file.parent}"
        raise CommandError(f"{file} cannot be written ({error.strerror}); {cure}", Exit.DATA) from None


def _told(
    arguments: argparse.Namespace, place: _Place, *, changed: bool, words: str, secret: str = "", **more: object
) -> Exit:
    """Have running services go by it, and say what was done; a secret that was made is told now or never."""
    config = arguments.config if arguments.data is None else None
    running, troubles = _reload(place.data_dir, config) if changed else (False, [])
    if arguments.json:
        made = {"secret": secret} if secret else {}
        say(json.dumps({**more, "changed": changed, **made, "running": running}))
    else:
        if words:
            say(f"{words}; its secret, told this once:\n{secret}" if secret else words)
        if changed and not running and not troubles:
            complain("no appliance answers: it goes by this when it is started")
    for trouble in troubles:
        complain(f"a running service does not go by it yet ({trouble}); {RETRIED}")
    return Exit.UNAVAILABLE if troubles else Exit.OK


def _reload(data_dir: Path | None, config: Path | None) -> tuple[bool, list[str]]:
    """Have every service that answers read its accounts again; gives whether one that has some did, and who did not."""
    from appliance.control import NOBODY, ControlClient, ControlRefused, ControlUnavailable  # noqa: PLC0415

    done, troubles = False, []
    for socket in control_paths(data_dir, config):
        if not present(socket) and (data_dir is None or not hidden(socket)):
            continue
        try:
            answer: Any = ControlClient(socket, RELOAD_S).post("/api/reload", {})
            done = done or answer["accounts"] is not None
            troubles += [problem for problem in answer["problems"] if problem.startswith(OURS)]
        except ControlRefused as error:
            troubles.append(str(error))
        except ControlUnavailable as error:
            if not str(error).startswith(NOBODY):
                troubles.append(str(error))
    return done, troubles


def _first_line(source: str) -> str:
    """Read a secret; CommandError."""
    line = _all_of(source).partition(b"\n")[0].removesuffix(b"\r")
    try:
        secret = line.decode()
    except UnicodeDecodeError:
        secret = ""
    if not secret:
        raise CommandError(f"--secret: no secret on the first line of {source}; give one in UTF-8", Exit.USAGE)
    return secret


def _all_of(source: str) -> bytes:
    try:
        if source == "-":
            return sys.stdin.buffer.read(MAX_JSON_BYTES)
        with Path(source).open("rb") as file:
            return file.read(MAX_JSON_BYTES)
    except OSError as error:
        raise CommandError(f"{source} cannot be read ({error.strerror}); check the path", Exit.USAGE) from None
