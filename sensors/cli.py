"""The `sensors` command: run, list, read, check, pair, doctor, simulate. What it needs is imported when it is given."""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance import __version__
from sensors import output, simulate
from sensors.output import say, say_json

if TYPE_CHECKING:
    from appliance.config import ConfigError
    from appliance.finding import Finding
    from sensors.config import SensorsConfig
    from sensors.credential import Credential
    from sensors.pairing_client import Hub

DEFAULT_CONFIG = Path("/etc/appliance/sensors.toml")

OK = 0
FAILED = 1
USAGE = 2  # argparse's own
NO_OUTBOX = NO_OUTPUT = 73  # EX_CANTCREAT of sysexits.h, as `appliance` has it
BAD_CONFIG = 78  # EX_CONFIG; a service manager need not try again
INTERRUPTED = 130

EXIT_CODES = f"""exit codes:
  {OK}   done
  {FAILED}   the sensor could not be read, or what it says is not believed; the doctor found something wrong;
      readings that the broker did not take; pairing with a hub did not come about
  {USAGE}   the command line is wrong
  {NO_OUTBOX}  the outbox cannot be used, or the output cannot be written
  {BAD_CONFIG}  the configuration is wrong; one line says where and what to do
  {INTERRUPTED} interrupted"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives its exit code."""
    output.prepare()
    arguments = _parser().parse_args(argv)
    try:
        return _done(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has seen enough
        return OK
    except output.OutputError as error:
        print(error, file=sys.stderr)
        return NO_OUTPUT


def _done(arguments: argparse.Namespace) -> int:
    from appliance.config import ConfigError  # noqa: PLC0415 --help need not wait for it

    try:
        return int(arguments.command(arguments))
    except ConfigError as error:
        if getattr(arguments, "json", False):
            first, *others = map(_told, (error, *error.more))
            say_json({"ok": False, **first, "more": others})
        else:
            _end("\n".join(map(str, (error, *error.more))))
        return BAD_CONFIG


def _told(error: "ConfigError") -> dict[str, Any]:
    return {
        "path": str(error.path),
        "line": error.line,
        "key": error.key,
        "problem": error.problem,
        "cure": error.cure,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sensors",
        description="Reads sensors and publishes what they say over MQTT.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"sensors {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    run = _command(commands, "run", _run, "read the sensors and publish, until SIGTERM or Ctrl-C")
    run.add_argument("-v", "--verbose", action="store_true", help="say more on standard error")
    listing = _command(commands, "list", _list, "show the configured sensors")
    listing.add_argument("--kinds", action="store_true", help="show the kinds of sensors and their keys instead")
    listing.add_argument("--json", action="store_true", help="print JSON")
    read = _command(commands, "read", _read, "read one sensor once, without publishing")
    read.add_argument("name", metavar="NAME", help="name of the sensor in the configuration")
    read.add_argument("--json", action="store_true", help="print JSON")
    check = _command(commands, "check", _check, "look for problems in the configuration, touching no hardware")
    check.add_argument("--json", action="store_true", help="print JSON")
    playing = _command(commands, "simulate", _simulate, "play houses full of sensors against any broker", config=False)
    simulate.add_arguments(playing)
    pair = _command(commands, "pair", _pair, "get an account of its own from a hub, by a short code")
    pair.add_argument(
        "hub",
        nargs="?",
        metavar="HOST[:PORT]",
        help="the hub, where `appliance pair` runs; without, one of our site that mDNS finds",
    )
    pair.add_argument("--json", action="store_true", help="print JSON")
    doctor = _command(commands, "doctor", _doctor, "look for what goes wrong with sensors, and say the cure")
    doctor.add_argument("--json", action="store_true", help="print the findings as a JSON array")
    return parser


def _command(
    commands: Any, name: str, function: Any, help_text: str, *, config: bool = True
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_text,
        description=help_text[0].upper() + help_text[1:] + ".",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if config:
        command.add_argument(
            "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="configuration (default: %(default)s)"
        )
    command.set_defaults(command=function)
    return command


def _run(arguments: argparse.Namespace) -> int:
    import signal  # noqa: PLC0415

    from appliance.config import ConfigError  # noqa: PLC0415
    from sensors.agent import Agent  # noqa: PLC0415
    from sensors.config import paired  # noqa: PLC0415
    from sensors.data_dir import shut_out  # noqa: PLC0415
    from sensors.outbox import Outbox, OutboxError  # noqa: PLC0415

    _log_to_stderr(verbose=arguments.verbose)
    config = _load(arguments, as_paired=False)
    with suppress(ConfigError):  # what keeps it from its hub keeps it from no sensor: the link says what to do
        config = paired(config)
    if user := shut_out(config.data_dir):
        cure = f"run it as that user: `sudo -u {user} sensors run`"
        _end(f"{config.data_dir} belongs to {user}, who could not open what root makes there; {cure}")
        return NO_OUTBOX
    bounds = config.outbox
    try:
        outbox = Outbox(config.outbox_path, max_readings=bounds.max_readings, max_bytes=bounds.max_bytes)
        agent = Agent(config, outbox)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
                signal.signal(number, lambda *_: agent.stop())
        agent.run()
    except OutboxError as error:
        _end(str(error))
        return NO_OUTBOX
    return OK


def _list(arguments: argparse.Namespace) -> int:
    if arguments.kinds:
        return _list_kinds(as_json=arguments.json)
    config = _load(arguments)
    rows: list[dict[str, Any]] = [
        {
            "name": sensor.name,
            "kind": sensor.keys.kind,
            "room": sensor.keys.room,
            "label": sensor.keys.label,
            "title": sensor.keys.title,
            "interval_s": sensor.keys.interval_s or getattr(sensor.driver, "interval_s", None),
            "topics": sensor.topics(config.site),
            "commands": sensor.commands(config.site),
        }
        for sensor in config.sensors
    ]
    if arguments.json:
        say_json(rows)
        return OK
    lines: list[tuple[str, ...]] = []
    for row in rows:
        every = f"{row['interval_s']:g} s" if row["interval_s"] else ""
        first, *others = (*row["topics"], *row["commands"]) or ("",)
        lines.append((row["name"], row["kind"], every, first, row["title"]))
        lines += [("", "", "", topic, "") for topic in others]
    _print_table(("NAME", "KIND", "EVERY", "TOPICS", "TITLE"), lines)
    return OK


def _list_kinds(*, as_json: bool) -> int:
    from dataclasses import asdict  # noqa: PLC0415

    from sensors.catalogue import keys_of, kind_of  # noqa: PLC0415
    from sensors.keys import SensorKeys  # noqa: PLC0415
    from sensors.registry import KINDS  # noqa: PLC0415

    kinds = [kind_of(name) for name in KINDS]
    if as_json:
        told = {}
        for kind in kinds:
            keys = {key.name: asdict(key) for key in kind.keys}
            for facts in keys.values():
                del facts["name"]
            told[kind.name] = {"summary": kind.summary, "keys": keys}
        say_json(told)
        return OK
    for kind in kinds:
        say(f"{kind.name}: {kind.summary}")
        width = max(len(key.name) for key in kind.keys)
        for key in kind.keys:
            say(f"  {key.name.ljust(width)}  {key.takes}; {key.usual}")
            say(f"  {''.ljust(width)}  {key.help}")
    common = keys_of(SensorKeys)
    required = ", ".join(key.name for key in common if key.required)
    say(f"Every sensor has {required}, and may have {', '.join(key.name for key in common if not key.required)}.")
    return OK


def _read(arguments: argparse.Namespace) -> int:
    from sensors.inspection import Inspection, inspect  # noqa: PLC0415

    config = _load(arguments)
    sensor = next((sensor for sensor in config.sensors if sensor.name == arguments.name), None)
    if sensor is None:
        names = ", ".join(sensor.name for sensor in config.sensors) or "none"
        seen = Inspection(rows=[], problem=f'no sensor is called "{arguments.name}"; there are: {names}')
    else:
        seen = inspect(config, sensor)
    if arguments.json:
        say_json({"sensor": arguments.name, "readings": seen.rows, "problem": seen.problem, "raw": seen.raw})
    else:
        for row in seen.rows:
            doubt = f"  (not believed: {row['refused']})" if row["refused"] else ""
            say(f"{row['topic']} {row['value']}{' ' + row['unit'] if row['unit'] else ''}{doubt}")
        for frame in dict.fromkeys(frame for frame in (*(row["raw"] for row in seen.rows), seen.raw) if frame):
            say(f"raw: {frame}")
        if words := seen.problem or seen.remark:
            print(f"sensor {sensor.name}: {words}" if sensor else f"{arguments.config}: {words}", file=sys.stderr)
    if sensor is None:
        return USAGE
    return OK if seen.is_good else FAILED


def _check(arguments: argparse.Namespace) -> int:
    config = _load(arguments)
    if arguments.json:
        facts = {"ok": True, "site": config.site, "agent": config.agent, "data_dir": str(config.data_dir)}
        paired = {"paired": config.credential is not None, "ungranted": list(config.ungranted)}
        say_json({**facts, **paired, "sensors": [sensor.name for sensor in config.sensors]})
    else:
        count = len(config.sensors)
        say(
            f"{arguments.config}: no problem found; agent {config.agent} of site {config.site} "
            f"reads {count} sensor{'' if count == 1 else 's'} for {config.endpoint}, outbox in {config.data_dir}"
        )
        if config.ungranted:
            say(f"the hub did not grant {', '.join(config.ungranted)}; pair anew with `sensors pair`")
        elif config.trust is not None and not (config.credential or config.broker.username or config.broker.cert_file):
            say("the agent has no account there; where it needs one, `sensors pair` gets it")
    return OK


def _pair(arguments: argparse.Namespace) -> int:
    from sensors.credential import CredentialError  # noqa: PLC0415
    from sensors.discovery import look  # noqa: PLC0415
    from sensors.pairing import PairingError  # noqa: PLC0415
    from sensors.pairing_client import UsageError, found_hub, hub_of, is_there  # noqa: PLC0415

    config = _load(arguments, as_paired=False)  # what it got before may be damaged: this is the cure
    remark = say if not arguments.json else lambda _: None
    code = OK
    try:
        hub = hub_of(arguments.hub) if arguments.hub else found_hub(config, look)
        if not arguments.hub:
            remark(f"the hub is {hub}, as {hub.said_by}")
        is_there(hub)
        kept = _introduced(config, hub)
    except UsageError as error:
        problem, code = str(error), USAGE
    except PairingError as error:
        problem, code = str(error), FAILED
    except CredentialError as error:
        problem, code = str(error), NO_OUTPUT
    if code != OK:
        if arguments.json:
            say_json({"paired": False, "problem": problem})
        else:
            print(problem, file=sys.stderr)
        return code
    unused = "" if not config.broker.says_who() else "; what [broker] says counts instead: remove its account and files"
    if arguments.json:
        facts = {"paired": True, "username": kept.username, "address": kept.address, "port": kept.port}
        say_json({**facts, "topics": list(kept.topics), "credential": str(config.credential_path)})
    else:
        when = "when it connects next, at the latest after `sudo systemctl restart sensors`"
        say(f"paired as {kept.username} with {kept.name}; a running agent uses it {when}{unused}")
    return OK


def _introduced(config: "SensorsConfig", hub: "Hub") -> "Credential":
    """Ask for the code until it is right, where there is somebody to ask."""
    from sensors.pairing import PairingError, typed  # noqa: PLC0415
    from sensors.pairing_client import WrongCode, introduce  # noqa: PLC0415

    while True:
        if sys.stdin.isatty():
            print("code that the hub shows: ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline(200)
        if not line:
            raise PairingError("no code was given; `appliance pair` on the hub shows it")
        try:
            code = typed(line)
        except ValueError as error:
            problem = str(error)
        else:
            try:
                return introduce(config, hub, code)
            except WrongCode as error:
                problem = str(error)
        if not sys.stdin.isatty():
            raise PairingError(problem)
        print(problem, file=sys.stderr)


def _simulate(arguments: argparse.Namespace) -> int:
    from sensors.outbox import OutboxError  # noqa: PLC0415

    _log_to_stderr(verbose=arguments.verbose, begin="\r\x1b[K" if output.is_terminal() else "")
    try:
        return OK if simulate.run(arguments) else FAILED
    except OutboxError as error:
        print(error, file=sys.stderr)
        return NO_OUTBOX


def _doctor(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict  # noqa: PLC0415

    from appliance.config import ConfigError  # noqa: PLC0415
    from sensors.doctor.examination import Examination, World  # noqa: PLC0415

    findings, code = [], FAILED
    try:
        found = Examination(_load(arguments), World()).findings()
    except ConfigError as error:
        found = map(_misfit, (error, *error.more))
        code = BAD_CONFIG
    for finding in found:
        findings.append(finding)
        if not arguments.json:
            say(str(finding))
    count = sum(finding.level == "wrong" for finding in findings)
    if arguments.json:
        say_json([asdict(finding) for finding in findings])
    else:
        say(f"{count or 'nothing'} wrong")
    return code if count else OK


def _misfit(error: "ConfigError") -> "Finding":
    from appliance.finding import wrong  # noqa: PLC0415

    place = f"{error.path}:{error.line}" if error.line else str(error.path or "configuration")
    return wrong(place, f"{error.where}: {error.problem}" if error.key else error.problem, error.cure)


def _load(arguments: argparse.Namespace, *, as_paired: bool = True) -> "SensorsConfig":
    from appliance.config import ConfigError  # noqa: PLC0415
    from sensors.config import load_config  # noqa: PLC0415

    if arguments.config == DEFAULT_CONFIG and not os.path.lexists(DEFAULT_CONFIG):  # which nobody named
        problem, cure = "there is no configuration yet", "write it there, or name a file with --config"
        raise ConfigError(path=DEFAULT_CONFIG, line=None, key="", problem=problem, cure=cure)
    return load_config(arguments.config, as_paired=as_paired)


def _print_table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    lines = [head, *rows] if head else rows
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _end(text: str) -> None:
    """Say why a command ends; the journal is told that it is an error."""
    if os.environ.get("JOURNAL_STREAM"):
        from appliance.logs import marked  # noqa: PLC0415

        text = marked(text)
    print(text, file=sys.stderr)


def _log_to_stderr(*, verbose: bool, begin: str = "") -> None:
    """Log lines for people, each behind `begin`, or to the journal."""
    import logging  # noqa: PLC0415

    from appliance import logs  # noqa: PLC0415

    logs.begin(logging.DEBUG if verbose else logging.INFO, "sensors", f"{begin}sensors: %(message)s")
