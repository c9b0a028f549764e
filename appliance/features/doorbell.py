"""The control socket of a service without a page: what answers there is loaded when somebody first comes.

The web's libraries are a quarter of a service's memory, and a small computer may never ask.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from appliance.net.listening import SocketFile

log = logging.getLogger(__name__)

Stop = Callable[[], Awaitable[None]]
Open = Callable[[SocketFile], Awaitable[Stop]]
"""Begins to serve on the socket, which is its own from then on; gives the way to stop it."""


class Doorbell:
    """Watches the socket from `start` to `stop`; who comes waits in its backlog until `open_door` has answered."""

    def __init__(self, control: SocketFile, open_door: Open) -> None:
        self._control = control
        self._open_door = open_door
        self._opening: asyncio.Task[None] | None = None
        self._stop: Stop | None = None

    def start(self) -> None:
        """Wait for the first visitor."""
        asyncio.get_running_loop().add_reader(self._control.socket, self._ring)

    def _ring(self) -> None:
        asyncio.get_running_loop().remove_reader(self._control.socket)
        self._opening = asyncio.create_task(self._answer(), name="doorbell")

    async def _answer(self) -> None:
        try:
            self._stop = await self._open_door(self._control)
        except Exception:  # the broker goes on; whoever asks next is told that nobody answers
            log.exception("the control socket cannot be served")
            self._control.socket.close()

    async def stop(self) -> None:
        """Serve no more; the socket file is gone afterwards."""
        if self._opening is None:
            asyncio.get_running_loop().remove_reader(self._control.socket)
            self._control.socket.close()
        else:
            await self._opening
        if self._stop is not None:
            await self._stop()
        self._control.remove()
