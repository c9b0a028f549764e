"""Takes TLS clients in, a bounded number of handshakes at a time, each of bounded length.

A handshake costs work and memory before anybody has said who they are. So few are under way at once, and new clients
wait in the system's queue meanwhile; who dawdles then gives way to them before its time is up. One address has only a
part of them, and what it begins beyond that is closed: nobody else waits for it.
"""

import asyncio
import asyncio.sslproto
import errno
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, Protocol

from appliance.broker import peer as peers
from appliance.net.listening import peer_name
from appliance.net.liveness import prepare
from appliance.settings import Limits

log = logging.getLogger(__name__)

ACCEPTED_A_TURN = 8  # so that those who are in have their turn between
GIVES_WAY_S = 2.5  # a slow microcontroller is done by then
LONGEST_S = 120.0
GOODBYE_S = 1.0  # for the other side to confirm the end
RECORD_BYTES = 16_384  # the most that TLS encrypts in one piece
PAUSE_S = 1.0  # how long nobody is let in when the system has no socket for us

# The buffer that asyncio keeps for each client; as it comes, it has 256 KiB.
asyncio.sslproto.SSLProtocol.max_size = RECORD_BYTES


class Bounds(NamedTuple):
    """What the handshakes of one listener may be."""

    at_most: int = 64
    at_most_per_address: int = 32
    timeout_s: float = 10.0

    @classmethod
    def of(cls, limits: Limits) -> "Bounds":
        """Read the settings."""
        return cls(limits.max_handshakes, limits.max_handshakes_per_address, limits.tls_handshake_s)


class Handshake(Protocol):
    """One client that is not in yet."""

    def start(self, ended: Callable[[], None]) -> None:
        """Begin. `ended` is to be called once, when it is in and when it is gone."""

    def abort(self) -> None:
        """Close at once."""


