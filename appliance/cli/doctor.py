"""`appliance doctor`: what is wrong with the hub, and the cure."""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.cli.ask import DATA_HELP, Place, ask_service
from appliance.cli.commands import Commands
from appliance.cli.service import data_dir_of, settings_of
from appliance.cli.terminal import say
from appliance.exits import CommandError, Exit
from appliance.places import SYSTEM_CONFIG, hidden, present

if TYPE_CHECKING:
    from appliance.finding import Finding


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the arguments of this file's command."""
    doctor = commands.add_parser("doctor", help="look for what goes wrong with the hub", allow_abbrev=False)
    doctor.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"TOML file of the service (default {SYSTEM_CONFIG}, if it is there)",
    )
    doctor.add_argument("--data", type=Path, metavar="DIR", help=DATA_HELP)
    doctor.add_argument("--json", action="store_true", help="the findings as a JSON array")
    doctor.set_defaults(command=doctor_command)


def doctor_command(arguments: argparse.Namespace) -> int:
    """Say what is wrong, a line for each thing."""
    if arguments.config is None and (present(SYSTEM_CONFIG) or hidden(SYSTEM_CONFIG)):
        arguments.config = SYSTEM_CONFIG
    code = Exit.NOTHING
    try:
        found = _examined(arguments)
    except CommandError as error:
        from appliance.finding import wrong  # noqa: PLC0415 commands import what they need

        if error.exit_code != Exit.CONFIG:
            raise
        what, _, cure = str(error).rpartition("; ")
        found = [wrong("configuration", what or cure, cure if what else "correct it")]
        code = Exit.CONFIG
    findings = []
    for finding in found:
        findings.append(finding)
        if not arguments.json:
            say(str(finding))
    count = sum(finding.level == "wrong" for finding in findings)
    if arguments.json:
        from dataclasses import asdict  # noqa: PLC0415

        say(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False))
    else:
        say(f"{count or 'nothing'} wrong")
    return code if count else Exit.OK


def _examined(arguments: argparse.Namespace) -> "Iterable[Finding]":
    from appliance.doctor.examination import Examination, World  # noqa: PLC0415

    settings = settings_of(arguments)
    data_dir = data_dir_of(arguments, settings)
    place = Place(data_dir, arguments.config if arguments.data is None else None)
    world = World(status=lambda: ask_service(place, "/api/status", []))
    return Examination(settings, arguments.config, data_dir, world).findings()
