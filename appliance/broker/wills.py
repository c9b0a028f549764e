"""Wills: what the server says for clients that are lost, at once or after the delay that they asked for."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from appliance.broker.deadlines import Deadlines
from appliance.broker.message import Message
from appliance.broker.notes import Notes
from appliance.broker.records import WillGone, WillKept, WillWaits
from appliance.broker.rights import Authorize, Rights
from appliance.broker.session import Session
from appliance.mqtt.packets import Will
from appliance.mqtt.properties import encode_property_block

Whose = tuple[str, str | None]
"""Client id and user name. After a restart wills may wait whose session is gone, and their id is anybody's."""

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
        self._waiting: dict[Whose, Waiting] = {}
        self._deadlines: Deadlines[Whose] = Deadlines()

    def __len__(self) -> int:
        return len(self._waiting)

    def waiting(self) -> list[Waiting]:
        """Give those that wait."""
        return list(self._waiting.values())

    def keep(self, session: Session, will: Will) -> WillKept:
        """Take a client's will, in case it is lost; in memory only, while nothing new can be stored."""
        properties = will.properties
        journal = self._notes.journal
        kept = WillKept(
            session.key or (0 if journal.refuses else journal.take_key()),
            session.client_id,
            session.username,
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

    def write_down(self, will: WillKept) -> WillKept:
        """Write down a will that could not be when it came; gives it with its key."""
        kept = will._replace(key=self._notes.journal.take_key())
        self._notes.mention(kept)
        return kept

    def drop(self, will: WillKept) -> None:
        """The client is not lost but gone: nothing is told. [MQTT-3.1.2-10] of 3.1.1"""
        if will.key:
            self._notes.mention(WillGone(will.key))

    def leave(self, session: Session, will: WillKept, now: float) -> None:
        """The client is lost: tell its will, now or later. [MQTT-3.1.2-8]"""
        delay_s = min(will.delay_s, session.expiry_s)
        if delay_s:
            self.wait(Waiting(will, session.rights, session, now + delay_s))
            if will.key:
                self._notes.mention(WillWaits(will.key, float(delay_s)))
        else:
            self._tell_now(will, session.rights, session, now)

    def reauthorize(self, authorize: Authorize, is_silenced: Callable[[WillKept], bool]) -> None:
        """Have those that wait told, or not, as their clients' rights are by now; the silenced are dropped."""
        for whose, waiting in list(self._waiting.items()):
            if is_silenced(waiting.will):
                del self._waiting[whose]
                self._deadlines.cancel(whose)
                self.drop(waiting.will)
            else:
                client_id, username = whose
                self._waiting[whose] = waiting._replace(rights=authorize(username, client_id))

    def wait(self, waiting: Waiting) -> None:
        """Line up a will for a client that is away."""
        whose = waiting.will.client_id, waiting.will.username
        self._waiting[whose] = waiting
        self._deadlines.set(waiting.due, whose)

    def revoke(self, session: Session) -> None:
        """The client is back in time. [MQTT-3.1.3-9]

        Its CONNACK does not wait until that is durable, as it does where it discards a session: then the will is told
        at once, in the same group as the session's end. A cut in between takes the client's link as well, so it is
        lost again; the will of before goes on waiting, for what was left of its delay. Whoever comes back in that time
        revokes it anew, and of whoever does not it says what is true. Nothing that was told is told twice by this. Nor
        does CONNACK wait for a new will: a server may leave it to a restart to tell them (MQTT 5 §3.1.2.5), and
        what is acknowledged to the client after it comes behind it.
        """
        waiting = self._take(session)
        if waiting is not None:
            self.drop(waiting.will)

    def end(self, session: Session, now: float) -> None:
        """The session is over, and the waiting of its will with it."""
        waiting = self._take(session)
        if waiting is not None:
            self._tell_now(waiting.will, waiting.rights, session, now)

    def next_deadline(self) -> float | None:
        """When `tick` should be called next; None while nothing waits."""
        return self._deadlines.next()

    def tick(self, now: float) -> None:
        """Tell those whose delay is over."""
        for whose in self._deadlines.due(now):
            waiting = self._waiting.pop(whose)
            self._tell_now(waiting.will, waiting.rights, waiting.session, now)

    def _take(self, session: Session) -> Waiting | None:
        whose = session.client_id, session.username
        waiting = self._waiting.pop(whose, None)
        if waiting is not None:
            self._deadlines.cancel(whose)
        return waiting

    def _tell_now(self, will: WillKept, rights: Rights, session: Session | None, now: float) -> None:
        # It lives from its publication on, §3.1.3.2.4.
        expires_at = None if will.expiry_s is None else now + will.expiry_s
        message = Message(will.topic, will.payload, will.qos, will.retain, will.properties, expires_at, will.client_id)
        self._tell(message, rights, session, now)
        self.drop(will)


def _forwarded(will: Will) -> bytes:
    """Give what of the will's properties its readers receive; its delay and its expiry are the server's to count."""
    return encode_property_block(replace(will.properties, will_delay_interval=None, message_expiry_interval=None))
