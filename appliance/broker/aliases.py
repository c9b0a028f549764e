"""Topic aliases of one MQTT 5 link: a number in place of a topic name that was said before. §3.3.2.3.4"""

from appliance.mqtt.errors import ProtocolError, TopicAliasInvalid


class IncomingAliases:
    """What the client's numbers stand for."""

    __slots__ = ("_maximum", "_topics")

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._topics: dict[int, bytes] = {}

    def topic(self, alias: int, topic: bytes) -> bytes:
        """Give the topic of a PUBLISH with this alias; with a topic beside it, the alias is set anew."""
        if alias > self._maximum:
            raise TopicAliasInvalid(f"topic alias {alias}, and at most {self._maximum} are kept")  # [MQTT-3.3.2-9]
        if topic:
            self._topics[alias] = topic
            return topic
        known = self._topics.get(alias)
        if known is None:
            raise ProtocolError(f"topic alias {alias} stands for nothing yet")
        return known


class OutgoingAliases:
    """Which topics have a number on the way to the client: the first ones that were sent."""

    __slots__ = ("_aliases", "_maximum")

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum  # the client's, [MQTT-3.1.2-26]
        self._aliases: dict[str, int] = {}

    def shorten(self, topic: str) -> tuple[bytes, int]:
        """Give topic and alias as they are sent now; an alias of 0 is none."""
        alias = self._aliases.get(topic)
        if alias is not None:
            return b"", alias
        if len(self._aliases) >= self._maximum:
            return topic.encode(), 0
        self._aliases[topic] = len(self._aliases) + 1
        return topic.encode(), len(self._aliases)

    def take_back(self, topic: str, alias: int) -> None:
        """Forget the alias: the packet that would have told the client of it was not sent."""
        if alias and alias == len(self._aliases):
            self._aliases.pop(topic, None)
