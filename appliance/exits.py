"""How commands end: the exit codes, and the one error that carries a line for people and its code."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of all commands; where sysexits.h has a word for it, its number."""

    OK = 0
    NOTHING = 1  # asked for something that is not there
    USAGE = 2  # the command line is wrong
    TIMEOUT = 27  # -W ran out, as Mosquitto's clients say it
    UNAVAILABLE = 69  # a port or directory is taken, or nothing answers
    DATA = 73  # the data directory, the database or the output cannot be used
    CONFIG = 78  # the configuration is wrong
    INTERRUPTED = 130


class CommandError(Exception):
    """A command cannot do what was asked; the text is one line with the cure."""

    def __init__(self, text: str, exit_code: Exit) -> None:
        super().__init__(text)
        self.exit_code = exit_code
