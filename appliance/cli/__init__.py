"""The command line: arguments here, each command's work in its own file, imported when it is called."""

import argparse
import sys
from collections.abc import Sequence

from appliance import build
from appliance.cli import service
from appliance.cli.terminal import complain, drop_output, line_columns, open_closed_outputs, writing
from appliance.exits import CommandError, Exit

EPILOG = """\
exit codes: 0 done; 1 nothing found; 2 wrong command line; 27 time ran out (-W); 69 a port or directory is taken,
or nothing answers; 73 data directory, database or output cannot be used; 78 wrong configuration; 130 interrupted
"""


class Parser(argparse.ArgumentParser):
    """Tells argparse how wide lines are: what it would ask itself loads half a megabyte of compressors."""

    def _get_formatter(self) -> argparse.HelpFormatter:
        raw = self.formatter_class is argparse.RawDescriptionHelpFormatter
        formatter = argparse.RawDescriptionHelpFormatter if raw else argparse.HelpFormatter
        return formatter(self.prog, width=line_columns() - 2)


def build_parser(first: str = "") -> argparse.ArgumentParser:
    """Every command with its arguments; the service's alone for who runs it, and would keep the others in memory."""
    parser: argparse.ArgumentParser = Parser(
        prog="appliance",
        description="The sensor hub of the home: MQTT broker, history and page.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"appliance {build.version()}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    service.add_commands(commands)
    if first != "run":
        from appliance.cli import (  # noqa: PLC0415 see above
            backup,
            devices,
            doctor,
            export,
            forget,
            history,
            mqtt,
            pair,
            passwd,
            prove,
            setup,
            status,
        )

        for group in (setup, doctor, passwd, devices, pair, status, forget, history, prove, export, backup, mqtt):
            group.add_commands(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    open_closed_outputs()
    words = sys.argv[1:] if argv is None else argv
    arguments = build_parser(*words[:1]).parse_args(words)
    try:
        code: int = arguments.command(arguments)
        with writing():
            sys.stdout.flush()
    except CommandError as error:
        complain(str(error), ends=True)
        return error.exit_code
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:  # the reader of our output has seen enough
        drop_output()
        return Exit.OK
    return code
