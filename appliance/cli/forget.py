"""`appliance forget`: devices that are gone leave the page, the status and the broker; their history stays."""

import argparse

from appliance.cli.ask import add_place, ask_service, nobody_answers, place_of
from appliance.cli.commands import Commands
from appliance.cli.terminal import complain, printable, say
from appliance.cli.words import counted
from appliance.exits import CommandError, Exit


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the arguments of this file's command."""
    forget = commands.add_parser("forget", help="clear what is retained of a device that is gone", allow_abbrev=False)
    forget.add_argument("devices", nargs="+", metavar="DEVICE", help="as `appliance status` lists agents")
    forget.add_argument("--site", default="", metavar="SITE", help="first level of its topics (the service's site)")
    add_place(forget)
    forget.set_defaults(command=forget_command)


def forget_command(arguments: argparse.Namespace) -> int:
    """Forget each device, and tell of those that were not."""
    worst, place = Exit.OK, place_of(arguments)
    for device in arguments.devices:
        troubles: list[str] = []
        try:
            told = ask_service(place, "/api/forget", troubles, body={"agent": device, "site": arguments.site})
        except CommandError as error:
            complain(str(error))
            worst = max(worst, error.exit_code)
            continue
        if told is None:
            raise nobody_answers(place, troubles)
        say(f"{printable(device)} is forgotten: {counted(told['cleared'], 'topic')} cleared; its history stays")
    return worst
