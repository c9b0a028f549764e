"""`appliance run`, `demo` and `check`."""

import argparse
import sys
from collections.abc import Callable, Collection, Iterator
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.cli.commands import Commands
from appliance.cli.terminal import announce, say
from appliance.exits import CommandError, Exit
from appliance.places import (
    SYSTEM_CONFIG,
    SYSTEM_DATA_DIR,
    certificate_path,
    demo_data_dir,
    hidden,
    present,
    usual_data_dir,
)
from appliance.private_file import shut_out

if TYPE_CHECKING:
    from appliance.app import Service
    from appliance.config import Document
    from appliance.settings import Settings

MAX_PORT = 65_535


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the arguments of this file's commands."""
    demo = commands.add_parser(
        "demo", help="try everything here: service, agent and a simulated house", allow_abbrev=False
    )
    _add_service_options(demo)
    demo.set_defaults(command=demo_command)

    run = commands.add_parser("run", help="run the service", allow_abbrev=False)
    run.add_argument(
        "--config", type=Path, metavar="FILE", help="TOML file; without it loopback is served, anonymously"
    )
    _add_service_options(run)
    run.add_argument("--verbose", action="store_true", help="also log clients that come and go")
    run.set_defaults(command=run_command)

    check = commands.add_parser("check", help="say whether a configuration file is good", allow_abbrev=False)
    check.add_argument("file", nargs="?", type=Path, default=SYSTEM_CONFIG, help=f"TOML file (default {SYSTEM_CONFIG})")
    check.add_argument("--schema", action="store_true", help="print the JSON Schema of the file instead")
    check.set_defaults(command=check_command)


def _add_service_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, metavar="DIR", help="directory of the database and the control socket")
    parser.add_argument("--mqtt-port", type=port, metavar="N", help="TCP port of the broker (default 1883; 0: none)")
    parser.add_argument("--http-port", type=port, metavar="N", help="TCP port of the page (default 8080; 0: none)")


