"""What an agent says of itself, retained: said again until the broker has taken it.

A broker whose disk is full refuses what it would have to keep. Readings wait in the outbox meanwhile; that the agent is
online, and what its sensors are, waits here.
"""

import logging
from collections.abc import Callable, Sequence
from itertools import count

from sensors.link import Link
from sensors.reasons import NEVER_TAKEN, QUOTA_EXCEEDED, REFUSED

AGAIN_AFTER_S = 5.0  # the broker had no room
REFUSED_WAIT_S = 60.0  # it does not want it: a person must act

log = logging.getLogger("sensors")


class Statements:
    """The last statement on each topic; `now` is monotonic seconds. Its tokens are below zero, a reading's are not."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._numbers = count(-1, -1)
        self._flying: dict[int, str] = {}  # token -> topic
        self._untold: dict[str, bytes] = {}  # topic -> payload that the broker does not have yet
        self._answers: dict[str, Callable[[str, int], None]] = {}  # topic that is taken back -> who wants to know
        self._again_at: float | None = None
        self._refused: set[str] = set()  # topics whose refusal was logged

    def say(self, topic: str, payload: bytes, now: float) -> None:
        """Publish, retained, as soon as there is a connection; a later statement on the topic takes its place."""
        self._answers.pop(topic, None)
        self._untold[topic] = payload
        self._send(topic, now)

    def take_back(self, topic: str, now: float, answer: Callable[[str, int], None]) -> None:
        """Have the broker keep nothing on the topic; `answer` gets its reason code once, also of a refusal for good."""
        self.say(topic, b"", now)
        self._answers[topic] = answer

    def is_taken(self, topic: str) -> bool:
        """Whether the broker has the last statement on the topic."""
        return topic not in self._untold

    def forget(self) -> None:
        """Let go of everything: the next connection begins anew."""
        self._flying.clear()
        self._untold.clear()
        self._answers.clear()
        self._again_at = None

    def acknowledged(self, tokens: Sequence[int], reason_code: int, now: float) -> None:
        """Take what the broker says of statements."""
        for token in tokens:
            topic = self._flying.pop(token, None)
            if topic is None or topic in self._flying.values():
                continue  # a later one of this topic is on its way
            if reason_code < REFUSED or (topic in self._answers and reason_code in NEVER_TAKEN):
                self._untold.pop(topic, None)
                self._refused.discard(topic)
                if (answer := self._answers.pop(topic, None)) is not None:
                    answer(topic, reason_code)
                continue
            self._again_at = now + (AGAIN_AFTER_S if reason_code == QUOTA_EXCEEDED else REFUSED_WAIT_S)
            if topic not in self._refused:
                self._refused.add(topic)
                words = "%s: the broker does not take it now (reason code 0x%02X)"
                log.warning(words, topic, reason_code, extra={"MQTT_TOPIC": topic})

    def next_deadline(self) -> float | None:
        """When `tick` has something to say again; never without a connection, the next one begins anew."""
        return self._again_at if self._link.up else None

    def tick(self, now: float) -> None:
        """Say again what was refused."""
        if self._again_at is None or now < self._again_at or not self._link.up:
            return
        self._again_at = None
        flying = set(self._flying.values())
        for topic in self._untold.keys() - flying:
            self._send(topic, now)

    def _send(self, topic: str, now: float) -> None:
        payload = self._untold[topic]
        if not self._link.fits(topic, payload):  # it never will on this connection
            del self._untold[topic]
            return
        token = next(self._numbers)
        if self._link.publish(topic, payload, retain=True, tokens=(token,)):
            self._flying[token] = topic
        else:
            self._again_at = now + AGAIN_AFTER_S
