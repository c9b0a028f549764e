"""What commands write: lines for people, colours where they are wanted."""

import os
import sys
from enum import StrEnum


class Colour(StrEnum):
    """Colours of a terminal."""

    GREEN = "32"
    RED = "31"
    DIM = "2"


def say(text: str) -> None:
    """Write a line of output."""
    sys.stdout.write(f"{text}\n")


def complain(text: str) -> None:
    """Write one line about what went wrong."""
    line = " ".join(text.splitlines())
    sys.stderr.write(f"appliance: {line}\n")


def coloured(text: str, colour: Colour) -> str:
    """Colour a word, unless the output is no terminal or NO_COLOR forbids it (no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stdout.isatty():
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"


def printable(text: str) -> str:
    """Show what a stranger sent without letting it steer the terminal."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
