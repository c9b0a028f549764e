"""Tells systemd how the service is; silent where systemd did not start it."""

import logging
import os
from functools import cache

LOG = logging.getLogger(__name__)


def ready(status: str = "") -> None:
    """Say that the service can be used."""
    _send("READY=1", status)


def stopping(status: str = "") -> None:
    """Say that the service is on its way down."""
    _send("STOPPING=1", status)


def status(text: str) -> None:
    """Say in a few words what the service is doing; `systemctl status` shows it."""
    _send("", text)


def watchdog(status: str = "") -> None:
    """Say that the service still gets on, and what it is doing."""
    _send("WATCHDOG=1", status)


def watchdog_interval_s() -> float | None:
    """Seconds between two calls of `watchdog`, half of what systemd allows; None where it does not watch."""
    if not os.environ.get("NOTIFY_SOCKET") or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        allowed_us = int(os.environ.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return allowed_us / 2_000_000 if allowed_us > 0 else None


def _send(state: str, status: str = "") -> None:
    if not os.environ.get("NOTIFY_SOCKET"):
        return
    try:
        from systemd.daemon import notify  # noqa: PLC0415 an extra: a distribution's package, absent on most desktops
    except ImportError:
        _tell_of_the_library()
        return
    words = [state] if state else []
    if status:
        words.append("STATUS=" + status.replace("\n", " "))
    try:
        notify("\n".join(words))
    except (OSError, ValueError) as error:  # its socket is gone; half of a letter in a path. No reason to stop working
        _tell_of_deafness(str(error))


@cache
def _tell_of_deafness(why: str) -> None:
    LOG.warning("systemd cannot be told how the service is: %s", why)


@cache
def _tell_of_the_library() -> None:
    LOG.warning(
        "systemd cannot be told that the service is ready: install the distribution's python3-systemd, "
        "and have the virtual environment see it (--system-site-packages)"
    )
