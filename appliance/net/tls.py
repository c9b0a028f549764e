"""MQTT over TLS. The socket does its own encryption, so that a client costs no more buffers than OpenSSL's.

asyncio's TLS keeps 256 KiB for every client, and what waits for a slow one in a buffer that nobody can ask about.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable

from appliance.broker.connection import Connection
from appliance.net.certificates import common_name, has_odd_name
from appliance.net.handshakes import RECORD_BYTES, Bounds, HandshakeListener, reason
from appliance.net.hub import Hub

log = logging.getLogger(__name__)

RECEIVE_BYTES = 65_536
RECORDS_A_TURN = 8  # read from one client before the others have their turn


class TlsLink:
    """One client's socket, and before that its handshake."""

    __slots__ = (
        "_buffer",
        "_connection",
        "_current",
        "_ended",
        "_fd",
        "_hub",
        "_identifies",
        "_is_draining",
        "_kept",
        "_loop",
        "_peer",
        "_socket",
        "behind",
    )

    def __init__(
        self,
        hub: Hub,
        buffer: memoryview,
        client: ssl.SSLSocket,
        peer: str,
        *,
        current: Callable[[], ssl.SSLContext | None],
        identifies: bool = False,
    ) -> None:
        """`current` gives what new clients are judged by."""
        self._hub = hub
        self._current = current
        self._identifies = identifies
        self._loop = asyncio.get_running_loop()
        self._buffer = buffer
        self._socket = client
        self._fd = client.fileno()
        self._peer = peer
        self._kept = memoryview(b"")
        self._connection: Connection | None = None
        self._ended: Callable[[], None] | None = None
        self._is_draining = False
        self.behind = False

    # --- the handshake ---

    def start(self, ended: Callable[[], None]) -> None:
        """Begin the handshake; `ended` is called when it is over, whichever way."""
        self._ended = ended
        self._loop.add_reader(self._fd, self._shake)
        self._shake()

    def _shake(self) -> None:
        try:
            self._socket.do_handshake()
            context = self._socket.context
            if context.verify_mode is not ssl.CERT_NONE and context is not self._current():
                raise ValueError("what its certificate is judged by was read anew meanwhile")  # noqa: TRY301 likewise
            if has_odd_name(self._socket):
                raise ValueError("its certificate is refused, U+0000 in a name")  # noqa: TRY301 said below
            identity = common_name(self._socket) if self._identifies else None
        except ssl.SSLWantReadError:
            self._loop.remove_writer(self._fd)
            return
        except ssl.SSLWantWriteError:
            self._loop.add_writer(self._fd, self._shake)
            return
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            why = reason(error)
            log.info("%s: closed, no TLS handshake: %s", self._peer, why, extra={"PEER": self._peer, "CAUSE": why})
            self.abort()
            return
        self._loop.remove_writer(self._fd)
        self._loop.add_reader(self._fd, self._read)
        self._end_handshake()
        self._connection = self._hub.opened(self, self._peer, identity)
        self._read()  # CONNECT may have come along

    def _end_handshake(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended()

    # --- the link ---

    def _read(self) -> None:
        if self._fd < 0:
            return
        hub, connection = self._hub, self._connection
        assert connection is not None  # noqa: S101 made before anything is read
        for _ in range(RECORDS_A_TURN):
            try:
                size = self._socket.recv_into(self._buffer)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError, InterruptedError):
                break
            except OSError:
                size = 0
            if not size:
                self.abort()
                return
            if self._is_draining:
                continue
            try:
                hub.broker.received(connection, bytes(self._buffer[:size]), hub.clock())
            except Exception:  # a fault of ours in one client's packet must not take the others with it
                log.exception("%s: closed after an error of the server", connection)
                self.abort()
                break
            if size < RECORD_BYTES and not self._socket.pending():
                break
        else:
            self._loop.call_soon(self._read)  # what is decrypted already makes no socket readable
        hub.turn()

    def certificate(self) -> bytes | None:
        """Give the certificate that the client has shown, in DER form; None where it has none."""
        return self._socket.getpeercert(binary_form=True) if self._fd >= 0 else None

    def write(self, data: bytes) -> int:
        """Send, or keep; gives how many bytes are kept."""
        return self._send(memoryview(data))

    def _send(self, data: memoryview) -> int:
        try:
            while data:
                data = data[self._socket.send(data[:RECORD_BYTES]) :]
        except (ssl.SSLWantWriteError, BlockingIOError, InterruptedError):
            pass
        except OSError:  # broken: the loop says so next
            return 0
        # OpenSSL wants to be given the same bytes again, which a view of the same object is.
        self._kept = data
        if data and not self.behind:
            self.behind = True
            self._loop.add_writer(self._fd, self._catch_up)
        return len(data)

    def _catch_up(self) -> None:
        if self._send(self._kept) or self._fd < 0:
            return
        self._kept = memoryview(b"")
        self.behind = False
        self._loop.remove_writer(self._fd)
        if self._connection is not None:
            self._hub.writable(self._connection)

    def close(self) -> None:
        """Send no more; reading its end closes the link."""
        with contextlib.suppress(OSError, ValueError):
            self._socket.unwrap()  # says close_notify, and does not wait for the other side's
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:  # it is gone
            self.abort()
        self._is_draining = True

    def abort(self) -> None:
        """Close at once, and tell the core."""
        if self._fd < 0:
            return
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._fd = -1
        self._socket.close()
        self._end_handshake()
        if self._connection is not None:
            self._hub.lost(self, self._connection)


def listen_tls(
    hub: Hub, listening: socket.socket, context: ssl.SSLContext, bounds: Bounds, *, identifies: bool = False
) -> HandshakeListener:
    """Take clients from a socket that listens, a bounded number of handshakes at a time.

    With `identifies` a client is the user that its certificate names, which `context` then has to ask for.
    """
    buffer = memoryview(bytearray(RECEIVE_BYTES))

    def greet(client: socket.socket, peer: str) -> TlsLink:
        assert listener.context is not None  # noqa: S101 set below
        wrapped = listener.context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        return TlsLink(hub, buffer, wrapped, peer, current=lambda: listener.context, identifies=identifies)

    listener = HandshakeListener(listening, greet, bounds)
    listener.context = context
    return listener
