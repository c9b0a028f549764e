"""Wills: what the server says for clients that are lost, at once or after the delay that they asked for."""

from collections.abc import Callable
from dataclasses import replace

from appliance.broker.deadlines import Deadlines
from appliance.broker.message import Message
from appliance.broker.session import Session
from appliance.mqtt.packets import Will
from appliance.mqtt.properties import encode_property_block

Tell = Callable[[Message, Session, float], None]
"""Publishes a will for the session whose client left it behind."""


class Wills:
    """The wills that wait. Whichever ends first, delay or session, tells them. MQTT 5 §3.1.3.2.2"""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._waiting: dict[Session, Will] = {}
        self._deadlines: Deadlines[Session] = Deadlines()

    def __len__(self) -> int:
        return len(self._waiting)

    def leave(self, session: Session, will: Will, now: float) -> None:
        """The client is lost: tell its will, now or later. [MQTT-3.1.2-8]"""
        delay_s = min(will.properties.will_delay_interval or 0, session.expiry_s)
        if delay_s:
            self._waiting[session] = will
            self._deadlines.set(now + delay_s, session)
        else:
            self._tell(_message(session, will, now), session, now)

    def revoke(self, session: Session) -> None:
        """The client is back in time. [MQTT-3.1.3-9]"""
        if self._waiting.pop(session, None) is not None:
            self._deadlines.cancel(session)

    def end(self, session: Session, now: float) -> None:
        """The session is over, and the waiting of its will with it."""
        will = self._waiting.pop(session, None)
        if will is not None:
            self._deadlines.cancel(session)
            self._tell(_message(session, will, now), session, now)

    def next_deadline(self) -> float | None:
        """When `tick` should be called next; None while nothing waits."""
        return self._deadlines.next()

    def tick(self, now: float) -> None:
        """Tell those whose delay is over."""
        for session in self._deadlines.due(now):
            self._tell(_message(session, self._waiting.pop(session), now), session, now)


def _message(session: Session, will: Will, now: float) -> Message:
    expiry_s = will.properties.message_expiry_interval
    return Message(
        will.topic,
        will.payload,
        will.qos,
        will.retain,  # [MQTT-3.1.2-14], [MQTT-3.1.2-15]
        _forwarded(will),
        None if expiry_s is None else now + expiry_s,  # it lives from its publication on, §3.1.3.2.4
        session.client_id,
    )


def _forwarded(will: Will) -> bytes:
    """Give what of the will's properties its readers receive; its delay and its expiry are the server's to count."""
    return encode_property_block(replace(will.properties, will_delay_interval=None, message_expiry_interval=None))
