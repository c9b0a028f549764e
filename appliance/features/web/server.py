"""The web server: one application on a TCP port and on the control socket, inside the service's event loop."""

import asyncio
import contextlib
import functools
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final, NamedTuple

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from appliance.broker import peer as peers
from appliance.broker.message import Message
from appliance.devices import Device, as_told
from appliance.features.web.api import Api, Readers
from appliance.features.web.files import Files
from appliance.features.web.guard import Guard, own_names, refusal
from appliance.features.web.live import LiveFeed, Local
from appliance.features.web.login import Login, Verify
from appliance.features.web.pairing import Pairing, PairingDoor
from appliance.features.web.reload import Again
from appliance.net.handshakes import Bounds, HandshakeListener, TransportHandshake
from appliance.net.listening import ListenerError, SocketFile, listen_tcp, peer_credentials
from appliance.net.websocket import PATH, WebSocketLink
from appliance.store.tier_reader import TierReader

REQUEST_TIMEOUT_S: Final = 10.0  # for the head of a request to arrive
KEEP_ALIVE_S: Final = 15
MAX_CONNECTIONS: Final = 128
MAX_CONNECTIONS_PER_ADDRESS: Final = 32  # of one port; of IPv6 from one /64 network, from one address half
MAX_INCOMING_BYTES: Final = 4_096  # of one WebSocket message; a page has nothing to say
GRACE_S: Final = 0.3  # for answers under way when the service stops


class Peer(NamedTuple):
    """Process at the other end of the control socket, as the kernel says."""

    pid: int
    uid: int
    gid: int


class Door(NamedTuple):
    """One more port of the page."""

    address: str
    port: int
    context: ssl.SSLContext | None = None  # encrypted with it
    verify: Verify | None = None  # who has to log in; None lets everybody in
    names: frozenset[str] = frozenset()  # of this computer, besides those it knows itself
    handshakes: Bounds = Bounds()


MqttLink = Callable[[], WebSocketLink]
"""Makes the link for a client that wants to speak MQTT over a WebSocket."""


class WebServer:
    """Serves page and API from `start` to `stop`."""

    def __init__(
        self,
        *,
        site: str,
        address: str,
        port: int | None,
        control: Callable[[], SocketFile] | None,
        local: Local,
        history: TierReader | None,
        status: Callable[[], dict[str, object]],
        reload: Again | None = None,
        mqtt: MqttLink | None = None,
        doors: Sequence[Door] = (),
        pairing: Pairing | None = None,
        read_about: Callable[[Message], Device] = as_told,
    ) -> None:
        """Port None serves no TCP there, 0 takes any free port; without `control` there is no socket for it."""
        self._site = site
        self._address = address
        self._asked_port = port
        self._open_control = control
        self._local = local
        self._history = history
        self._status = status
        self._reload = reload
        self._port: int | None = None
        self._control: SocketFile | None = None
        self._readers: Readers | None = None
        self._mqtt = mqtt
        self._doors = doors
        self._pairing = pairing
        self._read_about = read_about
        self._servers: list[_Server] = []
        self._logins: list[Login] = []
        self.ports: list[int] = []  # of the doors

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
            if self._open_control is not None:
                self._control = self._open_control()
                undo.callback(self._control.remove)
                undo.callback(self._control.socket.close)
                sockets.append(self._control.socket)
            self._readers = Readers(self._history)
            undo.callback(self._servers.clear)
            undo.callback(self._logins.clear)
            undo.callback(self.ports.clear)
            app = self._app(self._readers)
            self._servers.append(_Server(Guard(app, frozenset()), sockets, self._mqtt))
            for number, door in enumerate(self._doors):
                try:
                    opened = listen_tcp(door.address, door.port)
                except OSError as error:
                    raise ListenerError(number, error) from error
                undo.callback(opened.close)
                self.ports.append(opened.getsockname()[1])
                inner: ASGIApp = app
                if door.verify is not None:
                    self._logins.append(login := Login(app, door.verify))
                    inner = login
                guarded: ASGIApp = Guard(inner, door.names)
                if self._pairing is not None and door.context is not None:
                    guarded = PairingDoor(guarded, self._pairing)
                self._servers.append(_Server(guarded, [opened], self._mqtt, door))
            for server in self._servers:
                await server.begin()
            if self._asked_port is not None:
                self._port = listener.getsockname()[1]
            undo.pop_all()

    def renew(self, number: int, context: ssl.SSLContext) -> None:
        """Have one of the doors show another certificate to who comes from now on."""
        for server in self._servers[number + 1 : number + 2]:  # the first is no door, and none is left after the stop
            server.renew(context)

    def forget(self, users: Collection[str]) -> None:
        """Close what is open for these users; who may come back logs in anew."""
        for login in self._logins:
            login.forget(users)

    async def stop(self) -> None:
        """Stop serving: open pages are closed, answers under way get a moment; safe to call twice."""
        if self._readers is not None:
            self._readers.refuse()
        servers, self._servers = self._servers, []
        await asyncio.gather(*(server.end() for server in servers))
        if self._control is not None:
            self._control.remove()
            self._control = None
        if self._readers is not None:
            await self._readers.close()
            self._readers = None
        self._port = None
        self.ports = []

    def _app(self, readers: Readers) -> Starlette:
        self._feed = LiveFeed(self._local, self._site, readers.times, read_about=self._read_about)
        api = Api(
            site=self._site,
            feed=self._feed,
            local=self._local,
            readers=readers,
            status=self._status,
            files=Files(),
            pairing=self._pairing,
            reload=self._reload,
            read_about=self._read_about,
        )
        return api.app()


