"""A client inside the process, for the features: no socket, no packets, messages as the core holds them."""

import logging
from collections.abc import Callable

from appliance.broker.message import Message
from appliance.broker.session import Session
from appliance.broker.topictree import Grant
from appliance.mqtt.topics import check_topic_filter
from appliance.net.hub import Hub

log = logging.getLogger(__name__)


class LocalClient:
    """Publishes and subscribes on the event loop's thread."""

    def __init__(self, hub: Hub, client_id: str) -> None:
        self._hub = hub
        self._client_id = client_id

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """Publish; MqttError when the topic name is not one."""
        message = Message(topic, payload, qos, retain, client_id=self._client_id)
        self._hub.broker.publish(message, self._hub.clock())
        self._hub.turn()

    def subscribe(self, topic_filter: str, deliver: Callable[[Message], None]) -> Callable[[], None]:
        """Call `deliver` with each retained message now and each new one later; gives the way to end it.

        A retained message has `retain` set, a new one has not, as on a wire. MqttError when the filter is not one.
        """
        check_topic_filter(topic_filter)
        router = self._hub.broker.router
        session = Session(self._client_id)
        session.deliver = lambda message: self._deliver(_as_live(message) if message.retain else message, deliver)
        retained = self.retained(topic_filter)
        router.subscribe(session, topic_filter, Grant(qos=2), retain_handling=2)
        for message in retained:
            self._deliver(message, deliver)
        return lambda: self._unsubscribe(session, topic_filter)

    def retained(self, topic_filter: str) -> list[Message]:
        """Give the retained messages whose topics match, by topic."""
        store = self._hub.broker.router.last.store(topic_filter)
        now = self._hub.clock()
        messages = (store.get(topic, now) for topic in sorted(store.topics(topic_filter)))
        return [message for message in messages if message is not None]

    def _deliver(self, message: Message, deliver: Callable[[Message], None]) -> None:
        try:
            deliver(message)
        except Exception:  # one feature's fault must keep no message from other readers, and no service from starting
            about = {"MQTT_TOPIC": message.topic}
            log.exception("%s failed on a message of %s", self._client_id, message.topic, extra=about)

    def _unsubscribe(self, session: Session, topic_filter: str) -> None:
        self._hub.broker.router.unsubscribe(session, topic_filter)


def _as_live(message: Message) -> Message:
    return Message(
        message.topic, message.payload, message.qos, False, message.properties, message.expires_at, message.client_id
    )
