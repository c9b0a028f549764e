"""How far a long command is: one line on a terminal, written over again and again."""

import sys
import time
from typing import Final

TELL_EVERY_S: Final = 0.5  # and not before: a short command says nothing


class Progress:
    """Says nothing where standard error is no terminal."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._due = time.monotonic() + TELL_EVERY_S
        self._told = False

    def tell(self, text: str) -> None:
        """Show the line, now and then."""
        if self._shown and time.monotonic() >= self._due:
            self._due = time.monotonic() + TELL_EVERY_S
            self._told = True
            sys.stderr.write(f"\r{text}\x1b[K")
            sys.stderr.flush()

    def end(self) -> None:
        """Leave the line empty."""
        if self._told:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
