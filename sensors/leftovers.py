"""What the broker still retains of sensors that this agent no longer has: remembered, looked at and taken back.

A topic is remembered before anything is published there and forgotten when the broker has cleared it, so that neither a
restart nor a kill leaves a sensor that is gone on anybody's page. Where readings stood, somebody else may publish by
now, as where a sensor moved to another computer: what is retained there says whose it is, and only our own is cleared.
"""

import logging
from collections.abc import Callable, Iterable, Sequence

from sensors.keepsakes import Keepsakes
from sensors.link import Link
from sensors.reasons import NEVER_TAKEN, REFUSED
from sensors.sensor import Sensor
from sensors.statements import Statements
from sensors.topics import AgentTopics, place_of

OURS = ""  # the agent's own among the keepsakes; no sensor has this name
RETAINED = "retained"
LOOK_S = 10.0  # what has not come by then is not there
MOST_AT_ONCE = 100  # topics in one subscription
PIECE = 200  # topics that are taken back at once at the end; the link's queue holds more

log = logging.getLogger("sensors")


class Leftovers:
    """The topics where this agent has published something that is retained; `now` is monotonic seconds.

    `left_behind` counts those that the broker has not cleared at the end, though it should have.
    """

    def __init__(self, topics: AgentTopics, keepsakes: Keepsakes, link: Link, statements: Statements) -> None:
        """Know what was remembered by the last process."""
        self._topics = topics
        self._keepsakes = keepsakes
        self._link = link
        self._statements = statements
        self._known = set(str(keepsakes.get(OURS, RETAINED) or "").split())
        self._looking: dict[str, float] = {}  # topic -> until when
        self._leaving: set[str] = set()
        self._given_up: set[str] = set()
        self.left_behind = 0

    def remember(self, topics: Iterable[str]) -> None:
        """Know topics from now on; with the next turn they are on disk."""
        self._keep(self._known.union(topics))

    def review(self, sensors: Sequence[Sensor], now: float) -> None:
        """Begin to take back what none of the sensors has; called on a connection, whenever more of them are known."""
        gone = self._gone(sensors) - self._leaving - self._looking.keys() - self._given_up
        unsure = [topic for topic in sorted(gone) if not topic.startswith(self._topics.own)]
        for topic in sorted(gone.difference(unsure)):
            self._clear(topic, now)
        for first in range(0, len(unsure), MOST_AT_ONCE):
            some = unsure[first : first + MOST_AT_ONCE]
            self._looking |= dict.fromkeys(some, now + LOOK_S)
            self._link.subscribe(some)

    def heard(self, topic: str, by: str, now: float) -> bool:
        """Take a message on a topic that is looked at, `by` the agent that it names; False for any other topic."""
        if topic not in self._looking:
            return False
        self._link.unsubscribe([topic])
        if by == self._topics.agent:
            self._clear(topic, now)
        else:
            self._forget(topic)
        return True

    def refused(self, topic: str, now: float) -> bool:
        """Do without the look: who may publish somewhere and not read has been given the topic for its own."""
        if topic not in self._looking:
            return False
        self._clear(topic, now)
        return True

    def leave(self, now: float, settle: Callable[[], object]) -> None:
        """Take back everything at the end, what the agent says of itself last; `settle` waits for the broker."""
        topics = [*sorted(self._known), self._topics.health, self._topics.about, self._topics.availability]
        self.left_behind = len(topics)
        for first in range(0, len(topics), PIECE):
            piece = topics[first : first + PIECE]
            self._leaving = set(piece)
            for topic in piece:
                self._statements.take_back(topic, now, self._left)
            unanswered = -1
            while self._leaving and len(self._leaving) != unanswered:  # a slow broker is waited for, a silent one not
                unanswered = len(self._leaving)
                settle()
            if self._leaving:
                return

    def disconnected(self) -> None:
        """Begin anew with the next connection."""
        self._looking.clear()
        self._leaving.clear()

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        return min(self._looking.values(), default=None)

    def tick(self, now: float) -> None:
        """Look no longer where nothing is retained."""
        absent = [topic for topic, until in self._looking.items() if now >= until]
        if absent:
            self._link.unsubscribe(absent)
            for topic in absent:
                self._forget(topic)

    def _gone(self, sensors: Sequence[Sensor]) -> set[str]:
        """Give what no sensor publishes. One that is not built yet may publish whatever stands in its place."""
        used = {sensor.availability_topic for sensor in sensors}
        used.update(measurement.topic for sensor in sensors for measurement in sensor.measurements)
        places = {sensor.place for sensor in sensors if not sensor.measurements}
        return {topic for topic in self._known - used if place_of(topic) not in places}

    def _clear(self, topic: str, now: float) -> None:
        self._looking.pop(topic, None)
        self._leaving.add(topic)
        self._statements.take_back(topic, now, self._answered)

    def _answered(self, topic: str, reason_code: int) -> None:
        self._leaving.discard(topic)
        if reason_code < REFUSED:
            self._forget(topic)
            words = "%s: cleared; no sensor of agent %s publishes there any more"
            log.info(words, topic, self._topics.agent, extra={"MQTT_TOPIC": topic})
            return
        self._given_up.add(topic)
        log.warning(
            "%s: no sensor of agent %s publishes there any more, and the broker does not let it be cleared (%s); "
            "grant it, or clear it yourself: appliance pub -r -n -t %s",
            topic,
            self._topics.agent,
            NEVER_TAKEN[reason_code],
            topic,
            extra={"MQTT_TOPIC": topic},
        )

    def _left(self, topic: str, reason_code: int) -> None:
        self._leaving.discard(topic)
        if reason_code < REFUSED:
            self.left_behind -= 1
            self._forget(topic)

    def _forget(self, topic: str) -> None:
        self._looking.pop(topic, None)
        self._keep(self._known - {topic})

    def _keep(self, known: set[str]) -> None:
        if known != self._known:
            self._known = known
            self._keepsakes.put(OURS, RETAINED, " ".join(sorted(known)), urgent=True)