class HandshakeListener:
    """Waits for clients on one port and watches over their handshakes."""

    def __init__(
        self,
        listening: socket.socket,
        greet: Callable[[socket.socket, str], Handshake],
        bounds: Bounds,
    ) -> None:
        """`greet` makes the handshake of a new client; it does not begin yet."""
        self._loop = asyncio.get_running_loop()
        self._listening = listening
        self._greet = greet
        self._at_most, self._at_most_per_address, self._timeout_s = bounds
        self._under_way: dict[
            Handshake, tuple[asyncio.TimerHandle, tuple[str, ...]]
        ] = {}  # and whom it counts for; the oldest first
        self._of_address: Counter[str] = Counter()
        self._waiting: asyncio.TimerHandle | None = None  # set while nobody is let in
        self.port: int = listening.getsockname()[1]
        self.context: ssl.SSLContext | None = None  # what `greet` encrypts with; another may take its place at any time
        self.timed_out = 0
        self.gave_way = 0
        self.turned_away = 0
        self._loop.add_reader(listening.fileno(), self._accept)

    @property
    def under_way(self) -> int:
        """How many handshakes there are now."""
        return len(self._under_way)

    def _accept(self) -> None:
        for _ in range(ACCEPTED_A_TURN):
            if len(self._under_way) >= self._at_most:
                self._wait_for_room()
                return
            try:
                client, address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                cure = "; raise LimitNOFILE= of the unit" if error.errno in {errno.EMFILE, errno.ENFILE} else ""
                log.warning("nobody new is let in for %g s: %s%s", PAUSE_S, error, cure)
                self._pause(PAUSE_S, self._resume)
                return
            client.setblocking(False)
            prepare(client)
            self._begin(client, peer_name(client, address))

    def _begin(self, client: socket.socket, peer: str) -> None:
        shares = peers.shares(peer, self._at_most_per_address)
        for source, most in shares.items():
            if self._of_address[source] >= most and not self._has_given_way(source):
                self.turned_away += 1
                log.info("%s: closed, %d TLS handshakes with %s are under way", peer, most, source)
                client.close()
                return
        try:
            handshake = self._greet(client, peer)
        except OSError as error:  # it is gone already
            log.debug("%s: %s", peer, error)
            client.close()
            return
        timer = self._loop.call_later(self._timeout_s, self._too_slow, handshake, peer)
        self._under_way[handshake] = timer, tuple(shares)
        self._of_address.update(shares.keys())
        handshake.start(lambda: self._ended(handshake))

    def _ended(self, handshake: Handshake) -> None:
        found = self._under_way.pop(handshake, None)
        if found is not None:
            timer, sources = found
            timer.cancel()
            for source in sources:
                self._of_address[source] -= 1
                if not self._of_address[source]:
                    del self._of_address[source]
        if self._waiting is not None and len(self._under_way) < self._at_most:
            self._resume()

    def _too_slow(self, handshake: Handshake, peer: str) -> None:
        self.timed_out += 1
        about = {"PEER": peer, "CAUSE": "no TLS handshake in time"}
        log.info("%s: closed, no TLS handshake within %g s", peer, self._timeout_s, extra=about)
        handshake.abort()

    def _has_given_way(self, source: str) -> bool:
        """Whether the oldest handshake of an address has had its time, and now makes room for the next of it."""
        oldest = next(one for one, (_, its) in self._under_way.items() if source in its)
        if self._stays_s(oldest) > 0:
            return False
        self._give_way(oldest)
        return True

    def _stays_s(self, handshake: Handshake) -> float:
        """For how many seconds a handshake need not give way."""
        timer, _ = self._under_way[handshake]
        return timer.when() - self._loop.time() - max(0.0, self._timeout_s - GIVES_WAY_S)

    def _give_way(self, handshake: Handshake) -> None:
        self.gave_way += 1
        handshake.abort()
        self._ended(handshake)  # also where that is said later

    def _wait_for_room(self) -> None:
        self._pause(max(0.0, self._stays_s(next(iter(self._under_way)))), self._make_room)

    def _make_room(self) -> None:
        if len(self._under_way) >= self._at_most:
            self._give_way(next(iter(self._under_way)))
        self._resume()

    def _pause(self, seconds: float, then: Callable[[], None]) -> None:
        self._loop.remove_reader(self._listening.fileno())
        self._waiting = self._loop.call_later(seconds, then)

    def _resume(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
            self._loop.add_reader(self._listening.fileno(), self._accept)

    def close(self) -> None:
        """Take no more clients and end the handshakes, those that are in stay; safe to call twice."""
        if self._listening.fileno() < 0:
            return
        self._loop.remove_reader(self._listening.fileno())
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        self._listening.close()
        self._at_most = 0  # nothing resumes
        for handshake in list(self._under_way):
            handshake.abort()


class TransportHandshake:
    """A handshake that asyncio does, for a protocol that wants one of its transports."""

    def __init__(
        self, client: socket.socket, peer: str, context: ssl.SSLContext, protocol: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        self._client = client
        self._peer = peer
        self._context = context
        self._protocol = protocol
        self._task: asyncio.Task[None] | None = None

    def start(self, ended: Callable[[], None]) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._shake(), name="TLS handshake")
        self._task.add_done_callback(lambda _: ended())

    async def _shake(self) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._protocol,
                self._client,
                ssl=self._context,
                ssl_handshake_timeout=LONGEST_S,  # the listener's own is shorter
                ssl_shutdown_timeout=GOODBYE_S,
            )
        except OSError as error:
            why = reason(error)
            log.info("%s: closed, no TLS handshake: %s", self._peer, why, extra={"PEER": self._peer, "CAUSE": why})

    def abort(self) -> None:
        """Close at once."""
        if self._task is not None:
            self._task.cancel()


def reason(error: Exception) -> str:
    """Say in a few words why TLS did not come about."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused, {error.verify_message}"
    if isinstance(error, ssl.SSLError) and (word := getattr(error, "reason", None)):
        return str(word).lower().replace("_", " ")
    return str(error) or type(error).__name__
