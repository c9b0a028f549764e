"""One application message inside the server."""


class Message:
    """A message on its way from one publisher to all its readers; shared by them, changed in nothing but its number.

    `properties` is the MQTT 5 property block as the publisher sent it, without its length, topic alias and
    message expiry; empty from a 3.1.1 client. `expires_at` is monotonic seconds, None for never. `number` is what
    the journal knows it by where a session holds it; 0 where none does.
    """

    __slots__ = ("client_id", "expires_at", "number", "payload", "properties", "qos", "retain", "topic")

    def __init__(  # positional on purpose: made once per message
        self,
        topic: str,
        payload: bytes,
        qos: int = 0,
        retain: bool = False,  # noqa: FBT001, FBT002
        properties: bytes = b"",
        expires_at: float | None = None,
        client_id: str = "",
    ) -> None:
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.properties = properties
        self.expires_at = expires_at
        self.client_id = client_id
        self.number = 0

    def copy(self) -> "Message":
        """Give the same message once more, for the journal a new one."""
        return Message(
            self.topic, self.payload, self.qos, self.retain, self.properties, self.expires_at, self.client_id
        )

    def __repr__(self) -> str:
        return f"Message({self.topic!r}, {self.payload!r}, qos={self.qos}, retain={self.retain})"