class _Server(uvicorn.Server):
    """Uvicorn as a guest: no signal handlers, no ticking while idle, and an end that comes in time."""

    def __init__(
        self, app: ASGIApp, sockets: list[socket.socket], mqtt: MqttLink | None = None, door: Door | None = None
    ) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # a port scanner must not fill the log
        super().__init__(
            uvicorn.Config(
                app,
                http=functools.partial(_HttpConnection, mqtt=mqtt, names=door.names if door else frozenset()),  # type: ignore[arg-type]  # it is only called
                ws=_WebSocketConnection,
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
        self._sockets = sockets
        self._door = door
        self._handshakes: HandshakeListener | None = None
        self._task: asyncio.Task[None] | None = None
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

    async def begin(self) -> None:
        """Serve from a task, and wait until requests are taken; raises what kept them from it."""
        door = self._door
        is_encrypted = door is not None and door.context is not None
        self._task = task = asyncio.create_task(self.serve([] if is_encrypted else self._sockets), name="web")
        waiter = asyncio.create_task(self._is_serving.wait())
        await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
        if task.done():
            task.result()
        if door is not None and is_encrypted:
            self._handshakes = HandshakeListener(self._sockets[0], self._greet, door.handshakes)
            self._handshakes.context = door.context

    def renew(self, context: ssl.SSLContext) -> None:
        """Encrypt with another certificate from now on; who is in stays."""
        if self._handshakes is not None:
            self._handshakes.context = context

    def _greet(self, client: socket.socket, peer: str) -> TransportHandshake:
        config = self.config
        assert self._handshakes is not None  # noqa: S101 nobody else asks
        assert self._handshakes.context is not None  # noqa: S101 set when they began
        connection: Any = config.http_protocol_class
        made = functools.partial(
            connection, config=config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return TransportHandshake(client, peer, self._handshakes.context, made)

    async def end(self) -> None:
        """Close gently, and after the grace at once. MQTT clients stay; the hub says goodbye to them."""
        task = self._task
        if task is None:
            return
        if self._handshakes is not None:
            self._handshakes.close()
        for server in self.servers:
            server.close()
        self.servers = []  # or their end would be waited for, and with it that of the MQTT clients
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

    The request's state gets `abort` (cuts the connection), `at_end` (takes what is to be called when no more requests
    come over it), `is_control` and `peer` (of the control socket), and `context` (what encrypts the connection).
    """

    def __init__(self, *, mqtt: MqttLink | None, names: frozenset[str], **options: Any) -> None:
        super().__init__(**options)
        self._mqtt = mqtt
        self._names = names

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        """Look at who comes, and wait for the first request."""
        super().connection_made(transport)
        # Beyond those that get the word that we are busy, or more than one address may have.
        if len(self.connections) > 2 * MAX_CONNECTIONS or self._is_crowd():
            transport.abort()
        peer = _peer(transport.get_extra_info("socket"))
        self._at_end: list[Callable[[], None]] = []
        told = {"abort": transport.abort, "at_end": self._at_end.append, "is_control": peer is not None, "peer": peer}
        self.app_state = {**self.app_state, **told, "context": transport.get_extra_info("sslcontext")}
        self._deadline: asyncio.TimerHandle | None = None
        self._await_request()

    def _is_crowd(self) -> bool:
        """Whether its address, or the network of that, has more connections than its part of all."""
        whose = _shares(self.client)
        of_all = Counter(source for one in self.connections for source in _shares(getattr(one, "client", None)))
        return any(of_all[source] > most for source, most in whose.items())

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
        self._end()
        if self._mqtt is not None and self.scope["path"] == PATH and self._may_speak_mqtt():
            self.connections.discard(self)
            lines = [event.method + b" " + event.target + b" HTTP/1.1", *(b": ".join(pair) for pair in self.headers)]
            more, _ = self.conn.trailing_data
            self._mqtt().take_over(self.transport, b"\r\n".join([*lines, b"", b""]), more)
        else:
            super().handle_websocket_upgrade(event)

    def _may_speak_mqtt(self) -> bool:
        """Whether it is no browser, or shows a page of ours; CONNECT says who it is."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self.headers}
        if self.app_state["is_control"]:
            return False
        if "origin" not in headers:  # which every browser sends, so that no stranger's page stands behind it
            return True
        address, names = str(self.server[0]) if self.server else "", own_names() | self._names
        scheme = str(self.scheme)
        return not refusal(method="WEBSOCKET", scheme=scheme, headers=headers, names=names, address=address)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._stop_waiting()
        self._end()
        super().connection_lost(exc)

    def _end(self) -> None:
        while self._at_end:
            self._at_end.pop()()

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


class _WebSocketConnection(WebSocketsSansIOProtocol):
    """One WebSocket; where it is refused, that is no fault of ours to be logged, or anybody could fill the log."""

    def data_received(self, data: bytes) -> None:
        """Read on. Who sends more before it was answered, its password not judged yet, has nothing to say to us."""
        if self.handshake_initiated and not self.handshake_complete:
            self.transport.abort()
            return
        super().data_received(data)

    async def send(self, message: Any) -> None:
        """Say the next thing; with the whole refusal said, nothing is left to complete."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and self.close_sent:
            self.handshake_complete = True


@functools.lru_cache(2 * MAX_CONNECTIONS)  # those that are here are asked about whenever another one comes
def _shares(client: tuple[str, int] | None) -> dict[str, int]:
    """Give whom a connection counts for, and how many each may have; nobody on the control socket."""
    return {} if client is None else peers.shares(f"[{client[0]}]:{client[1]}", MAX_CONNECTIONS_PER_ADDRESS)


def _peer(link: Any) -> Peer | None:
    """Who is at the other end of a socket file; None over TCP."""
    if link is None or link.family != socket.AF_UNIX:
        return None
    return Peer(*peer_credentials(link))
