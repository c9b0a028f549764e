"""What agents say of themselves, held to what they may: an `about` describes topics, and anybody can write any there.

Where there are accounts it counts for the topics alone that whoever wrote it may publish to, and for the agent under
whose name it stands.
"""

import logging
from collections.abc import Callable
from typing import Final

from appliance.accounts import Accounts
from appliance.broker.core import Broker
from appliance.broker.message import Message
from appliance.broker.retained import UNKNOWN
from appliance.devices import Device, as_told, narrowed

LOG: Final = logging.getLogger(__name__)
MOST_TOLD: Final = 1_000  # pairs of about and topic that are told of in the log


class Abouts:
    """Reads the `about`s of a broker's agents; without accounts each as it is."""

    def __init__(self, broker: Broker, accounts: Accounts | None) -> None:
        self._broker = broker
        self._accounts = accounts
        self._told: set[tuple[str, str]] = set()

    def read(self, message: Message) -> Device:
        """Give what an `about` says, as far as its publisher may; ValueError says what is wrong with it."""
        device = as_told(message)
        if self._accounts is None:
            return device
        may_publish = self._publisher(message, self._accounts)
        own = narrowed(device, lambda topic: bool(topic) and may_publish(topic), message.topic.split("/")[2])
        if len(own.sensors) < len(device.sensors):
            self._tell(message.topic, {sensor.topic for sensor in device.sensors if sensor not in own.sensors})
        return own

    def _publisher(self, message: Message, accounts: Accounts) -> Callable[[str], bool]:
        """Give what says whether who published this may publish to a topic.

        Of a message that is from before the last start it may not be known who did: then it was one of those who may.
        """
        topic, client_id = message.topic, message.client_id
        retained = self._broker.router.retained
        kept = retained.peek(topic)
        if kept is not None and kept.payload is message.payload:
            username = retained.publisher(topic)
            if username != UNKNOWN:
                return accounts.rights(username, client_id).may_publish
        elif (session := self._broker.sessions.get(client_id)) is not None:
            return session.rights.may_publish
        writers = [accounts.rights(name, client_id) for name in accounts.acl.writers(topic, client_id)]
        return lambda one: any(rights.may_publish(one) for rights in writers)

    def _tell(self, about: str, topics: set[str]) -> None:
        for topic in sorted(topics):
            if (about, topic) not in self._told and len(self._told) < MOST_TOLD:
                self._told.add((about, topic))
                LOG.warning(
                    "%s: what it says of %r counts for nothing, its user may not publish there; grant that with"
                    " `appliance devices add` or in the rules, or take the sensor from the agent",
                    about,
                    topic[:200],
                    extra={"MQTT_TOPIC": about},
                )
