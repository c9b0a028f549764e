"""Where the agent's one thread waits: for its link's socket, for a time, or until another thread wakes it."""

import math
import os
import select
import socket
from contextlib import suppress
from typing import Final

READABLE, WRITABLE = select.POLLIN, select.POLLOUT
CHUNK_BYTES: Final = 65_536


class Waker:
    """`wake` is callable from any thread and from a signal handler."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def wake(self) -> None:
        """End the waiting of now, or the next one."""
        with suppress(OSError):  # full: it will wake anyway; closed: nobody is left to wake
            os.write(self._writer, b"\0")

    def wait(self, timeout_s: float, sock: socket.socket | None, *, wants_write: bool) -> int:
        """Wait at most so long; gives what happened to the socket, as poll names it."""
        poller = select.poll()  # select() knows no descriptor above 1,023
        poller.register(self._reader, READABLE)
        if sock is not None:
            poller.register(sock, READABLE | (WRITABLE if wants_write else 0))
        ready = dict(poller.poll(math.ceil(timeout_s * 1000)))
        if self._reader in ready:
            with suppress(BlockingIOError):
                os.read(self._reader, CHUNK_BYTES)
        return 0 if sock is None else ready.get(sock.fileno(), 0)

    def close(self) -> None:
        """A driver that hung may still come back and wake: not into a file that has the number by then."""
        writer, self._writer = self._writer, -1
        os.close(writer)
        os.close(self._reader)
