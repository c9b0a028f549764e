"""MQTT in WebSocket frames: the same kind of link, on a connection that came to the page's port. MQTT 5 §6

The library's protocol object frames and unframes; what it has to say goes straight to the transport, so that a client
that does not read is known to be slow, and its memory bounded, as over plain TCP.
"""

import asyncio
import logging
from collections.abc import Sequence

from websockets.exceptions import NegotiationError
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from appliance.broker.connection import Connection
from appliance.net.hub import Hub
from appliance.net.listening import peer_name
from appliance.net.liveness import prepare

log = logging.getLogger(__name__)

PATH = "/mqtt"
SUBPROTOCOLS = ("mqtt", "mqttv3.1")  # the second from before there was a standard; Mosquitto takes it too
FRAMING_BYTES = 65_536  # that a message may have beyond the largest packet: several packets may share it
STRANGER_BYTES = 65_536  # of an unfinished frame from somebody who has not said CONNECT
LINGER_S = 2.0  # how long a client that broke the rules has to read which
PONG = 0x8A


class WebSocketLink(asyncio.Protocol):
    """One client's connection, from its request to switch protocols."""

    def __init__(self, hub: Hub, max_packet_bytes: int) -> None:
        self._hub = hub
        self._websocket = ServerProtocol(
            select_subprotocol=select_subprotocol, max_size=max_packet_bytes + FRAMING_BYTES, logger=QUIET
        )
        self._transport: asyncio.Transport | None = None
        self._connection: Connection | None = None
        self._unfinished = 0  # bytes since the last whole frame
        self._pong = b""  # the last one that is owed while the client does not read
        self._timer: asyncio.TimerHandle | None = None
        self.behind = False

    def take_over(self, transport: asyncio.Transport, request: bytes, more: bytes = b"") -> None:
        """Answer the request to switch protocols; `more` is what came after it."""
        self._transport = transport
        transport.set_protocol(self)
        # Encrypted transports say "slow" when there is at least that much, others when there is more.
        is_encrypted = transport.get_extra_info("sslcontext") is not None
        transport.set_write_buffer_limits(high=1 if is_encrypted else 0, low=0)
        client = transport.get_extra_info("socket")
        prepare(client)
        self._websocket.receive_data(request)
        for event in self._websocket.events_received():
            if isinstance(event, Request):
                self._websocket.send_response(self._websocket.accept(event))
        self._send_due()
        if self._websocket.state is State.OPEN:
            self._connection = self._hub.opened(self, peer_name(client, transport.get_extra_info("peername")))
            if more:
                self.data_received(more)

    def certificate(self) -> bytes | None:
        """Give the certificate that the client has shown, in DER form; None where it has none."""
        encrypted = self._transport.get_extra_info("ssl_object") if self._transport is not None else None
        shown: bytes | None = encrypted.getpeercert(binary_form=True) if encrypted is not None else None
        return shown

    # --- what the transport says ---

    def data_received(self, data: bytes) -> None:
        """Act on what was received."""
        self._websocket.receive_data(data)
        frames = [event for event in self._websocket.events_received() if isinstance(event, Frame)]
        self._unfinished = 0 if frames else self._unfinished + len(data)
        connection = self._connection
        if connection is not None:
            for frame in frames:
                if frame.opcode is Opcode.TEXT:  # [MQTT-6.0.0-1]
                    self._websocket.fail(CloseCode.UNSUPPORTED_DATA, "MQTT comes in binary frames")
                    break
                # A packet may begin and end anywhere in a frame. [MQTT-6.0.0-2]
                is_data = frame.opcode is Opcode.BINARY or frame.opcode is Opcode.CONT
                if is_data and frame.data and not self._received(connection, bytes(frame.data)):
                    break
            if connection.session is None and self._unfinished > STRANGER_BYTES:
                self._websocket.fail(CloseCode.MESSAGE_TOO_BIG, "too long for a CONNECT")
        self._send_due()
        self._hub.turn()

    def _received(self, connection: Connection, data: bytes) -> bool:
        hub = self._hub
        try:
            hub.broker.received(connection, data, hub.clock())
        except Exception:  # a fault of ours in one client's packet must not take the others with it
            about = {"MQTT_CLIENT_ID": connection.client_id, "PEER": connection.peer}
            log.exception("%s: closed after an error of the server", connection, extra=about)
            self.abort()
            return False
        return True

    def eof_received(self) -> bool:
        """Close when the client does."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 a broken link and a closed one are the same here
        """Tell the core, whatever the reason."""
        if self._timer is not None:
            self._timer.cancel()
        if self._connection is not None:
            self._hub.lost(self, self._connection)

    def pause_writing(self) -> None:
        """The transport takes no more for now."""
        self.behind = True

    def resume_writing(self) -> None:
        """The transport has taken everything."""
        self.behind = False
        if self._pong and self._transport is not None:
            pong, self._pong = self._pong, b""
            self._transport.write(pong)
        if self._connection is not None and not self.behind:
            self._hub.writable(self._connection)

    # --- what the hub says ---

    def write(self, data: bytes) -> int:
        """Send as one frame, or keep; gives how many bytes are kept."""
        if self._websocket.state is not State.OPEN or self._transport is None:
            return 0
        self._websocket.send_binary(data)
        self._send_due()
        return self._transport.get_write_buffer_size() if self.behind else 0

    def close(self) -> None:
        """Send no more; gone when the client closes too."""
        if self._websocket.state is State.OPEN:
            self._websocket.send_close(CloseCode.NORMAL_CLOSURE)
            self._send_due()

    def abort(self) -> None:
        """Close at once; a word of it leaves if the socket takes it."""
        if self._transport is None:
            return
        if self._websocket.state is State.OPEN and not self.behind:
            self._websocket.send_close(CloseCode.GOING_AWAY)
            self._send_due()
        self._transport.abort()

    def _send_due(self) -> None:
        transport = self._transport
        assert transport is not None  # noqa: S101 nothing is said before
        for piece in self._websocket.data_to_send():
            if not piece:
                self._end(transport)
            elif self.behind and piece[0] == PONG:
                self._pong = piece  # one answer to the last ping will do, RFC 6455 §5.5.3
            else:
                transport.write(piece)

    def _end(self, transport: asyncio.Transport) -> None:
        """Say that nothing follows, and wait a little for the client to close, or it may lose what it has not read."""
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()
        self._timer = asyncio.get_running_loop().call_later(LINGER_S, transport.abort)


def select_subprotocol(_websocket: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol:
    """Choose the first of ours that the client offers. [MQTT-6.0.0-3] [MQTT-6.0.0-4]"""
    for name in SUBPROTOCOLS:
        if name in offered:
            return Subprotocol(name)
    raise NegotiationError("ask for the subprotocol mqtt")


QUIET = logging.getLogger(f"{__name__}.library")
QUIET.setLevel(logging.CRITICAL)  # a port scanner must not fill the log
