"""MQTT over TCP on a serving loop: the selector calls the link, the link calls the core."""

import asyncio
import errno
import logging
import select
import socket
from contextlib import suppress

from appliance.broker.connection import Connection
from appliance.net.hub import Hub
from appliance.net.listening import peer_name
from appliance.net.liveness import prepare
from appliance.net.serving import ServingSelector

log = logging.getLogger(__name__)

ACCEPTED_A_TURN = 64
PAUSE_S = 1.0  # how long nobody is let in when the system has no socket for us, for want of descriptors or else


class DirectLink:
    """One client's socket."""

    __slots__ = ("_buffer", "_connection", "_fd", "_hub", "_kept", "_selector", "_socket", "behind")

    def __init__(
        self, hub: Hub, selector: ServingSelector, buffer: memoryview, client: socket.socket, peer: str
    ) -> None:
        self._hub = hub
        self._selector = selector
        self._buffer = buffer
        self._socket = client
        self._fd = client.fileno()
        self._kept = b""
        self.behind = False
        self._selector.serve(self._fd, self._ready)
        self._connection: Connection = hub.opened(self, peer)

    def _ready(self, event: int) -> None:
        if event & select.EPOLLOUT:
            self._catch_up()
            if event == select.EPOLLOUT or self._fd < 0:
                return
        try:
            size = self._socket.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            size = 0
        if not size:
            self.abort()
            return
        hub = self._hub
        broker = hub.broker
        try:
            broker.received(self._connection, bytes(self._buffer[:size]), hub.clock())
        except Exception:  # a fault of ours in one client's packet must not take the others with it
            with suppress(MemoryError):
                about = {"MQTT_CLIENT_ID": self._connection.client_id, "PEER": self._connection.peer}
                log.exception("%s: closed after an error of the server", self._connection, extra=about)
            self.abort()
        if broker.effects:
            hub.carry_out()

    def write(self, data: bytes) -> int:
        """Send, or keep; gives how many bytes are kept."""
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:  # broken: the selector says so next
            return 0
        if sent == len(data):
            return 0
        self._kept = data[sent:]
        if not self.behind:
            self.behind = True
            self._selector.want(self._fd, writable=True)
        return len(self._kept)

    def _catch_up(self) -> None:
        kept, self._kept = self._kept, b""
        if not self.write(kept):
            self.behind = False
            if self._fd >= 0:
                self._selector.want(self._fd, writable=False)
                self._hub.writable(self._connection)

    def close(self) -> None:
        """Send no more; reading its end closes the link."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:  # it is gone
            self.abort()

    def abort(self) -> None:
        """Close at once, and tell the core."""
        if self._fd < 0:
            return
        self._selector.rest(self._fd)
        self._fd = -1
        self._socket.close()
        self._hub.lost(self, self._connection)


class DirectListener:
    """Waits for clients on one address."""

    def __init__(self, hub: Hub, selector: ServingSelector, server: socket.socket, buffer: memoryview) -> None:
        self._hub = hub
        self._selector = selector
        self._server = server
        self._buffer = buffer
        self._pause: asyncio.TimerHandle | None = None
        selector.end_of_turn = hub.flush
        selector.serve(server.fileno(), self._ready)

    def _ready(self, _event: int) -> None:
        for _ in range(ACCEPTED_A_TURN):
            try:
                client, peer = self._server.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                cure = "; raise LimitNOFILE= of the unit" if error.errno in {errno.EMFILE, errno.ENFILE} else ""
                log.warning("nobody new is let in for %g s: %s%s", PAUSE_S, error, cure)
                self._selector.rest(self._server.fileno())
                self._pause = asyncio.get_running_loop().call_later(PAUSE_S, self._resume)
                return
            client.setblocking(False)
            prepare(client)
            DirectLink(self._hub, self._selector, self._buffer, client, peer_name(client, peer))

    def _resume(self) -> None:
        self._pause = None
        self._selector.serve(self._server.fileno(), self._ready)

    def close(self) -> None:
        """Take no more clients."""
        if self._pause is not None:
            self._pause.cancel()
        self._selector.rest(self._server.fileno())
        self._server.close()