def port(text: str) -> int:
    """Read a port number."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= MAX_PORT):
        raise argparse.ArgumentTypeError(f"'{text}' is no port; give a number from 0 to {MAX_PORT}")
    return int(text)


def run_command(arguments: argparse.Namespace) -> int:
    """Run the service until a signal comes."""
    import asyncio  # noqa: PLC0415 commands import what they need
    import logging  # noqa: PLC0415

    settings, meaning = _settings(arguments)
    _log(logging.INFO if arguments.verbose else logging.WARNING)
    data_dir = data_dir_of(arguments, settings)
    if data_dir == SYSTEM_DATA_DIR and data_dir.is_dir() and (user := shut_out(data_dir.stat().st_uid)):
        cure = f"run it as that user: `sudo -u {user} appliance run …`"
        raise CommandError(f"{data_dir} belongs to {user}, who could not open what root makes there; {cure}", Exit.DATA)

    from appliance.app import run  # noqa: PLC0415
    from appliance.net.serving import new_event_loop  # noqa: PLC0415

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        news = partial(_news, arguments, meaning) if arguments.config else str
        runner.run(run(settings, data_dir, _announce, renew=_renewal(arguments, data_dir), news=news))
    return Exit.OK


def _renewal(arguments: argparse.Namespace, data_dir: Path) -> list[str]:
    """Give the command that renews the certificate, in a process that can forget how."""
    if not arguments.config:
        return []
    ourselves = [sys.executable, "-m", "appliance", "setup"]
    return [*ourselves, "--config", str(arguments.config.absolute()), "--data", str(data_dir)]


def _news(arguments: argparse.Namespace, meaning: bytes) -> str:
    """Say that the file means something else by now; ConfigError where it could not be used any more."""
    document, _ = configured(arguments.config, partial(_with_options, arguments))
    if _meaning(document) == meaning:
        return ""
    return f"{arguments.config} was changed; its settings act when the service is started again"


def _meaning(document: "Document") -> bytes:
    """Give what tells two files apart that say different things, whatever their comments."""
    return blake2b(repr(document.data).encode(), digest_size=16).digest()


def _settings(arguments: argparse.Namespace) -> "tuple[Settings, bytes]":
    """Read the file, and let the options have their way; gives what it means too. CommandError."""
    from appliance.config import ConfigError  # noqa: PLC0415
    from appliance.settings import Settings  # noqa: PLC0415

    if not arguments.config:
        return _with_options(arguments, Settings()), b""
    try:
        document, settings = configured(arguments.config, partial(_with_options, arguments))
        for key_path, missing in _unmade(settings, data_dir_of(arguments, settings)):
            cure = f"run `appliance setup --config {arguments.config}` first"
            raise document.error(key_path, f"{missing} is not there yet", cure)
        with document.naming():
            _read_files(settings)
    except ConfigError as error:
        raise CommandError(str(error), Exit.CONFIG) from None
    return settings, _meaning(document)


def _with_options(arguments: argparse.Namespace, settings: "Settings") -> "Settings":
    from msgspec.structs import replace  # noqa: PLC0415

    if arguments.mqtt_port is not None:
        settings = replace(settings, mqtt=replace(settings.mqtt, port=arguments.mqtt_port))
    if arguments.http_port is not None:
        settings = replace(settings, web=replace(settings.web, port=arguments.http_port))
    return settings


def settings_of(arguments: argparse.Namespace) -> "Settings":
    """Read the configuration as `run` would without options of its own; CommandError."""
    plain = {"config": arguments.config, "data": arguments.data, "mqtt_port": None, "http_port": None}
    return _settings(argparse.Namespace(**plain))[0]


def configured(
    path: Path, changed: "Callable[[Settings], Settings]" = lambda settings: settings
) -> "tuple[Document, Settings]":
    """Read a file and hold what the options make of it to the rules that no single key can express; ConfigError.

    The files that it names are not read yet.
    """
    from appliance.config import MISSING, ConfigError, Document  # noqa: PLC0415
    from appliance.listeners import anchored, faults  # noqa: PLC0415
    from appliance.settings import Settings  # noqa: PLC0415

    try:
        document = Document.read(path)
    except ConfigError as error:
        if (path, error.problem) == (SYSTEM_CONFIG, MISSING):  # who named no file may have one elsewhere
            error.cure = "make it, or name yours"
        raise
    if not document.text.strip():  # emptied by a power cut, say: what it closed must not open
        cure = "write it anew, or run without it to serve loopback, anonymously"
        raise ConfigError(path=path, line=None, key="", problem="it is empty", cure=cure)
    settings = changed(document.convert(Settings))
    for fault in faults(settings):
        raise document.error(*fault)
    return document, _accounts_beside(path, anchored(settings, path.absolute().parent))


def _unmade(settings: "Settings", data_dir: Path) -> "Iterator[tuple[tuple[str | int, ...], Path]]":
    """Give what `appliance setup` has still to make, with the key that names it."""
    ours = {certificate_path(data_dir), certificate_path(SYSTEM_DATA_DIR)}
    named: list[tuple[tuple[str | int, ...], Path]] = [
        (("listener", number, "certificate"), Path(one.certificate))
        for number, one in enumerate(settings.listener)
        if Path(one.certificate) in ours
    ]
    if settings.accounts.managed_file:
        named.append((("accounts", "managed_file"), Path(settings.accounts.managed_file)))
    return (one for one in named if not present(one[1]) and not hidden(one[1]))


def _read_files(settings: "Settings", but: "Collection[str]" = ()) -> None:
    """See that the service could use the files that the settings name, but for some; ConfigError."""
    from msgspec.structs import replace  # noqa: PLC0415

    from appliance.accounts import load_accounts  # noqa: PLC0415

    accounts = settings.accounts
    if accounts.managed_file and accounts.managed_file in but:
        accounts = replace(accounts, managed_file="")
    if accounts.wanted() or accounts == settings.accounts:
        load_accounts(accounts, settings.site)
    if any(one.certificate and one.certificate not in but for one in settings.listener):
        from appliance.tls_context import context_of  # noqa: PLC0415

        for number, one in enumerate(settings.listener):
            if one.certificate not in but:
                context_of(number, one)


def _accounts_beside(path: Path, settings: "Settings") -> "Settings":
    """Find the files of the accounts beside the configuration that names them, where their paths are relative."""
    from msgspec.structs import replace  # noqa: PLC0415

    names = {key: getattr(settings.accounts, key) for key in ("password_file", "rules_file", "managed_file")}
    paths = {key: str(path.absolute().parent / Path(name).expanduser()) for key, name in names.items() if name}
    return replace(settings, accounts=replace(settings.accounts, **paths))


def data_dir_of(arguments: argparse.Namespace, settings: "Settings") -> Path:
    """Give the data directory that the option names, or the file, or that is usual."""
    if arguments.data is not None:
        return Path(arguments.data).absolute()  # who asks for the status may stand elsewhere
    if settings.data_dir:  # a relative one lies beside the file that names it
        return Path(arguments.config).absolute().parent / Path(settings.data_dir).expanduser()
    return usual_data_dir()


def _announce(service: "Service") -> None:
    """Tell whoever started it where everything is."""
    mqtt, web = service.settings.mqtt, service.settings.web
    places = [
        f"MQTT on {_host(mqtt.address)}:{service.mqtt_port}" if service.mqtt_port is not None else "no MQTT port",
        f"page at http://{_host(web.address)}:{service.web_port}/" if service.web_port is not None else "no page",
        *service.listeners,
        f"data in {service.data_dir}",
    ]
    announce(f"appliance runs: {', '.join(places)}")


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def demo_command(arguments: argparse.Namespace) -> int:
    """Run the service and a sensor agent until a signal comes."""
    import asyncio  # noqa: PLC0415
    import logging  # noqa: PLC0415

    if arguments.mqtt_port == 0:
        raise CommandError("the demo's sensor agent needs a port: give --mqtt-port another number", Exit.USAGE)
    _log(logging.WARNING)

    from appliance.demo import demo  # noqa: PLC0415
    from appliance.net.serving import new_event_loop  # noqa: PLC0415
    from appliance.settings import Mqtt, Web  # noqa: PLC0415

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(
            demo(
                arguments.data.absolute() if arguments.data else demo_data_dir(),
                mqtt_port=Mqtt().port if arguments.mqtt_port is None else arguments.mqtt_port,
                http_port=Web().port if arguments.http_port is None else arguments.http_port,
                argv0=sys.argv[0],
                say=announce,
            )
        )
    return Exit.OK


def check_command(arguments: argparse.Namespace) -> int:
    """Say whether a file and those it names are good, or what it may hold."""
    from appliance.config import ConfigError, schema  # noqa: PLC0415
    from appliance.settings import Settings  # noqa: PLC0415

    if arguments.schema:
        say(schema(Settings, "Configuration of the appliance").removesuffix("\n"))
        return Exit.OK
    try:
        document, settings = configured(arguments.file)
        place = argparse.Namespace(data=None, config=arguments.file)
        unmade = [*dict.fromkeys(str(path) for _, path in _unmade(settings, data_dir_of(place, settings)))]
        with document.naming():
            _read_files(settings, but=unmade)  # or else a new computer's configuration could never be checked
    except ConfigError as error:
        raise CommandError(str(error), Exit.CONFIG) from None
    setup = "appliance setup" if arguments.file == SYSTEM_CONFIG else f"appliance setup --config {arguments.file}"
    rest = f"; `{setup}` has still to make {', '.join(unmade)}" if unmade else ""
    say(f"{arguments.file} is good{rest}")
    return Exit.OK


def _log(level: int) -> None:
    """Send the log to standard error, where the journal picks it up."""
    from appliance import logs  # noqa: PLC0415

    logs.begin(level, "appliance", "%(levelname)s %(name)s: %(message)s")
