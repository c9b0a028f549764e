"""The web server: one application on a TCP port and on the control socket, inside the service's event loop."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from appliance.features.web.api import Api, Readers
from appliance.features.web.files import Files
from appliance.features.web.guard import Guard, own_names
from appliance.features.web.live import LiveFeed, Local
from appliance.net.listening import SocketFile, listen_tcp, peer_credentials
from appliance.store.history import HistoryReader

REQUEST_TIMEOUT_S: Final = 10.0  # for the head of a request to arrive
KEEP_ALIVE_S: Final = 15
MAX_CONNECTIONS: Final = 128
MAX_INCOMING_BYTES: Final = 4_096  # of one WebSocket message; a page has nothing to say
GRACE_S: Final = 0.3  # for answers under way when the service stops


class Peer(NamedTuple):
    """Process at the other end of the control socket, as the kernel says."""

    pid: int
    uid: int
    gid: int


class WebServer:
    """Serves page and API from `start` to `stop`."""

    def __init__(
        self,
        *,
        site: str,
        address: str,
        port: int | None,
        control_path: Path | None,
        local: Local,
        history: HistoryReader | None,
        status: Callable[[], dict[str, object]],
    ) -> None:
        """Port None serves no TCP at all, 0 takes any free port; without a control path there is no such socket."""
        self._site = site
        self._address = address
        self._asked_port = port
        self._control_path = control_path
        self._local = local
        self._history = history
        self._status = status
        self._port: int | None = None
        self._control: SocketFile | None = None
        self._readers: Readers | None = None
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int | None:
        """The TCP port that is served, None before `start` or when there is none."""
        return self._port

    async def start(self) -> None:
        """Listen and serve; OSError when the port is taken or the control socket cannot be opened."""
        sockets: list[socket.socket] = []
        with contextlib.ExitStack() as undo:
            if self._asked_port is not None:
                listener = listen_tcp(self._address, self._asked_port)
                undo.callback(listener.close)
                sockets.append(listener)
            if self._control_path is not None:
                self._control = SocketFile(self._control_path)
                undo.callback(self._control.remove)
                undo.callback(self._control.socket.close)
                sockets.append(self._control.socket)
            self._readers = Readers(self._history)
            self._server = _Server(self._app(self._readers))
            self._task = asyncio.create_task(self._server.serve(sockets), name="web")
            await self._server.serving(self._task)
            if self._asked_port is not None:
                self._port = listener.getsockname()[1]
            undo.pop_all()

    async def stop(self) -> None:
        """Stop serving: open pages are closed, answers under way get a moment; safe to call twice."""
        if self._readers is not None:
            self._readers.refuse()
        if self._server is not None and self._task is not None:
            await self._server.end(self._task)
        self._server = self._task = None
        if self._control is not None:
            self._control.remove()
            self._control = None
        if self._readers is not None:
            await self._readers.close()
            self._readers = None
        self._port = None

    def _app(self, readers: Readers) -> Guard:
        self._feed = LiveFeed(self._local, self._site, readers.times)
        api = Api(feed=self._feed, local=self._local, readers=readers, status=self._status, files=Files())
        return Guard(api.app(), own_names())


class _Server(uvicorn.Server):
    """Uvicorn as a guest: no signal handlers, no ticking while idle, and an end that comes in time."""

    def __init__(self, app: Guard) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # a port scanner must not fill the log
        super().__init__(
            uvicorn.Config(
                app,
                http=_HttpConnection,
                ws=WebSocketsSansIOProtocol,
                ws_max_size=MAX_INCOMING_BYTES,
                ws_per_message_deflate=False,
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                limit_concurrency=MAX_CONNECTIONS,
                timeout_keep_alive=KEEP_ALIVE_S,
            )
        )
        self._is_serving = asyncio.Event()
        self._is_ending = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the service."""
        yield

    async def main_loop(self) -> None:
        """Wait for the end instead of waking up ten times a second."""
        self._is_serving.set()
        await self._is_ending.wait()

    async def serving(self, task: asyncio.Task[None]) -> None:
        """Wait until requests are taken; raises what kept them from it."""
        waiter = asyncio.create_task(self._is_serving.wait())
        await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
        if task.done():
            task.result()

    async def end(self, task: asyncio.Task[None]) -> None:
        """Close gently, and after the grace at once."""
        self.should_exit = True
        self._is_ending.set()
        await asyncio.wait({task}, timeout=GRACE_S)
        if not task.done():
            self.force_exit = True
            for connection in tuple(self.server_state.connections):
                connection.transport.abort()  # its request notices and ends
        await task
        requests = tuple(self.server_state.tasks)
        if requests:
            _, stuck = await asyncio.wait(requests, timeout=GRACE_S)
            for request in stuck:
                request.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)


class _HttpConnection(H11Protocol):
    """One connection, with a deadline for requests that trickle in, and what its kind of socket tells the routes.

    The request's state gets `abort` (cuts the connection), `is_control` and `peer` (of the control socket).
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        """Look at who comes, and wait for the first request."""
        super().connection_made(transport)
        if len(self.connections) > 2 * MAX_CONNECTIONS:  # beyond those that get the word that we are busy
            transport.abort()
        peer = _peer(transport.get_extra_info("socket"))
        self.app_state = {**self.app_state, "abort": transport.abort, "is_control": peer is not None, "peer": peer}
        self._deadline: asyncio.TimerHandle | None = None
        self._await_request()

    def data_received(self, data: bytes) -> None:
        """Take bytes; a keep-alive connection that begins a new request must also finish it."""
        super().data_received(data)
        if self._is_answering():
            self._stop_waiting()
        elif self._deadline is None and self.transport.get_protocol() is self and not self.transport.is_closing():
            self._await_request()

    def handle_websocket_upgrade(self, event: Any) -> None:
        """Hand over; a WebSocket has deadlines of its own."""
        self._stop_waiting()
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await_request(self) -> None:
        self._deadline = self.loop.call_later(REQUEST_TIMEOUT_S, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if not self._is_answering() and self.timeout_keep_alive_task is None:
            self.transport.abort()


def _peer(link: Any) -> Peer | None:
    """Who is at the other end of a socket file; None over TCP."""
    if link is None or link.family != socket.AF_UNIX:
        return None
    return Peer(*peer_credentials(link))
