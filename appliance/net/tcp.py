"""MQTT over TCP. One buffer receives for every link, since what it holds is acted on before the next read."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable

from appliance.broker.connection import Connection
from appliance.net.direct import DirectListener
from appliance.net.hub import Hub
from appliance.net.listening import listen_tcp, peer_name
from appliance.net.liveness import prepare
from appliance.net.serving import ServingLoop

log = logging.getLogger(__name__)

RECEIVE_BYTES = 65_536


class TcpLink(asyncio.BufferedProtocol):
    """One client's socket."""

    __slots__ = ("_buffer", "_connection", "_hub", "_transport", "behind")

    def __init__(self, hub: Hub, buffer: memoryview) -> None:
        self._hub = hub
        self._buffer = buffer
        self._connection: Connection | None = None
        self._transport: asyncio.Transport | None = None
        self.behind = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the socket up: small packets leave at once, and one byte kept back already says "slow"."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 create_server gives nothing else
        self._transport = transport
        client = transport.get_extra_info("socket")
        prepare(client)
        transport.set_write_buffer_limits(high=0)
        self._connection = self._hub.opened(self, peer_name(client, transport.get_extra_info("peername")))

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 the protocol's signature
        """Lend the shared buffer."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Act on what was received."""
        connection = self._connection
        assert connection is not None  # noqa: S101 made before anything is read
        hub = self._hub
        try:
            hub.broker.received(connection, bytes(self._buffer[:nbytes]), hub.clock())
        except Exception:  # a fault of ours in one client's packet must not take the others with it
            about = {"MQTT_CLIENT_ID": connection.client_id, "PEER": connection.peer}
            log.exception("%s: closed after an error of the server", connection, extra=about)
            self.abort()
        hub.turn()

    def eof_received(self) -> bool:
        """Close when the client does."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 a broken link and a closed one are the same here
        """Tell the core, whatever the reason."""
        if self._connection is not None:
            self._hub.lost(self, self._connection)

    def pause_writing(self) -> None:
        """The socket takes no more for now."""
        self.behind = True

    def resume_writing(self) -> None:
        """The socket has taken everything."""
        self.behind = False
        if self._connection is not None:
            self._hub.writable(self._connection)

    def write(self, data: bytes) -> int:
        """Send, or keep; gives how many bytes are kept."""
        transport = self._transport
        assert transport is not None  # noqa: S101 the core knows only links that are made
        transport.write(data)
        return transport.get_write_buffer_size() if self.behind else 0

    def close(self) -> None:
        """Send no more; asyncio closes when the client does."""
        if self._transport is not None:
            self._transport.write_eof()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


class TcpListener:
    """Waits for clients on one address, the plain way or on a serving loop without asyncio's transports."""

    def __init__(self, port: int, close: Callable[[], Awaitable[None]]) -> None:
        self.port = port
        self._close = close

    @classmethod
    async def open(cls, hub: Hub, address: str, port: int) -> "TcpListener":
        """Listen on `address`; port 0 takes any free one. OSError when it is taken."""
        return await cls.serve(hub, listen_tcp(address, port))

    @classmethod
    async def serve(cls, hub: Hub, listening: socket.socket) -> "TcpListener":
        """Take clients from a socket that listens, of TCP or of a socket file, whose port is 0."""
        loop = asyncio.get_running_loop()
        buffer = memoryview(bytearray(RECEIVE_BYTES))
        is_file = listening.family == socket.AF_UNIX
        port = 0 if is_file else listening.getsockname()[1]
        if isinstance(loop, ServingLoop):
            direct = DirectListener(hub, loop.serving, listening, buffer)

            async def close() -> None:
                direct.close()

            return cls(port, close)
        create = loop.create_unix_server if is_file else loop.create_server
        server = await create(lambda: TcpLink(hub, buffer), sock=listening)

        async def close_server() -> None:
            server.close()  # not waiting for its clients: those that are there belong to the hub

        return cls(port, close_server)

    async def close(self) -> None:
        """Take no more clients. Those that are there belong to the hub."""
        await self._close()
