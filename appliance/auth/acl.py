"""Rules of topics -> what each user may do. A user name is compared, never matched: no letter in it is a wildcard."""

from collections.abc import Iterable

from appliance.mqtt.topics import matches, overlaps
from appliance.settings import Rule


class Granted:
    """What one user may do: what a rule names, and nothing else."""

    __slots__ = ("_publish", "_read")

    def __init__(self, publish: Iterable[str], read: Iterable[str]) -> None:
        self._publish = _Filters(publish)
        self._read = _Filters(read)

    def may_publish(self, topic: str) -> bool:
        """Whether a rule names the topic."""
        return self._publish.take_in(topic)

    def may_read(self, topic: str) -> bool:
        """Whether a rule names the topic."""
        return self._read.take_in(topic)

    def may_subscribe(self, topic_filter: str) -> bool:
        """Whether the filter and some rule have a topic in common."""
        return self._read.meet(topic_filter)


class _Filters:
    """Topic filters; the exact ones cost one look-up however many there are."""

    __slots__ = ("_everything", "_exact", "_patterns")

    def __init__(self, topic_filters: Iterable[str]) -> None:
        every = dict.fromkeys(topic_filters)
        self._patterns = tuple(one for one in every if "+" in one or "#" in one)
        self._exact = frozenset(every) - frozenset(self._patterns)
        self._everything = "#" in every  # but for $ topics, [MQTT-4.7.2-1]

    def take_in(self, topic: str) -> bool:
        if self._everything and topic[0] != "$":
            return True
        return topic in self._exact or any(matches(pattern, topic) for pattern in self._patterns)

    def meet(self, topic_filter: str) -> bool:
        return topic_filter in self._exact or any(
            overlaps(one, topic_filter) for group in (self._patterns, self._exact) for one in group
        )


NO_RIGHTS = Granted([], [])


class Acl:
    """The rules of all users."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        named: dict[str | None, tuple[list[str], list[str]]] = {}
        for rule in rules:
            publish, read = named.setdefault(rule.user, ([], []))
            publish += rule.publish
            read += rule.subscribe
        self._granted = {user: Granted(*filters) for user, filters in named.items()}
        self._without_rules = Granted(["#"], ["#"])  # which takes in no $ topic [MQTT-4.7.2-1]

    def rights(self, username: str | None) -> Granted:
        """Give what the user may do; None stands for anonymous clients."""
        return self._granted.get(username, self._without_rules)

    def has_rules(self, username: str) -> bool:
        """Whether rules say what the user may do."""
        return username in self._granted
