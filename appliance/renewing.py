"""Has the server's certificate looked at while the service runs, and taken up when it was renewed.

`appliance setup` does it, in a process of its own: what it needs would double the memory of a service that uses it once
a year. It is started once a day, soon after an address or the computer's name is new, and when the clock is set.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from appliance.clock import SYNCED, clock_quality
from appliance.hostname import own_name
from appliance.interfaces import Changes, look

LOG: Final = logging.getLogger(__name__)
LOG.setLevel(logging.INFO)  # a new certificate is worth a line
DAY_S: Final = 86_400.0
MINUTE_S: Final = 60.0  # between two looks at the clock and the computer's name, of which nobody tells
SETTLE_S: Final = 10.0  # an interface that comes up has its addresses one after the other
LONGEST_S: Final = 300.0  # for the process; a Pi Zero needs ten seconds


class Renewing:
    """Looks after one certificate from `start` to `close`."""

    def __init__(
        self,
        command: Sequence[str],
        certificate: Path,
        reload: Callable[[], Awaitable[object]],
        *,
        day_s: float = DAY_S,
        minute_s: float = MINUTE_S,
        settle_s: float = SETTLE_S,
        quality: Callable[[], str] = clock_quality,
        known: Callable[[], set[str]] | None = None,
    ) -> None:
        """`command` renews the certificate if it is due; `reload` has the service use what it finds then."""
        self._command = tuple(command)
        self._certificate = certificate
        self._reload = reload
        self._day_s = day_s
        self._minute_s = minute_s
        self._settle_s = settle_s
        self._quality = quality
        self._called = known or called
        self._moved = asyncio.Event()
        self._changes: Changes | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; setup has looked just before the service started."""
        with suppress(OSError):  # not allowed to hear of addresses: then once a day is enough
            self._changes = Changes()
        if self._changes is not None:
            asyncio.get_running_loop().add_reader(self._changes.fileno(), self._hear)
        self._task = asyncio.create_task(self._work(), name="renewing")

    async def close(self) -> None:
        """Look no more."""
        if self._changes is not None:
            asyncio.get_running_loop().remove_reader(self._changes.fileno())
            self._changes.close()
            self._changes = None
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def _hear(self) -> None:
        assert self._changes is not None  # noqa: S101 heard of it
        self._changes.take()
        self._moved.set()

    async def _work(self) -> None:
        is_set, known = self._quality() == SYNCED, self._called()
        looked_at = self._now()
        while True:
            moved = await self._wait(looked_at + self._day_s - self._now())
            if moved:
                await asyncio.sleep(self._settle_s)
                self._moved.clear()
            was_set, is_set = is_set, self._quality() == SYNCED
            here = self._called()
            is_new, known = bool(here - known), here | known
            if is_new or is_set > was_set or self._now() >= looked_at + self._day_s:
                looked_at = self._now()
                await self.look()

    async def _wait(self, left_s: float) -> bool:
        """Wait until something may be due; whether it is that something was said of addresses."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(left_s, self._minute_s))):
                return await self._moved.wait()
        return False

    async def look(self) -> None:
        """Have the certificate renewed if it is due, and use it then. What goes wrong is said, and tried again."""
        before = _identity(self._certificate)
        said = ""
        try:
            said = await self._run()
        except OSError as error:  # TimeoutError is one
            why = str(error) or f"not done within {LONGEST_S:g} s"
            LOG.warning("the certificate could not be looked at (%s); tried again tomorrow", why)
        if _identity(self._certificate) != before:
            for line in said.splitlines():
                LOG.info("%s", line)
            try:
                await self._reload()
            except Exception:  # nobody waits for us who would hear of it, and there is a next time
                LOG.exception("the certificate is new, and could not be taken up; `systemctl reload` does it")

    async def _run(self) -> str:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *self._command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
        try:
            async with asyncio.timeout(LONGEST_S):
                said, troubles = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        for line in troubles.decode("utf-8", "replace").splitlines():
            LOG.warning("%s", line)
        if process.returncode:
            LOG.warning(
                "setup ended with exit code %d; the certificate is looked at again tomorrow", process.returncode
            )
        return said.decode("utf-8", "replace")

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def called() -> set[str]:
    """Give the name of this computer and its lasting addresses; none of these where the system does not tell."""
    try:
        return {own_name(), *(text for one in look().every for text in one.addresses)}
    except OSError:
        return {own_name()}


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
