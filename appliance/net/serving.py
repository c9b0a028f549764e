"""An event loop that serves MQTT sockets from within its selector.

A home's broker sees a few small packets at a time, so what asyncio does around each of them, a handle, a callback,
a second look at the selector, costs more than the packet. Here the selector hands a ready MQTT socket to its link
itself, ends the turn with one flush, and returns to asyncio only when asyncio has something to do. Everything else
on the loop, the page, timers, threads, works as on any other loop.
"""

import asyncio
import logging
import math
import select
import selectors
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import Context
from selectors import EVENT_READ, EVENT_WRITE, SelectorKey
from time import monotonic
from typing import Any, TypeVarTuple

Arguments = TypeVarTuple("Arguments")
Ready = Callable[[int], None]
"""Acts on a socket's events, as epoll names them."""

log = logging.getLogger(__name__)

EVENTS = 256  # taken from the kernel at a time


def _nothing() -> None:
    """Stand for the end of a turn that nobody waits for."""


class ServingSelector(selectors.BaseSelector):
    """Waits for asyncio's files and for our own sockets; serves the latter itself."""

    def __init__(self) -> None:
        self.end_of_turn: Callable[[], None] = _nothing
        self.called = False  # asyncio was given something to do
        self._epoll = select.epoll()
        self._keys: dict[int, SelectorKey] = {}
        self._served: dict[int, Ready] = {}

    # --- our own sockets ---

    def serve(self, fd: int, ready: Ready) -> None:
        """Call `ready` whenever there is something to read."""
        self._served[fd] = ready
        self._epoll.register(fd, select.EPOLLIN)

    def want(self, fd: int, *, writable: bool) -> None:
        """Say whether `ready` is also called when the socket takes bytes again."""
        self._epoll.modify(fd, select.EPOLLIN | select.EPOLLOUT if writable else select.EPOLLIN)

    def rest(self, fd: int) -> None:
        """Leave the socket alone until it is served again."""
        if self._served.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    # --- what asyncio calls ---

    def register(self, fileobj: Any, events: int, data: Any = None) -> SelectorKey:
        """Watch a file of asyncio's."""
        fd = _fd(fileobj)
        if fd in self._keys or fd in self._served:
            raise KeyError(f"{fileobj!r} is watched already")
        key = self._keys[fd] = SelectorKey(fileobj, fd, events, data)
        self._epoll.register(fd, _mask(events))
        return key

    def unregister(self, fileobj: Any) -> SelectorKey:
        """Watch it no more."""
        fd = _fd(fileobj)
        key = self._keys.pop(fd)
        with suppress(OSError):  # a closed file has left by itself
            self._epoll.unregister(fd)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> SelectorKey:
        """Watch it for something else."""
        fd = _fd(fileobj)
        key = self._keys[fd] = self._keys[fd]._replace(events=events, data=data)
        self._epoll.modify(fd, _mask(events))
        return key

    def get_map(self) -> Mapping[Any, SelectorKey]:
        """Give asyncio's files by descriptor."""
        return self._keys

    def get_key(self, fileobj: Any) -> SelectorKey:
        """Give what is known of one of asyncio's files."""
        return self._keys[_fd(fileobj)]

    def close(self) -> None:
        """Watch nothing any more."""
        self._epoll.close()
        self._keys.clear()
        self._served.clear()

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        """Serve our sockets until `timeout` seconds are over or asyncio has something to do."""
        self.called = False
        until = math.inf if timeout is None else monotonic() + max(timeout, 0)
        wait = -1.0 if timeout is None else max(timeout, 0)
        served = self._served
        while True:
            # epoll counts in milliseconds; rounded up, a timer is never looked at too early and then at once again
            at_most_s = -1 if wait < 0 else math.ceil(wait * 1e3) * 1e-3
            try:
                events = self._epoll.poll(at_most_s, EVENTS)
            except MemoryError:  # left alone it would end the loop; a single one wants next to nothing
                try:
                    events = self._epoll.poll(at_most_s, 1)
                except MemoryError:
                    return []
            theirs = []
            ours = False
            for fd, event in events:
                ready = served.get(fd)
                if ready is not None:
                    ours = True
                    try:
                        ready(event)
                    except Exception:  # left alone it would end the loop, and every client with it
                        self.rest(fd)
                        with suppress(MemoryError):
                            log.exception("a socket is served no more after an error of the server")
                elif fd in self._keys:
                    key = self._keys[fd]
                    happened = (EVENT_WRITE if event & ~select.EPOLLIN else 0) | (
                        EVENT_READ if event & ~select.EPOLLOUT else 0
                    )
                    theirs.append((key, happened & key.events))
            if ours:
                try:
                    self.end_of_turn()
                except Exception:  # as above
                    with suppress(MemoryError):
                        log.exception("what was to be sent may be late after an error of the server")
            if theirs or self.called or not ours:
                return theirs
            if timeout is not None:
                wait = until - monotonic()
                if wait <= 0:
                    return theirs


class ServingLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop over a `ServingSelector`."""

    def __init__(self) -> None:
        self.serving = ServingSelector()
        super().__init__(self.serving)

    def call_soon(
        self, callback: Callable[[*Arguments], object], *args: *Arguments, context: Context | None = None
    ) -> asyncio.Handle:
        """Call soon, which the selector must not delay."""
        self.serving.called = True
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Arguments], object], *args: *Arguments, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call later, which changes how long the selector may wait."""
        self.serving.called = True
        return super().call_at(when, callback, *args, context=context)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Give the loop for a service: a serving one where the system has epoll, else asyncio's."""
    return ServingLoop() if hasattr(select, "epoll") else asyncio.new_event_loop()


def _fd(fileobj: Any) -> int:
    return fileobj if isinstance(fileobj, int) else int(fileobj.fileno())


def _mask(events: int) -> int:
    return (select.EPOLLIN if events & EVENT_READ else 0) | (select.EPOLLOUT if events & EVENT_WRITE else 0)
