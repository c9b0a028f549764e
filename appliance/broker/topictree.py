"""Who wants which topics: a tree of filter levels, walked without recursion."""

from collections.abc import Iterator
from typing import Any, Generic, NamedTuple, TypeVar

Reader = TypeVar("Reader")


class Grant(NamedTuple):
    """One subscription of one reader, as granted."""

    qos: int
    no_local: bool = False
    retain_as_published: bool = False
    identifier: int = 0  # 0 for none, MQTT 5 §3.8.2.1.2


LEVEL_BYTES = 400  # what one level of a filter takes beside its letters: a node, its dictionaries, its name
NO_CHILDREN: dict[str, Any] = {}  # of every last level; stays empty


def filter_bytes(topic_filter: str) -> int:
    """Give what a filter costs where none of its levels is there yet."""
    return len(topic_filter) + LEVEL_BYTES * (topic_filter.count("/") + 1)


class _Node(Generic[Reader]):
    __slots__ = ("children", "grants")

    def __init__(self) -> None:
        self.children: dict[str, _Node[Reader]] = NO_CHILDREN
        self.grants: dict[Reader, Grant] = {}


class TopicTree(Generic[Reader]):
    """Topic filters and their readers."""

    def __init__(self) -> None:
        self._root: _Node[Reader] = _Node()

    def subscribe(self, topic_filter: str, reader: Reader, grant: Grant) -> None:
        """Add the subscription; one with the same filter is replaced. [MQTT-3.8.4-3]"""
        node = self._root
        for level in topic_filter.split("/"):
            child = node.children.get(level)
            if child is None:
                if node.children is NO_CHILDREN:
                    node.children = {}
                child = node.children[level] = _Node()
            node = child
        node.grants[reader] = grant

    def unsubscribe(self, topic_filter: str, reader: Reader) -> None:
        """Take the subscription away, and the levels that nobody needs any more."""
        path = [self._root]
        levels = topic_filter.split("/")
        for level in levels:
            node = path[-1].children.get(level)
            if node is None:
                return
            path.append(node)
        path[-1].grants.pop(reader, None)
        for level, parent, node in zip(reversed(levels), reversed(path[:-1]), reversed(path[1:]), strict=True):
            if node.grants or node.children:
                break
            del parent.children[level]

    def reaches(self, level: str) -> bool:
        """Tell whether any filter begins with this level."""
        return level in self._root.children

    def match(self, topic: str) -> Iterator[tuple[Reader, Grant]]:
        """Give every subscription whose filter matches; a reader with overlapping filters comes several times."""
        nodes = [self._root]
        wildcards = not topic.startswith("$")  # [MQTT-4.7.2-1]
        for level in topic.split("/"):
            following = []
            for node in nodes:
                children = node.children
                if wildcards:
                    if "#" in children:
                        yield from children["#"].grants.items()
                    if "+" in children:
                        following.append(children["+"])
                if level in children:
                    following.append(children[level])
            if not following:
                return
            nodes = following
            wildcards = True
        for node in nodes:
            yield from node.grants.items()
            if "#" in node.children:  # the parent level too, §4.7.1.2
                yield from node.children["#"].grants.items()
