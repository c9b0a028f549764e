"""The last retained message of every topic, found by topic filter."""

from collections.abc import Callable, Iterator, Mapping

from appliance.broker.deadlines import Deadlines
from appliance.broker.message import Message

OVERHEAD_BYTES = 400  # what the objects of one message take besides the text and the payload
LEVEL_BYTES = 300  # what one level of a topic takes, however many topics it is part of
UNKNOWN = ""  # the user name of who published a message, where it is not known or the server itself
NO_CHILDREN: dict[str, "_Node"] = {}  # of every last level; stays empty


class _Node:
    __slots__ = ("children", "message", "size_bytes", "username")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = NO_CHILDREN
        self.message: Message | None = None
        self.size_bytes = 0  # of the message
        self.username: str | None = UNKNOWN  # of its publisher


class RetainedStore:
    """Retained messages, bounded in number and in bytes: `size_bytes` of messages and what their levels take."""

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._nodes: dict[str, _Node] = {}  # those with a message, by topic
        self._root = _Node()
        self._expiring: Deadlines[str] = Deadlines()  # topics whose message has a time
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self.size_bytes = 0
        self.levels = 0

    def __len__(self) -> int:
        return len(self._nodes)

    def get(self, topic: str, now: float) -> Message | None:
        """Give the topic's message, unless its time is over."""
        message = self.peek(topic)
        if message is not None and message.expires_at is not None and message.expires_at <= now:
            return None
        return message

    def messages(self) -> Iterator[Message]:
        """Give every message, whether or not its time is over."""
        return (node.message for node in self._nodes.values() if node.message is not None)

    def published(self) -> Iterator[tuple[Message, str | None]]:
        """Give every message whose publisher is known, with its user name."""
        for node in self._nodes.values():
            if node.message is not None and node.username != UNKNOWN:
                yield node.message, node.username

    def publisher(self, topic: str) -> str | None:
        """Give the user name of who published the topic's message; UNKNOWN where that is not known."""
        node = self._nodes.get(topic)
        return UNKNOWN if node is None else node.username

    def attribute(self, users: Mapping[str, str | None], is_doubtful: Callable[[Message, str | None], bool]) -> None:
        """Say by client id whose messages these are; of others, and where that is doubtful, it is not known."""
        for node in self._nodes.values():
            if node.message is not None:
                username = users.get(node.message.client_id, UNKNOWN)
                doubtful = username != UNKNOWN and is_doubtful(node.message, username)
                node.username = UNKNOWN if doubtful else username

    def unattributed(self) -> Iterator[Message]:
        """Give every message whose publisher is not known."""
        return (node.message for node in self._nodes.values() if node.message is not None and node.username == UNKNOWN)

    def peek(self, topic: str) -> Message | None:
        """Give the topic's message whether or not its time is over."""
        node = self._nodes.get(topic)
        return node.message if node is not None else None

    def put(self, message: Message, now: float, username: str | None = UNKNOWN) -> bool:
        """Keep the message in place of the topic's last; False when there is no room for it.

        Those whose time is over make room. `username` is its publisher's.
        """
        some_expire = len(self._expiring) > 0
        if some_expire:
            self.expire(now)
        topic = message.topic
        node = self._nodes.get(topic)
        size = OVERHEAD_BYTES + len(topic) + len(message.payload) + len(message.properties)
        grown = self.size_bytes + size - (node.size_bytes if node is not None else 0)
        missing: list[str] = []
        nearest = self._root
        if node is None:
            if len(self._nodes) >= self._max_messages:
                return False
            missing = topic.split("/")
            missing.reverse()
            while missing and (child := nearest.children.get(missing[-1])) is not None:
                nearest = child
                missing.pop()
        if grown + LEVEL_BYTES * (self.levels + len(missing)) > self._max_bytes:
            return False
        if node is None:
            node = self._nodes[topic] = self._extend(nearest, missing)
        node.message = message
        node.username = username
        node.size_bytes = size
        self.size_bytes = grown
        if message.expires_at is not None:
            self._expiring.set(message.expires_at, topic)
        elif some_expire:
            self._expiring.cancel(topic)
        return True

    def expire(self, now: float) -> None:
        """Forget those whose time is over."""
        for expired in self._expiring.due(now):
            self.discard(expired)

    def discard(self, topic: str) -> None:
        """Forget the topic's message, and the levels that nobody needs any more."""
        node = self._nodes.pop(topic, None)
        if node is None:
            return
        self._expiring.cancel(topic)
        self.size_bytes -= node.size_bytes
        levels = topic.split("/")
        path = [self._root]
        for level in levels:
            path.append(path[-1].children[level])
        node.message = None
        node.size_bytes = 0
        for level, parent, node in zip(reversed(levels), reversed(path[:-1]), reversed(path[1:]), strict=True):
            if node.children or node.message is not None:
                break
            del parent.children[level]
            self.levels -= 1

    def topics(self, topic_filter: str) -> list[str]:
        """Give the topics whose names match, in no promised order; expired ones may be among them."""
        if topic_filter in self._nodes:
            return [topic_filter]
        if "#" not in topic_filter and "+" not in topic_filter:
            return []
        if topic_filter == "#":
            return [topic for topic in self._nodes if topic[0] != "$"]  # [MQTT-4.7.2-1]
        nodes = [self._root]
        levels = topic_filter.split("/")
        for depth, level in enumerate(levels):
            if level == "#":
                return [topic for node in nodes for topic in _below(node)]
            if level == "+":
                hidden = "$" if depth == 0 else ""
                nodes = [
                    child
                    for node in nodes
                    for name, child in node.children.items()
                    if not (hidden and name.startswith(hidden))
                ]
            else:
                nodes = [node.children[level] for node in nodes if level in node.children]
        return [node.message.topic for node in nodes if node.message is not None]

    def _extend(self, node: _Node, missing: list[str]) -> _Node:
        """Add levels below the node, the last of the list first, and give the last node."""
        self.levels += len(missing)
        for level in reversed(missing):
            if node.children is NO_CHILDREN:
                node.children = {}
            child = node.children[level] = _Node()
            node = child
        return node


def _below(top: _Node) -> Iterator[str]:
    nodes = [top]
    while nodes:
        node = nodes.pop()
        if node.message is not None:
            yield node.message.topic
        nodes.extend(reversed(node.children.values()))  # so that they come in the order they were first set
