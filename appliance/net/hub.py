"""Where the core meets the event loop: bytes in, one flush of every link a turn, one timer, effects carried out."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from appliance.broker.connection import Connection
from appliance.broker.core import Broker
from appliance.broker.effects import Authenticate, Close
from appliance.broker.revoking import IsLastWord, IsOrphan, IsOusted
from appliance.mqtt.types import ReasonCode

log = logging.getLogger(__name__)

GOODBYE_S = 0.5  # how long a stopping hub waits for sockets to close
LINGER_S = 2.0  # how long a client has to read why it was closed
LINGERING = 64  # clients that are given this time at once
ASLEEP_S = 1.0  # a timer that rings so late says that we did not run: the computer or the process was suspended
AWAKE_S = 0.2  # how long what was sent meanwhile is read before anybody is judged
PIECES = 1_000  # of output that wait for a slow link one by one; a piece costs more memory than its bytes


class Link(Protocol):
    """One transport, of whatever kind."""

    behind: bool  # the socket has not taken everything; `Hub.writable` is called when it has

    def write(self, data: bytes) -> int:
        """Send the bytes, or keep what the socket does not take; gives how many bytes are kept now."""

    def close(self) -> None:
        """Send no more; gone when the client closes too. Closing at once could destroy what it has not read yet."""

    def abort(self) -> None:
        """Close at once."""


class Authenticator(Protocol):
    """Finds out whether a client is who it says."""

    async def authenticate(self, client_id: str, username: str | None, password: bytes | None, peer: str) -> ReasonCode:
        """Give SUCCESS, or the reason to turn the client away; `peer` is its address and port."""

    def knows(self, username: str) -> bool:
        """Whether there is such a user; asked for one whom a certificate has named."""


def printable(text: str) -> str:
    """Show what a stranger chose without letting it write lines of its own into the log."""
    return "".join(char if char.isprintable() else "?" for char in text) or "?"


def next_client_id() -> str:
    """Give an id for a client that has none. [MQTT-3.1.3-6]"""
    return f"auto-{secrets.token_hex(8)}"


class Hub:
    """Carries bytes and time between transports and the core. For one event loop, whose thread owns the core.

    Without an authenticator everybody is let in; the listeners of such a hub must stay on the loopback.
    """

    def __init__(
        self, broker: Broker, authenticator: Authenticator | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        self.broker = broker
        self.clock = clock
        self._authenticator = authenticator
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waking = False  # the timer is that of a service which slept
        self._flush_due = False
        self._asking: dict[Connection, asyncio.Task[None]] = {}
        self.links: set[Link] = set()
        self._lingering: dict[Link, asyncio.TimerHandle] = {}
        self._all_gone: asyncio.Event | None = None  # set up by a stop that waits for it

    def start(self) -> None:
        """Take the running loop as ours."""
        self._loop = asyncio.get_running_loop()
        self._rearm()

    async def stop(self) -> None:
        """Say goodbye to every client, give its socket a moment to take it, close all links."""
        self.broker.stop(self.clock())
        self.settle()
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.links:
            self._all_gone = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_gone.wait(), GOODBYE_S)
        for link in list(self.links):
            link.abort()

    # --- what transports call ---

    def opened(self, link: Link, peer: str, identity: str | None = None) -> Connection:
        """Take a new link; `identity` is the user whose certificate was checked, whatever its CONNECT will say."""
        self.links.add(link)
        connection = self.broker.opened(link, peer, self.clock())
        connection.identity = identity
        if self.broker.effects:  # it may not stay; the link must have its connection before it is closed
            self._running().call_soon(self.turn)
        self._rearm()  # it must CONNECT in time
        return connection

    def received(self, connection: Connection, data: bytes) -> None:
        """Hand bytes to the core."""
        self.broker.received(connection, data, self.clock())
        self.turn()

    def writable(self, connection: Connection) -> None:
        """The link has sent everything that it kept."""
        connection.backlog = sum(map(len, connection.output))
        self.broker.writable(connection, self.clock())
        if connection.output and not connection.dirty:
            self.broker.dirty.append(connection)
            connection.dirty = True
        self.turn()

    def lost(self, link: Link, connection: Connection) -> None:
        """The link is gone."""
        self.links.discard(link)
        timer = self._lingering.pop(link, None)
        if timer is not None:
            timer.cancel()
        if self._all_gone is not None and not self.links:
            self._all_gone.set()
        if connection in self._asking:
            self._asking[connection].cancel()
        self.broker.lost(connection, self.clock())
        self.turn()
        self._rearm()  # its session or its will may have a deadline now

    def reauthorize(
        self, is_ousted: IsOusted, is_orphan: IsOrphan | None = None, is_last_word: IsLastWord | None = None
    ) -> None:
        """Apply what the accounts say by now; what was sent to clients before is on its way already."""
        self.flush()
        self.broker.reauthorize(is_ousted, self.clock(), is_orphan=is_orphan, is_last_word=is_last_word)
        self.settle()
        self._rearm()

    def revoke(self, is_revoked: Callable[[bytes], bool]) -> None:
        """Close the links of clients whose certificate, in DER form, is none any more."""

        def is_out(link: object) -> bool:
            certificate = getattr(link, "certificate", None)
            shown = certificate() if certificate is not None else None
            return shown is not None and is_revoked(shown)

        self.broker.turn_out(is_out, self.clock())
        self.settle()
        self._rearm()

    # --- a turn ---

    def turn(self) -> None:
        """See that what the core decided is carried out: effects now, output once in this turn of the loop."""
        if self.broker.effects:
            self.carry_out()
        if self.broker.dirty and not self._flush_due:
            self._flush_due = True
            self._running().call_soon(self.flush)

    def settle(self) -> None:
        """Carry out and send everything at once."""
        self.carry_out()
        self.flush()

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise RuntimeError("the hub was not started")
        return self._loop

    def flush(self) -> None:
        """Send what stands on the links, one write each."""
        self._flush_due = False
        broker = self.broker
        sent = 0
        while broker.dirty:
            dirty = broker.dirty[:]
            broker.dirty.clear()
            for connection in dirty:
                connection.dirty = False
                output = connection.output
                link: Link = connection.link  # type: ignore[assignment]  # to the core it is an object
                if link.behind:
                    if len(output) > PIECES:
                        output[:] = [b"".join(output)]
                    continue
                if not output:
                    continue
                try:
                    data = output[0] if len(output) == 1 else b"".join(output)
                    output.clear()
                    sent += len(data)
                    connection.backlog = link.write(data)
                    session = connection.session
                    if session is not None and session.waiting and not connection.backlog:
                        broker.writable(connection, self.clock())
                except Exception:  # a fault of ours in one client's output must not take the others with it
                    about = {"MQTT_CLIENT_ID": connection.client_id, "PEER": connection.peer}
                    log.exception("%s: closed after an error of the server", connection, extra=about)
                    link.abort()
            if broker.dirty:  # more waits for links that took all they got; others have their turn first
                self._flush_due = True
                self._running().call_soon(self.flush)
                break
        broker.stats.bytes_sent += sent
        if broker.effects:
            self.carry_out()

    def carry_out(self) -> None:
        """Do what the core asks of the world."""
        effects, self.broker.effects = self.broker.effects, []
        for effect in effects:
            match effect:
                case Authenticate():
                    self._authenticate(effect)
                case Close(connection, why):
                    if log.isEnabledFor(logging.INFO):
                        client_id, peer = printable(connection.client_id), connection.peer
                        about = {"MQTT_CLIENT_ID": connection.client_id, "PEER": peer, "CAUSE": why}
                        log.info("%s (%s): closed, %s", client_id, peer, printable(why), extra=about)
                    self._close(connection)
        if self.broker.effects:
            self.carry_out()
        self._rearm()

    def _close(self, connection: Connection) -> None:
        link: Link = connection.link  # type: ignore[assignment]  # as above
        if not connection.output or link.behind or link.write(b"".join(connection.output)):
            link.abort()  # there is nothing to read, or it does not read
        elif len(self._lingering) >= LINGERING:
            link.abort()
        else:
            connection.output.clear()
            self._lingering[link] = self._running().call_later(LINGER_S, link.abort)
            link.close()

    def _authenticate(self, effect: Authenticate) -> None:
        if self._authenticator is None:
            self.broker.authenticated(effect.connection, ReasonCode.SUCCESS, self.clock())
            return
        if effect.connection.identity is not None:
            known = self._authenticator.knows(effect.connection.identity)
            reason = ReasonCode.SUCCESS if known else ReasonCode.BAD_USER_NAME_OR_PASSWORD
            self.broker.authenticated(effect.connection, reason, self.clock())
            return
        task = self._running().create_task(self._ask(self._authenticator, effect))
        self._asking[effect.connection] = task
        task.add_done_callback(lambda _: self._asking.pop(effect.connection))

    async def _ask(self, authenticator: Authenticator, effect: Authenticate) -> None:
        reason = ReasonCode.SERVER_UNAVAILABLE
        try:
            reason = await authenticator.authenticate(
                effect.client_id, effect.username, effect.password, effect.connection.peer
            )
        except Exception:  # whoever asks must be answered, or the link would wait for ever
            about = {"MQTT_CLIENT_ID": effect.client_id, "PEER": effect.connection.peer}
            log.exception("%s could not be authenticated", printable(effect.client_id), extra=about)
        self.broker.authenticated(effect.connection, reason, self.clock())
        self.turn()
        self._rearm()  # its keep-alive may be shorter than the time it had to connect

    # --- time ---

    def _rearm(self) -> None:
        if self._waking:
            return
        due = self.broker.next_deadline()
        timer = self._timer
        if timer is not None:
            if due is not None and timer.when() <= due + 0.001:
                return  # it rings early enough and is set anew then
            timer.cancel()
            self._timer = None
        if due is not None and self._loop is not None:
            self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        timer, self._timer = self._timer, None
        if not self._waking and timer is not None and self.clock() - timer.when() > ASLEEP_S:
            self._waking = True  # that nobody listened is not the clients' fault
            self._timer = self._running().call_later(AWAKE_S, self._tick)
            return
        self._waking = False
        try:
            self.broker.tick(self.clock())
        finally:  # an error of ours must not be the end of all time
            self.turn()
            self._rearm()
