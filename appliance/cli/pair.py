"""`appliance pair`: let one new agent get an account of its own, by a code that a person carries to it."""

import argparse
import json
import sys
import time
from typing import Any

from appliance.cli.ask import Place, add_place, ask_service, nobody_answers, place_of
from appliance.cli.banner import banner
from appliance.cli.commands import Commands
from appliance.cli.terminal import Colour, announce, coloured, complain, line_columns, printable
from appliance.cli.words import duration
from appliance.exits import CommandError, Exit

MINUTES = 5.0
LOOK_S = 0.5
CLEAR = "\r\x1b[K"


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the arguments of this file's command."""
    pair = commands.add_parser("pair", help="let a new agent get an account, by a short code", allow_abbrev=False)
    pair.add_argument(
        "--minutes", type=minutes, default=MINUTES, metavar="N", help="how long it may come (default: %(default)g)"
    )
    add_place(pair)
    pair.add_argument("--json", action="store_true", help="print a JSON object a line: the code, then what happens")
    pair.set_defaults(command=pair_command)


def minutes(text: str) -> float:
    """Read how long a window stays open."""
    from appliance.auth.pairing_window import LONGEST_MINUTES, SHORTEST_MINUTES  # noqa: PLC0415 for who asks for it

    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not SHORTEST_MINUTES <= number <= LONGEST_MINUTES:  # nan is not either
        limits = f"from {SHORTEST_MINUTES:g} to {LONGEST_MINUTES:g}"
        raise argparse.ArgumentTypeError(f"'{text}' will not do; give {limits} minutes")
    return number


def pair_command(arguments: argparse.Namespace) -> int:
    """Open a window, show its code, and tell what happens until it ends; Ctrl-C ends it."""
    place = place_of(arguments)
    opened = _ask(place, "open", {"minutes": arguments.minutes})
    key = opened["key"]
    screen = _Screen(as_json=arguments.json)
    try:
        screen.opened(opened)
        told, count = opened, 0
        while True:
            screen.told(told)
            count += len(told["notes"])
            if told["state"] != "open":
                break
            time.sleep(LOOK_S)
            told = _ask(place, "told", {"key": key, "since": count})
    except BaseException:  # whatever ends us ends the window too
        screen.clear()
        _close(place, key, is_told=not arguments.json)
        raise
    return Exit.OK if told["state"] == "paired" else Exit.NOTHING


def _close(place: Place, key: str, *, is_told: bool) -> None:
    try:
        told = _ask(place, "close", {"key": key})
    except CommandError:  # then it ends by itself, as nobody looks at it
        return
    if is_told:
        complain(told["closed"])


def _ask(place: Place, what: str, body: dict[str, object]) -> Any:
    troubles: list[str] = []
    told = ask_service(place, f"/api/pairing/{what}", troubles, body=body)
    if told is None:
        raise nobody_answers(place, troubles)
    return told


class _Screen:
    """What the person sees; on a terminal the time that is left runs in the last line."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._is_terminal = sys.stdout.isatty() and not as_json

    def opened(self, opened: Any) -> None:
        if self._as_json:
            announce(json.dumps({name: opened[name] for name in ("code", "where", "left_s")}))
            return
        code = opened["code"]
        announce(f"On the new agent: sensors pair {printable(opened['where'])}\nIt asks for this code:\n")
        lines = banner(code) if self._is_terminal and _can_show() else []
        if lines and max(map(len, lines)) + 4 <= line_columns():
            announce("\n".join(f"    {line}" for line in lines) + "\n")
        announce(f"    {coloured(code, Colour.GREEN)}\n")
        if not self._is_terminal:
            announce(f"{duration(opened['left_s'])} are left")

    def told(self, told: Any) -> None:
        if self._as_json:
            for note in told["notes"]:
                announce(json.dumps({"note": note}))
            if told["state"] != "open":
                announce(json.dumps({"state": told["state"]}))
            return
        self.clear()
        for note in told["notes"]:
            announce(printable(note))
        if self._is_terminal and told["state"] == "open":
            sys.stdout.write(f"{duration(told['left_s'])} are left; Ctrl-C ends it")
            sys.stdout.flush()

    def clear(self) -> None:
        if self._is_terminal:
            sys.stdout.write(CLEAR)
            sys.stdout.flush()


def _can_show() -> bool:
    try:
        "█".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
