"""Where the log goes: lines for people, or the journal, with fields that say what an entry is about."""

import logging
import os
import sys
from collections.abc import Callable
from typing import Any, Final

FIELDS: Final = {
    "MQTT_CLIENT_ID": "the client identifier",
    "MQTT_TOPIC": "the topic",
    "PEER": "address and port of the other end of a connection",
    "SENSOR": "the sensor's name in sensors.toml",
    "CAUSE": "why something ended or failed",
}
"""What an entry may be about: keys of `extra=` where something is logged, and fields of the journal."""

MOST_LETTERS = 1_024  # of a field; a topic may have 65,535 bytes
PRIORITIES: Final = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}
INFO = 6

Send = Callable[..., object]
"""Sends one entry, as `systemd.journal.send` does."""


def begin(level: int, name: str, line: str) -> None:
    """Log what is at least of `level`: to the journal as `name` where it reads our standard error, else as `line`s.

    Without systemd's library the journal gets lines that begin with their priority, and no fields.
    """
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if is_the_journals(2):
        handler.setFormatter(Prefixed("%(message)s"))
        send = _journal()
        if send is not None:
            handler = JournalHandler(name, send, handler)
    else:
        handler.setFormatter(OneLine(line))
    logging.basicConfig(level=level, handlers=[handler])


def is_the_journals(fd: int) -> bool:
    """Whether the journal reads what is written to the file: systemd names it, and a redirection is another one."""
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def marked(text: str) -> str:
    """Begin the lines of an error that ends a command with its priority, where the journal reads standard error."""
    if not is_the_journals(2):
        return text
    return "\n".join(f"<{PRIORITIES[logging.ERROR]}>{line}" for line in text.splitlines())


class OneLine(logging.Formatter):
    """Writes what is said in one line that a terminal can show; what happened before (a traceback) follows as it is.

    Topics and names come from whoever sends them: a new line in one would look like an entry of ours.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 its parent calls it so
        """Give the line."""
        if not record.message.isprintable():
            record.message = "".join(char if char.isprintable() else "?" for char in record.message)
        return super().formatMessage(record)


class Prefixed(OneLine):
    """Begins each line with its priority as the journal reads it; one without would be taken for another entry."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the lines of an entry."""
        priority = PRIORITIES.get(record.levelno, INFO)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


class JournalHandler(logging.Handler):
    """Gives entries to the journal, and to another handler what it does not take."""

    def __init__(self, name: str, send: Send, spare: logging.Handler) -> None:
        super().__init__()
        self.setFormatter(OneLine("%(message)s"))
        self._name = name
        self._send = send
        self._spare = spare

    def emit(self, record: logging.LogRecord) -> None:
        """Send one entry; of the record only what it says, where it was said and what it is about."""
        fields: dict[str, Any] = {
            key: str(value)[:MOST_LETTERS] for key in FIELDS if (value := record.__dict__.get(key)) not in {None, ""}
        }
        try:
            self._send(
                self.format(record),
                PRIORITY=str(PRIORITIES.get(record.levelno, INFO)),
                SYSLOG_IDENTIFIER=self._name,
                LOGGER=record.name,
                CODE_FILE=record.pathname,
                CODE_LINE=record.lineno,
                CODE_FUNC=record.funcName,
                **fields,
            )
        except (OSError, ValueError):  # no socket in this sandbox; half of a letter in a name
            self._spare.handle(record)
        except Exception:  # noqa: BLE001 as every handler: words that do not fit must not end who said them
            self.handleError(record)


def _journal() -> Send | None:
    try:
        from systemd.journal import send  # noqa: PLC0415 an extra: a distribution's package, absent on most desktops
    except ImportError:
        return None
    found: Send = send
    return found
