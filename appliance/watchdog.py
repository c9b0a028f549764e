"""Waits for the signal that ends the service, and tells systemd meanwhile how it is and that it gets on."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from typing import Final, Protocol

from appliance import notify

LOG: Final = logging.getLogger(__name__)


class Watched(Protocol):
    """What is watched."""

    def gets_on(self) -> bool:
        """Whether it does what it is there for; False only where a new start is the cure."""
        ...

    def summary(self) -> str:
        """Say in one line how it is."""
        ...


class Watchdog:
    """Made where the loop runs; from `until_signal` on, SIGINT and SIGTERM end it."""

    def __init__(self, interval_s: float | None = None) -> None:
        """`interval_s`: between two words to systemd's watchdog; absent, what systemd asks for."""
        self._interval_s = notify.watchdog_interval_s() if interval_s is None else interval_s
        self._watched: Watched | None = None
        self._is_told = False  # that it does not get on

    def watch(self, watched: Watched) -> None:
        """Tell of this from now on: it is ready."""
        self._watched = watched
        notify.ready(watched.summary())

    def end(self) -> None:
        """Tell that it is on its way down; no more is told of it."""
        self._watched = None
        notify.stopping("stopping")

    async def until_signal(self, hung_up: Callable[[], None] | None = None) -> None:
        """Wait for SIGINT or SIGTERM. SIGHUP calls `hung_up`; where a terminal is gone, it is a reason to stop too."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        if hung_up is not None:
            terminals = [fd for fd in range(3) if is_terminal(fd)]
            loop.add_signal_handler(
                signal.SIGHUP, lambda: hung_up() if all(map(is_terminal, terminals)) else stop.set()
            )
        while not stop.is_set():
            try:
                async with asyncio.timeout(self._interval_s):
                    await stop.wait()
            except TimeoutError:
                self._tell()

    def _tell(self) -> None:
        watched = self._watched
        if watched is None:  # it starts, or stops, and that may take its time
            notify.watchdog()
        elif watched.gets_on():
            self._is_told = False
            notify.watchdog(watched.summary())
        elif not self._is_told:
            self._is_told = True
            LOG.error("the thread that writes does not get on: systemd is asked for a new start")


def is_terminal(fd: int) -> bool:
    """Whether there is a terminal at this file; not when it was closed."""
    try:
        return os.isatty(fd)
    except OSError:
        return False
