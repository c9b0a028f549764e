"""What commands write: lines for people, colours where they are wanted."""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from appliance.exits import CommandError, Exit


class Colour(StrEnum):
    """Colours of a terminal."""

    GREEN = "32"
    RED = "31"
    DIM = "2"


def say(text: str) -> None:
    """Write a line of output; CommandError."""
    with writing():
        sys.stdout.write(f"{text}\n")


def announce(text: str) -> None:
    """Write a line at once; a service goes on where nobody can read it."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError:
        drop_output()


@contextmanager
def writing() -> Generator[None]:
    """Turn output that finds no room into CommandError; a reader who has seen enough stays BrokenPipeError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        drop_output()
        raise CommandError(
            f"the output cannot be written ({error.strerror}); free some space, or send it elsewhere", Exit.DATA
        ) from None


def drop_output() -> None:
    """Send what is still to be written nowhere, so that the end of the process does not stumble over it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def open_closed_outputs() -> None:
    """Have both outputs, also where whoever started us has closed them."""
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 open until the end
    sys.stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115


def line_columns() -> int:
    """Columns of the terminal; 80 where there is none."""
    said = os.environ.get("COLUMNS", "")
    if said.isascii() and said.isdigit() and int(said):
        return int(said)
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or 80 if sys.__stdout__ else 80
    except (OSError, ValueError):  # no terminal, or closed
        return 80


def complain(text: str, *, ends: bool = False) -> None:
    """Write one line about what went wrong; `ends` where that ends the command, which the journal is told."""
    line = f"appliance: {' '.join(text.splitlines())}"
    if ends and os.environ.get("JOURNAL_STREAM"):
        from appliance.logs import marked  # noqa: PLC0415 a service that cannot start

        line = marked(line)
    sys.stderr.write(f"{line}\n")


def coloured(text: str, colour: Colour) -> str:
    """Colour a word, unless the output is no terminal or NO_COLOR forbids it (no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stdout.isatty():
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"


def printable(text: str) -> str:
    """Show what a stranger sent without letting it steer the terminal."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
