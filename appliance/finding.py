"""One thing that a doctor found, of the hub or of an agent."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["wrong", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about what. `wrong` has a cure; a `note` is to be known, or says what could not be looked at."""

    level: Level
    about: str  # "broker", "disk", "GPIO17", "/dev/i2c-1" …
    what: str
    cure: str = ""

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.level}: {self.about}: {self.what}" + (f"; {self.cure}" if self.cure else "")


def wrong(about: str, what: str, cure: str) -> Finding:
    """Make a finding that somebody must act on."""
    return Finding("wrong", about, what, cure)


def note(about: str, what: str, cure: str = "") -> Finding:
    """Make a finding that nobody need act on."""
    return Finding("note", about, what, cure)
