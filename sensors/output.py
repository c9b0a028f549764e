"""What the commands of `sensors` write: lines for people, and JSON for programs."""

import json
import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Any


class OutputError(Exception):
    """Nothing can be written; the text is for people."""


def prepare() -> None:
    """Have both outputs, also where whoever started us closed them; what one cannot spell becomes a question mark."""
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 open until the end
    sys.stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def say(text: str) -> None:
    """Write a line at once. Raises OutputError; BrokenPipeError where the reader has seen enough."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        drop()
        raise
    except OSError as error:
        drop()
        raise OutputError(
            f"the output cannot be written ({error.strerror}); free some space, or send it elsewhere"
        ) from None


def say_json(value: Any) -> None:
    """Write JSON on one line. Raises as `say` does."""
    spells = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
    say(json.dumps(value, ensure_ascii=not spells))


def drop() -> None:
    """Send what is still to be written nowhere, so that the end of the process does not stumble over it."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def is_terminal() -> bool:
    """Whether a line on standard error can be written over."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def cut_to_terminal(line: str) -> str:
    """Cut a line that is to be written over: one that goes on in the next row would stay there."""
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        return line
    return line[: columns - 1] if columns else line
