"""Wills: what the server says for clients that are lost, at once or after the delay that they asked for."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from appliance.broker.deadlines import Deadlines
from appliance.broker.message import Message
from appliance.broker.notes import Notes
from appliance.broker.records import WillGone, WillKept, WillWaits
from appliance.broker.rights import Rights
from appliance.broker.session import Session
from appliance.mqtt.packets import Will
from appliance.mqtt.properties import encode_property_block

Tell = Callable[[Message, Rights, Session | None, float], None]
"""Publishes a will with the rights of the client that left it behind, and its session where it still has one."""


class Waiting(NamedTuple):
    """A will that is told at `due`, unless its client is back by then."""

    will: WillKept
    rights: Rights
    session: Session | None
    due: float


class Wills:
    """The wills of all clients. Whichever ends first, delay or session, tells one that waits. MQTT 5 §3.1.3.2.2

    Each is written down from its client's CONNECT until it was told or revoked, so that a power cut tells it too.
    """

    def __init__(self, tell: Tell, notes: Notes) -> None:
        self._tell = tell
        self._notes = notes
        self._waiting: dict[str, Waiting] = {}  # by client id
        self._deadlines: Deadlines[str] = Deadlines()

    def __len__(self) -> int:
        return len(self._waiting)

    def waiting(self) -> list[Waiting]:
        """Give those that wait."""
        return list(self._waiting.values())

    def keep(self, session: Session, username: str | None, will: Will) -> WillKept:
        """Take a client's will, in case it is lost."""
        properties = will.properties
        kept = WillKept(
            session.key or self._notes.journal.take_key(),
            session.client_id,
            username,
            will.topic,
            will.payload,
            int(will.qos),
            will.retain,  # [MQTT-3.1.2-14], [MQTT-3.1.2-15]
            _forwarded(will),
            properties.will_delay_interval or 0,
            properties.message_expiry_interval,
        )
        if kept.key:
            self._notes.mention(kept)
        return kept

    def drop(self, will: WillKept) -> None:
        """The client is not lost but gone: nothing is told. [MQTT-3.1.2-10] of 3.1.1"""
        if will.key:
            self._notes.mention(WillGone(will.key))

    def leave(self, session: Session, will: WillKept, now: float) -> None:
        """The client is lost: tell its will, now or later. [MQTT-3.1.2-8]"""
        delay_s = min(will.delay_s, session.expiry_s)
        other = self._waiting.get(session.client_id)
        if other is not None:  # since a restart, of another user's client that called itself the same
            self._take(session.client_id)
            self._tell_now(other.will, other.rights, other.session, now)
        if delay_s:
            self.wait(Waiting(will, session.rights, session, now + delay_s))
            if will.key:
                self._notes.mention(WillWaits(will.key, float(delay_s)))
        else:
            self._tell_now(will, session.rights, session, now)

    def wait(self, waiting: Waiting) -> None:
        """Line up a will for a client that is away."""
        client_id = waiting.will.client_id
        self._waiting[client_id] = waiting
        self._deadlines.set(waiting.due, client_id)

    def revoke(self, session: Session) -> None:
        """The client is back in time. [MQTT-3.1.3-9]"""
        waiting = self._waiting.get(session.client_id)
        # After a restart there may be one without a session, whose id is anybody's.
        if waiting is not None and waiting.will.username == session.username:
            self._take(session.client_id)
            self.drop(waiting.will)

    def end(self, session: Session, now: float) -> None:
        """The session is over, and the waiting of its will with it."""
        waiting = self._waiting.get(session.client_id)
        if waiting is not None and waiting.session is session:
            self._take(session.client_id)
            self._tell_now(waiting.will, waiting.rights, session, now)

    def next_deadline(self) -> float | None:
        """When `tick` should be called next; None while nothing waits."""
        return self._deadlines.next()

    def tick(self, now: float) -> None:
        """Tell those whose delay is over."""
        for client_id in self._deadlines.due(now):
            waiting = self._waiting.pop(client_id)
            self._tell_now(waiting.will, waiting.rights, waiting.session, now)

    def _take(self, client_id: str) -> None:
        del self._waiting[client_id]
        self._deadlines.cancel(client_id)

    def _tell_now(self, will: WillKept, rights: Rights, session: Session | None, now: float) -> None:
        # It lives from its publication on, §3.1.3.2.4.
        expires_at = None if will.expiry_s is None else now + will.expiry_s
        message = Message(will.topic, will.payload, will.qos, will.retain, will.properties, expires_at, will.client_id)
        self._tell(message, rights, session, now)
        self.drop(will)


def _forwarded(will: Will) -> bytes:
    """Give what of the will's properties its readers receive; its delay and its expiry are the server's to count."""
    return encode_property_block(replace(will.properties, will_delay_interval=None, message_expiry_interval=None))
